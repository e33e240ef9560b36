"""`omnial calibrate`: thresholds of a folder set again from normal images, and how sure they are.

Only `config.json` changes, so that an export folder takes them as well, set with its own
arithmetic.
"""

import shutil
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from scipy.special import betaincinv
from scipy.stats import binomtest

from omnial.config.settings import AS_TRAINED, Reading
from omnial.data.cache import content_digest
from omnial.data.image_file import ImageError
from omnial.data.layouts import discover
from omnial.data.listing import listed
from omnial.data.records import BadFile
from omnial.errors import UserError
from omnial.files import locked, replace_together, scratch_in, writing
from omnial.inference.inspector import Inspector, Tile
from omnial.model_folder.config_file import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    check_free,
    read_config,
    short_digest,
)
from omnial.model_folder.export_folder import EXPORT_FILE, is_export, read_export
from omnial.models.thresholds import Calibration, calibrate, is_anomalous, rank, threshold
from omnial.progress import Progress, silent
from omnial.untrusted import UntrustedError, parse_json

CONFIDENCE = 0.95
"""Probability that an interval covers the true rate. [O]"""
TOO_UNSURE = 2.0
"""An upper end of the interval above this multiple of the chosen rate is worth a warning. [O]"""
_MOST_IMAGES = 1_000_000


class Interval(NamedTuple):
    """A two-sided interval of a share, both ends in [0, 1]."""

    low: float
    high: float


@dataclass(frozen=True)
class ClassThreshold:
    """The threshold of one class, or of all together."""

    images: int
    """Normal images that it was set from."""
    threshold: float
    before: float
    """The threshold until now."""
    own: bool
    """False where the class takes the threshold of all classes together."""
    interval: Interval | None
    """Of the true false-alarm rate; None without images."""


@dataclass(frozen=True)
class CalibrationReport:
    """Result of a calibration."""

    folder: Path
    calibration: Calibration
    classes: Mapping[str, ClassThreshold]
    overall: ClassThreshold
    used: Mapping[str, int]
    """Images of each class in the data that thresholds were set from."""
    trained: Mapping[str, int]
    """Images of each class in the data that were left out: the network was trained on them."""
    kept: tuple[str, ...]
    """Classes without images in the data, whose earlier scores were used again."""
    warnings: tuple[str, ...]
    bad_files: tuple[BadFile, ...]

    def to_dict(self) -> dict[str, object]:
        """What `omnial calibrate --json` prints."""
        values = asdict(self)
        del values["calibration"]
        chosen = {name: getattr(self.calibration, name) for name in ("false_alarm_rate", "tile")}
        return {**values, **chosen, "confidence": CONFIDENCE}


def calibrate_folder(
    folder: Path,
    roots: Sequence[Path],
    *,
    false_alarm_rate: float | None = None,
    class_name: str | None = None,
    tile: Tile = "auto",
    out: Path | None = None,
    device: str = "auto",
    batch_size: int = 8,
    reading: Reading = AS_TRAINED,
    progress: Progress = silent,
) -> CalibrationReport:
    """Set a folder's thresholds from normal images.

    Classes without images in the data keep their thresholds, at a new rate the scores that they
    were calibrated with, if these were taken with the same tiles. Files that the network was
    trained on are left out, by their content: it scores them lower than new images.

    `folder` is a model folder or an export folder; with `out`, a copy of it gets the thresholds.
    `false_alarm_rate` is the share of normal images that may be called anomalous, in (0, 1); None
    keeps the folder's. `class_name` is the product on all images; None takes the folders' names.
    `tile` is the edge of tiles in source pixels, stored and used from then on; None inspects whole
    images, `auto` does as before. The others are those of `Inspector`.

    Raises:
        UserError: The folder or data is bad, or in use, or `out` is not empty; or the network was
            trained on all of the images.
        RunError: The result cannot be written.
    """
    if out is not None:
        check_free(out)
    trained = read_config(folder).trained_files
    inspector = Inspector(folder, device=device, batch_size=batch_size, reading=reading)
    before = inspector.calibration
    rate = before.false_alarm_rate if false_alarm_rate is None else false_alarm_rate
    edge = before.tile if tile == "auto" else tile
    found = score_normals(inspector, roots, trained, class_name, tile=edge, progress=progress)
    earlier = before.scores if before.tile == edge else {}
    scores = {name: found.scores.get(name) or earlier.get(name, ()) for name in inspector.classes}
    calibration = calibrate(scores, before.pixel, rate, tile=edge)
    if earlier:
        others = [name for name in inspector.classes if not found.scores.get(name)]
        if rate != before.false_alarm_rate:
            # What `add` has set from too few scores for the rule does not depend on the rate.
            q = 1.0 - before.false_alarm_rate
            others = [name for name in others if threshold(before.scores.get(name, ()), q) is None]
        calibration = calibration.changed({}, {name: before.per_class[name] for name in others})
    target = folder if out is None else out
    _write(folder, target, calibration)
    return _report(target, before, calibration, found, earlier)


