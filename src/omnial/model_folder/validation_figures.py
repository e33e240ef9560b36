"""The figures of a trained model's validation images: in `config.json`, and in words.

Normal images that training held out, and defects that are drawn onto them.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import TypeAdapter, ValidationError

from omnial.metrics.ranking import Figures, mean_figures
from omnial.untrusted import JSON

NAMES: Final = ("image_auroc", "pixel_ap", "psnr", "erased", "recognised")
"""`image_auroc` and `pixel_ap` against the drawn defects; `psnr` of the reconstruction of the
normal images, in dB; `erased`, how much of the drawn defects the reconstruction takes away: 1 is
all, 0 a copy, see `omnial.metrics.psnr_ssim.erased`; `recognised`, the share of the normal
images that are recognised as the product that they show."""

_FLAT, _SHARP = 20.0, 25.0
"""PSNR in dB below which nothing of a product is seen, and from which its edges are sharp. [O]"""
_COPIED = 0.4
"""Below this, a defect stays in the reconstruction. [O]"""


@dataclass(frozen=True)
class ValidationFigures:
    """The figures of each class, and their means over the classes that have them."""

    classes: Mapping[str, Figures]
    """A value for each of `NAMES`; None where the class has no image that could give it."""
    mean: Figures

    @classmethod
    def over(cls, classes: Mapping[str, Figures]) -> "ValidationFigures":
        """Take the means over classes."""
        return cls(classes, mean_figures(list(classes.values()), NAMES)[0])

    @classmethod
    def of_training(cls, training: Mapping[str, JSON]) -> "ValidationFigures | None":
        """Those among the facts of a model's training; None where they are not given per class."""
        try:
            return _FIGURES.validate_json(json.dumps(training.get("validation")), strict=True)
        except ValidationError:
            return None


_FIGURES: Final = TypeAdapter(ValidationFigures)


def in_words(figures: Figures) -> str | None:
    """What `psnr` and `erased` say about a reconstruction; None where there is no `psnr`.

    A picture that is sharp may show the defect as well, so neither is enough alone.
    """
    psnr, erased = figures.get("psnr"), figures.get("erased")
    if psnr is None:
        return None
    if psnr < _FLAT:
        return f"the reconstruction is still a flat image ({psnr:.1f} dB): train longer"
    shows = f"the reconstruction shows the product {'' if psnr >= _SHARP else 'not yet '}sharply"
    shows = f"{shows} ({psnr:.1f} dB)"
    if erased is None:
        return shows
    removes = f"removes {100 * max(erased, 0.0):.0f} % of a drawn defect"
    if erased < _COPIED:
        return f"{shows} but copies the defect: it {removes}"
    return f"{shows} and {removes}"
