"""What stands on the report's page: an evaluation's result, put into the order of reading."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from omnial.calibration.thresholds import is_anomalous
from omnial.errors import shown
from omnial.evaluation.result import ClassResult, EvaluationResult, GalleryItem
from omnial.model_folder.validation_figures import ValidationFigures, in_words
from omnial.reporting import tables
from omnial.reporting.figures import (
    CURVE_KINDS,
    CurveKind,
    curve_chart,
    score_histogram,
    series_colour,
    series_dashes,
)
from omnial.reporting.pictures import Picture, pictures

_GROUPS = (
    (
        "missed",
        "Worst misses",
        "The defective images with the lowest scores: these slip through first.",
    ),
    (
        "false alarm",
        "False alarms",
        "The good images with the highest scores: these raise an alarm first.",
    ),
    (
        "hit",
        "Best hits",
        "The defective images with the highest scores: these are found most surely.",
    ),
)


@dataclass(frozen=True)
class Shot:
    """One gallery item on the page."""

    anchor: str
    file: str
    path: str
    badge: str
    wrong: bool
    sentence: str
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Group:
    """The gallery items of a class that share a role."""

    title: str
    meaning: str
    shots: Sequence[Shot]


@dataclass(frozen=True)
class Kind:
    """One row of a class's table of defect kinds."""

    name: str
    verdicts: tables.Verdicts
    images: int
    cells: Sequence[tables.Cell]


@dataclass(frozen=True)
class Product:
    """One product class on the page."""

    anchor: str
    name: str
    colour: str
    dashes: str
    verdicts: tables.Verdicts
    images: int
    threshold: str
    cells: Sequence[tables.Cell]
    kind_columns: Sequence[tables.Column]
    kinds: Sequence[Kind]
    histogram: str
    groups: Sequence[Group]


@dataclass(frozen=True)
class Chart:
    """One chart of curves on the page; `svg` is None where no class has the curve."""

    kind: CurveKind
    svg: str | None


@dataclass(frozen=True)
class ColumnGroup:
    """Neighbouring columns of the table of figures under one heading."""

    title: str
    columns: Sequence[tables.Column]


def products(result: EvaluationResult) -> list[Product]:
    """Every class, in the result's order."""
    return [_product(result, index) for index in range(len(result.classes))]


def charts(result: EvaluationResult) -> list[Chart]:
    """The charts of curves, each with one line a class."""
    drawn = []
    for kind in CURVE_KINDS:
        curves = [(shown(c.name), c.curves.get(kind.key)) for c in result.classes]
        some = any(curve is not None for _, curve in curves)
        drawn.append(Chart(kind, curve_chart(kind, curves) if some else None))
    return drawn


def column_groups() -> list[ColumnGroup]:
    """The columns of the table of figures, neighbours of one group together."""
    titles = list(dict.fromkeys(column.group for column in tables.COLUMNS))
    return [
        ColumnGroup(title, [column for column in tables.COLUMNS if column.group == title])
        for title in titles
    ]


def mean_note(result: EvaluationResult) -> str:
    """Which means are over fewer classes than there are, in words; empty where none is."""
    fewer: dict[int, list[str]] = {}
    for column in tables.COLUMNS:
        count = result.mean_over.get(column.key, 0)
        if 0 < count < len(result.classes):
            fewer.setdefault(count, []).append(column.long_label)
    return "; ".join(
        f"{', '.join(labels)} over {count} of {len(result.classes)} products"
        for count, labels in sorted(fewer.items())
    )


def verdict_notes(result: EvaluationResult) -> list[str]:
    """What the reader must know about the thresholds: the model's own notes, foreign products."""
    own, learned = result.model.get("notes"), result.model.get("classes")
    notes = [shown(str(note)) for note in own] if isinstance(own, list | tuple) else []
    if isinstance(learned, list | tuple):
        foreign = [shown(c.name) for c in result.classes if c.name not in learned]
        if foreign:
            notes.append(
                f"The model has not learned {', '.join(foreign)}, "
                "so the highest threshold of the products that it knows stands in."
            )
    return notes


def rebuilding(result: EvaluationResult) -> list[tuple[str, str]]:
    """What the model's validation images say of the reconstruction of each product, in words.

    Empty where the model does not say.
    """
    training = result.model.get("training")
    found = ValidationFigures.of_training(training) if isinstance(training, Mapping) else None
    if found is None:
        return []
    said = ((c.name, in_words(found.classes.get(c.name, {}))) for c in result.classes)
    return [(shown(name), words) for name, words in said if words is not None]


