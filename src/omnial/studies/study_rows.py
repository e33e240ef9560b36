"""The studies: their rows, and the figures that were published for them.

The published figures are for MVTec AD with the full network and budget, from the supplement [P] or
second-hand [S] (DRAEM, JNLD, the stages, the balance factor): they are shown for their order alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from omnial.config.presets import PUBLISHED_KINDS
from omnial.errors import UserError

WORDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "image_auroc": "image AUROC",
        "pixel_auroc": "pixel AUROC",
        "pixel_ap": "pixel AP",
        "aupro": "AUPRO",
    }
)
"""The figures that a study shows, by the keys of metrics.json."""

COMPARED: Final = ("image_auroc", "pixel_auroc", "pixel_ap")
"""The paper's three."""

COMMON: Final = (
    "synthesis.match_colour=true",
    *(f"{name}={share:g}" for name, share in PUBLISHED_KINDS.items()),
    "model.normality=none",
    "model.second_look=none",
    "training.half_share=0",
)
"""What our own studies change for every row alike, since the paper has neither normality, nor a
second look, nor our further kinds of defects. Recipes of published rows do not."""


@dataclass(frozen=True)
class Row:
    """One row of a table."""

    name: str
    """Of its files: letters, digits, `-` and `_`."""
    label: str
    """Name in the table."""
    system: str
    overrides: tuple[str, ...] = ()
    """Settings as `key=value`, over the system's."""
    published: Mapping[str, float] = field(default_factory=dict)
    """Published figures in percent, by the keys of metrics.json."""
    images: int | None = None
    """Images that its runs train on; None leaves it to the options."""
    separate: bool = False
    """Train a model for each class instead of one for all."""


@dataclass(frozen=True)
class Study:
    """One table."""

    name: str
    """What the command takes."""
    title: str
    question: str
    """What the table answers, in a sentence."""
    rows: tuple[Row, ...]
    """In the order in which the paper ranks them where it does."""
    seeds: int = 1
    """Runs of each row unless more or fewer are asked for."""
    axis: str = ""
    """The number in which the rows differ, drawn as a line; empty draws bars."""
    classes: int | None = None
    """How many classes the table is about, the first ones; None is all."""

    @property
    def own_images(self) -> bool:
        """Whether its rows differ in their number of images, so that none is asked for."""
        return all(row.images is not None for row in self.rows)


@dataclass(frozen=True)
class StudyOptions:
    """How a study is run."""

    size: str
    images: int = 20_000
    """Images that each run trains on, unless its row has a number of its own."""
    seeds: int = 1
    """Runs of each row, with the seeds from 0."""
    overrides: tuple[str, ...] = ()
    """Settings of every row, as `key=value`."""
    classes: tuple[str, ...] = ()
    """The classes that the table is about; empty leaves it to the study."""
    rows: tuple[str, ...] = ()
    """Names of the rows to compute now; empty is all. The page shows every row."""
    gallery: bool = True
    """Train each row on the demo data as well, and draw images as it sees them."""
    jobs: int = 1
    """Trainings at the same time, each with its share of the cores."""


def chosen_rows(study: str, rows: Sequence[Row], wanted: Sequence[str]) -> list[str]:
    """Names of the rows to compute now: those that are wanted, or all."""
    known = [row.name for row in rows]
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise UserError(
            f"no row {', '.join(unknown)} in the study {study}; there are {', '.join(known)}"
        )
    return list(wanted or known)


def _row(name: str, label: str, system: str, *published: float, separate: bool = False) -> Row:
    """A row with its published figures in the order of `COMPARED`, or with none."""
    figures = dict(zip(COMPARED, published, strict=False))
    return Row(name, label, system, published=figures, separate=separate)


_OMNIAL: Final = (97.2, 98.3, 73.4)

_PUBLISHED_NETWORK: Final = (
    "model.blocks=plain",
    "objective.image_mse=1",
    "objective.defect_weight=1",
)
"""What the sizes of our own change of the published network and losses, undone."""

