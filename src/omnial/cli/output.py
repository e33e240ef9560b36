"""What verbs print: results on standard output, everything else on standard error."""

import contextlib
import json
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from omnial.data.records import BadFile
from omnial.errors import shown
from omnial.processes.world import read_world

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


@contextlib.contextmanager
def working() -> Iterator[None]:
    """Send whatever is printed during the work to standard error: the result alone is output.

    The notes that this package logs are shown there too.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    own = logging.getLogger("omnial")
    level = own.level
    own.addHandler(handler)
    own.setLevel(logging.INFO if read_world().rank == 0 else logging.ERROR)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        own.removeHandler(handler)
        own.setLevel(level)


@contextlib.contextmanager
def progress(*descriptions: str) -> Iterator[list[Callable[[int, int], None]]]:
    """Show a bar each on standard error; yields what to call with the number done and of all."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    console, hidden = Console(stderr=True), read_world().rank > 0
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=hidden) as bar:
        tasks = [bar.add_task(text, total=None, visible=False) for text in descriptions]

        def updater(task: TaskID) -> Callable[[int, int], None]:
            def update(done: int, total: int) -> None:
                bar.update(task, completed=done, total=total, visible=True)

            return update

        yield [updater(task) for task in tasks]


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
    """Lay out the content of metrics.json: a row a class, the mean last, `-` for null."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("class")
    for heading in _FIGURES.values():
        table.add_column(heading, justify="right")
    for name, figures in metrics["classes"].items():
        table.add_row(name, *_cells(figures))
    table.add_section()
    table.add_row("mean", *_cells(metrics["mean"]), style="bold")
    return table


def _cells(figures: Mapping[str, float | None]) -> list[str]:
    return [_cell(key, figures.get(key)) for key in _FIGURES]


def _cell(key: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}" if key == "psnr" else f"{value:.3f}"


def _path_text(value: object) -> str:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not JSON")
