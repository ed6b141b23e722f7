"""The one exception for input a person can mend."""


class InputError(ValueError):
    """Bad input: the message names what was wrong, what came and what was expected.

    The command line prints it as one line and exits with status 2; everything else that is raised is a bug.
    """
