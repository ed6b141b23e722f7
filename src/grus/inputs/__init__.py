"""What a person has, made into the steps a model reads: texts to ids, lines of numbers to vectors.

May import the spec, for what is prepared how stands there; NumPy alone. Begin with ``text.encode``.
"""
