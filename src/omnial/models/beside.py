"""What a folder keeps beside the network's weights: the recogniser and the regions of interest.

Known from the settings alone, without PyTorch, so that a file can be compared with it first.
"""

from collections.abc import Collection, Sequence
from typing import Final

from omnial.config.settings import Settings
from omnial.untrusted import Form

RECOGNISER: Final = "recogniser."
"""Prefix of the recogniser's arrays."""
ROI: Final = "roi."
"""Prefix of the regions of interest; the class follows."""
FEATURE_GRID: Final = 2
"""Rows and columns that the bottleneck's features are averaged over."""


def forms_beside(
    settings: Settings, classes: Sequence[str], found: Collection[str]
) -> dict[str, Form]:
    """Types and shapes of everything beside the network.

    Args:
        settings: The run's.
        classes: The model's classes.
        found: Names of the tensors in the file: a class has a region of interest or has none.
    """
    features = FEATURE_GRID**2 * settings.model.reconstruction.widths[-1]
    size = (settings.data.height, settings.data.width)
    return {
        RECOGNISER + "means": Form("F32", (len(classes), features)),
        RECOGNISER + "scale": Form("F32", (features,)),
        RECOGNISER + "radius": Form("F32", (len(classes),)),
        **{ROI + name: Form("BOOL", size) for name in classes if ROI + name in found},
    }
