"""Damage that Pillow's decoders pass over, and files that are made to keep them busy."""

import re
from typing import Final

from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

MAX_SCANS: Final = 100
"""Scans of a JPEG file. Encoders write up to some twenty; each costs a pass over all pixels."""

_START_OF_IMAGE, _END_OF_IMAGE, _START_OF_SCAN, _TEMPORARY = 0xD8, 0xD9, 0xDA, 0x01
# Within the pixels, FF is followed by 00, or by a restart marker, D0 to D7.
_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")


def check_integrity(image: ImageFile) -> None:
    """Look through an opened file before its pixels are decoded.

    Raises:
        OSError, SyntaxError, ValueError: a PNG file has a wrong check sum or no end, or a JPEG
            file has too many scans.
    """
    if image.fp is None:
        return
    if isinstance(image, PngImageFile):
        # Pillow compares the check sums of the header's chunks alone.
        image.fp.seek(0)
        PngImageFile(image.fp).verify()
    elif isinstance(image, JpegImageFile):
        image.fp.seek(0)
        _refuse_many_scans(image.fp.read())


def _refuse_many_scans(content: bytes) -> None:
    """Count the scans up to the end of the first image: thumbnails lie within segments."""
    scans = 0
    found = _MARKER.search(content, 2)
    while found and found[1][0] != _END_OF_IMAGE:
        place = found.end()
        if found[1][0] not in (_START_OF_IMAGE, _TEMPORARY):
            place += int.from_bytes(content[place : place + 2], "big")
        scans += found[1][0] == _START_OF_SCAN
        if scans > MAX_SCANS:
            raise ValueError(f"more than {MAX_SCANS} scans")
        found = _MARKER.search(content, place)
