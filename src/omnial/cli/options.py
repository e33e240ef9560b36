"""Options that several verbs share, with their help, and checks of their values."""

import os
from pathlib import Path
from typing import Annotated, Final

import typer
from pydantic import ValidationError
from typer.models import OptionInfo

from omnial.config.presets import SIZES, SYSTEMS
from omnial.config.settings import Reading
from omnial.errors import UserError

SETTINGS_PANEL: Final = "Settings"
BUDGET_PANEL: Final = "Budget (one of them)"
OUTPUT_PANEL: Final = "Output"

Data = Annotated[
    list[Path],
    typer.Option(
        "--data",
        metavar="DIR",
        help="Data set: a root with a folder for each class, or one class's folder. Repeatable.",
    ),
]
System = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        rich_help_panel=SETTINGS_PANEL,
        help=f"What is computed: {', '.join(SYSTEMS)}. Default: omnial.",
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(metavar="FILE", rich_help_panel=SETTINGS_PANEL, help="YAML file with settings."),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        rich_help_panel=SETTINGS_PANEL,
        help="One setting by its dotted path, such as training.batch_size=8. Repeatable.",
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        metavar="S", rich_help_panel=SETTINGS_PANEL, help="Seed of every draw. Default: 0."
    ),
]
SkipBadFiles = Annotated[
    bool, typer.Option("--skip-bad-files", help="Leave unreadable files out instead of stopping.")
]
MaxMegapixels = Annotated[
    float | None,
    typer.Option(
        metavar="MP",
        help="Largest picture that is decoded. Default: 100, for a model as it was trained.",
    ),
]
SignificantBits = Annotated[
    int | None,
    typer.Option(
        "--significant-bits",
        metavar="N",
        help="Bits that carry the signal in 16-bit files: 10, 12, 14 or 16. Default: 16, for a "
        "model as it was trained.",
    ),
]
Device = Annotated[
    str,
    typer.Option(
        metavar="NAME", help="auto, cpu, cuda or cuda:N; auto takes a GPU if there is one."
    ),
]
AsJson = Annotated[
    bool,
    typer.Option("--json", rich_help_panel=OUTPUT_PANEL, help="Print the result as JSON alone."),
]
ModelDir = Annotated[
    Path, typer.Argument(metavar="MODEL_DIR", help="Model folder that `omnial train` wrote.")
]
AnyModelDir = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL_DIR",
        help="Model folder that `omnial train` wrote, or one that `omnial export` wrote.",
    ),
]
ClassOfAll = Annotated[
    str | None,
    typer.Option(
        "--class", metavar="NAME", help="Product on all images. Default: the folders' names."
    ),
]


def number(help_: str, panel: str | None = None, *, least: int = 1) -> OptionInfo:
    """Make an option that takes a whole number."""
    option: OptionInfo = typer.Option(min=least, metavar="N", rich_help_panel=panel, help=help_)
    return option


def amount(help_: str, metavar: str, panel: str | None = None, *, least: float) -> OptionInfo:
    """Make an option that takes a number with a fraction."""
    option: OptionInfo = typer.Option(min=least, metavar=metavar, rich_help_panel=panel, help=help_)
    return option


def folder(help_: str, metavar: str = "DIR") -> OptionInfo:
    """Make an option that takes a folder to write to."""
    option: OptionInfo = typer.Option(metavar=metavar, rich_help_panel=OUTPUT_PANEL, help=help_)
    return option


def size_option(default: str) -> OptionInfo:
    """Make the `--size` option of a verb whose default size is `default`."""
    option: OptionInfo = typer.Option(
        metavar="NAME",
        rich_help_panel=SETTINGS_PANEL,
        help=f"How large and how long: {', '.join(SIZES)}. Default: {default}.",
    )
    return option


BatchSize = Annotated[int, number("Images at a time; changes speed alone.")]
AttackBatchSize = Annotated[int, number("Samples at a time; changes speed and memory.")]
Tile = Annotated[
    int | None,
    number("Inspect in overlapping tiles of N source pixels an edge. Default: as calibrated."),
]
Devices = Annotated[
    int | None,
    number("Share the work among N processes of this machine, each with a GPU if there are any."),
]


def reading(max_megapixels: float | None, significant_bits: int | None) -> Reading:
    """How images are read for a trained model.

    Raises:
        UserError: a value is out of its range.
    """
    try:
        return Reading.model_validate(
            {"max_megapixels": max_megapixels, "significant_bits": significant_bits}
        )
    except ValidationError as error:
        first = error.errors()[0]
        option = f"--{first['loc'][0]}".replace("_", "-")
        raise UserError(f"{option} {first['input']}: {first['msg']}") from error


def data_overrides(
    max_megapixels: float | None, significant_bits: int | None, skip_bad_files: bool
) -> list[str]:
    """The same for a training, as overrides of settings.

    Raises:
        UserError: a value is out of its range.
    """
    given = reading(max_megapixels, significant_bits).model_dump(exclude_none=True)
    if skip_bad_files:
        given["on_bad_file"] = "skip"
    return [f"data.{key}={value}" for key, value in given.items()]


def check_rate(rate: float | None) -> None:
    """Refuse a false-alarm rate outside (0, 1) with a UserError."""
    if rate is not None and not 0.0 < rate < 1.0:
        raise UserError(f"--false-alarm-rate {rate:g}: give a share above 0 and below 1")


def check_out(folder: Path) -> Path:
    """Return a folder that can be written to or made, before any work is done for it.

    Raises:
        UserError: the path is a file, lies below a file, may not be written to, or cannot be one.
    """
    try:
        folder.stat()
    except (FileNotFoundError, NotADirectoryError):
        pass  # it is made, or the check below says why not
    except OSError as error:
        raise UserError(f"--out {folder}: {error.strerror}; give another folder") from error
    ancestor = next(path for path in (folder, *folder.absolute().parents) if os.path.exists(path))
    if not ancestor.is_dir():
        raise UserError(f"--out {folder}: {ancestor} is a file; give a folder")
    if not os.access(ancestor, os.W_OK | os.X_OK):
        raise UserError(f"--out {folder}: no permission to write to {ancestor}")
    return folder
