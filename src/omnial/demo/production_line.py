"""The demonstration's data set: a procedural production line with exact defect masks.

Eight product classes, five objects and three textures, are drawn as lit surfaces with varying
pose, light and grain. A defect is drawn into the same scene as its defect-free twin, so its mask is
where the two pictures differ. None of the defects is a noise blob filled with a texture, which is
what the training synthesis draws.

`generate` writes a data set in the layout of MVTec AD; `render_pair` draws one image with its
mask and twin; `CLASS_NAMES` and `DEFECT_KINDS` say what there is.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import ConfigDict, Field, TypeAdapter

from omnial.demo.scene import (
    MAX_SIZE,
    MIN_SIZE,
    PRODUCTS,
    VISIBLE,
    Pair,
    Split,
    render_pair,
)
from omnial.errors import UserError
from omnial.files import locked, scratch_in, writing
from omnial.untrusted import read_json

__all__ = [
    "CLASS_NAMES",
    "DEFECT_KINDS",
    "MARKER",
    "VISIBLE",
    "Pair",
    "generate",
    "render_pair",
]

CLASS_NAMES: tuple[str, ...] = tuple(PRODUCTS)
"""The product classes, sorted."""
DEFECT_KINDS: Mapping[str, tuple[str, ...]] = {
    name: product.kinds for name, product in PRODUCTS.items()
}
"""The defect kinds of each class, sorted."""
MARKER = "production_line.json"
"""Written last: a folder with this file is complete."""
_DRAWING = 1
"""Raised whenever the same parameters would give other pixels."""


_Count = Annotated[int, Field(ge=0, le=100_000)]


@dataclass(frozen=True)
class _Parameters:
    """What the data set's content depends on; the marker holds exactly this."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    drawing: int
    seed: int
    classes: tuple[str, ...]
    size: int
    train: _Count
    test_good: _Count
    per_kind: _Count

    def marker(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"


_READ: Final = TypeAdapter(_Parameters)


@dataclass(frozen=True)
class _Job:
    """One image to draw, and where it and its mask go (relative to the data set)."""

    class_name: str
    split: Split
    kind: str
    index: int

    @property
    def image(self) -> Path:
        return Path(self.class_name, self.split, self.kind, f"{self.index:03d}.png")

    @property
    def mask(self) -> Path | None:
        if self.kind == "good":
            return None
        return Path(self.class_name, "ground_truth", self.kind, f"{self.index:03d}_mask.png")


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

    Each image is a pure function of (seed, class, split, kind, index) and the size: more images,
    fewer classes or another number of cores change no image. Everything is written beside `out`
    and moved there when complete. A complete data set of the same parameters is left as it is;
    one of other parameters, or with files missing, is replaced as long as `out` holds nothing
    but files that this function wrote.

    Args:
        out: Folder to write; made if it is not there.
        seed: Of all random numbers, from 0.
        classes: Names from `CLASS_NAMES`; all of them if None.
        size: Edge of the square images in pixels, 64..1024.
        train: Defect-free training images a class, at least 1.
        test_good: Defect-free test images a class.
        per_kind: Test images of each defect kind of a class, each with its mask (0 or 255).

    Raises:
        UserError: A value out of range, an unknown class, foreign files in `out`, or another
            run that writes there.
        RunError: Writing failed, for example on a full disk; `out` is as it was.
    """
    parameters = _checked(seed, classes, size, train, test_good, per_kind)
    out = Path(out).absolute()
    jobs = list(_jobs(parameters))
    if out.exists():
        if not out.is_dir():
            raise UserError(f"{out} is a file; choose a folder for the production line")
        if _complete(out, parameters, jobs):
            if _beside(out).exists():
                # A run was killed when this was done.
                with _alone(out):
                    return
            return
        _refuse_foreign(out)
    with _alone(out) as beside, writing("The production line", out), scratch_in(beside) as scratch:
        made = scratch / "new"
        _write(made, parameters, jobs)
        if out.exists():
            out.rename(scratch / "old")
        made.rename(out)


def _beside(out: Path) -> Path:
    """Where a data set is written, so that it appears whole."""
    return out.with_name(f".{out.name}.partial")


@contextmanager
def _alone(out: Path) -> Iterator[Path]:
    """Keep other runs off a data set; yields the folder beside it, a killed run's being emptied."""
    beside = _beside(out)
    with locked(beside):
        yield beside
    with suppress(OSError):
        # It stays where a killed run had made it.
        beside.rmdir()


def _checked(
    seed: int, classes: Sequence[str] | None, size: int, train: int, test_good: int, per_kind: int
) -> _Parameters:
    names = tuple(sorted(set(PRODUCTS if classes is None else classes)))
    for name in names:
        if name not in PRODUCTS:
            raise UserError(
                f"the production line has no class {name!r}; choose from {', '.join(PRODUCTS)}"
            )
    if not names:
        raise UserError(f"name at least one class of {', '.join(PRODUCTS)}")
    if seed < 0:
        raise UserError(f"seed must be 0 or more, not {seed}")
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise UserError(f"size must be from {MIN_SIZE} to {MAX_SIZE} pixels, not {size}")
    for key, value, least in (
        ("train", train, 1),
        ("test_good", test_good, 0),
        ("per_kind", per_kind, 0),
    ):
        if not least <= value <= 100_000:
            raise UserError(f"{key} must be from {least} to 100000 images, not {value}")
    return _Parameters(_DRAWING, seed, names, size, train, test_good, per_kind)


def _jobs(parameters: _Parameters) -> Iterator[_Job]:
    for name in parameters.classes:
        for index in range(parameters.train):
            yield _Job(name, "train", "good", index)
        for index in range(parameters.test_good):
            yield _Job(name, "test", "good", index)
        for kind in PRODUCTS[name].kinds:
            for index in range(parameters.per_kind):
                yield _Job(name, "test", kind, index)


def _files(jobs: Sequence[_Job]) -> set[Path]:
    masks = {job.mask for job in jobs if job.mask is not None}
    return {job.image for job in jobs} | masks


def _read_marker(out: Path) -> _Parameters | None:
    """The parameters of the data set in `out`; None if it has no marker of ours."""
    try:
        found = _READ.validate_python(read_json(out / MARKER))
    except (OSError, ValueError):
        return None
    return found if set(found.classes) <= set(PRODUCTS) else None


def _complete(out: Path, parameters: _Parameters, jobs: Sequence[_Job]) -> bool:
    return _read_marker(out) == parameters and all((out / file).is_file() for file in _files(jobs))


def _refuse_foreign(out: Path) -> None:
    """Raise if `out` holds a file that `generate` did not write."""
    there = {path.relative_to(out) for path in out.rglob("*") if not path.is_dir()}
    found = _read_marker(out)
    ours = set() if found is None else _files(list(_jobs(found))) | {Path(MARKER)}
    foreign = sorted(there - ours)
    if foreign:
        raise UserError(
            f"{out} holds files that are not the production line's, for example {foreign[0]}; "
            "move them away or choose another folder"
        )


def _write(folder: Path, parameters: _Parameters, jobs: Sequence[_Job]) -> None:
    for parent in {(folder / file).parent for file in _files(jobs)}:
        parent.mkdir(parents=True, exist_ok=True)

    def draw(job: _Job) -> None:
        pair = render_pair(
            job.class_name,
            job.split,
            job.kind,
            job.index,
            seed=parameters.seed,
            size=parameters.size,
        )
        _save(folder / job.image, pair.image)
        if job.mask is not None:
            _save(folder / job.mask, pair.mask.astype(np.uint8) * 255)

    # Threads suffice: NumPy, SciPy and the PNG encoder work outside the interpreter lock.
    pool = ThreadPoolExecutor(min(os.cpu_count() or 1, 8))
    try:
        for _ in pool.map(draw, jobs):
            pass
    finally:
        pool.shutdown(cancel_futures=True)
    (folder / MARKER).write_text(parameters.marker(), encoding="utf-8")


def _save(path: Path, pixels: NDArray[np.uint8]) -> None:
    Image.fromarray(pixels).save(path, compress_level=3)
