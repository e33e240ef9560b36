"""`POST /v1/inspect` and `POST /v1/inspect/batch`."""

import asyncio
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response

from omnial.serving.replies import (
    BadImageReply,
    BatchReply,
    InspectionReply,
    InspectOneQuery,
    InspectQuery,
    RefusedError,
    Reply,
    refusals,
)
from omnial.serving.service import Service
from omnial.serving.upload import Upload, fault, read_many, read_one

PATH, BATCH_PATH = "/v1/inspect", "/v1/inspect/batch"

_FILE: Final = {"type": "string", "format": "binary"}
_FILES: Final = {"type": "array", "items": _FILE, "minItems": 1}


def _body(field: str, schema: dict[str, Any], **others: dict[str, Any]) -> dict[str, Any]:
    """OpenAPI's description of a form with files in a field, or of other content."""
    product = {"type": "string", "description": "The product; recognised where not named."}
    properties = {field: schema, "class": product}
    form = {"schema": {"type": "object", "properties": properties, "required": [field]}}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": form, **others}}}


_ONE_BODY: Final = _body(
    "image", _FILE, **{kind: {"schema": _FILE} for kind in ("application/octet-stream", "image/*")}
)
_BATCH_BODY: Final = _body("images", _FILES)


def inspect_routes(service: Service) -> APIRouter:
    """The two routes."""
    router = APIRouter(tags=["inspect"])

    @router.post(
        PATH,
        response_model=InspectionReply,
        responses=refusals(400, 408, 413, 429, 504),
        openapi_extra=_ONE_BODY,
        summary="Inspect one image",
    )
    async def inspect(request: Request, asked: Annotated[InspectOneQuery, Query()]) -> Response:
        """Send a PNG, JPEG, BMP, TIFF or WebP file as a form field or as the whole body."""
        service.admission.take()
        try:
            upload, product = await read_one(request, asked.name, service.settings)
            product = asked.class_name or product
            service.check_class(product)
        except BaseException:
            service.admission.give()
            raise
        return _json(await service.inspect(upload, product, asked))

    @router.post(
        BATCH_PATH,
        response_model=BatchReply,
        responses=refusals(400, 408, 413, 415, 429, 504),
        openapi_extra=_BATCH_BODY,
        summary="Inspect several images",
    )
    async def inspect_batch(request: Request, asked: Annotated[InspectQuery, Query()]) -> Response:
        """Send files as fields named `images`; the results come in their order.

        An image that cannot be used gets its reason, the others their verdicts.
        """
        taken = 1
        service.admission.take()
        try:
            uploads, product = await read_many(request, service.settings)
            product = asked.class_name or product
            service.check_class(product)
            service.admission.take(len(uploads) - taken)
            taken = len(uploads)
        except BaseException:
            service.admission.give(taken)
            raise

        async def one(upload: Upload) -> InspectionReply | BadImageReply:
            refusal = fault(upload, service.settings)
            if refusal is not None:
                service.admission.give()
            else:
                try:
                    return await service.inspect(upload, product, asked)
                except RefusedError as error:
                    refusal = error
            return BadImageReply(name=upload.name, **refusal.problem.model_dump())

        return _json(BatchReply(results=await asyncio.gather(*map(one, uploads))))

    return router


def _json(reply: Reply) -> Response:
    # The reply is typed already: FastAPI would check and copy every corner of every outline.
    return Response(reply.model_dump_json(by_alias=True), media_type="application/json")
