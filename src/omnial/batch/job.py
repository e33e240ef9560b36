"""What an archive is inspected with: `job.json` in the folder of the results.

Parts of two different jobs must never stand in one folder, so a run that finds another job's
file there is refused.
"""

import hashlib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from omnial._version import __version__
from omnial.config.settings import AS_TRAINED, Reading
from omnial.errors import UserError
from omnial.files import file_digest, replacing
from omnial.inference.predictor import JOB_FILE
from omnial.model_folder.config_file import CONFIG_FILE, read_config
from omnial.model_folder.export_folder import EXPORT_FILE


class Job(BaseModel):
    """Everything that a row depends on. Two runs of equal jobs may share their parts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str = __version__
    """That of omnial."""
    model: str
    """Digest of the model folder, see `model_digest`."""
    base: Path
    """What relative paths start from, absolute: the folder that the command was given in."""
    paths: tuple[str, ...]
    """Files and folders as the user named them."""
    class_name: str | None
    """The product; None recognises it, image by image."""
    tile: int | None
    """Edge of tiles in source pixels; None: as the thresholds were calibrated."""
    batch_size: int
    """Images that the network gets at once."""
    part_images: int
    """Images of a part, a multiple of `batch_size`: every part begins with a batch of its own,
    as it would if all images were inspected in one go."""
    pictures: bool
    """Whether maps and overlays are written."""
    reading: Reading = AS_TRAINED
    """How pictures are read, where that differs from the training."""


def model_digest(folder: Path) -> str:
    """SHA-256 of what a model or export folder says of itself.

    The weights are not read: `config.json` and `export.json` hold their digests, which are
    compared when the folder is opened.

    Raises:
        UserError: It is no such folder.
    """
    read_config(folder)
    found = [folder / name for name in (CONFIG_FILE, EXPORT_FILE) if (folder / name).is_file()]
    return hashlib.sha256("".join(file_digest(path) for path in found).encode()).hexdigest()


def is_begun(out: Path, job: Job) -> bool:
    """Whether a folder holds this job's results already, complete or not.

    Raises:
        UserError: It holds another job's, or cannot be read.
    """
    path = out / JOB_FILE
    try:
        other = Job.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return False
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error}. Name another folder.") from error
    except ValidationError as error:
        raise UserError(
            f"{path} cannot be understood ({error.error_count()} errors): it is damaged, or of "
            "another version of omnial. Name another folder for the results."
        ) from error
    changed = [name for name in Job.model_fields if getattr(job, name) != getattr(other, name)]
    if changed:
        raise UserError(
            f"{out} holds the results of another job: {', '.join(changed)} differ from "
            f"{path}. Name another folder, or give that job's command to go on with it."
        )
    return True


def begin(out: Path, job: Job) -> None:
    """Make the folder of the results this job's.

    Raises:
        OSError: The file cannot be written.
    """
    with replacing(out / JOB_FILE) as draft:
        draft.write_text(job.model_dump_json(indent=2) + "\n", encoding="utf-8")
