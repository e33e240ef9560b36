"""`Inspection`: what was found on one image, and how it is shown, saved and sent on."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from omnial.errors import told_apart
from omnial.files import StrPath, as_path
from omnial.inference.outlines import Outline, fill, outline_json
from omnial.inference.overlay import ALARM, SOUND, draw_label, overlay
from omnial.untrusted import JSON


@dataclass(frozen=True, eq=False, repr=False)
class Inspection:
    """Verdict about one image, with its score map and outlines at source size."""

    path: Path | None
    """The file; None for an image that was given as such."""
    class_name: str | None
    """The product that was named or recognised; None where no class was found."""
    score: float
    """In [0, 1]."""
    threshold: float
    anomalous: bool
    """Whether the score lies above the threshold, see `models.thresholds.is_anomalous`."""
    score_map: NDArray[np.float32]
    """(H, W) of the source image, in [0, 1]."""
    outlines: tuple[Outline, ...]
    """Defects of an anomalous image, the largest first, in source pixels with whole numbers at
    pixel centres; empty for a good one."""
    image: NDArray[np.uint8]
    """(H, W, 3), the source image upright, 8 bit."""

    def __repr__(self) -> str:
        """For a prompt, without the arrays: `<Inspection of gear: anomalous, ...>`."""
        return (
            f"<Inspection of {self.class_name or 'an unknown product'}: "
            f"{'anomalous' if self.anomalous else 'good'}, score {self.score:.4f}, "
            f"threshold {self.threshold:.4f}, outlines {len(self.outlines)}>"
        )

    @property
    def mask(self) -> NDArray[np.bool_]:
        """(H, W) of the source image, True within the outlines, whose holes are filled."""
        mask = np.zeros(self.score_map.shape, np.bool_)
        for outline in self.outlines:
            fill(outline.polygon, mask)
        return mask

    def overlay(self) -> NDArray[np.uint8]:
        """(H, W, 3), the source image with score map, outlines and, where it fits, verdict."""
        drawn = overlay(self.image, self.score_map, [one.polygon for one in self.outlines])
        verdict = "anomalous" if self.anomalous else "good"
        score, threshold = told_apart(self.score, self.threshold)
        texts = (f"{verdict}: {score} (threshold {threshold})", f"{verdict}: {score}", verdict)
        draw_label(drawn, texts, ALARM if self.anomalous else SOUND, self.score_map)
        return drawn

    def save(self, path: StrPath) -> None:
        """Write the overlay as a picture; the ending says which: `.png`, `.jpg`, `.webp`.

        Raises:
            ValueError: It is the ending of no picture.
            OSError: The file cannot be written.
        """
        Image.fromarray(self.overlay()).save(as_path(path, "path"))

    def to_dict(self) -> dict[str, JSON]:
        """Verdict, scores and outlines as JSON values, as in a row of `predictions.jsonl`."""
        return {
            "path": None if self.path is None else str(self.path),
            "class": self.class_name,
            "score": self.score,
            "threshold": self.threshold,
            "anomalous": self.anomalous,
            "outlines": [outline_json(outline) for outline in self.outlines],
        }
