"""``grus classify``: a module a verb."""
