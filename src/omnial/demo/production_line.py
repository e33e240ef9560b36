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
from typing import Annotated, ClassVar, Final, NamedTuple

import numpy as np
from PIL import Image
from pydantic import ConfigDict, Field, TypeAdapter

from omnial.data.records import GOOD
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
_MOST = 100_000
_Count = Annotated[int, Field(ge=0, le=_MOST)]


class _Image(NamedTuple):
    """One image to draw, and the files of it and its mask, relative to the data set."""

    class_name: str
    split: Split
    kind: str
    number: int
    path: Path
    mask: Path | None


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

    def images(self) -> Iterator[_Image]:
        """All images of the data set."""
        for name in self.classes:
            kinds: list[tuple[Split, str, int]] = [("train", GOOD, self.train)]
            kinds.append(("test", GOOD, self.test_good))
            kinds += [("test", kind, self.per_kind) for kind in PRODUCTS[name].kinds]
            for split, kind, count in kinds:
                for index in range(count):
                    path = Path(name, split, kind, f"{index:03d}.png")
                    mask = Path(name, "ground_truth", kind, f"{index:03d}_mask.png")
                    yield _Image(name, split, kind, index, path, None if kind == GOOD else mask)

    def files(self) -> set[Path]:
        """The files of all images and masks."""
        both = [file for image in self.images() for file in (image.path, image.mask)]
        return {file for file in both if file is not None}


_READ: Final = TypeAdapter(_Parameters)


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
    fewer classes or another number of cores change no image. Everything is written next to `out`
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
    names = tuple(sorted(set(PRODUCTS if classes is None else classes)))
    for name in names:
        if name not in PRODUCTS:
            raise UserError(
                f"the production line has no class {name!r}; choose from {', '.join(PRODUCTS)}"
            )
    if not names:
        raise UserError(f"name at least one class of {', '.join(PRODUCTS)}")
    for key, value, least, most in (
        ("seed", seed, 0, 2**63 - 1),
        ("size", size, MIN_SIZE, MAX_SIZE),
        ("train", train, 1, _MOST),
        ("test_good", test_good, 0, _MOST),
        ("per_kind", per_kind, 0, _MOST),
    ):
        if not least <= value <= most:
            raise UserError(f"{key} must be from {least} to {most}, not {value}")
    parameters = _Parameters(_DRAWING, seed, names, size, train, test_good, per_kind)
    out = Path(out).absolute()
    unfinished = out.with_name(f".{out.name}.partial")
    if out.exists():
        if not out.is_dir():
            raise UserError(f"{out} is a file; choose a folder for the production line")
        found = _read_marker(out)
        if found == parameters and all((out / file).is_file() for file in parameters.files()):
            if unfinished.exists():  # a run was killed when this was done
                with _alone(unfinished):
                    return
            return
        _refuse_foreign(out, found)
    with (
        _alone(unfinished),
        writing("The production line", out),
        scratch_in(unfinished) as scratch,
    ):
        _write(scratch / "new", parameters)
        if out.exists():
            out.rename(scratch / "old")
        (scratch / "new").rename(out)


@contextmanager
def _alone(unfinished: Path) -> Iterator[None]:
    """Keep other runs off a data set; the folder next to it is emptied and goes at the end."""
    with locked(unfinished):
        yield
    with suppress(OSError):
        unfinished.rmdir()  # it stays where a killed run had made it


def _read_marker(out: Path) -> _Parameters | None:
    """The parameters of the data set in `out`; None if it has no marker of ours."""
    try:
        found = _READ.validate_python(read_json(out / MARKER))
    except (OSError, ValueError):
        return None
    return found if set(found.classes) <= set(PRODUCTS) else None


def _refuse_foreign(out: Path, found: _Parameters | None) -> None:
    """Raise if `out` holds a file that `generate` did not write."""
    there = {path.relative_to(out) for path in out.rglob("*") if not path.is_dir()}
    foreign = sorted(there - (set() if found is None else found.files() | {Path(MARKER)}))
    if foreign:
        raise UserError(
            f"{out} holds files that are not the production line's, for example {foreign[0]}; "
            "move them away or choose another folder"
        )


def _write(folder: Path, parameters: _Parameters) -> None:
    for parent in {(folder / file).parent for file in parameters.files()}:
        parent.mkdir(parents=True, exist_ok=True)

    def draw(image: _Image) -> None:
        pair = render_pair(*image[:4], seed=parameters.seed, size=parameters.size)
        Image.fromarray(pair.image).save(folder / image.path, compress_level=3)
        if image.mask is not None:
            mask = Image.fromarray(pair.mask.astype(np.uint8) * 255)
            mask.save(folder / image.mask, compress_level=3)

    # Threads suffice: NumPy, SciPy and the PNG encoder work outside the interpreter lock.
    pool = ThreadPoolExecutor(min(os.cpu_count() or 1, 8))
    try:
        for _ in pool.map(draw, parameters.images()):
            pass
    finally:
        pool.shutdown(cancel_futures=True)
    (folder / MARKER).write_text(json.dumps(asdict(parameters), indent=2) + "\n", encoding="utf-8")
