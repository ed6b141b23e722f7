"""Running a model: the kernels' front door, each block as an operation, the state as a value, the session.

May import the spec, the model, the inputs and the ground below them; NumPy and the extension alone. Begin with
``session.Session``.
"""
