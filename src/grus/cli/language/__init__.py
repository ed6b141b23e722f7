"""``grus language``: a module a verb.

May import: what ``grus.cli`` may, but no other task's folder. Begin with ``fit``.
"""
