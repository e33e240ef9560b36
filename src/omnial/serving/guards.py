"""What every request passes before a handler sees it, and every answer on its way out.

Plain ASGI, so that a refusal costs nothing and bodies are counted while they arrive.
"""

import asyncio
import hmac
import ipaddress
import re
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Annotated, Final
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from omnial.serving.metrics import Metrics
from omnial.serving.problems import RefusedError

Guard = Callable[[ASGIApp], ASGIApp]

_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",
        "media-src blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
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
_LENGTH = re.compile("[0-9]{1,18}")
_LINGER_BYTES = 16_000_000
_LINGER_SECONDS = 3.0
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class SecurityHeaders:
    """Puts the same headers on every answer; what no handler lets be kept is not stored."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; see the class."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self.app(scope, receive, sending)


class OwnPagesOnly:
    """Refuses what another web site makes a visitor's browser send.

    A browser would send requests of any page to a service on the loopback address. Such a request
    names a foreign origin, or, after the site has pointed its own name here (DNS rebinding), a
    foreign host.

    Args:
        app: What is guarded.
        names: Host names in lower case that are ours; IP addresses always are.
    """

    def __init__(self, app: ASGIApp, names: Collection[str]) -> None:
        self.app = app
        self._names = frozenset(names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; see the class."""
        if scope["type"] == "http" and (refusal := self._refusal(scope)) is not None:
            await refusal.response()(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _refusal(self, scope: Scope) -> RefusedError | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._is_ours(host):
            return RefusedError(
                421, "unknown_host", "The service has another name; start it with --name to add it."
            )
        origin = headers.get("origin")
        if scope["method"] in _SAFE_METHODS or origin is None:
            return None
        if _netloc(origin) != host.lower():
            return RefusedError(403, "foreign_origin", "Another web site's page sent this.")
        return None

    def _is_ours(self, host: str) -> bool:
        try:
            name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
        except ValueError:
            return False
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


class BodyLimit:
    """Ends a request whose body is larger than its route allows, while it arrives.

    Args:
        app: What is guarded.
        limit: Bytes that a path may bring.
        refusal: What is answered beyond it.
    """

    def __init__(
        self, app: ASGIApp, limit: Callable[[str], int], refusal: Callable[[], RefusedError]
    ) -> None:
        self.app = app
        self._limit = limit
        self._refusal = refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; see the class."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit, seen = self._limit(scope["path"]), 0
        length = Headers(scope=scope).get("content-length", "0")
        if not _LENGTH.fullmatch(length) or int(length) > limit:
            await _drain(receive)
            await self._refusal().response()(scope, receive, send)
            return

        async def counting() -> Message:
            nonlocal seen
            message = await receive()
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                if seen > limit:
                    if message.get("more_body", False):
                        await _drain(receive)
                    raise self._refusal()
            return message

        await self.app(scope, counting, send)


def _netloc(origin: str) -> str | None:
    """Host and port of an origin; None if it is no address."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


async def _drain(receive: Receive) -> None:
    """Read on for a moment, and forget what comes.

    A connection that is closed under a client that still writes is reset, and the client may then
    never read why.
    """
    seen = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(_LINGER_SECONDS):
            while seen < _LINGER_BYTES:
                message = await receive()
                if message["type"] != "http.request" or not message.get("more_body", False):
                    return
                seen += len(message.get("body", b""))


class Measured:
    """Counts and times every answer.

    Args:
        app: What is measured.
        metrics: Is told.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; see the class."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), 500

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, sending)
        finally:
            # The template, not the path: a stranger must not make up labels.
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.request(route, status, time.perf_counter() - start)


_bearer = HTTPBearer(auto_error=False, description="The token that the service was started with.")
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


def token_guard(token: str) -> Callable[..., None]:
    """A dependency that lets nobody in without the token."""
    expected = token.encode()

    def authorise(_: Request, credentials: Credentials) -> None:
        given = b"" if credentials is None else credentials.credentials.encode()
        if not hmac.compare_digest(given, expected):
            raise RefusedError(
                401,
                "no_token",
                "Send the service's token: Authorization: Bearer TOKEN.",
                {"WWW-Authenticate": "Bearer"},
            )

    return authorise
