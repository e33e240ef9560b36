"""The checkpoint on disk: written whole or not at all, read without unpickling objects."""

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from omnial.errors import RunError, UserError
from omnial.files import failure, replacing


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
