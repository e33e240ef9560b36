"""The averages of the paper's robustness tables, as published.

Only DRAEM, JNLD and OmniAL on MVTec AD (supplement, Tables 8 to 11), for orientation: the
perturbations came from the authors' surrogate, on their samples.
"""

import csv
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Final

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


@dataclass(frozen=True)
class Published:
    """One published average.

    Attributes:
        metric: `pixel_ap`, `pixel_auroc`, `psnr` or `ssim`, as in our own tables.
        level: `8t`, `8`, `4`, `2` or `1`.
        system: `draem`, `jnld` or `omnial`.
        printed_average: As printed; percent, dB, or 0..1 for SSIM.
        mean_of_rows: The mean of the fifteen rows of the printed column.
        last_row: The row of zipper.
    """

    metric: str
    level: str
    system: str
    printed_average: float
    mean_of_rows: float
    last_row: float


@cache
def published() -> tuple[Published, ...]:
    """Every published average, in the order of the paper's tables."""
    source = resources.files("omnial.robustness") / "published.csv"
    with source.open("r", encoding="utf-8") as file:
        return tuple(
            Published(
                *(row["metric"], row["level"], row["system"]),
                *(float(row[name]) for name in ("printed_average", "mean_of_rows", "last_row")),
            )
            for row in csv.DictReader(file)
        )
