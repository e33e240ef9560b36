"""What the service answers with, and refuses with: the OpenAPI description is made of these."""

from collections.abc import Collection, Mapping
from typing import Annotated, Any, Final, Literal, TypeAlias

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

Review: TypeAlias = Literal["right", "false_alarm", "missed"]
Verdict: TypeAlias = Literal["good", "anomalous"]
Unit = Annotated[float, Field(ge=0.0, le=1.0)]
Responses: TypeAlias = dict[int | str, dict[str, Any]]
"""What a route may answer, for the OpenAPI description."""

_REASONS: Final = {
    400: "The body cannot be parsed, or has too many parts.",
    401: "No token, or a wrong one.",
    404: "There is no such inspection.",
    408: "The request took too long to arrive.",
    409: "That word does not fit the verdict.",
    413: "Too many bytes, or too many pixels.",
    415: "Not a form of files.",
    422: "The image cannot be used, or the class or a field is unknown.",
    429: "The queue is full; `Retry-After` says when to come again.",
    503: "The service is ill or stopping.",
    504: "No result in time.",
}
_FRAMEWORK_CODES: Final = {404: "not_found", 405: "method_not_allowed"}


class Reply(BaseModel):
    """An answer; its fields are documented by their docstrings."""

    model_config = ConfigDict(use_attribute_docstrings=True, populate_by_name=True)


class InspectQuery(Reply):
    """What a request asks for besides a verdict."""

    class_name: Annotated[str | None, Field(alias="class", max_length=500)] = None
    """The product; recognised where not named."""
    map: bool = False
    """Send the score map along."""
    suspects: bool = False
    """Outline good images too: what would be marked if they were not."""


class InspectOneQuery(InspectQuery):
    """The same for a single image, which may be the whole body."""

    name: Annotated[str | None, Field(max_length=1000)] = None
    """Name of an image that is the whole body."""


class OutlineReply(Reply):
    """A region that the model marked."""

    polygon: list[tuple[float, float]]
    """Corners x, y in source pixels, whole numbers at pixel centres; closed."""
    area: int
    """Source pixels."""
    peak: float
    """Largest score in the region."""


class Inspected(Reply):
    """The verdict on one image, as it is answered and as it is kept."""

    id: int | None
    """Number in the history; null where none is kept or it could not be written."""
    name: str | None
    """Name that the image was sent with."""
    sha256: str
    """Digest of the file that was sent."""
    class_name: Annotated[str | None, Field(alias="class")]
    """The product that was named or recognised; null for an unknown product."""
    score: Unit
    threshold: float
    """The calibrated one: anomalous is a score more than 1e-4 above it."""
    anomalous: bool
    outlines: list[OutlineReply]
    """Defects of an anomalous image, the largest first; empty for a good one."""
    suspects: list[OutlineReply] | None
    """With `suspects=true`: what would be outlined if the image were anomalous."""
    width: int
    """Of the image rotated upright, in pixels."""
    height: int


class InspectionReply(Inspected):
    """The verdict on one image."""

    map: str | None
    """With `map=true`: the score map as a grey PNG in base64, at most 320 pixels an edge, 255 is
    probability 1."""


class Problem(Reply):
    """What is wrong with a request, or with the service."""

    error: str
    """A short code that programs may rely on."""
    reason: str
    """A sentence for people."""


class BadImageReply(Problem):
    """An image of a batch that could not be inspected."""

    name: str | None


class BatchReply(Reply):
    """One result for each image of a batch, in order."""

    results: list[InspectionReply | BadImageReply]


class HealthReply(Reply):
    """Whether the service lives, or is ready."""

    status: Literal["ok"]


class ClassReply(Reply):
    """A product that the model knows."""

    name: str
    threshold: float
    """Image threshold in use."""
    own_threshold: bool
    """False: too few normal images, so that the one of all classes together is used."""
    normal_images: int
    """Normal images that the threshold rests on."""


class ModelReply(Reply):
    """The model card: what runs here, what it knows, and what its verdicts rest on."""

    omnial: str
    """Version of the software."""
    model: str
    """Start of the digest of the folder's `config.json`: changes with weights and calibration."""
    system: str
    size: str
    input: dict[str, int | str]
    """Height, width and geometry of the network input."""
    engine: dict[str, object]
    """What computes, where, and with which precision."""
    classes: list[ClassReply]
    unknown_threshold: float
    """Threshold where no class was found: the largest."""
    pixel_level: float
    """Score above which pixels are outlined."""
    false_alarm_rate: float
    """Share of normal images that the thresholds were set to call anomalous."""
    notes: list[str]
    """What to know about the thresholds."""
    training: dict[str, object]
    limits: dict[str, float]
    """Largest file in megabytes, largest image in megapixels, images in a batch, queue."""
    history: bool
    """Whether inspections are kept."""
    heat: list[tuple[float, str]]
    """Colours of the score map, as pairs of score and CSS colour."""


class HistoryItem(Inspected):
    """An inspection that was kept."""

    id: int
    time: str
    """UTC, ISO 8601."""
    review: Review | None
    """What a person said about the verdict."""
    reviewed: str | None
    """When, UTC."""
    model: str
    """The model of that day, as on the model card."""


class HistoryReply(Reply):
    """A page of the history, the latest first."""

    items: list[HistoryItem]
    next: int | None
    """Give it as `before` to get the next page; null: there is none."""


class ReviewRequest(BaseModel):
    """A person's word on a verdict; null takes it back."""

    model_config = ConfigDict(extra="forbid")

    review: Review | None


class RefusedError(HTTPException):
    """A request that gets no result: its HTTP status, a `Problem`, and headers of the answer."""

    def __init__(
        self, status: int, error: str, reason: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(status, reason, headers)
        self.problem = Problem(error=error, reason=reason)

    def response(self) -> JSONResponse:
        """The answer."""
        return JSONResponse(self.problem.model_dump(), self.status_code, self.headers)


def unknown_field(where: str, name: str, known: Collection[str]) -> RefusedError:
    """The refusal of a field that a request's query or form has and a route does not know."""
    takes = f"it takes {', '.join(known)}" if known else "it takes none"
    return RefusedError(422, "unknown_field", f"The {where} has a field {name!r}; {takes}.")


async def check_query(request: Request) -> None:
    """Refuse a query with a field that the route's description does not name.

    On the event loop: FastAPI builds the description at the first request, and of two threads that
    ask for it at once one finds it half done.
    """
    route = request.app.openapi()["paths"][request.scope["route"].path][request.method.lower()]
    known = [field["name"] for field in route.get("parameters", ()) if field["in"] == "query"]
    for name in request.query_params:
        if name not in known:
            raise unknown_field("query", name, known)


def refusals(*statuses: int) -> Responses:
    """The `responses` of a route that may refuse with these statuses, 401 and 422."""
    return {s: {"model": Problem, "description": _REASONS[s]} for s in (401, 422, *statuses)}


def answer_problems(app: FastAPI) -> None:
    """Let every failure of a handler become an answer of the shape `Problem`."""

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> JSONResponse:
        if not isinstance(error, RefusedError):
            code = _FRAMEWORK_CODES.get(error.status_code, "bad_request")
            error = RefusedError(error.status_code, code, str(error.detail), error.headers)
        return error.response()

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first.get("loc", ()))
        return RefusedError(422, "invalid", f"{where}: {first.get('msg', 'invalid')}").response()
