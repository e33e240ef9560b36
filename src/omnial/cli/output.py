"""What verbs print: results on standard output, everything else on standard error."""

import contextlib
import json
import logging
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as BarProgress
from rich.table import Table

from omnial.data.records import BadFile
from omnial.distributed.world import read_world
from omnial.errors import shown
from omnial.progress import Progress, silent

if TYPE_CHECKING:
    from omnial.metrics.means import Figures
    from omnial.model_folder.validation_figures import ValidationFigures

# Wide enough for the metrics table where the output goes to a file or a pipe.
_FILE_WIDTH: Final = 120

_FIGURES: Final = {
    "image_auroc": "image\nAUROC",
    "image_ap": "image\nAP",
    "image_f1_max": "image\nF1-max",
    "pixel_auroc": "pixel\nAUROC",
    "pixel_ap": "pixel\nAP",
    "pixel_f1_max": "pixel\nF1-max",
    "aupro": "AUPRO",
    "psnr": "PSNR\ndB",
    "ssim": "SSIM",
}
# Of the images that training kept back, and of defects drawn onto them.
_VALIDATION: Final = {
    "image_auroc": "image\nAUROC",
    "pixel_ap": "pixel\nAP",
    "psnr": "PSNR\ndB",
    "erased": "erased",
    "recognised": "recog-\nnised",
}


class _Notes(logging.Handler):
    """What this package logs, for the user."""

    def emit(self, record: logging.LogRecord) -> None:
        say(record.getMessage())


@contextlib.contextmanager
def working() -> Iterator[Progress]:
    """Do a verb's work: whatever it prints and logs goes to standard error, not to the result.

    Yields what the work reports its progress to; the bars appear with the first report.
    """
    handler = _Notes()
    own, first = logging.getLogger("omnial"), read_world().rank == 0
    level = own.level
    own.addHandler(handler)
    own.setLevel(logging.INFO if first else logging.ERROR)
    try:
        with contextlib.redirect_stdout(sys.stderr), contextlib.ExitStack() as shown_bars:
            yield _bars(shown_bars) if first else silent
    finally:
        own.removeHandler(handler)
        own.setLevel(level)


def _bars(stack: contextlib.ExitStack) -> Progress:
    """Make a progress bar of each thing that is reported, shown until the stack is closed."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    bars = BarProgress(*columns, TimeRemainingColumn(), console=Console(stderr=True))
    tasks: dict[str, TaskID] = {}

    def report(what: str, done: int, total: int) -> None:
        if not tasks:
            stack.enter_context(bars)
        if what not in tasks:
            tasks[what] = bars.add_task(what, total=total)
        bars.update(tasks[what], completed=done, total=total)

    return report


def say(message: str) -> None:
    """Tell the user something that is not the result."""
    print(message, file=sys.stderr)


def say_left_out(bad_files: Iterable[BadFile]) -> None:
    """Tell the user which files could not be used, and why."""
    for bad in bad_files:
        say(f"left out: {shown(bad.path)}: {bad.reason}")


def say_trained(counts: Mapping[str, int]) -> None:
    """Tell the user how many images of each class were of no use, being trained on."""
    for name, count in counts.items():
        if count:
            say(f"{name}: {count} images left out, the network was trained on them")


def print_json(result: Mapping[str, Any]) -> None:
    """Print a result as JSON; paths become text.

    Raises:
        ValueError: the result holds NaN or an infinity, which JSON does not have.
        TypeError: the result holds something that JSON cannot express.
    """
    print(json.dumps(result, indent=2, allow_nan=False, default=_path_text))


def print_table(table: Table) -> None:
    """Print a table, unwrapped where the output is not a terminal."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_FILE_WIDTH)
    console.print(table)


def print_facts(facts: Sequence[tuple[str, object]]) -> None:
    """Print names and values in two columns."""
    width = max(len(name) for name, _ in facts)
    for name, value in facts:
        print(f"{name:<{width}}  {value}")


def metrics_table(metrics: Mapping[str, Any]) -> Table:
    """Lay out the content of metrics.json: a row a class, the mean last, `-` for null.

    A column more says what the model's own validation images said of the reconstruction: test
    images cannot, since nobody has seen them without their defects.
    """
    from omnial.model_folder.validation_figures import ValidationFigures

    validation = ValidationFigures.of_training(metrics["model"].get("training", {}))
    if validation is None:
        return _table("class", _FIGURES, metrics["classes"], metrics["mean"])
    classes = {
        name: {**figures, "erased": validation.classes.get(name, {}).get("erased")}
        for name, figures in metrics["classes"].items()
    }
    mean = {**metrics["mean"], "erased": validation.mean.get("erased")}
    return _table("class", {**_FIGURES, "erased": "erased\n(validation)"}, classes, mean)


def validation_table(validation: "ValidationFigures") -> Table:
    """Lay out what a model's validation images said, in the same way."""
    return _table("validation", _VALIDATION, validation.classes, validation.mean)


def _table(
    corner: str,
    headings: Mapping[str, str],
    classes: "Mapping[str, Figures]",
    mean: "Figures",
) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(corner)
    for heading in headings.values():
        table.add_column(heading, justify="right")
    for name, figures in classes.items():
        table.add_row(escape(name), *(_cell(key, figures.get(key)) for key in headings))
    table.add_section()
    table.add_row("mean", *(_cell(key, mean.get(key)) for key in headings), style="bold")
    return table


def _cell(key: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}" if key == "psnr" else f"{value:.3f}"


def _path_text(value: object) -> str:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not JSON")
