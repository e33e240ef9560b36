"""The trainings below a folder: what was learnt when, how good it is, what is not finished."""

import os
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from omnial.errors import UserError
from omnial.files import in_use
from omnial.model_folder.config_file import (
    CHECKPOINT_FILE,
    CONFIG_FILE,
    RUN_FILE,
    WEIGHTS_FILE,
    read_config,
)
from omnial.model_folder.validation_figures import ValidationFigures
from omnial.untrusted import plain, read_json, reason_of

_DEPTH = 4  # folders below the one that is named
_TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True)
class RunSummary:
    """A model folder: a finished training, or one that can go on."""

    folder: str
    state: str
    """`finished`, `unfinished`, `running`, or `unreadable`."""
    time: str | None = None
    """When it was finished, or wrote its last checkpoint; UTC."""
    system: str | None = None
    size: str | None = None
    classes: tuple[str, ...] = ()
    training_images: int | None = None
    """Different images that it learnt from."""
    steps: int | None = None
    seconds: float | None = None
    figures: dict[str, float | None] | None = None
    """Means over the classes of the validation images' figures, see `ValidationFigures`."""
    command: str | None = None
    """What goes on with an unfinished training that was started on the command line."""
    reason: str | None = None
    """Why it is unreadable."""


class _Started(BaseModel):
    """What is shown of a run's record."""

    settings: dict[str, Any]
    classes: tuple[str, ...]
    command: tuple[str, ...] = ()
    started_in: str = ""


def find_runs(root: Path) -> list[RunSummary]:
    """The trainings in a folder and up to four folders below it, the newest last.

    A UserError says that there is no such folder.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; name one that holds trained models")
    return sorted(map(_summary, _model_folders(root)), key=lambda run: (run.time or "", run.folder))


def _model_folders(root: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(root):
        folder = Path(place)
        # Environments, caches and whole homes have no models of ours in their depths.
        deep = len(folder.relative_to(root).parts) >= _DEPTH
        folders[:] = [] if deep else sorted(name for name in folders if not name.startswith("."))
        # An export has a configuration as well, and other weights.
        if {CONFIG_FILE, WEIGHTS_FILE} <= set(files) or os.path.isfile(folder / RUN_FILE):
            folders.clear()
            yield folder


def _summary(folder: Path) -> RunSummary:
    try:
        return _finished(folder) if (folder / CONFIG_FILE).exists() else _unfinished(folder)
    except UserError as error:
        return RunSummary(str(folder), "unreadable", reason=str(error))


def _finished(folder: Path) -> RunSummary:
    config = read_config(folder)
    facts, validation = config.training, ValidationFigures.of_training(config.training)
    images, steps, seconds = (facts.get(name) for name in ("training_images", "steps", "seconds"))
    counts = images.values() if isinstance(images, dict) else ()
    return RunSummary(
        folder=str(folder),
        state="finished",
        time=str(facts["finished"]) if "finished" in facts else None,
        system=config.settings.system,
        size=config.settings.size,
        classes=config.classes,
        training_images=sum(counts) if all(isinstance(n, int) for n in counts) else None,
        steps=steps if isinstance(steps, int) else None,
        seconds=seconds if isinstance(seconds, int | float) else None,
        figures=None if validation is None else dict(validation.mean),
    )


def _unfinished(folder: Path) -> RunSummary:
    try:
        started = _Started.model_validate(read_json(folder / RUN_FILE))
    except (OSError, ValueError) as error:
        reason = plain(reason_of(error))
        raise UserError(f"{folder / RUN_FILE}: not the record of a run ({reason})") from error
    last = folder / CHECKPOINT_FILE
    changed = (last if last.exists() else folder / RUN_FILE).stat().st_mtime
    return RunSummary(
        folder=str(folder),
        state="running" if in_use(folder) else "unfinished",
        time=time.strftime(_TIME, time.gmtime(changed)),
        system=str(started.settings.get("system", "")) or None,
        size=str(started.settings.get("size", "")) or None,
        classes=started.classes,
        command=_command(started),
    )


def _command(started: _Started) -> str | None:
    """What goes on with a run, from here: its paths may start where it was started."""
    if not started.command:
        return None
    command = shlex.join(started.command)
    if started.started_in in ("", os.getcwd()):
        return command
    return f"cd {shlex.quote(started.started_in)} && {command}"
