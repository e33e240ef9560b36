"""The demonstration's data set: a procedural production line with exact defect masks.

Eight product classes, five objects and three textures, are drawn as lit surfaces with varying
pose, light and grain. A defect is drawn into the same scene as its defect-free twin, so its mask is
where the two pictures differ. None of the defects is a noise blob filled with a texture, which is
what the training synthesis draws.
"""

import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, TypeAlias

import numpy as np
import pydantic
from numpy.random import Generator, Philox, SeedSequence
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ValidationError, field_validator
from scipy import ndimage

from omnial.data.records import GOOD
from omnial.demo.canvas import Canvas, Field
from omnial.demo.circuit_board import circuit_board
from omnial.demo.defects import Defect
from omnial.demo.label import label
from omnial.demo.materials import fabric, tile, wood
from omnial.demo.parts import blister, gear, metal_plate
from omnial.demo.surface import Surface, grain, photograph
from omnial.errors import UserError
from omnial.files import locked, scratch_in, writing
from omnial.untrusted import read_json, reason_of

Split = Literal["train", "test"]

# A drawing function takes the same draws from its generator whatever the defect is, so that the
# surface is the same but for it.
_PRODUCTS: Mapping[str, tuple[Callable[[Canvas, Generator, Defect], Surface], tuple[str, ...]]] = {
    "blister": (blister, ("contamination", "crack", "missing_part")),
    "circuit_board": (circuit_board, ("misplaced", "missing_part", "solder_bridge")),
    "fabric": (fabric, ("hole", "stain", "thread")),
    "gear": (gear, ("contamination", "crack", "missing_part")),
    "label": (label, ("crease", "misprint", "stain")),
    "metal_plate": (metal_plate, ("dent", "missing_part", "scratch", "stain")),
    "tile": (tile, ("chip", "crack", "stain")),
    "wood": (wood, ("hole", "scratch", "stain")),
}
CLASS_NAMES = tuple(_PRODUCTS)
"""The product classes, sorted."""
DEFECT_KINDS: Mapping[str, tuple[str, ...]] = {
    name: kinds for name, (_, kinds) in _PRODUCTS.items()
}
"""The defect kinds of each class, sorted."""
MARKER = "production_line.json"
"""Written last: a folder with this file is complete."""
VISIBLE = 6.0 / 255.0
"""A pixel belongs to the mask where a channel changed by more than this."""
_DRAWING = 1
"""Raised whenever the same parameters would give other pixels."""
_AREA = (0.002, 0.07)
_ATTEMPTS = 24
_GOLDEN = 0.6180339887498949


class Pair(NamedTuple):
    """An image, what it would be without its defect, and where the two differ."""

    image: NDArray[np.uint8]  # (size, size, 3)
    normal: NDArray[np.uint8]  # (size, size, 3), equal to `image` outside the mask
    mask: NDArray[np.bool_]
    """(size, size), the pixels whose colour the defect changed by more than `VISIBLE` before grain,
    gaps of up to two pixels closed, specks of less than three pixels dropped."""


def render_pair(
    class_name: str, split: Split, kind: str, index: int, *, seed: int, size: int = 256
) -> Pair:
    """Draw one image of size x size pixels: a pure function of its arguments.

    Product, light and grain depend on (seed, class, split, kind, index); the defect is drawn into
    the same scene from random numbers of its own, so that the twin shows exactly the same part.
    A defect that would cover less than 0.2 % or more than 7 % of the image is drawn again. The kind
    is `good` or one of the class's `DEFECT_KINDS`.
    """
    build, _ = _PRODUCTS[class_name]
    key = (seed, index, *(zlib.crc32(name.encode()) for name in (class_name, split, kind)))
    # Fine textures need 256 pixels to be drawn well; smaller images are the average of those.
    factor = -(-256 // size)
    canvas = Canvas.of_size(size * factor)

    def shot(defect: Defect, camera: Generator) -> Field:
        image = photograph(build(canvas, _stream(key, 2), defect), canvas, camera)
        if factor == 1:
            return image
        reduced: Field = image.reshape(size, factor, size, factor, 3).mean(axis=(1, 3))
        return reduced

    camera = _stream(key, 0)
    clean = shot(Defect(GOOD, 0.0, _stream(key, 4)), camera)
    noise = grain(_stream(key, 1), size, camera.uniform(0.005, 0.011))
    normal = _quantised(clean + noise)
    if kind == GOOD:
        return Pair(normal, normal, np.zeros((size, size), dtype=np.bool_))
    severity = (_stream(key[:1] + key[2:], 3).uniform() + index * _GOLDEN) % 1.0
    least, best = np.inf, (clean, np.zeros((size, size), dtype=np.bool_))
    for attempt in range(_ATTEMPTS):
        defective = shot(Defect(kind, severity, _stream(key, 4 + attempt)), _stream(key, 0))
        mask = _changed(clean, defective)
        share = float(mask.mean())
        miss = max(_AREA[0] - share, share - _AREA[1], 0.0)
        if miss < least:
            least, best = miss, (defective, mask)
        if miss == 0.0:
            break
    defective, mask = best
    return Pair(np.where(mask[..., None], _quantised(defective + noise), normal), normal, mask)


def _stream(key: tuple[int, ...], number: int) -> Generator:
    """Independent random numbers for one purpose within one image."""
    return Generator(Philox(SeedSequence((*key, number))))


def _quantised(image: Field) -> NDArray[np.uint8]:
    levels: NDArray[np.uint8] = np.rint(np.clip(image, 0.0, 1.0) * 255.0).astype(np.uint8)
    return levels


def _changed(clean: Field, defective: Field) -> NDArray[np.bool_]:
    """The mask of `Pair`."""
    square = np.ones((3, 3), np.bool_)
    visible = np.abs(defective - clean).max(axis=2) > VISIBLE
    closed = ndimage.binary_closing(np.pad(visible, 2), square)[2:-2, 2:-2]
    regions, _ = ndimage.label(closed, square)
    sizes = np.bincount(regions.ravel())
    sizes[0] = 0
    kept: NDArray[np.bool_] = (sizes >= 3)[regions]
    return kept


_Count: TypeAlias = Annotated[int, pydantic.Field(ge=0, le=100_000)]


class _Parameters(BaseModel, extra="forbid"):
    """What the data set's content depends on; the marker holds exactly this."""

    drawing: int
    seed: Annotated[int, pydantic.Field(ge=0, lt=2**63)]
    classes: tuple[str, ...]
    size: Annotated[int, pydantic.Field(ge=64, le=1024)]
    train: Annotated[int, pydantic.Field(ge=1, le=100_000)]
    test_good: _Count
    per_kind: _Count

    @field_validator("classes")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in names if name not in CLASS_NAMES]
        if unknown or not names:
            wrong = f"there is no {', '.join(unknown)}; " if unknown else ""
            raise ValueError(f"{wrong}name at least one class of {', '.join(CLASS_NAMES)}")
        return names

    def images(self) -> Iterator[tuple[tuple[str, Split, str, int], list[Path]]]:
        """What to draw, and the files of each image and its mask, relative to the data set."""
        for name in self.classes:
            counts: dict[tuple[Split, str], int] = {
                ("train", GOOD): self.train,
                ("test", GOOD): self.test_good,
                **{("test", kind): self.per_kind for kind in DEFECT_KINDS[name]},
            }
            for (split, kind), count in counts.items():
                for index in range(count):
                    image = Path(name, split, kind, f"{index:03d}.png")
                    mask = Path(name, "ground_truth", kind, f"{index:03d}_mask.png")
                    yield (name, split, kind, index), [image] if kind == GOOD else [image, mask]

    def files(self) -> set[Path]:
        """The files of all images and masks."""
        return {file for _, files in self.images() for file in files}


