"""Verdicts for other programs: a command or an HTTP address, which never hold up the inspection."""

import json
import logging
import re
import shlex
import shutil
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from queue import Empty, Full, Queue
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

from omnial.errors import RunError, UserError, without_password

Event: TypeAlias = Mapping[str, Any]
"""What is told of an image, JSON values by name."""

_QUEUE: Final = 100
"""Verdicts that wait for a slow hook; of more, the oldest are left out."""
_TIMEOUT: Final = 10.0
_LAST: Final = 15.0
"""Seconds that the end waits for what is still to be delivered."""
_PLACEHOLDER: Final = re.compile(r"\{(\w+)\}")
_logger = logging.getLogger(__name__)


class Hook:
    """Calls something with each verdict, in order, from a thread of its own."""

    def __init__(self, name: str, call: Callable[[Event], None]) -> None:
        self.failed = self.left_out = 0
        self._name, self._call = name, call
        self._queue: Queue[Event | None] = Queue(_QUEUE)
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def send(self, event: Event) -> None:
        """Deliver an event soon; returns at once."""
        if self._queue.full():
            if not self.left_out:
                _logger.warning("%s is too slow: the oldest verdicts are left out", self._name)
            with suppress(Empty):
                self._queue.get_nowait()
                self.left_out += 1
        self._queue.put_nowait(event)  # nobody else puts anything in

    def close(self) -> None:
        """Wait some seconds for what is still to be delivered."""
        with suppress(Full):
            self._queue.put(None, timeout=_LAST)
            self._thread.join(_LAST)
        if self._thread.is_alive():
            self.left_out += self._queue.qsize()

    def _work(self) -> None:
        well = True
        while (event := self._queue.get()) is not None:
            try:
                self._call(event)
            except Exception as error:  # whatever it is, the inspection goes on
                self.failed += 1
                if well:
                    _logger.warning("%s failed: %s", self._name, error)
                well = False
            else:
                if not well:
                    _logger.info("%s works again", self._name)
                well = True


def command_hook(command: str, names: tuple[str, ...]) -> Hook:
    """A hook that runs a command, no shell: `{name}` in it becomes the event's value.

    The whole event is JSON on the command's standard input. A command that takes longer than ten
    seconds, or ends with another code than 0, has failed.

    Raises:
        UserError: The command cannot be found, or a name is none of `names`.
    """
    try:
        parts = shlex.split(command)
    except ValueError as error:
        raise UserError(f"--run {command!r}: {error}. Check its quotes.") from error
    if not parts or shutil.which(parts[0]) is None:
        raise UserError(f"--run {command!r}: there is no such command on this machine.")
    unknown = sorted(set(_PLACEHOLDER.findall(command)) - set(names))
    if unknown:
        known = ", ".join(f"{{{name}}}" for name in names)
        raise UserError(f"--run: {{{unknown[0]}}} is unknown; there are {known}.")

    def call(event: Event) -> None:
        def value(found: re.Match[str]) -> str:
            text = event[found[1]]
            return "" if text is None else str(text)

        ended = subprocess.run(
            [_PLACEHOLDER.sub(value, part) for part in parts],
            input=json.dumps(event).encode(),
            stdout=subprocess.DEVNULL,
            timeout=_TIMEOUT,
            check=False,
            start_new_session=True,  # Ctrl+C is for omnial, which lets it end
        )
        if ended.returncode:
            raise RunError(f"the command ended with code {ended.returncode}")

    return Hook("--run", call)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirected POST would go on as a GET, without the verdict."""

    def redirect_request(self, *_: object) -> None:
        """Let the redirect be the error that it is."""


def http_hook(url: str) -> Hook:
    """A hook that posts each event as JSON to an address, which must answer with 2xx in time.

    Raises:
        UserError: It is no HTTP address.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        shown = without_password(url)
        raise UserError(f"--hook {shown}: give an address that begins with http:// or https://.")
    if parts.username is not None:
        raise UserError(
            f"--hook {without_password(url)}: give an address without a name and a password; a "
            "program of --run can send them."
        )

    opener = urllib.request.build_opener(_NoRedirect)

    def call(event: Event) -> None:
        content = json.dumps(event).encode()
        request = urllib.request.Request(url, content, {"Content-Type": "application/json"})
        with opener.open(request, timeout=_TIMEOUT):
            pass

    return Hook("--hook", call)