class NormalScores(NamedTuple):
    """Scores of each class in the data, and how many images were left out."""

    scores: dict[str, list[float]]
    trained: dict[str, int]
    """Images of each class that the network was trained on."""
    bad_files: tuple[BadFile, ...]


def score_normals(
    inspector: Inspector,
    roots: Sequence[Path],
    trained: Container[bytes],
    class_name: str | None = None,
    *,
    tile: Tile = "auto",
    progress: Progress = silent,
) -> NormalScores:
    """Score the normal training images of data folders, class by class.

    An image that the network was trained on, by the digest of its content (see `short_digest`),
    scores lower than a new one and is left out, wherever it lies and whatever it is called. A
    UserError says that no image is left, that none can be used, or that a class is unknown.
    """
    inspector.check_class(class_name)
    chosen: dict[str, list[Path]] = {}
    left_out: dict[str, int] = {}
    for product in discover(roots, need="train", named=class_name is None).classes:
        name = class_name or product.name
        if name not in inspector.classes:
            raise UserError(
                f"{product.root}: the model does not know the class {name!r}. Its classes are "
                f"{', '.join(inspector.classes)}; name one of them with --class."
            )
        new = chosen.setdefault(name, [])
        left_out.setdefault(name, 0)
        for record in product.train:
            digest = content_digest(record.path)
            if digest is None or short_digest(digest) not in trained:
                new.append(record.path)
            else:
                left_out[name] += 1
    total, done = sum(map(len, chosen.values())), 0
    if total == 0:
        raise UserError(
            "No image is left: the network was trained on all of these. Name a folder of other "
            "normal images."
        )
    scores: dict[str, list[float]] = {name: [] for name in chosen}
    bad_files: list[BadFile] = []
    for name, paths in chosen.items():
        for scored in inspector.score(paths, name, tile=tile):
            if isinstance(scored, ImageError):
                bad_files.append(BadFile(scored.path, scored.reason))
            else:
                scores[name].append(scored.score)
            done += 1
            progress("scoring", done, total)
    if not any(scores.values()):
        reasons = listed([f"{bad.path}: {bad.reason}" for bad in bad_files])
        raise UserError(f"none of the images can be used:\n{reasons}")
    return NormalScores(scores, left_out, tuple(bad_files))


def false_alarm_interval(n: int, k: int) -> Interval:
    """Where the true false-alarm rate of the k-th smallest of n normal scores as threshold lies.

    For exchangeable scores without ties, the share of new normal images above the k-th smallest of
    n is distributed as Beta(n - k + 1, k), whatever the scores' own distribution (Wilks 1941,
    "Determination of sample sizes for setting tolerance limits"); the interval is equal-tailed.
    """
    if not 1 <= k <= n:
        raise ValueError(f"rank {k} does not exist among {n} scores")
    low, high = betaincinv(n - k + 1, k, [(1.0 - CONFIDENCE) / 2.0, (1.0 + CONFIDENCE) / 2.0])
    return Interval(float(low), float(high))


def share_interval(hits: int, n: int, confidence: float = CONFIDENCE) -> Interval:
    """Where a true share lies after `hits` of n >= 1 images (Clopper and Pearson 1934)."""
    found = binomtest(hits, n).proportion_ci(confidence, "exact")
    return Interval(float(found.low), float(found.high))


