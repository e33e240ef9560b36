"""White-box attacks on the verdict over real test images: hide a defect, invent a defect."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from zlib import crc32

import numpy as np
import torch

from omnial.attacks.ball import Ball
from omnial.attacks.pgd import undisturbed
from omnial.data.records import Catalogue, ImageRecord, ProductClass
from omnial.errors import UserError
from omnial.evaluation.sample import Sample, in_windows, load_sample, sample_batches, stack
from omnial.metrics import ranking
from omnial.models.thresholds import is_anomalous
from omnial.models.torch_backend import predict_batch
from omnial.models.trained_model import TrainedModel
from omnial.robustness.checks import Check, Trace, check_traces, joined, traced
from omnial.robustness.few_images import few_test_images
from omnial.robustness.levels import UNATTACKED, UNTARGETED
from omnial.robustness.objectives import image_score
from omnial.robustness.white_box import WhiteBoxPlan
from omnial.synthesis.random import SampleRandom

_STEP = 2**43  # no other draw has this number


@dataclass(frozen=True)
class ScoreFigures:
    """The verdicts at one level, over the chosen images of all classes.

    Attributes:
        image_auroc: Mean over classes of the image AUROC, defective images pushed down and good
            ones up; None where no class has both.
        defective_score: Mean score of the defective images; None where there is none.
        good_score: Mean score of the good images; None where there is none.
        missed: Share of the defective images below their threshold.
        false_alarms: Share of the good images above their threshold.
    """

    image_auroc: float | None
    defective_score: float | None
    good_score: float | None
    missed: float | None
    false_alarms: float | None


@dataclass(frozen=True)
class ScoreAttack:
    """What attacks on the score come to, by level, and whether they are attacks."""

    levels: Mapping[str, ScoreFigures]
    checks: tuple[Check, ...]
    images: int

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {
            "levels": {name: asdict(figures) for name, figures in self.levels.items()},
            "checks": [asdict(check) for check in self.checks],
            "images": self.images,
        }


@dataclass(frozen=True)
class _Scored:
    """One image at one level."""

    class_name: str
    anomalous: bool
    score: float
    threshold: float


def attack_scores(
    model: TrainedModel,
    catalogue: Catalogue,
    plan: WhiteBoxPlan,
    on_progress: Callable[[int, int], None] | None = None,
) -> ScoreAttack:
    """Attack the score of test images: up where they are good, down where they are defective.

    An image that is seen in windows is attacked, and judged, in one of them: the one that shows
    most of the defect, or the middle one.

    Args:
        model: The attacked model.
        catalogue: Test images; of each class `plan.samples` are taken, half of them good, spread
            evenly over its images.
        plan: How hard.
        on_progress: Called with the number of images done and of all.

    Raises:
        UserError: There is no test image, or a file cannot be used.
    """
    chosen = [few_test_images(product, plan.samples) for product in catalogue.classes]
    total = sum(len(product.test) for product in chosen)
    if total == 0:
        raise UserError("There is no test image whose score could be attacked.")
    done = 0
    scored: dict[str, list[_Scored]] = {UNATTACKED: [], **{level.name: [] for level in UNTARGETED}}
    traces: dict[str, list[Trace]] = {level.name: [] for level in UNTARGETED}
    for product in chosen:
        for samples in _batches(model, product, plan.batch_size):
            _attack(model, product.name, samples, plan, scored, traces)
            done += len(samples)
            if on_progress is not None:
                on_progress(done, total)
    rising = [level.name for level in sorted(UNTARGETED, key=lambda level: level.grey_levels)]
    checks = check_traces({name: joined(parts) for name, parts in traces.items()}, rising)
    return ScoreAttack({n: _figures(rows) for n, rows in scored.items()}, tuple(checks), total)


def _batches(model: TrainedModel, product: ProductClass, size: int) -> Iterator[list[Sample]]:
    settings, roi = model.settings.data, model.rois.get(product.name)

    def load(record: ImageRecord) -> Sample:
        # Of an image in windows, the one that shows most of the defect, or the middle one; where
        # that shows nothing that counts, the one that shows most of what does.
        windows = in_windows(load_sample(record, product, settings, roi), settings)
        defect = [0 if one.mask is None else int((one.mask & one.valid).sum()) for one in windows]
        middle = windows[len(windows) // 2]
        if not any(defect) and middle.valid.any():
            return middle
        valid = [int(one.valid.sum()) for one in windows]
        return windows[np.argmax(defect if any(defect) else valid)]

    return sample_batches(product.test, load, size)


def _attack(
    model: TrainedModel,
    class_name: str,
    samples: Sequence[Sample],
    plan: WhiteBoxPlan,
    scored: dict[str, list[_Scored]],
    traces: dict[str, list[Trace]],
) -> None:
    """Attack a batch at every level, and note scores and traces."""
    device = next(model.network.parameters()).device
    pixels, inside = (torch.from_numpy(array).to(device) for array in stack(samples))
    bad = [sample.record.anomalous for sample in samples]
    upward = torch.tensor([not anomalous for anomalous in bad], device=device)
    names = [f"{class_name}/{s.record.kind}/{s.record.path.name}" for s in samples]
    # A file's name may hold bytes that are no text.
    numbers = [crc32(name.encode("utf-8", "surrogateescape")) for name in names]
    places = torch.tensor(numbers, device=device)
    random = SampleRandom(plan.seed, _STEP, places)
    limit = model.calibration.threshold_for_any(class_name)
    rule = model.settings.model.image_score

    def note(level: str, images: torch.Tensor) -> None:
        scores = predict_batch(model.network, images, inside, rule).scores
        scored[level] += [
            _Scored(class_name, anomalous, float(score), limit)
            for anomalous, score in zip(bad, scores, strict=True)
        ]

    note(UNATTACKED, pixels)
    objective = image_score(model.network, inside, upward, rule)
    for level in UNTARGETED:
        with undisturbed(model.network):
            images, trace = traced(objective, pixels, Ball(level.epsilon), plan.schedule, random)
        traces[level.name].append(trace)
        note(level.name, images)


def _figures(rows: Sequence[_Scored]) -> ScoreFigures:
    good = [row for row in rows if not row.anomalous]
    bad = [row for row in rows if row.anomalous]
    values = []
    for name in dict.fromkeys(row.class_name for row in rows):
        own = [row for row in rows if row.class_name == name]
        counts = ranking.count([row.score for row in own], [row.anomalous for row in own])
        if counts is not None:
            values.append(ranking.auroc(counts))
    return ScoreFigures(
        image_auroc=_mean(values),
        defective_score=_mean([row.score for row in bad]),
        good_score=_mean([row.score for row in good]),
        missed=_mean([float(not is_anomalous(row.score, row.threshold)) for row in bad]),
        false_alarms=_mean([float(is_anomalous(row.score, row.threshold)) for row in good]),
    )


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