_STAGES = Study(
    "stages",
    "From the baseline to OmniAL",
    "What does each part of OmniAL add?",
    (
        _row("no-panels", "all but panels", "omnial-no-panels", 86.6, 93.7, 54.4),
        _row("baseline", "baseline", "surrogate", 86.7, 86.4, 44.2),
        _row("panels", "+ panels", "surrogate-panels", 94.1, 95.9, 68.3),
        _row(
            "instance-norm", "+ instance norm", "surrogate-panels-instance-norm", 95.8, 97.0, 69.1
        ),
        _row("omnial", "+ DCSA and DiffNeck (OmniAL)", "omnial", *_OMNIAL),
    ),
    seeds=2,
)
_MODULES = Study(
    "modules",
    "The module between the basic blocks",
    "Which module serves best in reconstruction and DiffNeck (the supplement's Table 6)?",
    (
        _row("resblock", "residual block", "omnial-resblock", 93.3, 94.2, 60.0),
        _row("bottleneck", "bottleneck", "omnial-bottleneck", 95.7, 96.1, 62.5),
        _row("ca", "CA", "omnial-ca", 96.8, 98.2, 72.7),
        _row("dcsa", "DCSA", "omnial", *_OMNIAL),
    ),
)
_BALANCE = Study(
    "balance",
    "DiffNeck's balance factor",
    "How much should the separate paths count against the unified one (the paper's Fig. 8, whose "
    "best factor is 0.1)?",
    tuple(
        Row(
            f"balance-{factor:g}".replace(".", "_"),
            f"{factor:g}",
            "omnial",
            (f"model.localization.balance={factor}",),
            dict(zip(COMPARED, _OMNIAL, strict=True)) if factor == 0.1 else {},
        )
        for factor in (0.0, 0.05, 0.1, 0.2, 0.5, 1.0)
    ),
    axis="balance factor",
)
_SYSTEMS = Study(
    "systems",
    "DRAEM, JNLD and OmniAL",
    "How do the systems compare at an equal budget, with and without panels?",
    (
        _row("draem", "DRAEM", "draem", 88.7, 87.1, 49.4),
        _row("jnld", "JNLD", "jnld", 91.3, 88.6, 46.6),
        _row("draem-panels", "DRAEM + panels", "draem-panels", 92.5, 94.5, 57.4),
        _row("jnld-panels", "JNLD + panels", "jnld-panels", 92.9, 95.6, 63.1),
        _row("omnial", "OmniAL", "omnial", *_OMNIAL),
        Row("omnial-normality", "OmniAL with normality", "omnial", ("model.normality=own",)),
        Row("draem-plain", "DRAEM, the paper's blocks and losses", "draem", _PUBLISHED_NETWORK),
        Row("omnial-plain", "OmniAL, the paper's blocks and losses", "omnial", _PUBLISHED_NETWORK),
    ),
    seeds=2,
)
_PARADIGMS = Study(
    "paradigms",
    "One model for all classes, or a model for each",
    "What does a unified model give up against separate ones? The separate models share the "
    "images of the unified one: each gets an equal part.",
    (
        _row("omnial-unified", "OmniAL, unified", "omnial", *_OMNIAL),
        _row("omnial-separate", "OmniAL, separate", "omnial", separate=True),
        _row("baseline-unified", "baseline, unified", "surrogate", 86.7, 86.4, 44.2),
        _row(
            "baseline-separate", "baseline, separate", "surrogate", 98.8, 98.4, 75.0, separate=True
        ),
    ),
    classes=3,
)
_BUDGET = Study(
    "budget",
    "How many images OmniAL needs",
    "What do more training images give, each number with a schedule of its length?",
    tuple(
        Row(f"images-{count}", f"{count:,} images", "omnial", images=count)
        for count in (10_000, 20_000, 40_000, 80_000)
    ),
    seeds=2,
)

STUDIES: Final[Mapping[str, Study]] = MappingProxyType(
    {study.name: study for study in (_STAGES, _MODULES, _BALANCE, _SYSTEMS, _PARADIGMS, _BUDGET)}
)
"""The studies by name."""
