"""Which TIFF files are read: the kinds whose every value is known to come out right.

TIFF is a box that holds almost anything, and of what Pillow does not refuse it reads some kinds
wrongly. So a file is read if its kind stands here, and every kind here is compared with another
reader in the tests.
"""

from typing import Final

from PIL.TiffImagePlugin import ImageFileDirectory_v2

_COMPRESSION, _PHOTOMETRIC, _FILL_ORDER, _PLANAR = 259, 262, 266, 284
_WIDTH, _BITS, _SAMPLES, _EXTRA, _FORMAT = 256, 258, 277, 338, 339

_COLOURS: Final = {
    0: "white-is-zero grey",
    1: "grey",
    2: "RGB",
    3: "palette",
    4: "transparency mask",
    5: "CMYK",
    6: "YCbCr",
    8: "Lab",
    32803: "Bayer pattern",
    34892: "linear raw",
}
_FORMATS: Final = {1: "", 2: "signed", 3: "float"}
_CHANNELS: Final = {2: 3, 5: 4, 6: 3, 8: 3}
_RAW, _JPEG = 1, 7
_COMPRESSIONS: Final = frozenset({_RAW, 2, 3, 4, 5, _JPEG, 8, 32773, 32946, 34925, 50000, 50001})
"""None, the three of fax, LZW, JPEG, deflate under two numbers, packbits, LZMA, Zstandard, WebP."""

_SMALL: Final = frozenset({(1, 1), (1, 2), (1, 4), (1, 8)})
_KINDS: Final = {
    0: _SMALL | {(1, 16), (3, 32)},
    1: _SMALL | {(1, 12), (1, 16), (1, 32), (2, 16), (2, 32), (3, 32)},
    2: {(1, 8), (1, 16)},
    3: _SMALL,
    5: {(1, 8), (1, 16)},
    6: {(1, 8)},
    8: {(1, 8)},
}
"""For each colour the formats and bits of a sample."""
_EXTRAS: Final = {(1, 8): {0, 2}, (2, 8): {0, 1, 2}, (2, 16): {0, 1, 2}, (5, 8): {0}}
"""For colour and bits, what one more channel may be: of no meaning, or alpha that the colours are
multiplied with or not."""
_LITTLE_ENDIAN: Final = frozenset({(0, 1, 16), (1, 1, 12), (1, 1, 32)})
_RAW_IF_BIG_ENDIAN: Final = frozenset({(2, 16), (2, 32), (3, 32)})


class UnsupportedKindError(Exception):
    """A sound file of a kind that is not read."""


def check_kind(tags: ImageFileDirectory_v2) -> None:
    """Refuse a TIFF file, by the tags of its first page, that might be read wrongly.

    Raises:
        UnsupportedKindError: Its kind is not among those that are read.
    """
    if _WIDTH in tags and not _is_read(tags):
        raise UnsupportedKindError(
            f"this kind of TIFF is not supported ({_describe(tags)}); save it as 8-bit grey or "
            "RGB, as unsigned 16-bit grey, or as 32-bit float grey"
        )


def is_inverted(tags: ImageFileDirectory_v2) -> bool:
    """Whether 0 stands for white. Pillow inverts such values of at most 8 bits by itself."""
    return bool(tags.get(_PHOTOMETRIC, 0) == 0)


def bits_of(tags: ImageFileDirectory_v2) -> int:
    """Bits of a sample."""
    return int(max(tags.get(_BITS, (1,))))


def _is_read(tags: ImageFileDirectory_v2) -> bool:
    colour, compression = tags.get(_PHOTOMETRIC, 0), tags.get(_COMPRESSION, 1)
    forms, bits = set(tags.get(_FORMAT, (1,))), set(tags.get(_BITS, (1,)))
    if compression not in _COMPRESSIONS or len(forms) > 1 or len(bits) > 1:
        return False
    (form,), (depth,) = forms, bits
    raw, big_endian = compression == _RAW, tags.prefix == b"MM"
    return (
        (form, depth) in _KINDS.get(colour, ())
        and _channels_are_read(tags, colour, depth, raw)
        and (depth <= 8 or tags.get(_FILL_ORDER, 1) == 1)
        and not (big_endian and (colour, form, depth) in _LITTLE_ENDIAN)
        and not (big_endian and not raw and (form, depth) in _RAW_IF_BIG_ENDIAN)
        and (raw or depth != 12)
        # Uncompressed, it may have fewer colours than pixels.
        and not (colour == 6 and compression != _JPEG)
    )


def _channels_are_read(tags: ImageFileDirectory_v2, colour: int, depth: int, raw: bool) -> bool:
    channels, extra = _CHANNELS.get(colour, 1), tuple(tags.get(_EXTRA, ()))
    count = tags.get(_SAMPLES, channels if tags.get(_COMPRESSION) == _JPEG else 1)
    # A fourth channel of RGB that nothing is said about is taken for alpha.
    if not extra and (colour, count) == (2, 4):
        extra = (2,)
    if len(extra) > 1 or count != channels + len(extra):
        return False
    if not set(extra) <= _EXTRAS.get((colour, depth), set()):
        return False
    apart = count > 1 and tags.get(_PLANAR, 1) == 2
    return not apart or (colour in (2, 5) and set(extra) <= {2} and (depth == 8 or not raw))


def _describe(tags: ImageFileDirectory_v2) -> str:
    colour, bits = tags.get(_PHOTOMETRIC, 0), tags.get(_BITS, (1,))
    count, form = tags.get(_SAMPLES, 1), max(tags.get(_FORMAT, (1,)))
    words = [
        f"{max(bits)}-bit {_FORMATS.get(form, f'format {form}')}".strip(),
        _COLOURS.get(colour, f"colour {colour}"),
        f"of {count} channel{'s' * (count > 1)}",
        "in planes of their own" if count > 1 and tags.get(_PLANAR, 1) == 2 else "",
        "big-endian" if tags.prefix == b"MM" else "little-endian",
        f"compression {tags.get(_COMPRESSION, 1)}",
    ]
    return ", ".join(word for word in (" ".join(filter(None, words[:4])), *words[4:]))
