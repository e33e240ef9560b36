"""`omnial serve` in a process of its own: it answers, and ends without losing a request."""

import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from omnial.model_folder.weights_file import save_model
from tests.small_model import untrained

Run = Callable[..., Any]
CLASSES = ("bolt", "nut")
TOKEN = "a-token-of-some-length"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained network in a model folder: what it says does not matter here."""
    folder = tmp_path_factory.mktemp("served") / "model"
    save_model(folder, untrained(CLASSES))
    return folder


@pytest.fixture(scope="module")
def image() -> bytes:
    stream = BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


class Served:
    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.said: list[str] = []
        self._urls: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()
        self.url = self._urls.get(timeout=120)

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)
            if found := re.search(r"inspecting at (\S+)", line):
                self._urls.put(found[1])
        self._urls.put("")


@contextmanager
def served(model: Path, *options: object, **environment: str) -> Iterator[Served]:
    # A process started in the background of a script inherits that SIGINT is ignored.
    listen = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    program = f"{listen}; from omnial.cli import main; main()"
    command = [sys.executable, "-c", program, "serve", model]
    process = subprocess.Popen(
        [*map(str, command), "--port", "0", *map(str, options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )
    try:
        running = Served(process)
        assert running.url, "".join(running.said)
        yield running
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_sigterm_answers_what_was_begun_and_a_new_process_has_the_history(
    model: Path, image: bytes, tmp_path: Path
) -> None:
    history = tmp_path / "deep" / "h.sqlite"
    options: tuple[object, ...] = ("--history", history, "--gather-ms", 1000, "--host", "0.0.0.0")
    answers: list[httpx.Response] = []
    with served(model, *options) as first:

        def ask() -> None:
            url = f"{first.url}/v1/inspect"
            answers.append(httpx.post(url, content=image, params={"class": "nut"}, timeout=60))

        clients: list[threading.Thread] = []
        figures = ""
        while "omnial_places_taken 1.0" not in figures:
            if not clients or not clients[-1].is_alive():
                assert len(clients) < 30  # a busy machine may miss the second that one takes
                clients.append(threading.Thread(target=ask))
                clients[-1].start()
            figures = httpx.get(f"{first.url}/metrics").text
        first.process.send_signal(signal.SIGTERM)
        clients[-1].join()
        code = first.process.wait(60)
    assert code == 0, "".join(first.said)
    assert [answer.status_code for answer in answers] == [200] * len(clients), "".join(first.said)
    assert {answer.json()["class"] for answer in answers} == {"nut"}

    assert any("nothing keeps them out" in line for line in first.said)

    options = ("--history", history, "--token-file", token_file(tmp_path))
    with served(model, *options) as second:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        items = httpx.get(f"{second.url}/v1/history", headers=headers).json()["items"]
        refused = httpx.get(f"{second.url}/v1/history").status_code
        second.process.send_signal(signal.SIGINT)
        code = second.process.wait(60)
    assert [item["id"] for item in items] == [*range(len(clients), 0, -1)]
    assert (refused, code) == (401, 130)
    assert second.said[-1] == "omnial: interrupted\n"
    assert not any("nothing keeps them out" in line for line in second.said)


def token_file(folder: Path) -> Path:
    path = folder / "token"
    path.write_text(TOKEN + "\n")
    return path


def test_a_taken_port(run: Run, model: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = run("serve", model, "--no-history", "--port", taken.getsockname()[1])

    assert ended.code == 2
    assert "--port" in ended.err


@pytest.mark.parametrize("token", ["", "short", "two words of some length", "ü" * 20])
@pytest.mark.parametrize("way", ["file", "environment"])
def test_a_token_that_is_none(
    run: Run, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str, way: str
) -> None:
    options: list[object] = []
    if way == "file":
        (tmp_path / "token").write_text(token)
        options = ["--token-file", tmp_path / "token"]
    else:
        monkeypatch.setenv("OMNIAL_TOKEN", token)
    ended = run("serve", model, *options)

    assert ended.code == 2
    assert "16" in ended.err
    assert not token or token not in ended.err


@pytest.mark.parametrize(
    "options",
    [
        ("--token-file", "absent"),
        ("--host", "no.such.host.invalid", "--no-history"),
        ("--host", "192.0.2.1", "--no-history"),
        ("--queue", "0"),
        ("--backend", "onnx", "--no-history"),
    ],
)
def test_mistakes(run: Run, model: Path, options: tuple[str, ...]) -> None:
    assert run("serve", model, *options).code == 2


def test_no_model(run: Run, tmp_path: Path) -> None:
    assert run("serve", tmp_path, "--no-history").code == 2


def test_without_its_packages_it_says_what_to_install(
    run: Run, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "python_multipart", None)
    ended = run("serve", model)

    assert ended.code == 2
    assert "pip install '.[serve]' in a clone of omnial" in ended.err
