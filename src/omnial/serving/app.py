"""The application: routes, the guards around them, and the page."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Depends, FastAPI, Response
from fastapi.responses import FileResponse
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from omnial._version import __version__
from omnial.serving.guards import Guards, token_guard
from omnial.serving.history_routes import history_routes
from omnial.serving.inspect_routes import inspect_routes
from omnial.serving.problems import Problem, RefusedError, Responses, answer_problems, refusals
from omnial.serving.replies import HealthReply, ModelReply
from omnial.serving.service import Service

_PAGE: Final = Path(__file__).parent / "page"
_MEDIA_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
PAGE_FILES: Final = {
    "/" if path.name == "index.html" else f"/{path.name}": path
    for path in sorted(_PAGE.iterdir())
    if path.suffix in _MEDIA_TYPES
}
"""Every file that is served, by its address: a request cannot name another."""


def build_app(service: Service) -> FastAPI:
    """Put the application together; it starts and stops the service."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        await service.stop()

    # FastAPI's own documentation pages load scripts from elsewhere.
    app = FastAPI(
        title="omnial",
        version=__version__,
        summary="One network that inspects many products.",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    answer_problems(app)
    token = service.settings.token
    # Without a token, the description names none either.
    guarded = [] if token is None else [Depends(token_guard(token.get_secret_value()))]
    app.include_router(inspect_routes(service), dependencies=guarded)
    app.include_router(_status_routes(service), dependencies=guarded)
    if service.recorder is not None:
        app.include_router(history_routes(service.recorder), dependencies=guarded)
    app.include_router(_health_routes(service))
    for address, path in PAGE_FILES.items():
        app.add_api_route(address, _sender(path), include_in_schema=False)
    app.add_middleware(Guards, service=service)
    return app


def _health_routes(service: Service) -> APIRouter:
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


def _status_routes(service: Service) -> APIRouter:
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


def _sender(path: Path) -> Callable[[], FileResponse]:
    # Asked for each time, and answered with 'not modified': an update shows at once.
    headers = {"Cache-Control": "no-cache"}
    return lambda: FileResponse(path, media_type=_MEDIA_TYPES[path.suffix], headers=headers)
