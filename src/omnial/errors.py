"""The two kinds of failure that a user meets."""


class UserError(Exception):
    """A mistake that the user can mend: the command line ends with exit code 2.

    The message names what is wrong, the file or the setting that it is wrong in, and the way
    to mend it. Nothing has been done, and nothing already on disk is lost.
    """


class RunError(Exception):
    """A run that failed for another reason (disk, memory, diverged training): exit code 3."""
