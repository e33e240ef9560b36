"""Published averages of the paper's robustness tables (supplement, Tables 8 to 11)."""

import csv
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Final, NamedTuple

CAVEATS: Final = (
    "The published averages are of MVTec AD, with the authors' surrogate and samples: they stand "
    "here for orientation, and are no result of this software.",
    "DRAEM's pixel AP at 8t is printed as 22.3, while the mean of its column is 23.2.",
    "The published PSNR and SSIM drift from class to class as running means would. If that is "
    "what they are, the last row (zipper) is the mean over classes and the printed average is "
    "not; both are quoted.",
)
"""What a reader must know about the published averages."""

LABELS: Final = MappingProxyType({"draem": "DRAEM", "jnld": "JNLD", "omnial": "OmniAL"})
"""The published systems as the paper calls them."""


class Published(NamedTuple):
    """One published average, in percent, dB, or 0..1 for SSIM."""

    metric: str
    """`pixel_ap`, `pixel_auroc`, `psnr` or `ssim`, as in our own tables."""
    level: str
    system: str
    printed_average: float
    mean_of_rows: float
    """Mean of the fifteen rows of the printed column."""
    last_row: float
    """The row of zipper."""


@cache
def published() -> tuple[Published, ...]:
    """Every published average, in the order of the paper's tables."""
    text = (resources.files("omnial.robustness") / "published.csv").read_text("utf-8")
    _, *rows = csv.reader(text.splitlines())
    return tuple(
        Published(metric, level, system, *map(float, numbers))
        for metric, level, system, *numbers in rows
    )
