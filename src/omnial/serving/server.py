"""Listening, and stopping without losing a request."""

import ipaddress
import signal
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn

from omnial.errors import UserError
from omnial.serving.app import build_app
from omnial.serving.service import Service
from omnial.serving.service_settings import ServiceSettings

_SPARE_CONNECTIONS = 256
"""Connections besides those of images in the queue: pages, health checks."""
_BACKLOG = 512


def listen(settings: ServiceSettings) -> socket.socket:
    """A socket at the service's address.

    Raises:
        UserError: The address does not exist here, or its port is taken.
    """
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


def serve(service: Service, listening: socket.socket, on_ready: Callable[[], None]) -> None:
    """Answer requests until SIGTERM or SIGINT, then close the socket.

    On SIGTERM new connections are refused, requests that were begun get their answers, and the
    call returns. SIGINT does the same and then raises KeyboardInterrupt. `on_ready` is called when
    the service is about to answer.
    """
    settings = service.settings
    config = uvicorn.Config(
        build_app(service),
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        lifespan="on",
        limit_concurrency=settings.queue + _SPARE_CONNECTIONS,
        # What was begun last may take its whole time to arrive, and again to be answered.
        timeout_graceful_shutdown=round(2 * settings.timeout + 5),
    )
    server = uvicorn.Server(config)

    def ended(_: int, __: FrameType | None) -> None:
        """Uvicorn raises its signal once more when it has stopped; that is then nothing new."""

    before = signal.signal(signal.SIGTERM, ended)
    try:
        on_ready()
        server.run(sockets=[listening])
    finally:
        signal.signal(signal.SIGTERM, before)
        listening.close()
