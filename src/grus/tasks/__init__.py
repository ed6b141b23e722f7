"""What GRUs are used for: each task is data, features, a metric and a baseline in NumPy, and a ``fit`` that trains."""
