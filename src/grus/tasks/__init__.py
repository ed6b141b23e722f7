"""What GRUs are used for: each task is data, features, a metric and a baseline in NumPy, and a ``fit`` that trains.

May import: everything below ``cli``; torch and ``grus.training`` in a task's ``fit`` alone; no task another one.
Begin with a task's own page, such as ``grus.tasks.forecast``; what lies beside the tasks is what they share.
"""
