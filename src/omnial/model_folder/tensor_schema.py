"""The schema of the tensors next to the network's weights: recogniser and regions of interest.

Known from the settings alone, without PyTorch, so that a file can be compared with it first.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from omnial.config.settings import Settings
from omnial.models.recogniser import FEATURES, MOST_EXAMPLES
from omnial.untrusted import Form

RECOGNISER: Final = "recogniser."
"""Prefix of the recogniser's arrays."""
ROI: Final = "roi."
"""Prefix of the regions of interest; the class follows."""


def extra_forms(
    settings: Settings, classes: Sequence[str], found: Mapping[str, Form]
) -> dict[str, Form]:
    """Types and shapes of every tensor that is not of the network.

    Args:
        settings: The run's.
        classes: The model's classes.
        found: What the file says it holds: a class has a region of interest or has none, and
            the number of its examples is bounded alone.
    """

    def examples(name: str, most: int) -> Form:
        shape = found[name].shape if name in found else ()
        return Form("F32", (min(shape[0], most) if shape else most, FEATURES))

    size = (settings.data.height, settings.data.width)
    return {
        **{
            RECOGNISER + name: examples(RECOGNISER + name, most)
            for name, most in (
                ("examples", MOST_EXAMPLES * len(classes)),
                ("nothing", MOST_EXAMPLES),
            )
        },
        RECOGNISER + "counts": Form("I64", (len(classes),)),
        RECOGNISER + "scale": Form("F32", (FEATURES,)),
        RECOGNISER + "radius": Form("F32", (len(classes),)),
        RECOGNISER + "least": Form("F32", (len(classes),)),
        **{ROI + name: Form("BOOL", size) for name in classes if ROI + name in found},
    }
