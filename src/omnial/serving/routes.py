"""The routes of the service: inspection, history, and what it says of itself."""

import asyncio
import csv
from collections.abc import AsyncIterator
from io import StringIO
from typing import Annotated, Any, Final, Literal, TypeVar

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from omnial.inference.result_files import harmless
from omnial.serving.history import LARGEST_NUMBER, History, Recorder, Search, SearchPage
from omnial.serving.replies import (
    BadImageReply,
    BatchReply,
    HealthReply,
    HistoryItem,
    HistoryReply,
    InspectionReply,
    InspectOneQuery,
    InspectQuery,
    ModelReply,
    Problem,
    RefusedError,
    Reply,
    Responses,
    ReviewRequest,
    refusals,
)
from omnial.serving.service import Service
from omnial.serving.upload import Upload, fault, read_many, read_one

PATH, BATCH_PATH = "/v1/inspect", "/v1/inspect/batch"

_FILE: Final = {"type": "string", "format": "binary"}
_FILES: Final = {"type": "array", "items": _FILE, "minItems": 1}
_HEADINGS = (
    *("id", "time", "name", "class", "score", "threshold", "verdict", "review", "reviewed"),
    *("outlines", "largest_area", "width", "height", "model", "sha256"),
)
_PAGE = 500
_T = TypeVar("_T")

Number = Annotated[int, Path(ge=1, le=LARGEST_NUMBER)]


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
    """Routes that inspect."""
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
        length = request.headers.get("content-length")
        taken = service.settings.slots(None if length is None else int(length))
        service.admission.take(taken)
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


def history_routes(recorder: Recorder) -> APIRouter:
    """Routes under `/v1/history`."""
    router = APIRouter(prefix="/v1/history", tags=["history"])

    @router.get("", responses=refusals(503), summary="Search the history")
    async def search(page: Annotated[SearchPage, Query()]) -> HistoryReply:
        """The inspections that match, the latest first; page on with `before`."""
        found = await recorder.call(History.search, page, page.before, page.limit + 1)
        items = found[: page.limit]
        return HistoryReply(items=items, next=items[-1].id if items != found else None)

    @router.get(
        ".csv",
        response_class=StreamingResponse,
        responses={200: {"content": {"text/csv": {}}}, **refusals(503)},
        summary="The history as a table",
    )
    async def table(searched: Annotated[Search, Query()]) -> StreamingResponse:
        """All inspections that match, safe to open in a spreadsheet."""
        return StreamingResponse(
            csv_lines(_all(recorder, searched)),
            media_type="text/csv",
            headers={"Content-Disposition": 'attachment; filename="inspections.csv"'},
        )

    @router.get("/{number}", responses=refusals(404, 503), summary="One inspection")
    async def one(number: Number) -> HistoryItem:
        """What was found, and what a person said."""
        return _found(await recorder.call(History.get, number))

    async def send(number: int, kind: Literal["picture", "map"], media_type: str) -> Response:
        content = _found(await recorder.call(History.file, number, kind))
        return Response(content, media_type=media_type)

    @router.get("/{number}/picture", **_image("image/jpeg"), summary="Its picture, small")
    async def picture(number: Number) -> Response:
        """A JPEG of at most 384 pixels an edge."""
        return await send(number, "picture", "image/jpeg")

    @router.get("/{number}/map", **_image("image/png"), summary="Its score map, small")
    async def score_map(number: Number) -> Response:
        """A grey PNG of at most 320 pixels an edge; 255 is probability 1."""
        return await send(number, "map", "image/png")

    @router.put(
        "/{number}/review",
        responses=refusals(400, 404, 408, 409, 413, 503),
        summary="Say what it was",
    )
    async def review(number: Number, request: ReviewRequest) -> HistoryItem:
        """`right`, `false_alarm` (of an anomalous one), `missed` (of a good one), or null."""
        kept = _found(await recorder.call(History.get, number))
        verdict, unfit = ("anomalous", "missed") if kept.anomalous else ("good", "false_alarm")
        if request.review == unfit:
            raise RefusedError(409, "unfit", f"{unfit} cannot be said of a verdict of {verdict}.")
        return _found(await recorder.call(History.review, number, request.review))

    return router


def _image(media_type: str) -> dict[str, Any]:
    """What FastAPI needs to know of a route that sends an image."""
    described = {200: {"content": {media_type: {}}}, **refusals(404, 503)}
    return {"response_class": Response, "responses": described}


def _found(value: _T | None) -> _T:
    if value is None:
        raise RefusedError(404, "not_found", "There is no such inspection; it may be too old.")
    return value


async def _all(recorder: Recorder, search: Search) -> AsyncIterator[HistoryItem]:
    """Every inspection that matches, the latest first, a page in memory at a time."""
    before: int | None = None
    while page := await recorder.call(History.search, search, before, _PAGE):
        for item in page:
            yield item
        before = page[-1].id


async def csv_lines(items: AsyncIterator[HistoryItem]) -> AsyncIterator[str]:
    """The lines of a CSV file, the headings first.

    Texts that a request chose get an apostrophe in front where a spreadsheet would take them for
    a formula (OWASP, "CSV Injection"); every text is quoted.
    """
    yield _line(*_HEADINGS)
    async for item in items:
        verdict = "anomalous" if item.anomalous else "good"
        areas = [outline.area for outline in item.outlines]
        yield _line(
            *(item.id, item.time, harmless(item.name), harmless(item.class_name)),
            *(f"{item.score:.6f}", f"{item.threshold:.6f}", verdict),
            *(item.review or "", item.reviewed or "", len(areas), max(areas, default=0)),
            *(item.width, item.height, item.model, item.sha256),
        )


def _line(*cells: object) -> str:
    text = StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerow(cells)
    return text.getvalue()


def health_routes(service: Service) -> APIRouter:
    """Routes that an orchestrator asks, without a token."""
    router = APIRouter(tags=["status"])
    ill: Responses = {503: {"model": Problem, "description": "Not so."}}

    @router.get("/healthz", responses=ill, summary="Does the service live?")
    async def health() -> HealthReply:
        """503: inspections are stuck; restart the service."""
        if not service.alive():
            raise RefusedError(503, "stuck", "Inspections do not go on; restart the service.")
        return HealthReply(status="ok")

    @router.get("/readyz", responses=ill, summary="May requests be sent?")
    async def ready() -> HealthReply:
        """503 while inspections are stuck, or the queue is full."""
        if service.admission.inside >= service.admission.most and service.alive():
            raise RefusedError(503, "busy", "The queue is full.")
        return await health()

    return router


def status_routes(service: Service) -> APIRouter:
    """Routes for those who may inspect."""
    router = APIRouter(tags=["status"])

    @router.get("/v1/model", responses=refusals(), summary="The model card")
    async def model() -> ModelReply:
        """What runs here, what it knows, and what its verdicts rest on."""
        return service.card

    # Not on the event loop: it reads the process's figures from the system.
    @router.get(
        "/metrics",
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}}, **refusals()},
        summary="Figures for Prometheus",
    )
    def metrics() -> Response:
        """Prometheus' text format."""
        return Response(service.metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return router
