"""Means over classes, of figures that not every class can have."""

from collections.abc import Mapping, Sequence

import numpy as np

Figures = Mapping[str, float | None]
"""Figures by name; None where the images at hand cannot have the figure."""


def mean_figures(
    rows: Sequence[Figures], names: Sequence[str]
) -> tuple[dict[str, float | None], dict[str, int]]:
    """The mean of each named figure over the rows that have it, and how many those are."""
    mean: dict[str, float | None] = dict.fromkeys(names)
    counts = dict.fromkeys(names, 0)
    for name in names:
        values = [value for row in rows if (value := row[name]) is not None]
        counts[name] = len(values)
        if values:
            mean[name] = float(np.mean(values))
    return mean, counts
