"""What verbs print: results on standard output, everything else on standard error."""

import contextlib
import json
import logging
import os
import shlex
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

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
    from omnial.metrics.ranking import Figures
    from omnial.model_folder.validation_figures import ValidationFigures

# Wide enough for the metrics table where the output goes to a file or a pipe.
_FILE_WIDTH: Final = 120
LEAST: Final = 5
"""Images of a class of which one is held out; see `data.validation_share`."""
ENOUGH: Final = 20


@contextlib.contextmanager
def working() -> Iterator[Progress]:
    """Do a verb's work: whatever it prints and logs goes to standard error, not to the result.

    Yields a function that shows progress as bars, which appear with the first report.
    """
    own, first = logging.getLogger("omnial"), read_processes().rank == 0
    handler, level = logging.StreamHandler(), own.level
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    bars = BarProgress(*columns, TimeRemainingColumn(), console=Console(stderr=True))
    tasks: dict[str, TaskID] = {}

    def report(what: str, done: int, total: int) -> None:
        if what not in tasks:
            bars.start()
            tasks[what] = bars.add_task(what, total=total)
        bars.update(tasks[what], completed=done, total=total)

    own.addHandler(handler)
    own.setLevel(logging.INFO if first else logging.ERROR)
    with contextlib.redirect_stdout(sys.stderr):
        try:
            yield report if first else silent
        finally:
            if tasks:
                bars.stop()
            own.removeHandler(handler)
            own.setLevel(level)


def say(message: str) -> None:
    """Print something that is not the result."""
    print(message, file=sys.stderr)


def print_result(
    result: Mapping[str, Any], as_json: bool, show: Callable[[Mapping[str, Any]], None]
) -> None:
    """Print a result as JSON alone, without NaN or infinities, or with `show` in words."""
    if as_json:
        print(json.dumps(result, indent=2, allow_nan=False, default=os.fspath))
    else:
        show(result)


def exit_code(bad_files: Iterable[BadFile] = (), *, failed: bool = False) -> ExitCode:
    """Print which files could not be used, and why; with any, the work is done but for some."""
    bad_files = list(bad_files)
    for bad in bad_files:
        say(f"left out: {shown(bad.path)}: {bad.reason}")
    return ExitCode.SOME_BAD if bad_files or failed else ExitCode.DONE


def print_table(
    headings: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    texts: Collection[int] = (0,),
    last: Sequence[object] | None = None,
) -> None:
    """Print a table, unwrapped where the output is not a terminal; None is `-`.

    Columns are numbers, aligned to the right, but for those of `texts`; the last row is set apart.
    """

    def cells(row: Sequence[object]) -> list[str]:
        return [escape("-" if cell is None else shown(cell)) for cell in row]

    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, heading in enumerate(headings):
        justify: Literal["left", "right"] = "left" if index in texts else "right"
        table.add_column(heading, justify=justify, overflow="fold")  # nothing is cut off
    for row in rows:
        table.add_row(*cells(row))
    if last is not None:
        table.add_section()
        table.add_row(*cells(last), style="bold")
    console = Console()
    if not console.is_terminal:
        console = Console(width=_FILE_WIDTH)
    console.print(table)


def print_next(*command: object) -> None:
    """Print, as the last line, the command that most people give next."""
    print(f"\nnext: {shlex.join(['omnial', *map(str, command)])}")


def print_next_training(roots: Iterable[object]) -> None:
    """The same before a training, with a budget: without one, it takes hours."""
    print_next("train", *(word for root in roots for word in ("--data", root)), "--minutes", 30)


def say_few(counts: Mapping[str, int]) -> bool:
    """Say which classes have too few images to learn from; whether one can not be trained on."""
    for name, count in counts.items():
        if 0 < count < ENOUGH:
            say(
                f"{shown(name)}: few images to learn from ({count}). A training takes {LEAST} at "
                f"least, verdicts to rely on take {ENOUGH}, and 100 or more are better."
            )
    return any(count < LEAST for count in counts.values())


def print_facts(facts: Mapping[str, object]) -> None:
    """Print names and values in two columns."""
    width = max(map(len, facts))
    for name, value in facts.items():
        print(f"{name.replace('_', ' '):<{width}}  {_words(value)}".rstrip())


def _words(value: object) -> str:
    """A fact as people read it: `gear 80, tile 80`, six digits, `-` for none."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_words(part)}" for name, part in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_words, value))
    if isinstance(value, float):
        return f"{value:.6g}"
    return "-" if value is None else str(value)


def print_metrics(metrics: Mapping[str, Any]) -> None:
    """Print the content of metrics.json: verdicts, a row a class, the mean last, `-` for null.

    A column more gives the reconstruction's `erased` on the model's own validation images: of
    test images nobody knows how they would look without their defects.
    """
    from omnial.evaluation.result import FIGURES, Verdicts
    from omnial.model_folder.validation_figures import ValidationFigures

    names, classes, mean = [*FIGURES], metrics["classes"], metrics["mean"]
    validation = ValidationFigures.of_training(metrics["model"].get("training", {}))
    if validation is not None:
        names.append("validation_erased")
        erased = {name: validation.classes.get(name, {}).get("erased") for name in classes}
        classes = {name: {**classes[name], names[-1]: value} for name, value in erased.items()}
        known = [value for value in erased.values() if value is not None]
        mean = {**mean, names[-1]: sum(known) / len(known) if known else None}
    verdicts = Verdicts(**metrics["verdicts"])
    if verdicts.good or verdicts.defective:
        print(
            f"found {verdicts.found} of {verdicts.defective} defects, "
            f"{verdicts.false_alarms} of {verdicts.good} good parts alarmed\n"
        )
    _print_figures("class", names, classes, mean)


def print_validation(validation: "ValidationFigures") -> None:
    """Print the figures of a model's validation images in the same way."""
    from omnial.model_folder.validation_figures import NAMES

    _print_figures("validation", NAMES, validation.classes, validation.mean)


def _print_figures(
    corner: str, names: Sequence[str], classes: "Mapping[str, Figures]", mean: "Figures"
) -> None:
    """Print figures under their names, a word a line."""

    def row(label: str, figures: "Figures") -> list[str]:
        return [label, *(figure(name, figures.get(name)) for name in names)]

    rows = [row(label, figures) for label, figures in classes.items()]
    headings = [name.replace("_", "\n", 1).replace("_", " ") for name in names]
    print_table((corner, *headings), rows, last=row("mean", mean))


def figure(name: str, value: float | None) -> str:
    """A figure as the tables show it, `-` for none."""
    if value is None:
        return "-"
    return f"{value:.1f}" if name == "psnr" else f"{value:.3f}"
