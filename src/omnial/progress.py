"""Progress of long work: how a function reports it to its caller."""

from collections.abc import Callable
from typing import TypeAlias

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with what is being done, such as `checking files`, how much is done, and of how much."""


def silent(what: str, done: int, total: int) -> None:
    """Report nothing."""
