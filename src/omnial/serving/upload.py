"""Image files from the body of a request, in memory. Nothing in a request is trusted."""

import unicodedata
from typing import NamedTuple

from fastapi import Request
from starlette.datastructures import UploadFile

from omnial.serving.replies import RefusedError, unknown_field
from omnial.serving.service_settings import MEGABYTE, ServiceSettings

_LONGEST_NAME = 200
_LONGEST_FIELD = 1024
_FIELDS = 4
_CLOSE = {"Connection": "close"}


class Upload(NamedTuple):
    """An image file as it was sent."""

    content: bytes
    name: str | None
    """For people to read; never a path."""


async def read_one(
    request: Request, name: str | None, settings: ServiceSettings
) -> tuple[Upload, str | None]:
    """The image of a request, called `name` if it is the whole body; the product a form names.

    A RefusedError says that there is not exactly one image, or what is wrong with it.
    """
    if _is_form(request):
        uploads, product = await _read_form(request, "image", most=1)
        if len(uploads) != 1:
            raise RefusedError(422, "no_image", "Send exactly one file, in the field image.")
    else:
        uploads, product = [Upload(await request.body(), clean_name(name))], None
    if (refusal := fault(uploads[0], settings)) is not None:
        raise refusal
    return uploads[0], product


async def read_many(request: Request, settings: ServiceSettings) -> tuple[list[Upload], str | None]:
    """The images of a form in order, and the product.

    A RefusedError says that it is no form, or has no image or too many.
    """
    if not _is_form(request):
        raise RefusedError(415, "no_form", "Send a form (multipart/form-data) of files.")
    uploads, product = await _read_form(request, "images", most=settings.largest_batch)
    if not uploads:
        raise RefusedError(422, "no_image", "Send at least one file, in fields named images.")
    return uploads, product


def fault(upload: Upload, settings: ServiceSettings) -> RefusedError | None:
    """The refusal of a file that need not be read for that: it is empty, or too large."""
    if not upload.content:
        return RefusedError(422, "no_image", "The image is empty.")
    return too_large(settings) if len(upload.content) > settings.image_bytes else None


def too_large(settings: ServiceSettings) -> RefusedError:
    """The refusal of a file of too many bytes."""
    largest = f"{settings.max_megabytes:g} MB, a request {settings.batch_bytes / MEGABYTE:g} MB"
    reason = f"An image may have {largest}; the service sets that with --max-megabytes."
    return RefusedError(413, "too_large", reason, _CLOSE)


def too_slow(settings: ServiceSettings) -> RefusedError:
    """The refusal of a request that does not arrive within the service's time."""
    reason = f"The request took more than {settings.timeout:g} s to arrive."
    return RefusedError(408, "slow", reason, _CLOSE)


def clean_name(name: str | None) -> str | None:
    """A file name for people: its last part, without control characters, not too long."""
    last = (name or "").replace("\\", "/").rsplit("/", 1)[-1]
    # Category C: control and formatting characters, lone surrogates.
    shown = "".join(c for c in last if unicodedata.category(c)[0] != "C").strip()
    return shown[:_LONGEST_NAME] or None


def _is_form(request: Request) -> bool:
    return request.headers.get("content-type", "").lower().startswith("multipart/form-data")


async def _read_form(request: Request, field: str, most: int) -> tuple[list[Upload], str | None]:
    """The files in a field of a form, and its field `class`; a RefusedError names any other."""
    uploads: list[Upload] = []
    product: str | None = None
    form = request.form(max_files=most, max_fields=_FIELDS, max_part_size=_LONGEST_FIELD)
    try:
        async with form as fields:
            for key, value in fields.multi_items():
                if key == field and isinstance(value, UploadFile):
                    uploads.append(Upload(await value.read(), clean_name(value.filename)))
                elif key == "class" and not isinstance(value, UploadFile):
                    product = value or None
                else:
                    raise unknown_field("form", key, (f"{field} (a file)", "class (a text)"))
    except ValueError as error:
        # Python has character sets that no text is in, and the form may name one of these.
        reason = "The form's charset cannot be used; send UTF-8."
        raise RefusedError(400, "bad_request", reason) from error
    return uploads, product
