"""Guards that every request passes before a route sees it, and every answer on its way out."""

import asyncio
import hmac
import ipaddress
import logging
import re
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Final
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from omnial.serving.replies import RefusedError
from omnial.serving.routes import BATCH_PATH, PATH
from omnial.serving.service import Service
from omnial.serving.upload import too_large, too_slow

_logger = logging.getLogger(__name__)

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "media-src blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_LENGTH: Final = re.compile("[0-9]{1,18}")
_FORM_OVERHEAD: Final = 16_384
"""Bytes of a request besides its images: boundaries, headers of the parts, the other fields."""
_LARGEST_JSON: Final = 4096
_LINGER_BYTES: Final = 16_000_000
_LINGER_SECONDS: Final = 3.0
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class Guards:
    """Middleware around all routes, plain ASGI: a refusal costs nothing.

    It refuses what another web site makes a visitor's browser send: such a request names a foreign
    origin or, after the site has pointed its own name here (DNS rebinding), a foreign host. It ends
    a request whose body is larger than its route allows, or too slow, while it arrives, answers
    those that fail, puts the same security headers on every answer, and counts and times them.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app = app
        self._settings = settings = service.settings
        self._metrics = service.metrics
        # IP addresses always are ours.
        self._names = {name.lower() for name in ("localhost", settings.host, *settings.names)}
        self._limits = {
            PATH: settings.image_bytes + _FORM_OVERHEAD,
            BATCH_PATH: settings.batch_bytes + _FORM_OVERHEAD,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status, started = time.perf_counter(), 500, False

        async def sending(message: Message) -> None:
            nonlocal status, started
            if message["type"] == "http.response.start":
                status, started = message["status"], True
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            limit = self._limits.get(scope["path"], _LARGEST_JSON)
            length = Headers(scope=scope).get("content-length", "0")
            refusal = self._foreign(scope)
            if refusal is None and not (_LENGTH.fullmatch(length) and int(length) <= limit):
                await _drain(receive)
                refusal = too_large(self._settings)
            if refusal is not None:
                await refusal.response()(scope, receive, sending)
            else:
                await self.app(scope, self._counting(receive, limit), sending)
        except ClientDisconnect:
            status = 499  # as others count it: nobody is left to answer
        except Exception as error:
            if started:  # the server cuts the answer off
                raise
            _logger.error("a request failed", exc_info=error)
            # What went wrong inside is for the log, not for whoever sent the request.
            failed = RefusedError(500, "internal", "The service failed; its log says how.")
            await failed.response()(scope, receive, sending)
        finally:
            # The template, not the path: a request must not make up labels.
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.requests.labels(route, str(status)).inc()
            self._metrics.request_seconds.labels(route).observe(time.perf_counter() - start)

    def _foreign(self, scope: Scope) -> RefusedError | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._is_ours(host):
            return RefusedError(
                421, "unknown_host", "The service has another name; start it with --name to add it."
            )
        origin = headers.get("origin")
        if scope["method"] in _SAFE_METHODS or origin is None:
            return None
        with suppress(ValueError):
            if urlsplit(origin).netloc.lower() == host.lower():
                return None
        return RefusedError(403, "foreign_origin", "Another web site's page sent this.")

    def _is_ours(self, host: str) -> bool:
        try:
            name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
            return name in self._names or bool(ipaddress.ip_address(name))
        except ValueError:
            return False

    def _counting(self, receive: Receive, limit: int) -> Receive:
        seen, whole = 0, False
        until = asyncio.get_running_loop().time() + self._settings.timeout

        async def counting() -> Message:
            nonlocal seen, whole
            try:
                # What comes after the body, the end of the connection, is waited for.
                async with asyncio.timeout_at(None if whole else until):
                    message = await receive()
            except TimeoutError as error:
                raise too_slow(self._settings) from error
            if message["type"] == "http.request":
                whole = not message.get("more_body", False)
                seen += len(message.get("body", b""))
                if seen > limit:
                    if message.get("more_body", False):
                        await _drain(receive)
                    raise too_large(self._settings)
            return message

        return counting


async def _drain(receive: Receive) -> None:
    """Read on for a moment and forget what comes, so that a client that still writes reads why."""
    seen = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(_LINGER_SECONDS):
            while seen < _LINGER_BYTES:
                message = await receive()
                if message["type"] != "http.request" or not message.get("more_body", False):
                    return
                seen += len(message.get("body", b""))


_bearer = HTTPBearer(auto_error=False, description="The token that the service was started with.")
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


def token_guard(token: str) -> Callable[..., None]:
    """A dependency that lets nobody in without the token."""

    def authorise(_: Request, credentials: Credentials) -> None:
        given = b"" if credentials is None else credentials.credentials.encode()
        if not hmac.compare_digest(given, token.encode()):
            reason = "Send the service's token: Authorization: Bearer TOKEN."
            raise RefusedError(401, "no_token", reason, {"WWW-Authenticate": "Bearer"})

    return authorise
