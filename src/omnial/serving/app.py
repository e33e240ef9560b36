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
from omnial.serving.inspect_routes import BATCH_PATH, PATH, inspect_routes
from omnial.serving.problems import Problem, RefusedError, Responses, answer_problems, refusals
from omnial.serving.replies import HealthReply, ModelReply
from omnial.serving.service import Service
from omnial.serving.settings import FORM_OVERHEAD
from omnial.serving.upload import too_large

_PAGE = Path(__file__).parent / "page"
PAGE_FILES: Final = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/style.css": ("style.css", "text/css; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    **{
        f"/{name}.js": (f"{name}.js", "text/javascript; charset=utf-8")
        for name in ("main", "api", "viewer", "inspect", "camera", "history", "words")
    },
}
"""Every file that is served, by its address: a request cannot name another."""
_LARGEST_JSON = 4096
_ILL: Responses = {503: {"model": Problem, "description": "Not so."}}


def build_app(service: Service) -> FastAPI:
    """Put the application together.

    Args:
        service: Started and stopped with the application.
    """

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
    settings = service.settings
    token = settings.token.get_secret_value() if settings.token is not None else None
    # Without a token, the description names none either.
    guarded = [] if token is None else [Depends(token_guard(token))]
    app.include_router(inspect_routes(service), dependencies=guarded)
    app.include_router(_status_routes(service), dependencies=guarded)
    if service.recorder is not None:
        app.include_router(history_routes(service.recorder), dependencies=guarded)
    app.include_router(_health_routes(service))
    app.include_router(_page_routes())
    sizes = {
        PATH: settings.image_bytes + FORM_OVERHEAD,
        BATCH_PATH: settings.batch_bytes + FORM_OVERHEAD,
    }
    app.add_middleware(
        Guards,
        names={name.lower() for name in ("localhost", settings.host, *settings.names)},
        limit=lambda path: sizes.get(path, _LARGEST_JSON),
        too_large=lambda: too_large(settings),
        metrics=service.metrics,
    )
    return app


def _health_routes(service: Service) -> APIRouter:
    """Routes that an orchestrator asks, without a token."""
    router = APIRouter(tags=["status"])

    @router.get("/healthz", responses=_ILL, summary="Does the service live?")
    async def health() -> HealthReply:
        """503 tells that inspections are stuck, and that a restart is the cure."""
        if not service.alive():
            raise RefusedError(503, "stuck", "Inspections do not go on; restart the service.")
        return HealthReply(status="ok")

    @router.get("/readyz", responses=_ILL, summary="May requests be sent?")
    async def ready() -> HealthReply:
        """503 while inspections are stuck, or the queue has no place left."""
        if not service.alive():
            raise RefusedError(503, "stuck", "Inspections do not go on; restart the service.")
        if service.admission.inside >= service.admission.most:
            raise RefusedError(503, "busy", "The queue is full.")
        return HealthReply(status="ok")

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


def _page_routes() -> APIRouter:
    router = APIRouter(include_in_schema=False)
    for address, (name, media_type) in PAGE_FILES.items():
        router.add_api_route(address, _sender(_PAGE / name, media_type), methods=["GET"])
    return router


def _sender(path: Path, media_type: str) -> Callable[[], FileResponse]:
    def send() -> FileResponse:
        # Asked for each time, and answered with 'not modified': an update shows at once.
        return FileResponse(path, media_type=media_type, headers={"Cache-Control": "no-cache"})

    return send
