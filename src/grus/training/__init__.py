"""Training: one loop, and one way through a fit around it, with its checkpoints, progress and measurements.

May import: ``grus.torch`` and what lies below it, and PyTorch; it knows no task.
Begin with ``fitting``, which stands around every fit, then ``loop``; ``objective`` is what a task brings.
"""
