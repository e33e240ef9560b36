"""`omnial learn`: what people said about a service's verdicts, learnt into a new model folder.

What false alarms share counts for nothing in its place from then on, missed defects are explained,
and both move the threshold of their product; the network, and everything about other products,
stays as it is.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from omnial.config.settings import AS_TRAINED, Reading
from omnial.data.decode import as_unit, network_input, network_roi
from omnial.data.geometry import region_on
from omnial.data.image_file import ImageError
from omnial.data.records import BadFile
from omnial.errors import UserError
from omnial.inference.inspector import score_files
from omnial.model_folder.config_file import MOST_FILES, check_free, short_digest
from omnial.model_folder.weights_file import load_model, save_changed
from omnial.models.prediction import Prediction, over_windows
from omnial.models.thresholds import finding, is_anomalous, lowered, share_above, threshold
from omnial.models.torch_backend import TorchBackend
from omnial.models.trained_model import TrainedModel
from omnial.serving.history_file import read_reviews


@dataclass(frozen=True)
class MissedPicture:
    """A picture whose defect was missed, and what would have found it."""

    number: int
    """In the history."""
    name: str | None
    score: float
    network: float | None
    """The largest evidence of the network, -log10 of the share of normal pixels beyond,
    times its weight; None without normality."""
    normality: float | None
    """The same of the normality; None too where the product gives it no weight."""
    pretrained: float | None
    """The same of the pretrained features; None too without them."""
    wanted: float
    """A threshold that finds it."""
    false_alarms: float | None
    """Share of the product's normal scores above that threshold; None without such scores."""
    found: bool
    """By the new threshold."""


@dataclass(frozen=True)
class LearntProduct:
    """What was learnt about one product."""

    false_alarms: int
    """Pictures that were learnt as good."""
    alarms_before: int
    """How many of them were anomalous by the model until now."""
    alarms_after: int
    threshold_before: float
    threshold_after: float
    own: bool
    """False where the normal scores are too few to set the threshold anew."""
    missed: tuple[MissedPicture, ...]


@dataclass(frozen=True)
class LearnReport:
    """Result of learning from reviews."""

    folder: Path
    false_alarm_rate: float
    products: Mapping[str, LearntProduct]
    left_out: Mapping[str, int]
    """Reviews that could not be learnt from, by the reason."""
    bad_files: tuple[BadFile, ...]

    def to_dict(self) -> dict[str, Any]:
        """What `omnial learn --json` prints."""
        return asdict(self)


class _Picture(NamedTuple):
    number: int
    name: str | None
    path: Path
    false_alarm: bool
    digest: bytes


def learn_reviews(
    folder: Path,
    history: Path,
    out: Path,
    *,
    device: str = "auto",
    reading: Reading = AS_TRAINED,
) -> LearnReport:
    """Write a model that has learnt from the reviews of a service's history.

    Of a picture with several reviews the last one counts. A false alarm that was learnt or trained
    on before is left out.
    """
    check_free(out)
    stored = load_model(folder, device)
    data = reading.of(stored.settings.data)
    model = replace(stored, settings=stored.settings.model_copy(update={"data": data}))
    with TemporaryDirectory(prefix="omnial-") as scratch:
        pictures, left_out = _pictures(history, model, Path(scratch))
        products, bad_files = dict[str, LearntProduct](), list[BadFile]()
        for name, own in pictures.items():
            readable = [one for one in own if not _is_bad(one, model, bad_files)]
            if readable:
                model, products[name] = _learn(model, name, readable)
    if not products:
        reasons = [f"{count} {reason}" for reason, count in left_out.items()]
        reasons += [f"{len(bad_files)} no image that can be read"] if bad_files else []
        raise UserError(f"{history}: no review is left to learn from: {', '.join(reasons)}.")
    facts: dict[str, Any] = {
        name: {"false_alarms": product.false_alarms, "missed": len(product.missed)}
        for name, product in products.items()
    }
    save_changed(out, folder, replace(model, settings=stored.settings), "learn", facts)
    rate = model.calibration.false_alarm_rate
    return LearnReport(out, rate, products, dict(left_out), tuple(bad_files))


