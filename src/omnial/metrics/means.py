"""Means over classes, of figures that not every class can have."""

from collections.abc import Mapping, Sequence

import numpy as np

Figures = Mapping[str, float | None]
"""Figures by name; None where the images at hand cannot have the figure."""


def mean_figures(
    rows: Sequence[Figures], names: Sequence[str]
) -> tuple[dict[str, float | None], dict[str, int]]:
    """The mean of each named figure over the rows that have it, and how many those are."""
    values = {name: [value for row in rows if (value := row[name]) is not None] for name in names}
    means = {name: float(np.mean(some)) if some else None for name, some in values.items()}
    return means, {name: len(some) for name, some in values.items()}
