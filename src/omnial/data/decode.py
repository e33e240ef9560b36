"""The one way from a picture to network input, shared by training and by every back end.

NumPy and Pillow only. The rules:

- Files are rotated upright by their EXIF orientation, masks like images. Of a file with several
  pages or frames, the first counts.
- Grey, palette, 1-bit, CMYK and other 8-bit colours become 8-bit RGB. [O] Transparent pixels
  are blended over black, since the colours under them are arbitrary.
- 16-bit grey files are divided by the largest value that their `significant_bits` can hold;
  float files hold 0 to 1. Where a file says that 0 is white, it is inverted.
- 16-bit colour files are read to 8 bits a channel (Pillow has no deeper colour mode).
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from omnial.config.settings import DataSettings
from omnial.data.geometry import Placement, mask_to_network, place, to_network
from omnial.data.image_file import (
    ImageError,
    bits_of,
    check_kind,
    check_size,
    content_of,
    image_size,
    is_inverted,
    naming_damage,
    open_image,
    upright,
)

_FLOAT_SLACK = 1e-3
"""How far a float image may leave [0, 1] before it is taken for one on another scale."""
_LOSSY = frozenset({"JPEG", "WEBP"})
"""Formats in which black need not stay exactly 0."""


def read_rgb(
    source: Path | Image.Image | NDArray[Any],
    settings: DataSettings,
    *,
    content: bytes | None = None,
) -> NDArray[Any]:
    """Read a picture as upright RGB: a file and the same file opened by Pillow give equal pixels.

    A source is a PNG, JPEG, BMP, TIFF or WebP file (`content` are its bytes, where they do not come
    from disk); a Pillow image, which stays as it is; or an upright array (H, W), (H, W, 1),
    (H, W, 3) in RGB or (H, W, 4) in RGBA, of uint8, of uint16 in `significant_bits`, or of floats
    in [0, 1]. The result is (H, W, 3): uint8 for sources of at most 8 bits a channel, float32 in
    [0, 1] for deeper ones.

    Raises:
        ImageError: The picture is unreadable, too large, or its values leave the stated range.
        ValueError: The array is no such image.
        TypeError: The source is no picture.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source, settings)
    if isinstance(source, Path):
        with open_image(source, settings.max_megapixels, content=content) as file:
            return _pixels(source, file, settings)
    if not isinstance(source, Image.Image):
        raise TypeError(
            f"a picture is a path, an array or a Pillow image, not {type(source).__name__}"
        )
    name = Path(str(getattr(source, "filename", "")) or "the Pillow image")
    with naming_damage(name):
        content = content_of(name, source)
        if content is not None:
            return read_rgb(name, settings, content=content)
        check_size(name, source, settings.max_megapixels)
        if isinstance(source, TiffImageFile):
            check_kind(name, source.tag_v2)
        return _pixels(name, source, settings)


def _pixels(path: Path, image: Image.Image, settings: DataSettings) -> NDArray[Any]:
    _refuse_deep_colour(path, image, settings)
    tags = image.tag_v2 if isinstance(image, TiffImageFile) else None
    image = upright(image)
    if not _is_deep(image):
        return np.array(_rgb(image))
    grey = _deep_grey(path, np.asarray(image), settings, 16 if tags is None else bits_of(tags))
    if tags is not None and is_inverted(tags):
        grey = 1 - grey
    return np.repeat(grey[..., np.newaxis], 3, axis=2)


def network_input(
    source: Path | Image.Image | NDArray[Any], settings: DataSettings
) -> tuple[NDArray[Any], Placement]:
    """Turn a picture, see `read_rgb`, into the frame that the network sees, and its placement.

    The frame is (3, height, width), uint8 or float32 in [0, 1] as `read_rgb` gives it (small to
    keep; see `as_unit`), of the network's size, or larger where it is to be seen in windows.
    """
    image = read_rgb(source, settings)
    placement = place(image.shape[:2], settings)
    placed = to_network(image, placement)
    return np.ascontiguousarray(placed.transpose(2, 0, 1)), placement


def as_unit(array: NDArray[Any]) -> NDArray[np.float32]:
    """Pixels as float32 in [0, 1]: uint8 divided by 255, float32 as it is, no other type."""
    if array.dtype == np.uint8:
        return array.astype(np.float32) / np.float32(255)
    if array.dtype == np.float32:
        return array
    raise TypeError(f"pixels are uint8 or float32, not {array.dtype}")


def read_mask(path: Path) -> NDArray[np.bool_]:
    """Read a mask file at its own size, upright: (H, W) bool, True somewhere.

    Everything but black is defect (so 0/1, 0/255 and colours all do); in lossy formats (JPEG, WebP)
    everything from half brightness on. Where it is drawn in black on a transparent ground, what is
    not transparent is defect. An `ImageError` says that the file is unreadable, that a pixel of it
    is NaN, or that it is black all over.
    """
    mask = _mask(path)
    if not mask.any():
        raise ImageError(path, "it is black all over, so it marks nothing")
    return mask


def is_black(path: Path) -> bool:
    """Whether a mask file marks nothing; an `ImageError` if it is unreadable, see `read_mask`."""
    return not _mask(path).any()


def _mask(path: Path) -> NDArray[np.bool_]:
    with open_image(path) as file:
        least = 128 if file.format in _LOSSY else 1
        image = upright(file)
        mask = _drawn(path, image, least)
        if not mask.any() and image.has_transparency_data:
            opaque = np.asarray(image.convert("RGBA").getchannel("A")) >= least
            mask = opaque & ~opaque.all()
        return mask


