"""White-box attacks: each model attacked itself, on a set's clean samples and in its verdicts.

A defence that survives the perturbations of another network alone is no defence.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from omnial.attacks.pgd import UNATTACKED, UNTARGETED, Ball, Schedule, attack, undisturbed
from omnial.data.records import Catalogue, ImageRecord, ProductClass
from omnial.errors import UserError
from omnial.evaluation.result import ImageResult
from omnial.evaluation.sample import Sample, in_windows, load_sample, sample_batches, stack
from omnial.metrics import ranking
from omnial.metrics.ranking import Figures
from omnial.models.normality_network import backends, for_product
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
from omnial.robustness.transfer import LevelFigures, SampleBatches, figures_of_classes, mean_of
from omnial.sample_random import SampleRandom

_VERDICT_STEP = 2**43  # no other draw has this number
_LEVELS = tuple(level.name for level in UNTARGETED)


@dataclass(frozen=True)
class WhiteBoxPlan:
    """How hard a model is attacked."""

    samples: int = 10
    """First samples of each class that are attacked. [O]"""
    schedule: Schedule = field(default_factory=lambda: Schedule(20, momentum=0.75, restarts=2))
    """More steps than the set's, with restarts and momentum. [O]"""
    unbounded: Schedule = field(default_factory=lambda: Schedule(40, random_start=False))
    """The attack without bounds that checks the attack itself. [O]"""
    unbounded_samples: int = 5
    """Samples of each class for that."""
    batch_size: int = 10
    seed: int = 0
    """Of the attacks' starts."""


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
    """Attack a model on the clean samples of a set, at 1 to 8 grey levels and without bounds."""
    device = next(model.network.parameters()).device
    traces: dict[str, list[Trace]] = {name: [] for name in _LEVELS}
    count = min(plan.samples, data.identity.samples)
    unbounded_count = min(plan.unbounded_samples, data.identity.samples)
    done = 0

    def attacked(class_name: str) -> SampleBatches:
        nonlocal done
        own = for_product(model, class_name)
        for batch in data.batches(class_name, plan.batch_size, count):
            images = {UNATTACKED: batch.images()}
            attacks = attack_levels(own, batch, UNTARGETED, plan.schedule, plan.seed)
            for level, values, trace in attacks:
                images[level.name] = values.cpu().numpy()
                traces[level.name].append(trace)
            yield batch, images
            done += len(batch)
            progress("white box", done, count * len(data.classes))

    def unbounded(class_name: str) -> SampleBatches:
        # Targeted, and free to change everything.
        network = for_product(model, class_name).network
        for clean in data.batches(class_name, plan.batch_size, unbounded_count):
            _, images, mask, *_ = clean.targets(device)
            objective = reversed_mask(network, mask, model.settings.objective.focal_gamma)
            random = clean.random(plan.seed, device)
            with undisturbed(network):
                result = attack(objective, images, Ball(1.0), plan.unbounded, random)
            yield clean, {"unbounded": result.images.cpu().numpy()}

    backend = backends(model)
    levels = figures_of_classes(backend, data.classes, attacked)
    free = figures_of_classes(backend, data.classes, unbounded)["unbounded"]
    return WhiteBox(levels, (*_checks(traces), check_unbounded(free.mean["pixel_auroc"])))


@dataclass(frozen=True)
class VerdictAttack:
    """Result of attacks on verdicts over the chosen images of all classes."""

    levels: Mapping[str, Figures]
    """By level, None where there is no such image: `image_auroc`, the mean over the classes that
    have both good and defective images; `defective_score` and `good_score`, mean scores of the
    images that are pushed down and up; `missed` and `false_alarms`, shares of the defective images
    below and of the good images above their threshold."""
    checks: tuple[Check, ...]
    """Whether the attack is one."""
    images: int


def attack_verdicts(
    model: TrainedModel, catalogue: Catalogue, plan: WhiteBoxPlan, progress: Progress = silent
) -> VerdictAttack:
    """Attack the score of test images: up where they are good, down where they are defective.

    Of each class `plan.samples` test images are taken, half of them good, spread evenly. An image
    that is seen in windows is attacked, and scored, in one of them: the one that shows most of the
    defect, or the middle one. A UserError says that there is no image, or a file cannot be used.
    """
    chosen = [subset(product, plan.samples) for product in catalogue.classes]
    total = sum(len(product.test) for product in chosen)
    if total == 0:
        raise UserError("There is no test image whose score could be attacked.")
    done = 0
    rows: dict[str, list[ImageResult]] = {name: [] for name in (UNATTACKED, *_LEVELS)}
    traces: dict[str, list[Trace]] = {name: [] for name in _LEVELS}
    for product in chosen:
        own = for_product(model, product.name)
        threshold = model.calibration.threshold_for_any(product.name)
        for samples in _window_batches(model, product, plan.batch_size):
            for level, scores, trace in _attack_scores(own, samples, plan):
                pairs = zip(samples, scores, strict=True)
                rows[level] += [ImageResult(one.record, score, threshold) for one, score in pairs]
                if trace is not None:
                    traces[level].append(trace)
            done += len(samples)
            progress("verdicts", done, total)
    levels = {name: _verdict_figures(found) for name, found in rows.items()}
    return VerdictAttack(levels, _checks(traces), total)


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
) -> Iterator[tuple[str, list[float], Trace | None]]:
    """Level, scores and trace of some samples: unattacked, and attacked at every level."""
    device, backend = next(model.network.parameters()).device, TorchBackend(model)
    images, valid = stack(samples)
    clean, inside = torch.from_numpy(images).to(device), torch.from_numpy(valid).to(device)
    upward = torch.tensor([not sample.record.anomalous for sample in samples], device=device)
    positions = torch.tensor([image_number(sample.record) for sample in samples])
    random = SampleRandom(plan.seed, _VERDICT_STEP, positions, device)
    objective = score_objective(model.network, inside, upward, model.settings.model.image_score)
    yield UNATTACKED, backend.run(images, valid).scores.tolist(), None
    for level in UNTARGETED:
        ball = Ball(level.epsilon)
        with undisturbed(model.network):
            attacked, trace = traced_attack(objective, clean, ball, plan.schedule, random)
        yield level.name, backend.run(attacked.cpu().numpy(), valid).scores.tolist(), trace


def _checks(traces: Mapping[str, Sequence[Trace]]) -> tuple[Check, ...]:
    whole = {name: Trace.joined(parts) for name, parts in traces.items()}
    return tuple(check_traces(whole, UNTARGETED))


def _verdict_figures(rows: Sequence[ImageResult]) -> Figures:
    good, bad = ([row for row in rows if row.record.anomalous == kind] for kind in (False, True))
    aurocs = []
    for name in dict.fromkeys(row.record.class_name for row in rows):
        own = [row for row in rows if row.record.class_name == name]
        counts = ranking.count([row.score for row in own], [row.record.anomalous for row in own])
        if counts is not None:
            aurocs.append(ranking.auroc(counts))
    return {
        "image_auroc": mean_of(aurocs),
        "defective_score": mean_of([row.score for row in bad]),
        "good_score": mean_of([row.score for row in good]),
        "missed": mean_of([not row.anomalous_verdict for row in bad]),
        "false_alarms": mean_of([row.anomalous_verdict for row in good]),
    }
