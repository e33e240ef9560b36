"""Figures and tables of all pages: what each figure is called, and how it is shown."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from omnial.errors import shown
from omnial.metrics.ranking import Figures

NOTHING = "\N{EM DASH}"
"""Shown where there cannot be a figure."""


class Metric(NamedTuple):
    """One figure of the tables; the template says what it means."""

    key: str
    """Its name in metrics.json and robustness.json."""
    label: str
    unit: str = ""
    """`%` shows a hundred times the value."""
    digits: int = 1
    group: str = ""
    """What the figure is about; neighbours with the same group share a heading."""

    @property
    def title(self) -> str:
        """Label and unit."""
        return f"{self.label}, {self.unit}" if self.unit else self.label

    @property
    def long_label(self) -> str:
        """The label where no heading says whether images or pixels are meant."""
        subject = self.key.partition("_")[0]
        return f"{subject} {self.label}" if subject in ("image", "pixel") else self.label

    @property
    def scale(self) -> float:
        """How many of the unit a value of 1 is."""
        return 100.0 if self.unit == "%" else 1.0

    def text(self, value: float | None) -> str:
        """A value in its unit; an em dash for None or NaN."""
        return self.printed(None if value is None else self.scale * value)

    def printed(self, value: float | None) -> str:
        """The same of a value that is in this unit already, as published ones are."""
        if value is None or math.isnan(value):
            return NOTHING
        text = "\N{INFINITY}" if math.isinf(value) else f"{abs(value):.{self.digits}f}"
        return "\N{MINUS SIGN}" + text if value < 0 else text

    def bar(self, value: float | None) -> float | None:
        """Length of the bar below a number, 0..1; PSNR is drawn from 0 to 50 dB."""
        if value is None or math.isnan(value):
            return None
        return min(1.0, max(0.0, value if self.unit == "%" else value / 50))


_WHOLE, _WHERE = "Is the part defective?", "Where is the defect?"
_REBUILD = "Rebuilding good parts"

COLUMNS = (
    Metric("image_auroc", "AUROC", "%", group=_WHOLE),
    Metric("image_ap", "AP", "%", group=_WHOLE),
    Metric("image_f1_max", "best F1", "%", group=_WHOLE),
    Metric("pixel_auroc", "AUROC", "%", group=_WHERE),
    Metric("pixel_ap", "AP", "%", group=_WHERE),
    Metric("pixel_f1_max", "best F1", "%", group=_WHERE),
    Metric("aupro", "AUPRO", "%", group=_WHERE),
    Metric("psnr", "PSNR", "dB", group=_REBUILD),
    Metric("ssim", "SSIM", "%", group=_REBUILD),
)
"""The figures of an evaluation, in the order of every table."""


class Table(NamedTuple):
    """A table as the templates' macros show it: the same columns in each of some groups."""

    title: str
    groups: Sequence[str]
    """Headings; in Markdown, a single one heads the labels."""
    columns: Sequence[str]
    """Headings of the columns of each group."""
    rows: Sequence[tuple[str, Sequence[str]]]
    """Labels and cells."""
    feet: Sequence[tuple[str, Sequence[str]]] = ()
    """Rows below the line: means, published averages."""


def present_columns(rows: Iterable[Figures]) -> list[Metric]:
    """The columns that at least one row has a value for."""
    known = {key for row in rows for key, value in row.items() if value is not None}
    return [column for column in COLUMNS if column.key in known]


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
            rows.append((shown(name), ", ".join(map(text_of, value)) or NOTHING))
        elif value is not None:
            rows.append((shown(name), text_of(value)))
    return rows


def text_of(value: object) -> str:
    """One JSON value in words."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.6g}" if isinstance(value, float) else shown(str(value))
