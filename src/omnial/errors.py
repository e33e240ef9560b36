"""The two kinds of failure that a user meets, and how names and numbers stand in messages."""

import re


class UserError(Exception):
    """A mistake that the user can fix: the command line ends with exit code 2.

    The message names what is wrong, the file or the setting that it is wrong in, and the way
    to fix it. Nothing has been done, and nothing already on disk is lost.
    """


class RunError(Exception):
    """A run that failed for another reason (disk, memory, diverged training): exit code 3."""


def shown(text: object) -> str:
    """A name that is safe to print.

    File names may hold bytes that are no text, line breaks, commands to a terminal, or marks that
    turn the direction of writing: each becomes the replacement character. HTML is escaped later.
    """
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(text))


def without_password(text: str) -> str:
    """A text whose addresses lack name and password, which stand before the host or in the query.

    A password may hold any mark: everything up to the last `@` of an address goes, and what follows
    a question mark. An address that was taken for a path has one slash instead of two.
    """
    hidden = re.sub(r"(\w{2}:/{1,2})\S*@", r"\1", text)
    return re.sub(r"(\w{2}:/{1,2}[^\s?]*)\?\S*", r"\1", hidden)


def told_apart(first: float, second: float) -> tuple[str, str]:
    """Two numbers with four digits behind the point, or as many more as show that they differ."""
    for digits in range(4, 17):
        texts = f"{first:.{digits}f}", f"{second:.{digits}f}"
        if first == second or texts[0] != texts[1]:
            break
    return texts