def images_needed(rate: float, highest: float) -> int | None:
    """The fewest normal images whose threshold keeps the interval's upper end below a limit.

    The threshold is set for the rate; found to within a hundredth, None above a million.
    """
    n = 1
    while n <= _MOST_IMAGES:
        k = rank(n, 1.0 - rate)
        if k is not None and false_alarm_interval(n, k).high <= highest:
            return n
        n += max(1, n // 100)
    return None


def _report(
    folder: Path,
    before: Calibration,
    calibration: Calibration,
    found: NormalScores,
    earlier: Mapping[str, Sequence[float]],
) -> CalibrationReport:
    quantile = 1.0 - calibration.false_alarm_rate
    rows = {}
    for name, own in calibration.per_class.items():
        values, limit = calibration.scores[name], calibration.threshold_for(name)
        k, interval = rank(len(values), quantile), None
        if k is not None and limit == values[k - 1]:
            interval = false_alarm_interval(len(values), k)
        elif values:
            # The common threshold owes little to this class: its images are independent of it. So
            # is one that `learn` has lowered, or `add` set.
            above = sum(is_anomalous(value, limit) for value in values)
            interval = share_interval(above, len(values))
        earlier_one = before.threshold_for(name)
        rows[name] = ClassThreshold(len(values), limit, earlier_one, own is not None, interval)
    count = sum(len(values) for values in calibration.scores.values())
    interval = false_alarm_interval(count, rank(count, quantile) or count)
    return CalibrationReport(
        folder=folder,
        calibration=calibration,
        classes=rows,
        overall=ClassThreshold(
            count, calibration.pooled, before.pooled, own=True, interval=interval
        ),
        used={name: len(values) for name, values in found.scores.items()},
        trained=found.trained,
        kept=tuple(name for name in rows if not found.scores.get(name) and earlier.get(name)),
        warnings=(
            *(_unlike(before, found.scores) if before.tile == calibration.tile else ()),
            *calibration.notes(),
            *_unsure(rows, calibration.false_alarm_rate),
        ),
        bad_files=found.bad_files,
    )


def _unlike(before: Calibration, scores: Mapping[str, Sequence[float]]) -> Iterator[str]:
    """A sentence for each class of whose images most were no good ones until now."""
    for name, values in scores.items():
        limit = before.threshold_for(name)
        above = sum(is_anomalous(value, limit) for value in values)
        if above > 0.5 * len(values):
            yield (
                f"{above} of the {len(values)} images of {name} were anomalous until now and "
                f"count as good from now on: are they good, and of {name}? If not, calibrate again."
            )


def _unsure(rows: Mapping[str, ClassThreshold], rate: float) -> tuple[str, ...]:
    """A sentence on the classes whose own thresholds rest on few images."""
    highest = {name: row.interval.high for name, row in rows.items() if row.own and row.interval}
    unsure = {name: high for name, high in highest.items() if high > TOO_UNSURE * rate}
    if not unsure:
        return ()
    worst = max(unsure, key=lambda name: unsure[name])
    needed = images_needed(rate, TOO_UNSURE * rate)
    advice = "" if needed is None else f" From {needed} images on it is surely below twice that."
    return (
        f"Few images in {', '.join(sorted(unsure))}: with {rate:g} chosen, the true false-alarm "
        f"rate may be as high as {unsure[worst]:.2g} (in {worst}).{advice}",
    )


def _write(folder: Path, target: Path, calibration: Calibration) -> None:
    """Change `config.json` in one step; in a copy, it is the last file to come."""
    config = read_config(folder).model_copy(update={"calibration": calibration})
    names: list[str] = []
    if target != folder:
        exported = is_export(folder)
        names = [*read_export(folder).record.files, EXPORT_FILE] if exported else [WEIGHTS_FILE]
    disk = writing("The thresholds", target, UntrustedError)
    with locked(target), disk, scratch_in(target) as scratch:
        for name in names:
            shutil.copyfile(folder / name, scratch / name)
        text = config.to_text().encode()
        parse_json(text)  # never put in place what could not be read again
        (scratch / CONFIG_FILE).write_bytes(text)
        replace_together(scratch, target, (*names, CONFIG_FILE))
