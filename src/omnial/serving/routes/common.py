"""What the routes share: refusals in the OpenAPI description."""

from typing import Any, Final, TypeAlias

from omnial.serving.problems import Problem

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


def refusals(*statuses: int) -> Responses:
    """The `responses` of a route that may refuse with these statuses, beside 401."""
    return {s: {"model": Problem, "description": _REASONS[s]} for s in (401, *statuses)}
