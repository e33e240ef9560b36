"""The job of an archive: what its rows depend on, and which images there are.

`job.json` in the folder of the results keeps the parts of two jobs apart. `listing.parquet`,
written once, has a row group of paths for each part: a worker reads its own part alone, and an
archive that grows later does not shift the parts of a job that has begun.
"""

import hashlib
import os
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from omnial._version import __version__
from omnial.config.settings import AS_TRAINED, Reading
from omnial.errors import RunError, UserError
from omnial.files import file_digest, replacing
from omnial.inference.inputs import each_image, no_images
from omnial.inference.predictor import JOB_FILE
from omnial.model_folder.config_file import CONFIG_FILE, read_config
from omnial.model_folder.export_folder import EXPORT_FILE
from omnial.progress import Progress, silent

LISTING_FILE: Final = "listing.parquet"
_PATHS: Final = pa.schema([pa.field("path", pa.binary(), nullable=False)])
"""Names of files are bytes, and need not be UTF-8."""


class Job(BaseModel):
    """Everything that a row depends on. Two runs of equal jobs may share their parts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str = __version__
    """Version of omnial."""
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
    """How images are read, where that differs from the training."""


def model_digest(folder: Path) -> str:
    """SHA-256 of the configuration of a model or export folder.

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


def begin(out: Path, job: Job, paths: Sequence[Path], progress: Progress = silent) -> None:
    """List the images of a new job, and make the folder of the results this job's.

    Raises:
        UserError: As `each_image`, or there is no image at all; nothing has been written then,
            unless a folder that cannot be read was met late.
        OSError: A file cannot be written.
    """
    found, images = each_image(paths), 0
    part = list(islice(found, job.part_images))
    if not part:
        raise no_images(paths)
    with replacing(out / LISTING_FILE) as draft, pq.ParquetWriter(draft, _PATHS) as writer:
        while part:
            table = pa.table({"path": [os.fsencode(path) for path in part]}, _PATHS)
            writer.write_table(table, row_group_size=len(part))
            images += len(part)
            progress("listing", images, images)
            part = list(islice(found, job.part_images))
    with replacing(out / JOB_FILE) as draft:
        draft.write_text(job.model_dump_json(indent=2) + "\n", encoding="utf-8")


def open_listing(out: Path) -> pq.ParquetFile:
    """The images of a job that was begun, a row group for each part.

    Raises:
        RunError: It is damaged.
    """
    path = out / LISTING_FILE
    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise RunError(
            f"{path} cannot be read ({error}). Name another folder for the results."
        ) from error


def paths_of(listing: pq.ParquetFile, part: int) -> list[Path]:
    """The paths of a part, as the user would write them."""
    return [Path(os.fsdecode(name)) for name in listing.read_row_group(part)["path"].to_pylist()]
