"""`config.json`: what a model folder, and every folder exported from it, says in plain text.

Reading it needs no PyTorch. A folder may come from anywhere, so nothing in the file is believed.
"""

import base64
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, PlainSerializer, PlainValidator, model_validator
from safetensors import SafetensorError

from omnial.config.settings import Section, Settings
from omnial.errors import UserError
from omnial.files import SCRATCH, unused
from omnial.models.normality import NORMALITY_ARRAYS, PRETRAINED, Normality, embedded_features
from omnial.models.position_gaussian import COMPONENTS, LEVELS
from omnial.models.recogniser import FEATURES, MOST_EXAMPLES, Recogniser
from omnial.models.thresholds import Calibration
from omnial.untrusted import Form, is_plain_name, plain, quoted, read_json, reason_of

SCHEMA_VERSION: Final = 7
"""Of `config.json`: exactly this one is read."""
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
RUN_FILE = "checkpoints/run.json"
"""What a run was started with, in its model folder."""
CHECKPOINT_FILE = "checkpoints/last.ckpt"
"""The state of a run, likewise."""
RECOGNISER: Final = "recogniser."
"""Prefix of the recogniser's arrays."""
NORMALITY: Final = "normality."
"""Prefix of the arrays of normality; the array's name, a dot and the class follow."""
ROI: Final = "roi."
"""Prefix of the regions of interest; the class follows."""

_T = TypeVar("_T")
_DIGEST_BYTES = 8  # of a trained file: two of a million files agree by chance once in 10^7 folders
MOST_FILES = 2**20
"""Most files that a model can be trained on: `config.json` keeps a digest of each."""
MOST_CELLS: Final = 2**9
"""Rows, and columns, of cells of a normality."""
_LARGEST_SETTINGS = 2**16  # characters: a run's settings have about four thousand


def class_names(names: object) -> tuple[str, ...]:
    """Check a list of class names.

    A ValueError says that it is no list of at least one name, a name stands in it twice, or could
    not be the name of one folder (`..`, a slash, a control character).
    """
    if not isinstance(names, list | tuple) or not all(isinstance(n, str) and n for n in names):
        raise ValueError("classes must be a list of names")
    if not names or len(set(names)) != len(names):
        raise ValueError("classes must be at least one name, none of them twice")
    for name in names:
        if not is_plain_name(name):
            raise ValueError(f"{quoted(name)} cannot be the name of a class, which is a folder's")
    return tuple(names)


def _trained_files(text: object) -> frozenset[bytes]:
    if isinstance(text, frozenset):
        return text
    if not isinstance(text, str):
        raise ValueError("not a text")
    joined = base64.b64decode(text, validate=True)
    if len(joined) % _DIGEST_BYTES or len(joined) > _DIGEST_BYTES * MOST_FILES:
        raise ValueError(f"not the digests of at most {MOST_FILES:,} files")
    starts = range(0, len(joined), _DIGEST_BYTES)
    digests = [joined[start : start + _DIGEST_BYTES] for start in starts]
    if any(first >= second for first, second in pairwise(digests)):
        raise ValueError("the digests do not rise")
    return frozenset(digests)


def _in_base64(digests: frozenset[bytes]) -> str:
    return base64.b64encode(b"".join(sorted(digests))).decode("ascii")


class FolderConfig(Section):
    """The content of `config.json`."""

    schema_version: Literal[7] = SCHEMA_VERSION
    settings: Settings
    classes: Annotated[tuple[str, ...], BeforeValidator(class_names)]
    """Names of the products, in the order of training."""
    calibration: Calibration
    """Thresholds of exactly the classes above."""
    training: dict[str, Any]
    """Facts about the training, JSON values."""
    weights_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    """Digest of the weights that belong to it."""
    trained_files: Annotated[
        frozenset[bytes], PlainValidator(_trained_files), PlainSerializer(_in_base64)
    ]
    """Of each file that the network was trained on, see `short_digest`."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if set(self.calibration.per_class) != set(self.classes):
            raise ValueError("the calibration names other classes than the model")
        return self

    def to_text(self) -> str:
        """The file's content, in the present schema version."""
        return json.dumps(self.model_dump(mode="json"), indent=2, allow_nan=False) + "\n"


def read_config(folder: Path) -> FolderConfig:
    """Read `config.json`; a `UserError` if it is missing, damaged or of another version."""
    with refusing(folder, CONFIG_FILE):
        content = read_json(folder / CONFIG_FILE)
        if not isinstance(content, dict):
            raise ValueError("it does not hold an object")
        version = content.get("schema_version")
        if type(version) is not int or version != SCHEMA_VERSION:
            raise ValueError(
                f"it was made by another version of omnial (its schema version is "
                f"{quoted(version)}, this one reads {SCHEMA_VERSION}); read it with that version"
            )
        # Each wrong key costs a complaint, and all of them more memory than the file.
        if content.keys() != (keys := set(FolderConfig.model_fields)):
            missing, unknown = sorted(keys - set(content)), sorted(set(content) - keys)
            raise ValueError(f"missing keys {missing}, unknown keys {quoted(unknown[:5])}")
        if len(json.dumps(content["settings"])) > _LARGEST_SETTINGS:
            raise ValueError(f"its settings have more than {_LARGEST_SETTINGS:,} characters")
        return FolderConfig.model_validate(content)


def check_free(out: Path) -> None:
    """Refuse a folder for a new model that holds anything, with a `UserError`."""
    # A scratch folder there is what a run left that was killed while it put files in place.
    if not (unused(out, CONFIG_FILE) or (out / SCRATCH).is_dir()):
        raise UserError(f"{out} exists and is not an empty folder. Choose another --out.")


