"""What may become of a file."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

MISSING = "the file does not exist"
EMPTY = "the file is empty"
FOREIGN = "is not a PNG, JPEG, BMP, TIFF or WebP image"
DAMAGED = "the file is damaged or incomplete"
UNSUPPORTED = "is not supported"
NO_FILE = "is not a file"
MEGAPIXELS = "pixels are more than the allowed"
PILLOW_LIMIT = "it has more pixels than Pillow reads"


@dataclass(frozen=True)
class Read:
    """It is an image like any other."""

    height: int
    width: int
    """In pixels, upright."""

    def __str__(self) -> str:
        return f"read, {self.height} x {self.width}"


@dataclass(frozen=True)
class Refused:
    """It is named, with this in the reason."""

    reason: str

    def __str__(self) -> str:
        return f"refused: {self.reason}"


@dataclass(frozen=True)
class PassedOver:
    """A search of its folder does not take it up."""

    def __str__(self) -> str:
        return "passed over"


Outcome: TypeAlias = Read | Refused | PassedOver


@dataclass(frozen=True)
class Answer:
    """What the service answers to the file's content."""

    status: int
    error: str | None = None
    name: str | None = None
    """What it calls the file, where that differs from the file's name."""

    def __str__(self) -> str:
        text = str(self.status) if self.error is None else f"{self.status} {self.error}"
        return text if self.name is None else f"{text}, called {self.name!a}"


@dataclass(frozen=True)
class Case:
    """A hostile file."""

    name: str
    """Name of the file; bytes that are no UTF-8 as surrogates."""
    made: str
    """How it is made, for people."""
    write: Callable[[Path], None]
    """Makes it at a path."""
    loader: Outcome
    predictor: Outcome
    service: Answer | None
    """None: it has no content to be sent."""
    possible: Callable[[], bool] = lambda: True
    """Whether this system, and this user, can make it."""


@dataclass(frozen=True)
class Listing:
    """A hostile data set: a table or masks that do not fit."""

    name: str
    made: str
    write: Callable[[Path], None]
    """Makes it in an empty folder."""
    message: str
    """Is in the error; empty: it is read."""
