"""White-box attacks: each model attacked itself, on a set's clean samples and in its verdicts.

A defence that survives the perturbations of another network alone is no defence.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from omnial.attacks.ball import UNATTACKED, UNTARGETED, Ball
from omnial.attacks.pgd import Schedule, attack, undisturbed
from omnial.data.records import Catalogue, ImageRecord, ProductClass
from omnial.errors import UserError
from omnial.evaluation.sample import Sample, in_windows, load_sample, sample_batches, stack
from omnial.metrics import ranking
from omnial.models.thresholds import is_anomalous
from omnial.models.torch_backend import TorchBackend
from omnial.models.trained_model import TrainedModel
from omnial.progress import Progress, silent
from omnial.robustness.adversarial_set import AdversarialSet
from omnial.robustness.attack_checks import (
    Check,
    Trace,
    check_traces,
    check_unbounded,
    traced_attack,
)
from omnial.robustness.corruptions import image_number, subset
from omnial.robustness.objectives import attack_levels, reversed_mask, score_objective
from omnial.robustness.transfer import LevelFigures, SampleBatches, figures_of_classes
from omnial.sample_random import SampleRandom

_VERDICT_STEP = 2**43  # no other draw has this number
_LEVELS = tuple(level.name for level in UNTARGETED)


@dataclass(frozen=True)
class WhiteBoxPlan:
    """How hard a model is attacked.

    Attributes:
        samples: First samples of each class that are attacked. [O]
        schedule: More steps than the set's, with restarts and momentum. [O]
        unbounded: The attack without bounds that checks the attack itself. [O]
        unbounded_samples: Samples of each class for that.
        batch_size: Samples that are attacked at once.
        seed: Of the attacks' starts.
    """

    samples: int = 10
    schedule: Schedule = field(default_factory=lambda: Schedule(20, momentum=0.75, restarts=2))
    unbounded: Schedule = field(default_factory=lambda: Schedule(40, random_start=False))
    unbounded_samples: int = 5
    batch_size: int = 10
    seed: int = 0


@dataclass(frozen=True)
class WhiteBox:
    """Result of attacks on a model itself."""

    levels: Mapping[str, LevelFigures]
    """Figures of level `0` (unattacked) and of the untargeted levels."""
    checks: tuple[Check, ...]
    """Whether the attack is one."""


def attack_white_box(
    model: TrainedModel, data: AdversarialSet, plan: WhiteBoxPlan, progress: Progress = silent
) -> WhiteBox:
    """Attack a model on the clean samples of a set, at 1 to 8 grey levels.

    The set's own perturbations play no part. The attack without bounds is among the checks.
    """
    backend, device = TorchBackend(model), next(model.network.parameters()).device
    traces: dict[str, list[Trace]] = {name: [] for name in _LEVELS}
    count = min(plan.samples, data.identity.samples)
    unbounded_count = min(plan.unbounded_samples, data.identity.samples)
    done = 0

    def attacked(class_name: str) -> SampleBatches:
        nonlocal done
        for batch in data.batches(class_name, plan.batch_size, count):
            images = {UNATTACKED: batch.images(UNATTACKED)}
            for level, values, trace in attack_levels(
                model, batch.clean, UNTARGETED, plan.schedule, plan.seed
            ):
                images[level.name] = values.cpu().numpy()
                traces[level.name].append(trace)
            yield batch.clean, images
            done += len(batch.clean)
            progress("white box", done, count * len(data.classes))

    def unbounded(class_name: str) -> SampleBatches:
        # Targeted, and free to change everything.
        for clean, _ in data.batches(class_name, plan.batch_size, unbounded_count):
            mask = torch.from_numpy(clean.mask[:, None].astype(np.float32)).to(device)
            objective = reversed_mask(model.network, mask, model.settings.objective.focal_gamma)
            random = clean.random(plan.seed, device)
            with undisturbed(model.network):
                result = attack(objective, clean.images(device), Ball(1.0), plan.unbounded, random)
            yield clean, {"unbounded": result.images.cpu().numpy()}

    levels = figures_of_classes(backend, data.classes, attacked, count)
    free = figures_of_classes(backend, data.classes, unbounded, unbounded_count)["unbounded"]
    checks = check_traces({n: Trace.joined(parts) for n, parts in traces.items()}, UNTARGETED)
    return WhiteBox(levels, (*checks, check_unbounded(free.mean["pixel_auroc"])))


@dataclass(frozen=True)
class VerdictFigures:
    """Verdicts at one level, over the chosen images of all classes; None where there are none.

    Attributes:
        image_auroc: Mean over the classes that have both good and defective images.
        defective_score: Mean score of the defective images, which are pushed down.
        good_score: Mean score of the good images, which are pushed up.
        missed: Share of the defective images below their threshold.
        false_alarms: Share of the good images above their threshold.
    """

    image_auroc: float | None
    defective_score: float | None
    good_score: float | None
    missed: float | None
    false_alarms: float | None


@dataclass(frozen=True)
class VerdictAttack:
    """Result of attacks on verdicts: figures by level, and whether they are attacks."""

    levels: Mapping[str, VerdictFigures]
    checks: tuple[Check, ...]
    images: int


class _Scored(NamedTuple):
    """One image at one level."""

    class_name: str
    anomalous: bool
    score: float
    called: bool
    """Whether the score is above the class's threshold."""


