"""What arrives is inspected, written down as predict does, and told; hooks hold nothing up."""

import csv
import json
import shlex
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from omnial.errors import UserError
from omnial.inference.inspector import Inspector
from omnial.reporting.prediction_report import predict
from omnial.watching import hooks as hooks_module
from omnial.watching import watcher
from omnial.watching.feeds import Arrival, Feed, open_feed
from omnial.watching.hooks import Hook, command_hook, http_hook
from omnial.watching.watcher import EVENT_NAMES, Kept, WatchSummary, watch
from tests.faults.breaking import killed_everywhere
from tests.inference.test_predictor import pictures_of, red_model, rows_of, write_image

DEFECT = (slice(10, 30), slice(20, 60))


class Given(Feed):
    """A feed of files, in batches."""

    dropped = 3

    def __init__(self, *batches: list[Path]) -> None:
        self.batches = list(batches)

    def take(self, most: int) -> list[Arrival] | None:
        batch = self.batches.pop(0) if self.batches else None
        return None if batch is None else [Arrival(str(path), path.stem) for path in batch[:most]]

    def waiting(self) -> int:
        return sum(map(len, self.batches))


@pytest.fixture
def inspector() -> Inspector:
    return Inspector.of(red_model())


@pytest.fixture
def parts(tmp_path: Path) -> list[Path]:
    good, bad = tmp_path / "in/good.png", tmp_path / "in/bad.png"
    write_image(good)
    write_image(bad, defect=DEFECT)
    (tmp_path / "in/broken.png").write_bytes(b"?")
    return [good, bad, tmp_path / "in/broken.png"]


def watched(inspector: Inspector, out: Path, *batches: list[Path], **more: Any) -> WatchSummary:
    return watch(inspector, Given(*batches), out, **more)


