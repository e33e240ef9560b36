"""Routes under `/v1/history`: search, pictures, reviews, a table."""

import csv
from collections.abc import AsyncIterator
from io import StringIO
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import StreamingResponse

from omnial.inference.result_files import harmless
from omnial.serving.history import LARGEST_NUMBER, History, Recorder, Search, SearchPage
from omnial.serving.replies import HistoryItem, HistoryReply, RefusedError, ReviewRequest, refusals

_HEADINGS = (
    *("id", "time", "name", "class", "score", "threshold", "verdict", "review", "reviewed"),
    *("outlines", "largest_area", "width", "height", "model", "sha256"),
)
_PAGE = 500
_T = TypeVar("_T")

Number = Annotated[int, Path(ge=1, le=LARGEST_NUMBER)]


def history_routes(recorder: Recorder) -> APIRouter:
    """Make the routes."""
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
        headers = {"Cache-Control": "private, max-age=86400"}
        return Response(content, media_type=media_type, headers=headers)

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
        responses=refusals(400, 404, 409, 413, 503),
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
