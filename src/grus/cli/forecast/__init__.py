"""``grus forecast``: a module a verb."""
