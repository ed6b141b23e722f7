"""``grus language``: a module a verb."""