def facts(result: EvaluationResult) -> list[tuple[str, str]]:
    """What was evaluated, in a few pairs of words for the head of the page."""
    training = result.model.get("training")
    known = {**result.model, **(training if isinstance(training, Mapping) else {})}
    pairs = [
        (label, tables.flat({key: known[key]})[0][1])
        for key, label in (("system", "System"), ("size", "Size"), ("images", "Training images"))
        if isinstance(known.get(key), str | int | float)
    ]
    seconds = known.get("seconds")
    if isinstance(seconds, int | float):
        pairs.append(("Training time", tables.duration(seconds)))
    pairs.append(("Products", f"{len(result.classes):,}"))
    pairs.append(("Test images", f"{sum(len(product.images) for product in result.classes):,}"))
    pairs.append(("Evaluation time", tables.duration(result.seconds)))
    return pairs


def _product(result: EvaluationResult, index: int) -> Product:
    """One class as it stands on the page."""
    product = result.classes[index]
    anchor = f"product-{index}"
    thresholds = sorted({i.threshold for i in product.images if not math.isnan(i.threshold)})
    items = [item for item in result.gallery if item.record.class_name == product.name]
    columns = tables.present_columns(product.kinds.values())
    return Product(
        anchor=anchor,
        name=shown(product.name),
        colour=series_colour(index),
        dashes=series_dashes(index),
        verdicts=tables.verdicts(product.images),
        images=len(product.images),
        threshold=", ".join(map(tables.score, thresholds)) or tables.NOTHING,
        cells=tables.cells(product.figures),
        kind_columns=columns,
        kinds=_kinds(product, columns),
        histogram=score_histogram(
            _scores(product, anomalous=False),
            _scores(product, anomalous=True),
            thresholds,
            f"{anchor}-scores",
            shown(product.name),
        ),
        groups=_groups(items, anchor, result.pixel_threshold),
    )


def _kinds(product: ClassResult, columns: Sequence[tables.Column]) -> list[Kind]:
    """The rows of a class's table of defect kinds."""
    rows = []
    for name, figures in product.kinds.items():
        images = [i for i in product.images if i.record.kind == name]
        chosen = [cell for cell in tables.cells(figures) if cell.column in columns]
        rows.append(Kind(shown(name), tables.verdicts(images), len(images), chosen))
    return rows


def _scores(product: ClassResult, *, anomalous: bool) -> NDArray[np.float64]:
    """(n,) the finite scores of the good or of the defective images of a class."""
    scores = [i.score for i in product.images if i.record.anomalous == anomalous]
    return np.array([score for score in scores if math.isfinite(score)], dtype=np.float64)


def _groups(items: Sequence[GalleryItem], anchor: str, level: float) -> list[Group]:
    """The gallery of a class; roles without an item are left out."""
    found = []
    for number, (role, title, meaning) in enumerate(_GROUPS):
        shots = [
            _shot(item, f"{anchor}-{number}-{place}", level)
            for place, item in enumerate(i for i in items if i.role == role)
        ]
        if shots:
            found.append(Group(title, meaning, shots))
    return found


def _shot(item: GalleryItem, anchor: str, level: float) -> Shot:
    """One gallery item: its verdict in words, and its pictures."""
    path = item.record.path
    truth = item.record.anomalous
    if math.isnan(item.threshold):
        badge, wrong = "no verdict", False
        sentence = f"score {tables.score(item.score)}, no threshold"
    else:
        called = is_anomalous(item.score, item.threshold)
        badge = {
            (True, True): "found",
            (True, False): "missed",
            (False, True): "false alarm",
            (False, False): "passed",
        }[truth, called]
        wrong = truth != called
        sentence = (
            f"score {tables.score(item.score)} is {'above' if called else 'not above'} "
            f"the threshold {tables.score(item.threshold)}: "
            f"called {'defective' if called else 'good'}"
        )
    return Shot(
        anchor=anchor,
        file=shown(f"{item.record.kind}/{path.name}"),
        path=shown(path),
        badge=badge,
        wrong=wrong,
        sentence=sentence,
        pictures=pictures(item, level),
    )
