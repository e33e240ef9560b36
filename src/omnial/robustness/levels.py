"""The five levels of an adversarial set, and the unattacked one beside them."""

from dataclasses import dataclass
from typing import ClassVar, Final

from pydantic import ConfigDict

UNATTACKED: Final = "0"
"""Name of the level without a perturbation."""


@dataclass(frozen=True)
class Level:
    """How strong an attack is, and what it wants.

    Attributes:
        name: As the paper's tables have it: the radius in grey levels, `t` for targeted.
        grey_levels: Largest change of a value, in 1/255.
        targeted: Whether the network is to say the reversed mask, instead of anything wrong.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    name: str
    grey_levels: float
    targeted: bool = False

    @property
    def epsilon(self) -> float:
        """The radius in units of the pixels' range."""
        return self.grey_levels / 255.0


LEVELS: Final = (
    Level("8t", 8.0, targeted=True),
    Level("8", 8.0),
    Level("4", 4.0),
    Level("2", 2.0),
    Level("1", 1.0),
)
"""The levels of the paper, in the order of its tables."""

UNTARGETED: Final = tuple(level for level in LEVELS if not level.targeted)