def short_digest(content: bytes) -> bytes:
    """What a folder keeps of a trained file: the first 8 bytes of its content's SHA-256."""
    return content[:_DIGEST_BYTES]


def refusal(folder: Path, reason: str) -> UserError:
    """The error for a folder that is not what `omnial train` or `omnial export` wrote."""
    return UserError(
        f"{folder} is not a usable model folder: {plain(reason)}. Name the folder that "
        "`omnial train --out` or `omnial export --out` wrote, or make it again."
    )


@contextmanager
def refusing(folder: Path, name: str) -> Iterator[None]:
    """Turn what goes wrong with a file of a folder into the `refusal` that names it."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        if name == CONFIG_FILE and os.path.lexists(folder / RUN_FILE):
            raise UserError(
                f"{folder}: the training of this model is not finished. Give the command that "
                "began it again, with --resume."
            ) from error
        raise refusal(folder, f"it has no file {name}") from error
    except (OSError, ValueError, SafetensorError) as error:
        raise refusal(folder, f"{name}: {reason_of(error)}") from error


def check_run(folder: Path, resume: bool) -> None:
    """Refuse a folder that a run can neither begin in nor, with `resume`, go on in."""
    if os.path.lexists(folder / RUN_FILE):
        if not resume:
            raise UserError(
                f"{folder}: holds a run already. Give --resume to finish it, or another --out, "
                f"where --init {folder} trains this model further, on more pictures or products."
            )
    elif not unused(folder, RUN_FILE):
        raise UserError(
            f"{folder}: the folder is not empty and holds no run to resume. Choose another --out."
        )


def under(prefix: str, arrays: Mapping[str, _T]) -> dict[str, _T]:
    """The arrays whose names begin with a prefix, by the rest of their names."""
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def extra_forms(
    settings: Settings, classes: Sequence[str], found: Mapping[str, Form]
) -> dict[str, Form]:
    """Types and shapes of all tensors but the network's: recogniser, normality and regions.

    What the file holds is asked for three things: a class has a region of interest or has none, and
    the numbers of its examples and of normality's cells are bounded alone.
    """

    def examples(name: str, most: int) -> Form:
        shape = found[name].shape if name in found else ()
        return Form("F32", (min(shape[0], most) if shape else most, FEATURES))

    count, size = len(classes), (settings.data.height, settings.data.width)
    forms = {
        "examples": examples(RECOGNISER + "examples", MOST_EXAMPLES * count),
        "nothing": examples(RECOGNISER + "nothing", MOST_EXAMPLES),
        "counts": Form("I64", (count,)),
        "scale": Form("F32", (FEATURES,)),
        "radius": Form("F32", (count,)),
        "least": Form("F32", (count,)),
    }
    regions = {ROI + name: Form("BOOL", size) for name in classes if ROI + name in found}
    normality = dict[str, Form]()
    features = dict(zip(("", PRETRAINED), embedded_features(settings.model), strict=True))
    looks = [look for look, number in features.items() if number]
    for name in classes if settings.model.normality != "none" else ():
        normality[f"{NORMALITY}network_quantiles.{name}"] = Form("F32", LEVELS.shape)
        normality[f"{NORMALITY}weights.{name}"] = Form("F32", (1 + len(looks),))
        accepted = f"{NORMALITY}accepted.{name}"
        cells = found[accepted].shape if accepted in found else ()
        normality[accepted] = Form("F32", tuple(min(n, 4 * MOST_CELLS) for n in (*cells, 0, 0)[:2]))
        for look in looks:
            mean = f"{NORMALITY}{look}mean.{name}"
            shape = found[mean].shape if mean in found else ()
            parts, rows, columns = map(min, (*shape, 0, 0, 0), (COMPONENTS, MOST_CELLS, MOST_CELLS))
            shapes: dict[str, tuple[int, ...]] = {
                "center": (features[look],),
                "basis": (parts, features[look]),
                "mean": (parts, rows, columns),
                "deviation": (parts, rows, columns),
                "distance_quantiles": LEVELS.shape,
            }
            normality |= {f"{NORMALITY}{look}{k}.{name}": Form("F32", v) for k, v in shapes.items()}
    return {RECOGNISER + name: form for name, form in forms.items()} | normality | regions


def extra_arrays(
    recogniser: Recogniser,
    rois: Mapping[str, NDArray[np.bool_]],
    normality: Mapping[str, Normality],
) -> dict[str, NDArray[Any]]:
    """The arrays of `extra_forms`."""
    arrays = {RECOGNISER + name: array for name, array in recogniser.arrays().items()}
    for name, fitted in normality.items():
        arrays |= {f"{NORMALITY}{part}.{name}": array for part, array in fitted.arrays().items()}
    regions = {ROI + name: region for name, region in rois.items()}
    return {name: np.ascontiguousarray(array) for name, array in (arrays | regions).items()}


def read_extra(
    arrays: Mapping[str, NDArray[Any]], classes: Sequence[str]
) -> tuple[Recogniser, dict[str, NDArray[np.bool_]], dict[str, Normality]]:
    """Recogniser, regions of interest and normality from the arrays of `extra_forms`."""
    rois = under(ROI, arrays)
    for name, region in rois.items():
        if (region.view(np.uint8) > 1).any():
            raise ValueError(f"the region of {quoted(name)} holds other values than 0 and 1")
    own = under(NORMALITY, arrays)
    normality = {
        name: Normality.from_arrays(
            {k: own[f"{k}.{name}"] for k in NORMALITY_ARRAYS if f"{k}.{name}" in own}
        )
        for name in (classes if own else ())
    }
    return Recogniser.from_arrays(under(RECOGNISER, arrays), classes), rois, normality
