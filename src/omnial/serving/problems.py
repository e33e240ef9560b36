"""Refusals of requests: one shape of answer for whatever went wrong."""

import logging
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

_logger = logging.getLogger(__name__)

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
    422: "The image cannot be used, or the class is unknown.",
    429: "The queue is full; `Retry-After` says when to come again.",
    503: "The service is ill or stopping.",
    504: "No result in time.",
}
_FRAMEWORK_CODES: Final = {404: "not_found", 405: "method_not_allowed"}


class Problem(BaseModel):
    """What is wrong with a request, or with the service."""

    error: str
    """A short code that programs may rely on."""
    reason: str
    """A sentence for people."""


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


def refusals(*statuses: int) -> Responses:
    """The `responses` of a route that may refuse with these statuses, and 401."""
    return {s: {"model": Problem, "description": _REASONS[s]} for s in (401, *statuses)}


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

    @app.exception_handler(Exception)
    async def internal(_: Request, error: Exception) -> JSONResponse:
        _logger.error("a request failed", exc_info=error)
        # What went wrong inside is for the log, not for whoever sent the request.
        return RefusedError(500, "internal", "The service failed; its log says how.").response()
