"""The history: search, pictures, a person's word, a table."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Response
from fastapi.responses import StreamingResponse

from omnial.serving.history import Kept, Search
from omnial.serving.recorder import Recorder
from omnial.serving.replies import HistoryItem, HistoryReply, Review, ReviewRequest, Verdict
from omnial.serving.routes.common import Responses, refusals
from omnial.serving.table import csv_lines, utc

_LONGEST = 200
_LARGEST_NUMBER = 2**62
_BLOB_HEADERS = {"Cache-Control": "private, max-age=86400"}
_PICTURES: Responses = {200: {"content": {"image/jpeg": {}}}}
_MAPS: Responses = {200: {"content": {"image/png": {}}}}


Number = Annotated[int, Path(ge=1, le=_LARGEST_NUMBER)]


def _search(
    text: Annotated[
        str | None,
        Query(max_length=_LONGEST, description="Part of the name, or the start of the digest."),
    ] = None,
    class_name: Annotated[
        str | None,
        Query(alias="class", max_length=500, description="A product; empty: unknown products."),
    ] = None,
    verdict: Annotated[Verdict | None, Query()] = None,
    review: Annotated[Review | None, Query(description="What a person said.")] = None,
    reviewed: Annotated[bool | None, Query(description="Whether a person said anything.")] = None,
    since: Annotated[datetime | None, Query(description="Not before; UTC if no zone.")] = None,
    until: Annotated[datetime | None, Query(description="Before; UTC if no zone.")] = None,
) -> Search:
    return Search(
        text=text or None,
        class_name=class_name,
        anomalous=None if verdict is None else verdict == "anomalous",
        review=review,
        reviewed=reviewed,
        since=_seconds(since),
        until=_seconds(until),
    )


Searched = Annotated[Search, Depends(_search)]


def history_routes(recorder: Recorder) -> APIRouter:
    """The routes under `/v1/history`."""
    router = APIRouter(prefix="/v1/history", tags=["history"])

    @router.get("", responses=refusals(422, 503), summary="Search the history")
    async def search(
        searched: Searched,
        before: Annotated[int | None, Query(ge=1, le=_LARGEST_NUMBER)] = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
    ) -> HistoryReply:
        """The inspections that match, the latest first; page on with `before`."""
        found = await recorder.search(searched, before, limit + 1)
        more = len(found) > limit
        found = found[:limit]
        return HistoryReply(
            items=[_item(kept) for kept in found], next=found[-1].id if more else None
        )

    @router.get(
        ".csv",
        response_class=StreamingResponse,
        responses={200: {"content": {"text/csv": {}}}, **refusals(422, 503)},
        summary="The history as a table",
    )
    async def table(searched: Searched) -> StreamingResponse:
        """All inspections that match, safe to open in a spreadsheet."""
        return StreamingResponse(
            csv_lines(recorder.all(searched)),
            media_type="text/csv",
            headers={"Content-Disposition": 'attachment; filename="inspections.csv"'},
        )

    @router.get("/{number}", responses=refusals(404, 503), summary="One inspection")
    async def one(number: Number) -> HistoryItem:
        """What was found, and what a person said."""
        return _item(await recorder.get(number))

    @router.get(
        "/{number}/picture",
        response_class=Response,
        responses={**_PICTURES, **refusals(404, 503)},
        summary="Its picture, small",
    )
    async def picture(number: Number) -> Response:
        """A JPEG of at most 384 pixels an edge."""
        content = await recorder.picture(number)
        return Response(content, media_type="image/jpeg", headers=_BLOB_HEADERS)

    @router.get(
        "/{number}/map",
        response_class=Response,
        responses={**_MAPS, **refusals(404, 503)},
        summary="Its score map, small",
    )
    async def score_map(number: Number) -> Response:
        """A grey PNG of at most 320 pixels an edge; 255 is probability 1."""
        content = await recorder.score_map(number)
        return Response(content, media_type="image/png", headers=_BLOB_HEADERS)

    @router.put(
        "/{number}/review",
        responses=refusals(400, 404, 409, 413, 422, 503),
        summary="Say what it was",
    )
    async def review(number: Number, request: ReviewRequest) -> HistoryItem:
        """`right`, `false_alarm` (of an anomalous one), `missed` (of a good one), or null."""
        return _item(await recorder.review(number, request.review))

    return router


def _seconds(when: datetime | None) -> float | None:
    if when is None:
        return None
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def _item(kept: Kept) -> HistoryItem:
    times = {
        "time": utc(kept.time),
        "reviewed": None if kept.reviewed is None else utc(kept.reviewed),
    }
    return HistoryItem.model_validate(asdict(kept) | times)