def attack_verdicts(
    model: TrainedModel, catalogue: Catalogue, plan: WhiteBoxPlan, progress: Progress = silent
) -> VerdictAttack:
    """Attack the score of test images: up where they are good, down where they are defective.

    Of each class `plan.samples` test images are taken, half of them good, spread evenly. An image
    that is seen in windows is attacked, and scored, in one of them: the one that shows most of the
    defect, or the middle one.

    Raises:
        UserError: There is no test image, or a file cannot be used.
    """
    chosen = [subset(product, plan.samples) for product in catalogue.classes]
    total = sum(len(product.test) for product in chosen)
    if total == 0:
        raise UserError("There is no test image whose score could be attacked.")
    done = 0
    scored: dict[str, list[_Scored]] = {name: [] for name in (UNATTACKED, *_LEVELS)}
    traces: dict[str, list[Trace]] = {name: [] for name in _LEVELS}
    for product in chosen:
        limit = model.calibration.threshold_for_any(product.name)
        for samples in _window_batches(model, product, plan.batch_size):
            for level, scores, trace in _attack_scores(model, samples, plan):
                for sample, score in zip(samples, scores.tolist(), strict=True):
                    called = is_anomalous(score, limit)
                    anomalous = sample.record.anomalous
                    scored[level].append(_Scored(product.name, anomalous, score, called))
                if trace is not None:
                    traces[level].append(trace)
            done += len(samples)
            progress("verdicts", done, total)
    checks = check_traces({n: Trace.joined(parts) for n, parts in traces.items()}, UNTARGETED)
    levels = {name: _verdict_figures(rows) for name, rows in scored.items()}
    return VerdictAttack(levels, tuple(checks), total)


def _window_batches(
    model: TrainedModel, product: ProductClass, size: int
) -> Iterator[list[Sample]]:
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


def _attack_scores(
    model: TrainedModel, samples: Sequence[Sample], plan: WhiteBoxPlan
) -> Iterator[tuple[str, NDArray[np.float64], Trace | None]]:
    """Level, scores (n,) and trace of n samples: unattacked, and attacked at every level."""
    device, backend = next(model.network.parameters()).device, TorchBackend(model)
    images, valid = stack(samples)
    clean, inside = torch.from_numpy(images).to(device), torch.from_numpy(valid).to(device)
    upward = torch.tensor([not sample.record.anomalous for sample in samples], device=device)
    positions = torch.tensor([image_number(sample.record) for sample in samples], device=device)
    random = SampleRandom(plan.seed, _VERDICT_STEP, positions)
    objective = score_objective(model.network, inside, upward, model.settings.model.image_score)
    yield UNATTACKED, backend.run(images, valid).scores, None
    for level in UNTARGETED:
        with undisturbed(model.network):
            attacked, trace = traced_attack(
                objective, clean, Ball(level.epsilon), plan.schedule, random
            )
        yield level.name, backend.run(attacked.cpu().numpy(), valid).scores, trace


def _verdict_figures(rows: Sequence[_Scored]) -> VerdictFigures:
    good = [row for row in rows if not row.anomalous]
    bad = [row for row in rows if row.anomalous]
    aurocs = []
    for name in dict.fromkeys(row.class_name for row in rows):
        own = [row for row in rows if row.class_name == name]
        counts = ranking.count([row.score for row in own], [row.anomalous for row in own])
        if counts is not None:
            aurocs.append(ranking.auroc(counts))
    return VerdictFigures(
        image_auroc=_mean(aurocs),
        defective_score=_mean([row.score for row in bad]),
        good_score=_mean([row.score for row in good]),
        missed=_mean([not row.called for row in bad]),
        false_alarms=_mean([row.called for row in good]),
    )


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