def _pictures(
    history: Path, model: TrainedModel, scratch: Path
) -> tuple[dict[str, list[_Picture]], Counter[str]]:
    """The reviewed pictures of each known class as files, and how many reviews are left out why."""
    reviews, left_out = 0, Counter[str]()
    chosen: dict[tuple[str, str], _Picture] = {}
    for one in read_reviews(history):
        key, false_alarm = (one.class_name or "", one.sha256), one.review == "false_alarm"
        before = chosen.get(key)
        if one.review == "right":
            if before is not None and before.false_alarm == one.anomalous:
                del chosen[key]
                left_out["taken back by a later one"] += 1
            continue
        reviews += 1
        if before is not None and (one.file is not None or before.false_alarm != false_alarm):
            del chosen[key]
        if one.class_name not in model.classes:
            left_out["of products that the model does not know"] += 1
            continue
        if one.file is None:
            left_out["without the image file"] += 1
            continue
        digest = sha256(one.file).digest()
        if false_alarm and short_digest(digest) in model.trained_files:
            left_out["learnt or trained on before"] += 1
            continue
        path = scratch / str(one.number)
        path.write_bytes(one.file)
        chosen[key] = _Picture(one.number, one.name, path, false_alarm, digest)
    if not reviews:
        raise UserError(
            f"{history}: no verdict is reviewed as a false alarm or as missed. Review verdicts on "
            "the page of `omnial serve`, or over its API."
        )
    if left_out["without the image file"] == reviews:
        raise UserError(
            f"{history} holds {reviews} reviews but no image files, which learning needs. Start "
            "the service with --keep-files, and review what it inspects from then on."
        )
    pictures: dict[str, list[_Picture]] = {}
    for (class_name, _), picture in chosen.items():
        pictures.setdefault(class_name, []).append(picture)
    return {name: pictures[name] for name in model.classes if name in pictures}, left_out


def _is_bad(picture: _Picture, model: TrainedModel, bad_files: list[BadFile]) -> bool:
    """Whether a file cannot be read: it is noted then."""
    try:
        network_input(picture.path, model.settings.data)
    except ImageError as error:
        shown = Path(f"picture {picture.number} ({picture.name or 'without a name'})")
        bad_files.append(BadFile(shown, error.reason))
        return True
    return False


def _learn(
    model: TrainedModel, name: str, pictures: Sequence[_Picture]
) -> tuple[TrainedModel, LearntProduct]:
    """The model after it learnt from a product's pictures."""
    calibration = model.calibration
    before, rate = calibration.threshold_for(name), calibration.false_alarm_rate
    good = [one for one in pictures if one.false_alarm]
    bad = [one for one in pictures if not one.false_alarm]
    good_files, bad_files = ([one.path for one in each] for each in (good, bad))
    scores_before = score_files(model, good_files, name)
    if good and model.normality and calibration.tile is None:  # a tile has no place
        fitted = model.normality[name]
        totals = (
            fitted.witnesses(found).within(valid).total[0]
            for found, valid in (_look(model, name, one.path) for one in good)
        )
        normality = fitted.accepting(totals, before)
        model = replace(model, normality={**model.normality, name: normality})
    good_scores, bad_scores = (score_files(model, own, name) for own in (good_files, bad_files))
    normal = [*calibration.scores[name], *good_scores]
    own = threshold(normal, 1.0 - rate)
    # With false alarms alone, the scores changed; one that was lowered for a miss stays otherwise.
    fresh = own if good and own is not None else calibration.per_class[name]
    calibrated = calibration.pooled if fresh is None else fresh
    after = lowered(calibrated, bad_scores, normal, rate)
    new = fresh if after == calibrated else after
    trained_files = model.trained_files | {short_digest(one.digest) for one in good}
    if len(trained_files) > MOST_FILES:
        raise UserError(f"{len(trained_files):,} learnt images: a model keeps {MOST_FILES:,} apart")
    learnt = replace(
        model,
        calibration=calibration.changed({name: normal}, {name: new}),
        trained_files=trained_files,
    )
    return learnt, LearntProduct(
        false_alarms=len(good),
        alarms_before=sum(is_anomalous(score, before) for score in scores_before),
        alarms_after=sum(is_anomalous(score, after) for score in good_scores),
        threshold_before=before,
        threshold_after=after,
        own=own is not None,
        missed=tuple(
            _missed(model, name, one, score, normal, after)
            for one, score in zip(bad, bad_scores, strict=True)
        ),
    )


def _missed(
    model: TrainedModel,
    class_name: str,
    picture: _Picture,
    score: float,
    normal: Sequence[float],
    after: float,
) -> MissedPicture:
    largest: dict[str, float] = {}
    if model.normality:
        found, valid = _look(model, class_name, picture.path)
        evidence = model.normality[class_name].witnesses(found).named()
        largest = {name: float(one[valid].max(initial=0.0)) for name, one in evidence.items()}
    return MissedPicture(
        number=picture.number,
        name=picture.name,
        score=score,
        network=largest.get("network"),
        normality=largest.get("normality"),
        pretrained=largest.get("pretrained"),
        wanted=finding(score),
        false_alarms=share_above(normal, finding(score)),
        found=is_anomalous(score, after),
    )


def _look(model: TrainedModel, name: str, path: Path) -> tuple[Prediction, NDArray[np.bool_]]:
    """What the network alone gives for a whole picture, and where scores count, (1, H, W)."""
    frame, placement = network_input(path, model.settings.data)
    valid = network_roi(None, placement)[None]
    if name in model.rois:
        valid = valid & region_on(model.rois[name], placement)
    run = TorchBackend(model).run
    return over_windows(run, as_unit(frame)[None], valid, model.settings), valid
