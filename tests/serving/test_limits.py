"""What is too much is refused, early, and leaves nothing behind."""

import socket
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from omnial.serving.service_settings import ServiceSettings
from tests.serving.running_service import BAD, GOOD, RedFinder, Running, model_of, part, running

Serve = Callable[..., Running]


def bomb(edge: int) -> bytes:
    """A PNG that says it has edge x edge pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    header = struct.pack(">IIBBBBB", edge, edge, 8, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * 10_000)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture(scope="module")
def small() -> Iterator[Running]:
    limits = {"max_megabytes": 0.1, "max_megapixels": 0.5, "max_batch": 3, "timeout": 20}
    with running(model_of(RedFinder()), **limits) as service:
        yield service


@pytest.mark.parametrize("path", ["/v1/inspect", "/v1/inspect/batch"])
def test_a_body_that_says_it_is_too_large(small: Running, path: str) -> None:
    answer = small.http.post(path, content=b"\0" * 500_000)

    assert (answer.status_code, answer.json()["error"]) == (413, "too_large")
    assert "--max-megabytes" in answer.json()["reason"]
    assert small.service.admission.inside == 0


def test_a_body_that_does_not_say_its_size(small: Running) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 50_000_000:
            sent += 10_000
            yield b"\0" * 10_000

    try:
        answer = small.http.post("/v1/inspect", content=endless())
    except (httpx.WriteError, httpx.ReadError):
        pass  # the service closed the connection while the client was still writing
    else:
        assert answer.status_code == 413
    assert sent < 50_000_000
    until(lambda: small.service.admission.inside == 0)
    assert small.http.post("/v1/inspect", content=GOOD).status_code == 200


def test_a_file_of_a_form_that_is_too_large(small: Running) -> None:
    one = small.http.post("/v1/inspect", files={"image": ("a.png", GOOD + b"\0" * 105_000)})
    files = [("images", ("a.png", GOOD)), ("images", ("b.png", GOOD + b"\0" * 105_000))]
    several = small.http.post("/v1/inspect/batch", files=files)

    assert one.status_code == 413
    assert several.status_code == 200
    assert [r.get("error") for r in several.json()["results"]] == [None, "too_large"]
    assert small.service.admission.inside == 0


@pytest.mark.parametrize("content", [bomb(100_000), bomb(720), part(height=800, width=800)])
def test_too_many_pixels(small: Running, content: bytes) -> None:
    answer = small.http.post("/v1/inspect", content=content)

    assert (answer.status_code, answer.json()["error"]) == (413, "too_many_pixels")
    assert "0.5 megapixels" in answer.json()["reason"]
    assert "--max-megapixels" in answer.json()["reason"]


def test_too_many_files_and_fields(small: Running) -> None:
    files = [("images", (f"{index}.png", GOOD)) for index in range(4)]
    fields = {f"field{index}": "x" for index in range(9)}

    many_files = small.http.post("/v1/inspect/batch", files=files)
    many_fields = small.http.post("/v1/inspect/batch", files=files[:1], data=fields)
    long_field = small.http.post("/v1/inspect/batch", files=files[:1], data={"class": "x" * 5000})

    assert [a.status_code for a in (many_files, many_fields, long_field)] == [400, 400, 400]
    assert small.service.admission.inside == 0


def test_other_routes_take_no_large_body(small: Running) -> None:
    answer = small.http.post("/healthz", content=b"\0" * 50_000)

    assert answer.status_code == 413


@pytest.mark.parametrize("length", ["-5", "1e3", "nonsense"])
def test_a_nonsensical_length(small: Running, length: str) -> None:
    where = urlsplit(small.url)
    with socket.create_connection((where.hostname, where.port), timeout=10) as raw:
        head = f"POST /v1/inspect HTTP/1.1\r\nHost: {where.netloc}\r\nContent-Length: {length}\r\n"
        raw.sendall(head.encode() + b"\r\n")
        assert raw.recv(1000).split()[1] in (b"400", b"413")


def test_a_full_queue_says_when_to_come_again(serve: Serve) -> None:
    running = serve(queue=2, batch_size=1)
    running.network.gate.clear()
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(running.http.post, "/v1/inspect", content=c) for c in (GOOD, BAD)]
        until(lambda: running.service.admission.inside == 2)

        refused = running.http.post("/v1/inspect", content=GOOD)
        not_ready = running.http.get("/readyz")
        alive = running.http.get("/healthz")
        running.network.gate.set()
        answers = [future.result() for future in waiting]

    assert (refused.status_code, refused.json()["error"]) == (429, "busy")
    assert int(refused.headers["Retry-After"]) >= 1
    assert (not_ready.status_code, alive.status_code) == (503, 200)
    assert [answer.json()["anomalous"] for answer in answers] == [False, True]
    assert running.http.get("/readyz").status_code == 200
    assert running.service.admission.inside == 0


def test_a_batch_finds_places_for_all_of_its_images_or_none(serve: Serve) -> None:
    running = serve(queue=3)
    files = [("images", (f"{index}.png", GOOD)) for index in range(3)]
    running.network.gate.clear()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(running.http.post, "/v1/inspect", content=GOOD)
        until(lambda: running.service.admission.inside == 1)
        refused = running.http.post("/v1/inspect/batch", files=files)
        inside = running.service.admission.inside
        running.network.gate.set()
    taken = running.http.post("/v1/inspect/batch", files=files)

    assert (refused.status_code, inside) == (429, 1)
    assert (waiting.result().status_code, taken.status_code) == (200, 200)
    assert running.service.admission.inside == 0


def test_a_request_that_waits_too_long(serve: Serve) -> None:
    running = serve(timeout=0.3, batch_size=1)
    running.network.gate.clear()

    late = running.http.post("/v1/inspect", content=GOOD)
    behind = running.http.post("/v1/inspect", content=BAD)
    running.network.gate.set()
    until(lambda: running.service.admission.inside == 0)

    assert (late.status_code, behind.status_code) == (504, 504)
    assert late.json()["error"] == "timeout"
    # What nobody waits for any more is not inspected.
    assert running.network.batches == [1]
    assert running.http.post("/v1/inspect", content=GOOD).status_code == 200


def test_a_stuck_engine_makes_the_service_ill(serve: Serve) -> None:
    running = serve(timeout=0.1)
    running.network.gate.clear()
    running.http.post("/v1/inspect", content=GOOD)

    until(lambda: running.http.get("/healthz").status_code == 503)
    assert running.http.get("/readyz").status_code == 503
    running.network.gate.set()
    until(lambda: running.http.get("/healthz").status_code == 200)


def test_a_queue_that_is_smaller_than_a_request(serve: Serve) -> None:
    running = serve(queue=3)
    files = [("images", (f"{index}.png", GOOD)) for index in range(4)]
    assert running.http.get("/v1/model").json()["limits"]["batch"] == 3
    assert running.http.post("/v1/inspect/batch", files=files[:3]).status_code == 200
    assert running.http.post("/v1/inspect/batch", files=files).status_code == 400


@pytest.mark.parametrize(
    ("length", "slots"), [(None, 4), (0, 1), (50_000, 1), (100_001, 2), (300_001, 4), (900_000, 4)]
)
def test_a_request_of_several_images_holds_places_for_its_bytes(
    length: int | None, slots: int
) -> None:
    settings = ServiceSettings(max_megabytes=0.1)
    assert settings.slots(length) == slots
    assert settings.model_copy(update={"queue": 2}).slots(length) == min(slots, 2)


@pytest.mark.parametrize("begun", [b"", b"GET /healthz HTTP/1.1\r\nHost: local"])
def test_a_connection_without_a_request_is_closed(begun: bytes) -> None:
    with running(model_of(RedFinder()), timeout=1.0) as service:
        where = urlsplit(service.url)
        with socket.create_connection((where.hostname, where.port), timeout=10) as raw:
            raw.sendall(begun)
            assert raw.recv(1000) == b""
        # One that has asked before may ask again, and not half.
        with socket.create_connection((where.hostname, where.port), timeout=10) as raw:
            raw.sendall(f"GET /healthz HTTP/1.1\r\nHost: {where.netloc}\r\n\r\n".encode())
            assert raw.recv(1000).startswith(b"HTTP/1.1 200")
            raw.sendall(b"GET /hea")
            while raw.recv(1000):
                pass
        # Nor may one that was answered before its body came dribble on.
        with socket.create_connection((where.hostname, where.port), timeout=10) as raw:
            head = f"GET /healthz HTTP/1.1\r\nHost: {where.netloc}\r\nContent-Length: 99\r\n\r\n"
            raw.sendall(head.encode())
            assert raw.recv(1000).startswith(b"HTTP/1.1 200")
            raw.sendall(b"x")
            while raw.recv(1000):
                pass


def test_a_client_that_leaves_is_no_failure_of_the_service(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    running = serve()
    where = urlsplit(running.url)
    head = f"POST /v1/inspect HTTP/1.1\r\nHost: {where.netloc}\r\nContent-Length: 500\r\n\r\n"
    with socket.create_connection((where.hostname, where.port), timeout=10) as raw:
        raw.sendall(head.encode() + b"\x89PNG")
        until(lambda: running.service.admission.inside == 1)
    until(lambda: 'status="499"' in running.http.get("/metrics").text)
    assert 'status="500"' not in running.http.get("/metrics").text
    assert running.service.admission.inside == 0
    assert not caplog.records


@pytest.mark.parametrize(
    ("asked", "kind"),
    [
        ("POST /v1/inspect", "image/png"),
        ("POST /v1/inspect/batch", "multipart/form-data; boundary=x"),
        ("PUT /v1/history/1/review", "application/json"),
    ],
)
def test_a_body_that_dribbles_in(serve: Serve, tmp_path: Path, asked: str, kind: str) -> None:
    running = serve(timeout=0.3, history=tmp_path / "h.sqlite")
    where = urlsplit(running.url)
    with socket.create_connection((where.hostname, where.port), timeout=10) as raw:
        head = f"{asked} HTTP/1.1\r\nHost: {where.netloc}\r\nContent-Type: {kind}\r\n"
        raw.sendall(f"{head}Content-Length: 500\r\n\r\n".encode() + b"--")
        assert raw.recv(1000).split()[1] == b"408"
    until(lambda: running.service.admission.inside == 0)
