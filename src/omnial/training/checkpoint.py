"""A run on disk: its checkpoint, and what it was started with, so that a resume mixes no runs."""

import functools
import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from pydantic import BaseModel

from omnial.config.settings import Settings
from omnial.data.records import Catalogue
from omnial.errors import RunError, UserError
from omnial.files import failure, replacing, writing
from omnial.model_folder.config_file import RUN_FILE, check_run
from omnial.training.devices import Precision
from omnial.untrusted import plain, read_json

_BUDGETS = {f"settings.training.{name}" for name in ("minutes", "images", "steps")}
# Settings that say where and how safely a run computes, not what.
_FREE = {
    "data": {"cache_gigabytes"},
    "training": {"devices", "num_nodes", "strategy", "accelerator", "checkpoint_minutes"},
}
# Settings that came after results were kept, with the value that computes the same as before.
_LATER: dict[str, Any] = {
    "model.second_look": "none",
    "model.normality": "none",
    "model.blocks": "plain",
    "objective.defect_weight": 1.0,
    "model.network": "inspection",
    "synthesis.recipe": "perlin",
    "synthesis.line_share": 0.0,
    "synthesis.shade_share": 0.0,
    "training.adversarial_share": 0.5,
    "training.optimizer": "adam",
    "training.half_share": 0.0,
}


def what_is_computed(settings: Settings) -> dict[str, Any]:
    """The settings as JSON values, without those that say only where and how safely."""
    dumped = settings.model_dump(mode="json")
    for path, before in _LATER.items():
        *sections, key = path.split(".")
        section = functools.reduce(dict.__getitem__, sections, dumped)
        if section[key] == before:
            section.pop(key)
    for name, free in _FREE.items():
        for key in free:
            dumped[name].pop(key)
    return dumped


def folder_of_checkpoints(out: Path) -> Path:
    """Training state of the model folder `out`."""
    return out / "checkpoints"


class RunIdentity(BaseModel, frozen=True, extra="forbid", strict=True):
    """What makes two runs the same run."""

    settings: dict[str, Any]
    classes: list[str]
    images: str
    """Digest of the names and contents of all training images, regions of interest and textures."""
    start: str | None
    """Digest of the weights that the run started from, or None."""
    precision: Precision = "fp32"
    command: list[str] = []
    """What goes on with the run on the command line; no part of its identity."""
    started_in: str = ""
    """The folder that the command's paths start from."""

    @classmethod
    def of(
        cls,
        settings: Settings,
        catalogue: Catalogue,
        textures: Sequence[Path],
        start: str | None,
        precision: Precision,
        content: Callable[[Path], bytes],
        command: Sequence[str] = (),
    ) -> "RunIdentity":
        """The identity of a run about to start; `content` gives the SHA-256 of a file."""
        files = [("texture", path) for path in textures]
        for product in catalogue.classes:
            files += [(product.name, record.path) for record in product.train]
            files += [(product.name, product.roi)] if product.roi is not None else []
        digest = hashlib.sha256()
        for name, path in files:
            # Names decide what is held out for validation, and the order of the draws.
            line = "\0".join((name, path.parent.name, path.name, ""))
            digest.update(line.encode("utf-8", "surrogateescape") + content(path))
        return cls(
            settings=what_is_computed(settings),
            classes=list(catalogue.names),
            images=digest.hexdigest(),
            start=start,
            precision=precision,
            command=list(command),
            started_in=os.getcwd() if command else "",
        )


def read_identity(out: Path) -> RunIdentity | None:
    """The run that `out` was started with, or None where none was; a damaged file is refused."""
    path = out / RUN_FILE
    if not os.path.lexists(path):
        return None
    try:
        return RunIdentity.model_validate(read_json(path))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: not the record of a run ({plain(str(error))}). Train into another folder."
        ) from error


def claim(out: Path, wanted: RunIdentity, resume: bool) -> RunIdentity:
    """Begin a run in a folder, or go on with the stored one, whose precision is kept.

    The stored one may go on with another budget.
    """
    check_run(out, resume)
    stored = read_identity(out)
    if stored is not None:
        wanted = wanted.model_copy(update={"precision": stored.precision})
        how = {"command", "started_in"}
        differences = _differences(stored.model_dump(exclude=how), wanted.model_dump(exclude=how))
        # A changed budget is a new schedule from the weights that are there.
        others = [text for path, text in differences.items() if path not in _BUDGETS]
        if others:
            raise UserError(
                f"{out}: the run there was started with other values of {', '.join(others)}. "
                "Repeat the settings and data that it was started with, or train into another "
                "folder."
            )
        if stored == wanted:
            return stored
    folder = folder_of_checkpoints(out)
    with writing("The record of the run", folder):
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(out / RUN_FILE) as part:
            part.write_text(wanted.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return wanted


def _differences(first: Any, second: Any, path: str = "") -> dict[str, str]:
    """The values that differ between two trees of plain data, in words, by their paths."""
    if isinstance(first, dict) and isinstance(second, dict):
        found: dict[str, str] = {}
        for key in sorted(first.keys() | second.keys()):
            found |= _differences(first.get(key), second.get(key), f"{path}.{key}".lstrip("."))
        return found
    values = f" (then {first}, now {second})" if path.startswith("settings") else ""
    return {} if first == second else {path: path + values}


def write_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint; until it is on disk whole, the one before stays."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part, part.open("wb") as file:
            torch.save(content, file)
            file.flush()
    except (OSError, RuntimeError) as error:
        # PyTorch's writer fails a second time while it deals with the first failure.
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError):
            raise
        text = failure("The checkpoint could not be written", path, cause)
        raise RunError(f"{text} The one before is kept: go on with --resume.") from error


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint's content on the CPU, tensors and plain values alone."""
    try:
        content = torch.load(path, weights_only=True, map_location="cpu")
        if not isinstance(content, dict) or type(content.get("step")) is not int:
            raise ValueError("it holds no state of a training")
    # PyTorch's reader reports damage in all these ways.
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, UnpicklingError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(
            f"{path}: not a whole checkpoint ({reason}). Remove it, and --resume begins the run "
            "again; or train into another folder."
        ) from error
    return content
