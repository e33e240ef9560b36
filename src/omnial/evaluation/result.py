"""Result of an evaluation: the figures of every class, every image's verdict, and a gallery.

Everything that is written about an evaluation (metrics.json, metrics.csv, the HTML report) is
made from an `EvaluationResult` and nothing else.
"""

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from omnial.data.records import BadFile, ImageRecord
from omnial.files import replacing, writing
from omnial.metrics.ranking import Curve, Figures
from omnial.models.normality import Witnesses
from omnial.models.thresholds import is_anomalous

METRICS_FILE: Final = "metrics.json"
TABLE_FILE: Final = "metrics.csv"

Role = Literal["missed", "false alarm", "close", "hit"]
"""Why an image is shown: a defect that was called good, a good part that was called defective, one
that was nearly so (without a threshold: a defect of a low score, a good part of a high one), or a
defect of a high score."""

FIGURES = (
    *("image_auroc", "image_ap", "image_f1_max"),
    *("pixel_auroc", "pixel_ap", "pixel_f1_max", "aupro"),
    *("psnr", "ssim"),
)
"""Names of the figures, in the order of every table. PSNR is in dB, the others lie in 0..1
(SSIM in -1..1)."""


@dataclass(frozen=True)
class ImageResult:
    """A test image's score and the calibrated threshold of its class, NaN where there is none."""

    record: ImageRecord
    score: float
    threshold: float

    @property
    def anomalous_verdict(self) -> bool:
        """Whether the score lies above the threshold."""
        return is_anomalous(self.score, self.threshold)

    @property
    def mistake(self) -> Literal["missed", "false alarm"] | None:
        """How the verdict is wrong; None where it is right, or there is none."""
        if math.isnan(self.threshold) or self.anomalous_verdict == self.record.anomalous:
            return None
        return "missed" if self.record.anomalous else "false alarm"


class Verdicts(NamedTuple):
    """Counts of the verdicts at the calibrated threshold."""

    good: int
    """Good images that have a verdict."""
    false_alarms: int
    """Of these, called defective."""
    defective: int
    """Defective images that have a verdict."""
    found: int
    """Of these, called defective."""
    without: int
    """Images without a verdict, since there is no threshold for them."""

    @classmethod
    def of(cls, images: Iterable[ImageResult]) -> "Verdicts":
        """Count verdicts; an image whose threshold is NaN has none."""
        known: dict[bool, list[bool]] = {False: [], True: []}
        without = 0
        for image in images:
            if math.isnan(image.threshold):
                without += 1
            else:
                known[image.record.anomalous].append(image.anomalous_verdict)
        good, defective = known[False], known[True]
        return cls(len(good), sum(good), len(defective), sum(defective), without)

    @property
    def missed(self) -> int:
        """Defective images that were called good."""
        return self.defective - self.found


@dataclass(frozen=True)
class ClassResult:
    """The figures of one product class."""

    name: str
    figures: Figures
    """A value for each of `FIGURES`, over all its test images."""
    kinds: Mapping[str, Figures]
    """The same for each defect kind: the images of this kind and the good images."""
    images: tuple[ImageResult, ...]
    """Every test image, in the catalogue's order."""
    curves: Mapping[str, Curve] = field(default_factory=dict)
    """`image_roc`, `image_pr`, `pixel_roc`, `pixel_pr`, where defined. ROC: x is the false and y
    the true positive rate. PR: x is recall and y precision."""
    replicates: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    """`image_auroc`, `pixel_auroc` and `pixel_ap` of each of R bootstrap resamples of the images,
    (R,) in 0..1, as far as the class can have them; empty where none were asked for."""


@dataclass(frozen=True)
class GalleryItem:
    """One test image with everything that the model made of it, at network resolution."""

    record: ImageRecord
    role: Role
    score: float
    threshold: float
    """NaN where there is none."""
    image: NDArray[np.uint8]
    """(H, W, 3), the network input."""
    reconstruction: NDArray[np.uint8]
    """(H, W, 3)."""
    jnd: NDArray[np.float32] | None
    """(H, W), the reconstructed JND target in 0..1; None where the model has none."""
    score_map: NDArray[np.float32]
    """(H, W)."""
    mask: NDArray[np.bool_] | None
    """(H, W), the ground truth; None where the image has none."""
    witnesses: Witnesses | None = None
    """(H, W) evidence of each witness, where the model has normality."""


@dataclass(frozen=True)
class SuspiciousImage:
    """A training image that stands out from its product as no held-out good image does."""

    class_name: str
    file: str
    """Its name, without folders."""
    score: float
    image: NDArray[np.uint8] | None = None
    """(H, W, 3), the network input; None where it is not among the evaluated data."""


