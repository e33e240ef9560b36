"""The application: routes, guards around them, and the page."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Depends, FastAPI
from fastapi.responses import FileResponse

from omnial._version import __version__
from omnial.serving.guards import BodyLimit, Measured, OwnPagesOnly, SecurityHeaders, token_guard
from omnial.serving.problems import answer_problems
from omnial.serving.routes.history import history_routes
from omnial.serving.routes.inspect import BATCH_PATH, PATH, inspect_routes
from omnial.serving.routes.status import health_routes, status_routes
from omnial.serving.service import Service
from omnial.serving.settings import FORM_OVERHEAD, ServiceSettings
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
    app.include_router(status_routes(service), dependencies=guarded)
    if service.recorder is not None:
        app.include_router(history_routes(service.recorder), dependencies=guarded)
    app.include_router(health_routes(service))
    app.include_router(_page_routes())
    # The last that is added sees a request first.
    app.add_middleware(BodyLimit, limit=_body_limit(settings), refusal=lambda: too_large(settings))
    app.add_middleware(OwnPagesOnly, names=_names(settings))
    app.add_middleware(SecurityHeaders)
    app.add_middleware(Measured, metrics=service.metrics)
    return app


def _body_limit(settings: ServiceSettings) -> Callable[[str], int]:
    sizes = {
        PATH: settings.image_bytes + FORM_OVERHEAD,
        BATCH_PATH: settings.batch_bytes + FORM_OVERHEAD,
    }
    return lambda path: sizes.get(path, _LARGEST_JSON)


def _names(settings: ServiceSettings) -> set[str]:
    return {name.lower() for name in ("localhost", settings.host, *settings.names)}


def _page_routes() -> APIRouter:
    router = APIRouter(include_in_schema=False)
    for address, (name, media_type) in PAGE_FILES.items():
        router.add_api_route(address, _sender(_PAGE / name, media_type), methods=["GET"])
    return router


def _sender(path: Path, media_type: str) -> Callable[[], FileResponse]:
    def send() -> FileResponse:
        # Asked for anew each time, and answered with 'not modified': an update shows at once.
        return FileResponse(path, media_type=media_type, headers={"Cache-Control": "no-cache"})

    return send
