"""The checkpoint on disk: written beside its place and put there whole, read without objects."""

from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO

from omnial.errors import RunError, UserError
from omnial.files import failure, replacing


class CheckpointFile(CheckpointIO):
    """How Lightning's trainer writes and reads checkpoints.

    Its own way makes a second copy in memory, then a file in the system's temporary folder, and
    moves that: where the folder is on another disk, the move is a copy that a kill can halve.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write a checkpoint; until it is on disk whole, the one before stays.

        Raises:
            RunError: The disk is full or cannot be written.
        """
        target = Path(path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with replacing(target) as part, part.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
        except (OSError, RuntimeError) as error:
            # PyTorch's writer fails a second time while it deals with the first failure.
            cause = error if isinstance(error, OSError) else error.__context__
            if not isinstance(cause, OSError):
                raise
            text = failure("The checkpoint could not be written", target, cause)
            raise RunError(f"{text} The one before is kept: go on with --resume.") from error

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint: tensors and plain values alone, whatever is asked for.

        Raises:
            UserError: It is no whole checkpoint.
        """
        return read_checkpoint(Path(path))

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove a checkpoint."""
        Path(path).unlink(missing_ok=True)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint's content on the CPU.

    Raises:
        UserError: It is no whole checkpoint.
    """
    try:
        content = torch.load(path, weights_only=True, map_location="cpu")
        if not isinstance(content, dict) or type(content.get("global_step")) is not int:
            raise ValueError("it holds no state of a training")
    # PyTorch's reader tells of damage in all these ways.
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, UnpicklingError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(
            f"{path}: not a whole checkpoint ({reason}). Remove it, and --resume begins the run "
            "anew; or train into another folder."
        ) from error
    return content
