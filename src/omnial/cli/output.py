"""What verbs print: results on standard output, everything else on standard error."""

import contextlib
import json
import logging
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as BarProgress
from rich.table import Table

from omnial.cli.verb import ExitCode
from omnial.data.records import BadFile
from omnial.distributed.launch import read_processes
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
# On the held-out training images, and on defects synthesized onto them.
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
    own, first = logging.getLogger("omnial"), read_processes().rank == 0
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
    """Print something that is not the result."""
    print(message, file=sys.stderr)


def print_result(
    result: Mapping[str, Any], as_json: bool, show: Callable[[Mapping[str, Any]], None]
) -> None:
    """Print a result as JSON alone, or with `show` in words; paths become text.

    Raises:
        ValueError: the result holds NaN or an infinity, which JSON does not have.
        TypeError: the result holds something that JSON cannot express.
    """
    if as_json:
        print(json.dumps(result, indent=2, allow_nan=False, default=_path_text))
    else:
        show(result)


def exit_code(bad_files: Iterable[BadFile], *, failed: bool = False) -> ExitCode:
    """Print which files could not be used, and why; with any, the work is done but for some."""
    bad_files = list(bad_files)
    for bad in bad_files:
        say(f"left out: {shown(bad.path)}: {bad.reason}")
    return ExitCode.SOME_BAD if bad_files or failed else ExitCode.DONE


def say_trained(counts: Mapping[str, int]) -> None:
    """Print how many images of each class were left out, being trained on."""
    for name, count in counts.items():
        if count:
            say(f"{name}: {count} images left out, the network was trained on them")


def print_table(
    headings: Sequence[str], rows: Iterable[Sequence[str]], *, texts: Collection[int] = (0,)
) -> None:
    """Print a table; columns are numbers, aligned to the right, but for those of `texts`."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="left" if index in texts else "right")
    for row in rows:
        table.add_row(*map(escape, row))
    _print(table)


def print_facts(facts: Sequence[tuple[str, object]]) -> None:
    """Print names and values in two columns."""
    width = max(len(name) for name, _ in facts)
    for name, value in facts:
        print(f"{name:<{width}}  {value}")


def print_metrics(metrics: Mapping[str, Any]) -> None:
    """Print the content of metrics.json: a row a class, the mean last, `-` for null.

    A column more gives the reconstruction's `erased` on the model's own validation images: of
    test images nobody knows how they would look without their defects.
    """
    from omnial.model_folder.validation_figures import ValidationFigures

    validation = ValidationFigures.of_training(metrics["model"].get("training", {}))
    if validation is None:
        _print_figures("class", _FIGURES, metrics["classes"], metrics["mean"])
        return
    classes = {
        name: {**figures, "erased": validation.classes.get(name, {}).get("erased")}
        for name, figures in metrics["classes"].items()
    }
    mean = {**metrics["mean"], "erased": validation.mean.get("erased")}
    _print_figures("class", {**_FIGURES, "erased": "erased\n(validation)"}, classes, mean)


def print_validation(validation: "ValidationFigures") -> None:
    """Print the figures of a model's validation images in the same way."""
    _print_figures("validation", _VALIDATION, validation.classes, validation.mean)


def _print_figures(
    corner: str,
    headings: Mapping[str, str],
    classes: "Mapping[str, Figures]",
    mean: "Figures",
) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(corner)
    for heading in headings.values():
        table.add_column(heading, justify="right")
    for name, figures in classes.items():
        table.add_row(escape(name), *(_cell(key, figures.get(key)) for key in headings))
    table.add_section()
    table.add_row("mean", *(_cell(key, mean.get(key)) for key in headings), style="bold")
    _print(table)


def _print(table: Table) -> None:
    """Print a table, unwrapped where the output is not a terminal."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_FILE_WIDTH)
    console.print(table)


def _cell(key: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}" if key == "psnr" else f"{value:.3f}"


def _path_text(value: object) -> str:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not JSON")