@dataclass(frozen=True, repr=False)
class EvaluationResult:
    """Result of evaluating one model on one data set."""

    classes: tuple[ClassResult, ...]
    """In the catalogue's order."""
    mean: Figures
    """The mean of each figure over the classes that have it; None where none has it."""
    mean_over: Mapping[str, int]
    """How many classes each mean is over."""
    data: Mapping[str, object]
    """What was evaluated on: counts and network size, JSON values only."""
    model: Mapping[str, object]
    """What was evaluated, JSON values only."""
    gallery: tuple[GalleryItem, ...] = ()
    """Images to look at, grouped by class, then by role."""
    suspicious: tuple[SuspiciousImage, ...] = ()
    """Training images that may not be good, as the training found them."""
    bad_files: tuple[BadFile, ...] = ()
    """Files that were left out."""
    pixel_threshold: float = float("nan")
    """Level of the score map at which outlines are drawn; NaN where there is none."""
    seconds: float = 0.0
    """Wall-clock time of the evaluation."""

    @property
    def verdicts(self) -> Verdicts:
        """Of all images."""
        return Verdicts.of(image for own in self.classes for image in own.images)

    def __repr__(self) -> str:
        """For a prompt, without the images: `<EvaluationResult of gear: image_auroc 0.95, ...>`."""
        shown = [f"{name} {value:.3g}" for name, value in self.mean.items() if value is not None]
        names = ", ".join(product.name for product in self.classes)
        return f"<EvaluationResult of {names}: {', '.join(shown)}>"

    def to_metrics(self) -> dict[str, object]:
        """The content of metrics.json: JSON values only, no NaN."""
        return {
            "classes": {
                own.name: {**own.figures, "kinds": dict(own.kinds)} for own in self.classes
            },
            "mean": dict(self.mean),
            "mean_over": dict(self.mean_over),
            "verdicts": self.verdicts._asdict(),
            "data": dict(self.data),
            "model": dict(self.model),
        }


def no_figures() -> dict[str, float | None]:
    """A value for each of `FIGURES`: None."""
    return dict.fromkeys(FIGURES)


def write_metrics(result: EvaluationResult, out: Path) -> None:
    """Write `metrics.json` and `metrics.csv` into a folder, each whole or not at all.

    The table has a row for each class (kind `all`), one for each of its kinds, and a last one
    for the mean over classes. A figure that does not exist is an empty cell.
    """
    with writing("The figures", out):
        out.mkdir(parents=True, exist_ok=True)
        with replacing(out / METRICS_FILE) as part:
            text = json.dumps(result.to_metrics(), indent=2, allow_nan=False, ensure_ascii=False)
            # A file's name may hold bytes that are no text: a backslash escape is JSON for them.
            part.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
        with (
            replacing(out / TABLE_FILE) as part,
            part.open("w", encoding="utf-8", newline="") as file,
        ):
            table = csv.DictWriter(file, ("class", "kind", *FIGURES), lineterminator="\n")
            table.writeheader()
            for own in result.classes:
                for kind, figures in [("all", own.figures), *own.kinds.items()]:
                    table.writerow({"class": own.name, "kind": kind, **figures})
            table.writerow({"class": "mean", "kind": "all", **result.mean})


def choose(images: Sequence[ImageResult], most: int) -> list[tuple[ImageResult, Role]]:
    """The images of one class that are worth looking at, by role.

    At most a third each: defective images of the lowest scores, good images of the highest scores,
    and defective images of the highest scores that are not among the first; the verdict decides
    the role. Equal scores keep the order of the images.
    """
    rising = sorted((i for i in images if i.record.anomalous), key=lambda i: i.score)
    falling = sorted((i for i in images if not i.record.anomalous), key=lambda i: -i.score)
    lowest = rising[: (most + 2) // 3]
    highest = rising[len(lowest) :][::-1][: most // 3]
    groups: tuple[tuple[Role, list[ImageResult]], ...] = (
        ("close", lowest + falling[: (most + 1) // 3]),
        ("hit", highest),
    )
    chosen = [(image, image.mistake or right) for right, group in groups for image in group]
    return sorted(chosen, key=lambda pair: get_args(Role).index(pair[1]))


def picture(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(3, H, W) in [0, 1] as (H, W, 3) uint8."""
    levels = np.rint(np.clip(image, 0.0, 1.0) * 255.0).astype(np.uint8)
    return np.ascontiguousarray(levels.transpose(1, 2, 0))
