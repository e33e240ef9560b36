"""The words and numbers of the report's tables: what each figure is called, and how it is shown."""

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from omnial.errors import shown
from omnial.evaluation.result import ImageResult
from omnial.metrics.ranking import Figures

NOTHING = "\N{EM DASH}"
"""Shown where a class cannot have a figure."""


class Column(NamedTuple):
    """One figure of the tables; what it means is said in the template."""

    key: str
    """Its name in metrics.json."""
    group: str
    """What the figure is about; neighbours with the same group share a heading."""
    label: str
    unit: str

    @property
    def long_label(self) -> str:
        """The label where no heading says whether images or pixels are meant."""
        subject = self.key.partition("_")[0]
        return f"{subject} {self.label}" if subject in ("image", "pixel") else self.label


_WHOLE, _WHERE = "Is the part defective?", "Where is the defect?"
_REBUILD = "Rebuilding good parts"

COLUMNS = (
    Column("image_auroc", _WHOLE, "AUROC", "%"),
    Column("image_ap", _WHOLE, "AP", "%"),
    Column("image_f1_max", _WHOLE, "best F1", "%"),
    Column("pixel_auroc", _WHERE, "AUROC", "%"),
    Column("pixel_ap", _WHERE, "AP", "%"),
    Column("pixel_f1_max", _WHERE, "best F1", "%"),
    Column("aupro", _WHERE, "AUPRO", "%"),
    Column("psnr", _REBUILD, "PSNR", "dB"),
    Column("ssim", _REBUILD, "SSIM", "%"),
)
"""The figures in the order of every table."""


class Cell(NamedTuple):
    """One number of a table: its column, its text, and its share of a full bar (0..1)."""

    column: Column
    text: str
    share: float | None


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
    """Images without a verdict, since the detector has no threshold for them."""

    @property
    def missed(self) -> int:
        """Defective images that were called good."""
        return self.defective - self.found


def cells(figures: Figures) -> list[Cell]:
    """The numbers of a row, in the order of `COLUMNS`; a missing key counts as None."""
    return [
        Cell(column, number(column, figures.get(column.key)), _share(column, figures))
        for column in COLUMNS
    ]


def number(column: Column, value: float | None) -> str:
    """A figure as text: percent or dB with one decimal, an em dash for None or NaN."""
    if value is None or math.isnan(value):
        return NOTHING
    if math.isinf(value):
        return "\N{INFINITY}" if value > 0 else "\N{MINUS SIGN}\N{INFINITY}"
    shown = f"{100 * value if column.unit == '%' else value:.1f}"
    return shown.replace("-", "\N{MINUS SIGN}")


def present_columns(rows: Iterable[Figures]) -> tuple[Column, ...]:
    """The columns that at least one row has a value for."""
    known = {key for row in rows for key, value in row.items() if value is not None}
    return tuple(column for column in COLUMNS if column.key in known)


def verdicts(images: Iterable[ImageResult]) -> Verdicts:
    """Count verdicts; an image whose threshold is NaN has none."""
    known: dict[bool, list[bool]] = {False: [], True: []}
    without = 0
    for image in images:
        if math.isnan(image.threshold):
            without += 1
        else:
            known[image.record.anomalous].append(image.anomalous_verdict)
    good, defective = known[False], known[True]
    return Verdicts(len(good), sum(good), len(defective), sum(defective), without)


def share(part: int, whole: int) -> str:
    """`part` of `whole` as percent with one decimal, an em dash when there is nothing."""
    return f"{100 * part / whole:.1f} %" if whole else NOTHING


def score(value: float) -> str:
    """A score or threshold with three decimals, an em dash for NaN."""
    return NOTHING if math.isnan(value) else f"{value:.3f}"


def duration(seconds: float) -> str:
    """A time in words: `42 s`, `12 min 5 s`, `3 h 20 min`."""
    total = max(0, round(seconds))
    if total < 60:
        return f"{total} s" if total else f"{seconds:.1f} s"
    if total < 3600:
        return f"{total // 60} min {total % 60} s"
    return f"{total // 3600} h {total % 3600 // 60} min"


def flat(values: Mapping[str, object], prefix: str = "") -> list[tuple[str, str]]:
    """JSON values as rows of name and text, nested names joined with a dot, None left out."""
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            rows.extend(flat(value, f"{name}."))
        elif isinstance(value, list | tuple):
            rows.append((shown(name), ", ".join(_text(entry) for entry in value) or NOTHING))
        elif value is not None:
            rows.append((shown(name), _text(value)))
    return rows


def _text(value: object) -> str:
    """One JSON value in words."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.6g}"
    return shown(str(value))


def _share(column: Column, figures: Figures) -> float | None:
    """Length of the bar below a number; PSNR is drawn from 0 to 50 dB."""
    value = figures.get(column.key)
    if value is None or math.isnan(value):
        return None
    return min(1.0, max(0.0, value if column.unit == "%" else value / 50))
