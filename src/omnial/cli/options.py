"""Options that several verbs share, with their help, and checks of their values."""

import os
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from pydantic import ValidationError

from omnial.config.presets import RECIPES, SIZES, SYSTEMS
from omnial.config.settings import Reading
from omnial.errors import UserError

SETTINGS: Final = "Settings"
OUTPUT: Final = "Output"


def option(
    metavar: str | None,
    help_: str,
    panel: str | None = None,
    *,
    name: str | None = None,
    least: float | None = None,
) -> Any:
    """An option with a value, in a panel of the help; `name` where it is not the parameter's."""
    names = () if name is None else (name,)
    return typer.Option(*names, metavar=metavar, help=help_, rich_help_panel=panel, min=least)


def number(help_: str, panel: str | None = None, *, least: int = 1) -> Any:
    """An option that takes a whole number."""
    return option("N", help_, panel, least=least)


def flag(name: str, help_: str, panel: str | None = None) -> Any:
    """An option without a value, or with `--yes/--no` as its name."""
    return typer.Option(name, help=help_, rich_help_panel=panel)


def folder(help_: str, metavar: str = "DIR") -> Any:
    """An option that takes a folder to write to."""
    return option(metavar, help_, OUTPUT)


def size_option(default: str) -> Any:
    """The `--size` option of a verb whose default size is `default`."""
    names = ", ".join(SIZES)
    return option("NAME", f"How large and how long: {names}. Default: {default}.", SETTINGS)


def model_folder(help_: str, metavar: str = "MODEL_DIR") -> Any:
    """An argument that takes a folder that a verb wrote."""
    return typer.Argument(metavar=metavar, help=help_)


_DATA = "Data set: a root with a folder for each class, or one class's folder. Repeatable."
_SET = "One setting by its dotted path, such as training.batch_size=8. Repeatable."
_MEGAPIXELS = "Largest picture that is decoded. Default: as the model was trained; 100 to train."
_BITS = (
    "Bits that carry the signal in 16-bit files: 10, 12, 14 or 16. Default: as the model was "
    "trained; 16 to train."
)
ANY_MODEL = "Model folder that `omnial train` wrote, or one that `omnial export` wrote."
_SYSTEM = f"What is computed: {', '.join(SYSTEMS)}, or code of your own. Default: omnial."
_CONFIG = f"YAML file with settings, or a recipe: {', '.join(RECIPES)}."
_DEVICE = (
    "auto, cpu, cuda or cuda:N; auto takes a GPU if there is one. An OpenVINO export: cpu, or gpu "
    "for Intel graphics."
)
_DEVICES = "Share the work among N processes of this machine, each with a GPU if there are any."
SMALLEST_TILE = 32
"""Smaller ones show no part of a product, and a picture of some size never ends. [O]"""
_TILE = "Inspect in overlapping tiles of N source pixels an edge. Default: as calibrated."
_CLASS_OF_ALL = "Product on all images. Default: the folders' names."
_CLASS = "Product on the images. Without it, the model recognises the product."

ModelDir = Annotated[Path, model_folder("Model folder that `omnial train` wrote.")]
AnyModelDir = Annotated[Path, model_folder(ANY_MODEL)]
Data = Annotated[list[Path], option("DIR", _DATA, name="--data")]
System = Annotated[str | None, option("NAME", _SYSTEM, SETTINGS)]
Config = Annotated[str | None, option("FILE", _CONFIG, SETTINGS)]
Set = Annotated[list[str] | None, option("KEY=VALUE", _SET, SETTINGS, name="--set")]
Seed = Annotated[int | None, option("S", "Seed of every draw. Default: 0.", SETTINGS)]
SkipBadFiles = Annotated[
    bool, flag("--skip-bad-files", "Leave unreadable files out instead of stopping.")
]
MaxMegapixels = Annotated[float | None, option("MP", _MEGAPIXELS)]
SignificantBits = Annotated[int | None, option("N", _BITS)]
Device = Annotated[str, option("NAME", _DEVICE)]
Devices = Annotated[int | None, number(_DEVICES)]
BatchSize = Annotated[int, number("Images at a time; changes speed alone.")]
AttackBatchSize = Annotated[int, number("Samples at a time; changes speed and memory.")]
Tile = Annotated[int | None, number(_TILE, least=SMALLEST_TILE)]
ClassName = Annotated[str | None, option("NAME", _CLASS, name="--class")]
ClassOfAll = Annotated[str | None, option("NAME", _CLASS_OF_ALL, name="--class")]
AsJson = Annotated[bool, flag("--json", "Print the result as JSON alone.", OUTPUT)]


def reading(max_megapixels: float | None, significant_bits: int | None) -> Reading:
    """How images are read for a trained model; a value out of its range is a `UserError`."""
    try:
        return Reading.model_validate(
            {"max_megapixels": max_megapixels, "significant_bits": significant_bits}
        )
    except ValidationError as error:
        first = error.errors()[0]
        name = f"--{first['loc'][0]}".replace("_", "-")
        raise UserError(f"{name} {first['input']}: {first['msg']}") from error


def data_overrides(
    max_megapixels: float | None, significant_bits: int | None, skip_bad_files: bool
) -> list[str]:
    """The same for a training, as overrides of settings."""
    given = reading(max_megapixels, significant_bits).model_dump(exclude_none=True)
    if skip_bad_files:
        given["on_bad_file"] = "skip"
    return [f"data.{key}={value}" for key, value in given.items()]


def check_data(root: Path) -> None:
    """Refuse a data folder that is none, before PyTorch is imported to read it."""
    if not os.path.isdir(root):
        what = "is a file, not a folder" if os.path.exists(root) else "does not exist"
        raise UserError(f"the data folder {root} {what}; check --data")


def check_model(folder: Path) -> None:
    """Refuse a model folder that is none, before PyTorch is imported to load it."""
    if not os.path.isdir(folder):
        from omnial.model_folder.config_file import refusal

        raise refusal(folder, "it is a file" if os.path.exists(folder) else "it does not exist")


def check_out(folder: Path) -> None:
    """Refuse a folder that can neither be written to nor made, before any work is done for it."""
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