def generate(
    out: Path,
    *,
    seed: int,
    classes: Sequence[str] | None = None,
    size: int = 256,
    train: int = 60,
    test_good: int = 10,
    per_kind: int = 5,
) -> None:
    """Write the production line as `CLASS/{train,test,ground_truth}/KIND/000.png`.

    For each of the classes (all if None): `train` and `test_good` defect-free images, and
    `per_kind` of each defect kind with a mask (0 or 255), of size x size pixels, 64..1024.

    Each image is a pure function of (seed, class, split, kind, index) and the size: more images,
    fewer classes or another number of cores change no image. Everything is written next to `out`
    and moved there when complete. A complete data set of the same parameters is left as it is;
    one of other parameters, or with files missing, is replaced as long as `out` holds nothing
    but files that this function wrote.

    Raises:
        UserError: A value out of range, an unknown class, foreign files in `out`, or another
            run that writes there.
        RunError: Writing failed, for example on a full disk; `out` is as it was.
    """
    try:
        parameters = _Parameters(
            drawing=_DRAWING,
            seed=seed,
            classes=tuple(sorted(set(CLASS_NAMES if classes is None else classes))),
            size=size,
            train=train,
            test_good=test_good,
            per_kind=per_kind,
        )
    except ValidationError as error:
        raise UserError(f"the production line cannot be drawn: {reason_of(error)}") from error
    out = Path(out).absolute()
    unfinished = out.with_name(f".{out.name}.partial")
    if out.is_file():
        raise UserError(f"{out} is a file; choose a folder for the production line")
    complete = out.exists() and _is_complete(out, parameters)
    if complete and not unfinished.exists():
        return
    with locked(unfinished), writing("The production line", out):
        if not complete:  # else a run was killed after its last step
            with scratch_in(unfinished) as scratch:
                _write(scratch / "new", parameters)
                if out.exists():
                    out.rename(scratch / "old")
                (scratch / "new").rename(out)
    with suppress(OSError):
        unfinished.rmdir()  # `locked` keeps a folder that a killed run had made


def _is_complete(out: Path, wanted: _Parameters) -> bool:
    """Whether `out` holds this data set. A file that `generate` did not write is refused."""
    try:
        found: _Parameters | None = _Parameters.model_validate(read_json(out / MARKER))
    except (OSError, ValueError):
        found = None
    ours = set() if found is None else {*found.files(), Path(MARKER)}
    there = {path.relative_to(out) for path in out.rglob("*") if not path.is_dir()}
    if found == wanted and ours <= there:
        return True
    if there - ours:
        raise UserError(
            f"{out} holds files that are not the production line's, for example "
            f"{min(there - ours)}; move them away or choose another folder"
        )
    return False


def _write(folder: Path, parameters: _Parameters) -> None:
    for parent in {(folder / file).parent for file in parameters.files()}:
        parent.mkdir(parents=True, exist_ok=True)

    def draw(image: tuple[tuple[str, Split, str, int], list[Path]]) -> None:
        what, files = image
        pair = render_pair(*what, seed=parameters.seed, size=parameters.size)
        pictures = (pair.image, pair.mask.astype(np.uint8) * 255)
        for file, pixels in zip(files, pictures, strict=False):  # a good image has no mask
            Image.fromarray(pixels).save(folder / file, compress_level=3)

    # Threads suffice: NumPy, SciPy and the PNG encoder work outside the interpreter lock.
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
        list(pool.map(draw, parameters.images()))
    (folder / MARKER).write_text(parameters.model_dump_json(indent=2) + "\n", encoding="utf-8")
