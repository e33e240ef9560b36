"""Any bytes as the body of a request, in any of the ways in which the service takes one."""

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx

from omnial.inference.inspector import Inspector
from omnial.serving.app import build_app
from omnial.serving.service import Service
from omnial.serving.service_settings import ServiceSettings
from tests.bad_input.pictures import PICTURES
from tests.serving.running_service import GOOD, RedFinder, model_of

_FORM = "multipart/form-data; boundary=x"
_HEAD = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
_LARGEST_SEED = 4000
_ANSWERS = {200, 400, 403, 404, 405, 408, 409, 413, 415, 421, 422}


class _Client:
    """A service in this process, and one connection to it."""

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="omnial-fuzz-")
        history = Path(self.folder.name) / "history.sqlite"
        limits = ServiceSettings(history=history, max_megapixels=0.05, gather_milliseconds=0.0)
        self.service = Service(Inspector.of(model_of(RedFinder())), "fuzz", limits)
        self.service.start()
        self.loop = asyncio.new_event_loop()
        transport = httpx.ASGITransport(build_app(self.service), raise_app_exceptions=True)
        self.http = httpx.AsyncClient(transport=transport, base_url="http://localhost")

    def send(self, request: httpx.Request) -> httpx.Response:
        return self.loop.run_until_complete(self.http.send(request))


_client: list[_Client] = []


def seeds() -> Iterator[bytes]:
    """Requests of each kind."""
    yield b"\0" + GOOD
    yield b"\1" + _HEAD + GOOD + b"\r\n--x--\r\n"
    yield b"\2" + _HEAD.replace(b'"image"', b'"images"') + GOOD + b"\r\n--x--\r\n"
    for review in (b'"right"', b"null", b'"missed"'):
        yield b'\3{"review": ' + review + b"}"
    for query in (b"text=a&verdict=good", b"since=2020-01-01T00:00Z&until=2030-01-01", b"limit=3"):
        yield b"\4" + query
    for charset in (b"utf-16", b"unicode_escape", b"idna"):
        yield b"\5" + charset + b"\n" + _HEAD + GOOD + b"\r\n--x--\r\n"
    yield b"\6http://localhost\nlocalhost\n9"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "seed"
        # What is in a picture is the decoder's matter.
        for case in PICTURES[::10]:
            case.write(path)
            if path.stat().st_size <= _LARGEST_SEED:
                yield b"\0" + path.read_bytes()


def target(data: bytes) -> None:
    """Send a request; its first byte says which. No answer may be a failure."""
    if not _client:
        _client.append(_Client())
    client, kind, body = _client[0], data[:1], data[1:]
    answer = client.send(_request(client.http, kind, body))
    assert answer.status_code in _ANSWERS, f"{answer.status_code} {answer.text}"
    if answer.headers.get("content-type") == "application/json" and answer.status_code != 200:
        assert set(answer.json()) == {"error", "reason"}
    assert client.service.admission.inside == 0


def _request(http: httpx.AsyncClient, kind: bytes, body: bytes) -> httpx.Request:
    number = kind[0] % 7 if kind else 0
    if number in (1, 2):
        path = "/v1/inspect" if number == 1 else "/v1/inspect/batch"
        return http.build_request("POST", path, content=body, headers={"Content-Type": _FORM})
    if number == 3:
        json = {"Content-Type": "application/json"}
        return http.build_request("PUT", "/v1/history/1/review", content=body, headers=json)
    if number == 4:
        path = ("/v1/history", "/v1/history.csv")[len(body) % 2]
        # The raw query, as a client may send it that escapes nothing but what ends it.
        query = b"".join(b"%%%02x" % c if c < 33 or c > 126 or c == 35 else b"%c" % c for c in body)
        return http.build_request("GET", httpx.URL(path, query=query))
    if number == 5:
        charset, _, form = body.partition(b"\n")
        kind = b"multipart/form-data; boundary=x; charset=" + charset.replace(b"\r", b"")
        return http.build_request(
            "POST", "/v1/inspect", content=form, headers=[(b"Content-Type", kind)]
        )
    if number == 6:
        names = (b"Origin", b"Host", b"Content-Length", b"Authorization", b"Content-Type")
        lines = [line.replace(b"\r", b"") for line in body.split(b"\n")]
        headers = list(zip(names, lines, strict=False))
        return http.build_request("POST", "/v1/inspect", content=b"", headers=headers)
    return http.build_request("POST", "/v1/inspect", content=body)
