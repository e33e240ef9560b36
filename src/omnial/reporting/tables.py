"""The words and numbers of the report's tables: what each figure is called, and how it is shown."""

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from omnial.errors import shown
from omnial.evaluation.result import ImageResult
from omnial.metrics.means import Figures

NOTHING = "\N{EM DASH}"
"""Shown where a class cannot have a figure."""


class Column(NamedTuple):
    """One figure of the tables.

    Attributes:
        key: Its name in metrics.json.
        group: What the figure is about; neighbours with the same group share a heading.
        label: Heading of the column.
        unit: Unit of the shown number.
        meaning: One plain sentence for the reader.
    """

    key: str
    group: str
    label: str
    unit: str
    meaning: str

    @property
    def long_label(self) -> str:
        """The label where no heading says whether images or pixels are meant."""
        subject = self.key.partition("_")[0]
        return f"{subject} {self.label}" if subject in ("image", "pixel") else self.label


_WHOLE = "Is the part defective?"
_WHERE = "Where is the defect?"
_REBUILD = "Rebuilding good parts"

COLUMNS = (
    Column(
        "image_auroc",
        _WHOLE,
        "AUROC",
        "%",
        "The chance that a defective part gets a higher score than a good one; 50 % is guessing.",
    ),
    Column(
        "image_ap",
        _WHOLE,
        "AP",
        "%",
        "How purely defective the top of the list is when all parts are sorted by score.",
    ),
    Column(
        "image_f1_max",
        _WHOLE,
        "best F1",
        "%",
        "The balance of defects found and alarms that are right, at the best possible threshold.",
    ),
    Column(
        "pixel_auroc",
        _WHERE,
        "AUROC",
        "%",
        "The chance that a pixel of a defect scores higher than a pixel of sound material.",
    ),
    Column(
        "pixel_ap",
        _WHERE,
        "AP",
        "%",
        "How purely defective the highest scoring pixels are: the strictest figure for outlines.",
    ),
    Column(
        "pixel_f1_max",
        _WHERE,
        "best F1",
        "%",
        "How well marked area and true defect area agree, at the best possible threshold.",
    ),
    Column(
        "aupro",
        _WHERE,
        "AUPRO",
        "%",
        "How much of each defect is covered while little else is marked; small ones count in full.",
    ),
    Column(
        "psnr",
        _REBUILD,
        "PSNR",
        "dB",
        "How closely the model redraws a good part; 6 dB more means half the typical difference.",
    ),
    Column(
        "ssim",
        _REBUILD,
        "SSIM",
        "%",
        "How much of the structure of a good part survives the redrawing; 100 % is all of it.",
    ),
)
"""The figures in the order of every table."""


class Cell(NamedTuple):
    """One number of a table: its column, its text, and its share of a full bar (0..1)."""

    column: Column
    text: str
    share: float | None


class Verdicts(NamedTuple):
    """Counts of the verdicts at the calibrated threshold.

    Attributes:
        good: Good images that have a verdict.
        false_alarms: Of these, called defective.
        defective: Defective images that have a verdict.
        found: Of these, called defective.
        without: Images without a verdict, since the detector has no threshold for them.
    """

    good: int
    false_alarms: int
    defective: int
    found: int
    without: int

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
    kept = list(rows)
    return tuple(
        column for column in COLUMNS if any(row.get(column.key) is not None for row in kept)
    )


def verdicts(images: Iterable[ImageResult]) -> Verdicts:
    """Count verdicts; an image whose threshold is NaN has none."""
    good = alarms = defective = found = without = 0
    for image in images:
        if math.isnan(image.threshold):
            without += 1
        elif image.record.anomalous:
            defective += 1
            found += image.anomalous_verdict
        else:
            good += 1
            alarms += image.anomalous_verdict
    return Verdicts(good, alarms, defective, found, without)


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