def test_results_are_those_of_predict_with_a_time(
    inspector: Inspector, parts: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    seen: list[Any] = []
    summary = watched(inspector, out, parts[:2], [], parts[2:], on_image=seen.append)
    predict(inspector, parts, out=tmp_path / "predicted")

    rows, expected = rows_of(out), rows_of(tmp_path / "predicted")
    for row, other in zip(rows, expected, strict=True):
        assert {**row, "map": 0} == {**other, "map": 0, "time": row["time"]}
        if row["map"]:
            assert (out / row["map"]).read_bytes() == (
                tmp_path / "predicted" / other["map"]
            ).read_bytes()
    assert [row["time"] for row in rows] == sorted({row["time"] for row in rows})
    assert len(pictures_of(out)) == 6
    with (out / "results.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [line["time"] for line in table] == [row["time"] for row in rows]
    assert [line["verdict"] for line in table] == ["good", "anomalous", "not readable"]
    assert "1 of 2 images anomalous" in (out / "index.html").read_text("utf-8")
    assert (summary.n_images, summary.n_anomalous, len(summary.errors)) == (3, 1, 1)
    assert (summary.dropped, summary.waiting) == (3, 0)
    assert [event["verdict"] for event in seen] == ["good", "anomalous", "not readable"]
    assert set(EVENT_NAMES) <= set(seen[0])
    assert Path(seen[1]["overlay"]).is_file()


def test_the_page_is_renewed_while_the_watch_goes_on(
    inspector: Inspector, parts: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher, "_RENEWED", 0.0)
    monkeypatch.setattr(watcher, "_PAGE_SHARE", 0.0)
    pages: list[str] = []

    def look(_: object) -> None:
        page = tmp_path / "out" / "index.html"
        pages.append(page.read_text("utf-8") if page.exists() else "")

    # Nothing arrives between the two: the page is renewed all the same.
    watched(inspector, tmp_path / "out", parts[:1], [], parts[1:2], on_image=look)
    assert pages[0] == ""
    assert "0 of 1 images anomalous" in pages[1]


def test_a_quiet_line_has_a_page_and_a_broken_overlay_ends_nothing(
    inspector: Inspector, parts: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher, "_RENEWED", 0.0)
    page, seen = tmp_path / "out" / "index.html", list[bool]()

    class Quiet(Given):
        def take(self, most: int) -> list[Arrival] | None:
            seen.append(page.exists())
            if len(seen) == 2:
                for overlay in (tmp_path / "out" / "overlays").iterdir():
                    overlay.write_bytes(b"")
            return super().take(most)

    watch(inspector, Quiet(parts[:1], [], [], parts[1:2]), tmp_path / "out")
    assert seen[:4] == [False, False, True, True]
    assert "1 of 2 images anomalous" in page.read_text("utf-8")


def test_a_second_watch_adds_and_a_cut_line_is_ended(
    inspector: Inspector, parts: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    watched(inspector, out, parts[:1])
    with (out / "predictions.jsonl").open("a") as file:
        file.write('{"path": "cut')
    summary = watched(inspector, out, parts[:1], parts[1:2])
    lines = (out / "predictions.jsonl").read_text("utf-8").splitlines()
    assert len(lines) == 4
    assert [json.loads(lines[index])["anomalous"] for index in (0, 2, 3)] == [False, False, True]
    assert summary.n_images == 2
    assert len(pictures_of(out)) == 9
    assert "1 of 3 images anomalous" in (out / "index.html").read_text("utf-8")


def test_results_of_watch_and_predict_do_not_mix(
    inspector: Inspector, parts: list[Path], tmp_path: Path
) -> None:
    watched(inspector, tmp_path / "watched", parts[:1])
    predict(inspector, parts[:1], out=tmp_path / "predicted")
    with pytest.raises(UserError, match="results of omnial watch"):
        predict(inspector, parts, out=tmp_path / "watched")
    with pytest.raises(UserError, match="results of omnial predict"):
        watched(inspector, tmp_path / "predicted", parts)
    assert len(rows_of(tmp_path / "watched")) == len(rows_of(tmp_path / "predicted")) == 1


@pytest.mark.parametrize(("kept", "count"), [("anomalous", 3), ("none", 0)])
def test_fewer_pictures(
    inspector: Inspector, parts: list[Path], tmp_path: Path, kept: Kept, count: int
) -> None:
    watched(inspector, tmp_path / "out", parts, kept=kept)
    assert len(pictures_of(tmp_path / "out")) == count
    rows = rows_of(tmp_path / "out")
    assert [row["map"] is not None for row in rows] == [False, count > 0, False]


def test_it_ends_after_so_many_images_or_when_it_is_asked_to(
    inspector: Inspector, parts: list[Path], tmp_path: Path
) -> None:
    batches = [parts[:2], parts[:2], parts[:2]]
    assert watched(inspector, tmp_path / "a", *batches, stop_after=3).n_images == 3
    asked = iter([False, False, True])
    summary = watched(inspector, tmp_path / "b", *batches, stopped=lambda: next(asked))
    assert (summary.n_images, summary.waiting) == (4, 2)
    assert (tmp_path / "b" / "index.html").is_file()


@pytest.fixture
def address() -> Iterator[tuple[str, list[Any]]]:
    """A server that takes JSON, but for the first time."""
    posted: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(301 if self.path == "/old" else 200 if len(posted) > 1 else 500)
            self.send_header("Location", "/verdicts")
            self.end_headers()

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/verdicts", posted
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_address_gets_each_verdict_and_a_failure_is_counted(
    inspector: Inspector,
    parts: list[Path],
    tmp_path: Path,
    address: tuple[str, list[Any]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    url, posted = address
    summary = watched(inspector, tmp_path / "out", parts, hooks=[http_hook(url)])
    assert [event["verdict"] for event in posted] == ["good", "anomalous", "not readable"]
    assert posted[1]["outlines"] == rows_of(tmp_path / "out")[1]["outlines"]
    assert summary.undelivered == 1
    assert "--hook failed: HTTP Error 500" in caplog.text


def test_a_redirected_verdict_is_not_delivered(
    inspector: Inspector, parts: list[Path], tmp_path: Path, address: tuple[str, list[Any]]
) -> None:
    """Libraries follow with a GET, which an address may well answer, without the verdict."""
    old = address[0].replace("/verdicts", "/old")
    summary = watched(inspector, tmp_path / "out", parts, hooks=[http_hook(old)])
    assert summary.undelivered == 3


def test_a_command_gets_each_verdict_as_arguments_and_as_json(
    inspector: Inspector, parts: list[Path], tmp_path: Path
) -> None:
    # No shell: neither the name of a file nor quotes within it can do anything.
    path = write_image(tmp_path / "a b; touch oops.png", defect=DEFECT)
    code = (
        "import json, sys; event = json.load(sys.stdin); "
        "print(sys.argv[1:], event['score'], file=open(sys.argv[1], 'a'))"
    )
    told = tmp_path / "told"
    command = shlex.join(
        [sys.executable, "-c", code, str(told), "{path}", "x={verdict}", "{error}"]
    )
    hook = command_hook(command, EVENT_NAMES)
    summary = watched(inspector, tmp_path / "out", [path], hooks=[hook])
    (row,) = rows_of(tmp_path / "out")
    arguments = [str(told), str(path), "x=anomalous", ""]
    assert told.read_text() == f"{arguments} {row['score']}\n"
    assert summary.undelivered == 0


def test_a_command_that_fails_is_counted(
    inspector: Inspector, parts: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hook = command_hook(shlex.join([sys.executable, "-c", "raise SystemExit(3)"]), EVENT_NAMES)
    summary = watched(inspector, tmp_path / "out", parts[:2], hooks=[hook])
    assert (summary.n_images, summary.undelivered) == (2, 2)
    assert caplog.text.count("--run failed: the command ended with code 3") == 1


def test_killed_anywhere_it_has_whole_rows_and_their_pictures(
    inspector: Inspector, parts: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"

    def whole() -> None:
        if not (out / "predictions.jsonl").exists():
            return
        rows = rows_of(out)
        with (out / "results.csv").open(newline="") as file:
            assert len(list(csv.DictReader(file))) == len(rows)
        for row in rows:
            assert row["map"] is None or (out / row["map"]).is_file()

    assert killed_everywhere(lambda: watched(inspector, out, parts), whole) > 8
    whole()
    assert [row["anomalous"] for row in rows_of(out)[-3:]] == [False, True, None]


def test_a_hook_that_hangs_holds_up_nothing(
    inspector: Inspector, parts: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooks_module, "_QUEUE", 2)
    monkeypatch.setattr(hooks_module, "_LAST", 0.01)
    go_on, told = threading.Event(), []

    def hang(event: Any) -> None:
        go_on.wait(20)
        told.append(event["path"])

    hook = Hook("slow", hang)
    summary = watched(inspector, tmp_path / "out", parts[:2] * 4, hooks=[hook])
    assert len(rows_of(tmp_path / "out")) == summary.n_images == 8
    assert not told
    assert summary.undelivered >= 5
    go_on.set()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: command_hook("no-such-command-here {path}", EVENT_NAMES), "no such command"),
        (lambda: command_hook(f"{sys.executable} {{colour}}", EVENT_NAMES), "{colour} is unknown"),
        (lambda: command_hook("'open", EVENT_NAMES), "Check its quotes"),
        (lambda: http_hook("ftp://host/x"), "http://"),
        (lambda: open_feed("nowhere"), "no such folder"),
        (lambda: open_feed(".", every=1.0), "--every"),
        (lambda: open_feed("7", existing=True), "--existing"),
    ],
)
def test_mistakes_are_told_before_anything_starts(make: Any, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        make()
