"""What a model makes of corrupted test images: the figures of an evaluation, and its verdicts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from omnial.data.records import Catalogue
from omnial.evaluation.evaluate import evaluate_model
from omnial.evaluation.result import EvaluationResult
from omnial.models.trained_model import TrainedModel
from omnial.robustness.corruptions import CORRUPTIONS, SEVERITIES, Corruption, corrupt
from omnial.robustness.figures import FIGURES, LevelFigures
from omnial.robustness.levels import UNATTACKED


@dataclass(frozen=True)
class CorruptedFigures:
    """What a model makes of test images at one severity.

    Attributes:
        figures: As for attacks, but PSNR and SSIM compare the reconstructions of good images
            with these images as corrupted: a test image has no other original.
        false_alarms: Share of the good images that are called defective at the model's own
            thresholds; None where there is none.
        missed: Share of the defective images that are called good; None where there is none.
    """

    figures: LevelFigures
    false_alarms: float | None
    missed: float | None

    def to_dict(self) -> dict[str, object]:
        """The same as JSON values."""
        shares = {"false_alarms": self.false_alarms, "missed": self.missed}
        return {**self.figures.to_dict(), **shares}


def evaluate_corrupted(
    model: TrainedModel,
    catalogue: Catalogue,
    *,
    corruptions: Sequence[Corruption] = CORRUPTIONS,
    seed: int = 0,
    batch_size: int = 16,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, dict[str, CorruptedFigures]]:
    """Evaluate a model on the test images as they are, and under every corruption.

    Args:
        model: The model.
        catalogue: The data set.
        corruptions: Which corruptions.
        seed: Of what the corruptions draw.
        batch_size: Images that go through the network at once.
        on_progress: Called with the number of evaluations done and of all.

    Returns:
        By corruption, then by severity; severity `0` is the same for all: as they are.

    Raises:
        UserError: There is no test image, or a file cannot be used.
    """
    total = 1 + len(corruptions) * len(SEVERITIES)
    clean = _summary(evaluate_model(model, catalogue, batch_size=batch_size, gallery_per_class=0))
    done = 1
    found: dict[str, dict[str, CorruptedFigures]] = {}
    for corruption in corruptions:
        found[corruption.name] = {UNATTACKED: clean}
        for severity in SEVERITIES:
            result = evaluate_model(
                model,
                catalogue,
                batch_size=batch_size,
                gallery_per_class=0,
                transform=partial(corrupt, corruption=corruption, severity=severity, seed=seed),
            )
            found[corruption.name][str(severity)] = _summary(result)
            done += 1
            if on_progress is not None:
                on_progress(done, total)
    return found


def _summary(result: EvaluationResult) -> CorruptedFigures:
    classes: Mapping[str, Mapping[str, float | None]] = {
        product.name: {name: product.figures[name] for name in FIGURES}
        for product in result.classes
    }
    verdicts: dict[bool, list[bool]] = {True: [], False: []}
    for product in result.classes:
        for image in product.images:
            verdicts[image.record.anomalous].append(image.anomalous_verdict)
    return CorruptedFigures(
        LevelFigures.over(classes),
        false_alarms=_share(verdicts[False], True),
        missed=_share(verdicts[True], False),
    )


def _share(verdicts: Sequence[bool], wanted: bool) -> float | None:
    return verdicts.count(wanted) / len(verdicts) if verdicts else None
