"""The application: routes, the guards around them, and the page; and the server that runs it."""

import asyncio
import ipaddress
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import FrameType
from typing import Final

import h11
import uvicorn
from fastapi import Depends, FastAPI
from fastapi.responses import FileResponse, RedirectResponse
from uvicorn.protocols.http.h11_impl import H11Protocol

from omnial._version import __version__
from omnial.errors import UserError
from omnial.serving.guards import Guards, token_guard
from omnial.serving.replies import answer_problems, check_query
from omnial.serving.routes import health_routes, history_routes, inspect_routes, status_routes
from omnial.serving.service import Service
from omnial.serving.service_settings import ServiceSettings

_SPARE_CONNECTIONS = 256
"""Connections besides those of images in the queue: pages, health checks."""
_BACKLOG = 512
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
    guard = [] if token is None else [Depends(token_guard(token.get_secret_value()))]
    guarded = [*guard, Depends(check_query)]
    app.include_router(inspect_routes(service), dependencies=guarded)
    app.include_router(status_routes(service), dependencies=guarded)
    if service.recorder is not None:
        app.include_router(history_routes(service.recorder), dependencies=guarded)
    app.include_router(health_routes(service))
    for address, path in PAGE_FILES.items():
        app.add_api_route(address, _sender(path), include_in_schema=False)
    app.add_api_route("/docs", lambda: RedirectResponse("/openapi.json"), include_in_schema=False)
    app.add_middleware(Guards, service=service)
    return app


def _sender(path: Path) -> Callable[[], FileResponse]:
    # Asked for each time, and answered with 'not modified': an update shows at once.
    headers = {"Cache-Control": "no-cache"}
    return lambda: FileResponse(path, media_type=_MEDIA_TYPES[path.suffix], headers=headers)


def listen(settings: ServiceSettings) -> socket.socket:
    """A socket at the service's address; a UserError if there is none or its port is taken."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except OSError as error:
        raise UserError(
            f"Cannot listen on {settings.host}, port {settings.port}: {error}. "
            "Choose another with --host or --port."
        ) from error
    # Accepted connections inherit it. The event loop sets it on sockets of its own making alone,
    # and without it the last bytes of an answer wait 40 ms for the client's acknowledgement.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def is_loopback(listening: socket.socket) -> bool:
    """Whether only this machine reaches the socket."""
    return ipaddress.ip_address(listening.getsockname()[0]).is_loopback


def url(listening: socket.socket) -> str:
    """Where to point a browser on this machine."""
    host, port = listening.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:
        host = "localhost"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _impatient(seconds: float) -> type[H11Protocol]:
    """HTTP/1.1 that closes a connection on which the head of a request does not arrive in time.

    Uvicorn would wait for ever, and so few silent connections would keep everybody else out.
    """

    class Impatient(H11Protocol):
        _limit: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._wait()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self._idle():
                self._wait()
            elif self._limit is not None:
                self._limit.cancel()
                self._limit = None

        def _idle(self) -> bool:
            """Whether no request is in work: none has come, or the last one has its answer."""
            answered = self.cycle is not None and self.cycle.response_complete
            return answered or self.conn.their_state is h11.IDLE

        def _wait(self) -> None:
            if self._limit is None:
                self._limit = self.loop.call_later(seconds, self._end)

        def _end(self) -> None:
            self._limit = None
            if self._idle():
                self.transport.close()

    return Impatient


def server_config(service: Service) -> uvicorn.Config:
    """How the service is run."""
    settings = service.settings
    return uvicorn.Config(
        build_app(service),
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        lifespan="on",
        http=_impatient(settings.timeout),
        limit_concurrency=settings.queue + _SPARE_CONNECTIONS,
        # What was begun last may take its whole time to arrive, and again to be answered.
        timeout_graceful_shutdown=round(2 * settings.timeout + 5),
    )


def serve(service: Service, listening: socket.socket, on_ready: Callable[[], None]) -> None:
    """Answer requests until SIGTERM or SIGINT, then close the socket.

    On SIGTERM new connections are refused, requests that were begun get their answers, and the
    call returns. SIGINT does the same and then raises KeyboardInterrupt.
    """
    server = uvicorn.Server(server_config(service))

    def ended(_: int, __: FrameType | None) -> None:
        """Uvicorn raises its signal once more when it has stopped; that is then nothing new."""

    before = signal.signal(signal.SIGTERM, ended)
    try:
        on_ready()
        server.run(sockets=[listening])
    finally:
        signal.signal(signal.SIGTERM, before)
        listening.close()