def _drawn(path: Path, image: Image.Image, least: int) -> NDArray[np.bool_]:
    if least > 1:
        return np.asarray(np.asarray(_rgb(image).convert("L")) >= least)
    if image.mode == "F" and np.isnan(np.asarray(image)).any():
        raise ImageError(path, "a pixel of the mask is not a number")
    if image.mode in ("1", "L") or _is_deep(image):
        return np.asarray(np.asarray(image) != 0)
    return np.asarray(np.asarray(_rgb(image)).any(axis=2))


def network_mask(path: Path, placement: Placement) -> NDArray[np.bool_]:
    """A defect mask on its image's frame, (height, width) bool, see `mask_to_network`.

    An `ImageError` says that it is unreadable or of another size than the image.
    """
    expected = (placement.source_height, placement.source_width)
    check_mask_size(path, image_size(path), expected)
    mask = read_mask(path)
    check_mask_size(path, mask.shape, expected)
    return mask_to_network(mask, placement)


def check_mask_size(path: Path, size: tuple[int, ...], expected: tuple[int, ...]) -> None:
    """Refuse a mask whose (height, width) differs from its image's with an `ImageError`."""
    if size != expected:
        raise ImageError(
            path,
            f"the mask is {size[1]}x{size[0]} pixels, its image {expected[1]}x{expected[0]}; "
            "they must be equal",
        )


def network_roi(path: Path | None, placement: Placement) -> NDArray[np.bool_]:
    """A region of interest on an image's frame: (height, width) bool, True inside.

    Its file is black where nothing is to be scored, and is stretched over the image's frame
    whatever its size, since the images of a class may differ in size. None means everywhere.
    Padding is never inside.
    """
    region = np.ones((1, 1), dtype=np.bool_) if path is None else read_mask(path)
    return mask_to_network(region, placement)


def _from_array(array: NDArray[Any], settings: DataSettings) -> NDArray[Any]:
    if array.ndim == 2:
        array = array[..., np.newaxis]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or array.size == 0:
        raise ValueError(
            "an image as an array is (H, W), or (H, W, C) of 1, 3 or 4 channels: grey, RGB or "
            f"RGBA; not {array.shape}"
        )
    if array.dtype == np.uint16:
        white = 2**settings.significant_bits - 1
        if array.max() > white:
            raise ValueError(f"a value of {array.max()} has more bits than {white}; see `reading`")
        array = array.astype(np.float32) / np.float32(white)
    elif np.issubdtype(array.dtype, np.floating):
        # Written so that NaN fails as well.
        if not (array.min() >= 0.0 and array.max() <= 1.0):
            raise ValueError("a float image must lie in [0, 1]")
        array = array.astype(np.float32, copy=False)
    elif array.dtype != np.uint8:
        raise ValueError(f"an image is uint8, uint16 or float in [0, 1], not {array.dtype}")
    if array.shape[2] == 1:
        return np.repeat(array, 3, axis=2)
    if array.shape[2] == 3:
        return array
    if array.dtype == np.uint8:
        return np.array(_rgb(Image.fromarray(array)))
    return np.ascontiguousarray(array[..., :3] * array[..., 3:])


def _is_deep(image: Image.Image) -> bool:
    # Integer grey of more than 8 bits, or float grey.
    return image.mode == "F" or image.mode.startswith("I")


def _refuse_deep_colour(path: Path, image: Image.Image, settings: DataSettings) -> None:
    """Refuse colour of fewer bits in 16: Pillow would keep the upper 8, half of them empty."""
    if settings.significant_bits == 16 or _is_deep(image):
        return
    if isinstance(image, TiffImageFile):
        deep = bits_of(image.tag_v2) > 8
    else:
        tiles = getattr(image, "tile", ())
        # Once its pixels are decoded, Pillow no longer says how many bits a PNG file had.
        deep = any(";16" in str(tile.args) for tile in tiles) or (
            isinstance(image, PngImageFile) and not tiles and image.mode in ("RGB", "RGBA", "LA")
        )
    if deep:
        raise ImageError(
            path,
            f"16-bit colour with {settings.significant_bits} significant bits is not supported; "
            "save it as 8-bit colour or 16-bit grey, or set significant_bits to 16 "
            "(--significant-bits 16) if it uses the full range",
        )


def _rgb(image: Image.Image) -> Image.Image:
    if image.has_transparency_data:
        blended = Image.new("RGBA", image.size, (0, 0, 0, 255))
        blended.alpha_composite(image.convert("RGBA"))
        image = blended
    return image.convert("RGB")


def _deep_grey(
    path: Path, values: NDArray[Any], settings: DataSettings, stored_bits: int
) -> NDArray[np.float32]:
    """Deep grey values scaled to [0, 1]; those that cannot be on the stated scale are refused."""
    low, high = float(values.min()), float(values.max())
    if values.dtype.kind == "f":
        # Written so that NaN fails as well.
        if not (low >= -_FLOAT_SLACK and high <= 1.0 + _FLOAT_SLACK):
            raise ImageError(
                path, f"float images must hold values from 0 to 1, this one has {low:g} to {high:g}"
            )
        return np.clip(values.astype(np.float32), 0.0, 1.0)
    bits = min(settings.significant_bits, stored_bits)
    white = 2**bits - 1
    if low < 0 or high > white:
        more = low >= 0 and high < 2**16 and settings.significant_bits < 16
        advice = "set significant_bits (--significant-bits), or " if more else ""
        raise ImageError(
            path,
            f"values from {low:g} to {high:g} do not fit into {bits} bits; {advice}save the file "
            "as 8-bit or unsigned 16-bit grey",
        )
    return values.astype(np.float32) / np.float32(white)
