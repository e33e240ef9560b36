"""A video file frame by frame, and one played as a stream whose newest frame counts."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from omnial.errors import UserError, without_password
from omnial.inference.inspector import Inspector
from omnial.watching import feeds
from omnial.watching.feeds import CameraFeed, open_feed
from omnial.watching.watcher import watch
from tests.inference.test_predictor import SIZE, red_model, rows_of

cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
FRAMES, RATE = 12, 10
DEFECTIVE = range(5, 8)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Green frames, ten a second, of which three show something red."""
    path = tmp_path_factory.mktemp("video") / "clip.avi"
    code = cv2.VideoWriter.fourcc(*"MJPG")
    writer = cv2.VideoWriter(str(path), code, RATE, (SIZE, SIZE))
    for index in range(FRAMES):
        frame = np.zeros((SIZE, SIZE, 3), np.uint8)
        frame[..., 1] = 255
        if index in DEFECTIVE:
            frame[16:48, 16:48] = (0, 0, 255)  # BGR
        writer.write(frame)
    writer.release()
    return path


def test_every_frame_of_a_file_is_inspected(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    summary = watch(Inspector.of(red_model()), open_feed(str(clip)), out)
    rows = rows_of(out)
    assert [row["anomalous"] for row in rows] == [index in DEFECTIVE for index in range(FRAMES)]
    seconds = [float(row["path"].removeprefix(f"{clip}#t=")) for row in rows]
    np.testing.assert_allclose(np.diff(seconds), 1 / RATE, atol=0.002)
    assert summary.dropped == 0
    kept = sorted((out / "frames").glob("*.jpg"))
    assert [path.stem for path in kept] == [Path(row["map"]).stem for row in rows]
    with Image.open(kept[5]) as frame:
        assert frame.getpixel((32, 32))[0] > 200  # red, not blue


def test_one_frame_for_every_so_many_seconds(clip: Path, tmp_path: Path) -> None:
    feed = open_feed(str(clip), every=0.4)
    watch(Inspector.of(red_model()), feed, tmp_path / "out", kept="none")
    seconds = [float(row["path"].rpartition("=")[2]) for row in rows_of(tmp_path / "out")]
    np.testing.assert_allclose(np.diff(seconds), 0.4, atol=0.002)
    assert len(seconds) == 3


class Played:
    """The clip as a camera gives it: a frame each time that the test lets one go."""

    def __init__(self, clip: Path, go: threading.Semaphore, asked: threading.Semaphore) -> None:
        self._capture, self._go, self._asked = cv2.VideoCapture(str(clip)), go, asked

    def isOpened(self) -> bool:  # noqa: N802
        return bool(self._capture.isOpened())

    def read(self) -> Any:
        self._asked.release()
        self._go.acquire()
        return self._capture.read()

    def release(self) -> None:
        self._capture.release()


def test_of_a_stream_the_newest_frame_counts_and_it_is_opened_again(
    clip: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    go, asked, opened = threading.Semaphore(0), threading.Semaphore(0), []

    def open_again(source: str) -> Played:
        opened.append(source)
        return Played(clip, go, asked)

    def play(reads: int) -> None:
        for _ in range(reads):
            go.release()
            asked.acquire()  # the next read begins: this one is done

    monkeypatch.setattr(feeds, "_open", open_again)
    monkeypatch.setattr(feeds, "_WAIT", 0.01)
    feed = CameraFeed("rtsp://me:secret@line/1")
    monkeypatch.setattr(feed._ended, "wait", lambda _: None)
    asked.acquire()
    play(1)
    assert (feed.take(8), feed.dropped) == ([], 0)  # nobody had asked for that frame
    play(6)
    (arrival,) = feed.take(8) or []
    assert arrival.frame is not None
    assert arrival.frame[32, 32, 0] > 200  # the seventh frame shows red
    assert arrival.path.startswith("rtsp://line/1#2")
    assert (feed.dropped, len(opened)) == (5, 1)
    play(FRAMES - 7)
    play(1)  # the clip ends, as a connection does
    assert len(opened) == 2
    play(6)
    (arrival,) = feed.take(8) or []
    assert arrival.frame is not None
    assert arrival.frame[32, 32, 0] > 200  # the sixth of the second time
    assert feed.dropped == 5 + (FRAMES - 7) + 5
    assert "rtsp://line/1 gives no picture" in caplog.text
    assert "secret" not in caplog.text
    feed._ended.set()
    go.release()
    feed.close()


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"no video")
    (tmp_path / "part.png").write_bytes(b"no video")
    with pytest.raises(UserError, match="cannot be opened as video"):
        open_feed(str(tmp_path / "clip.mp4"))
    with pytest.raises(UserError, match="omnial predict"):
        open_feed(str(tmp_path / "part.png"))
    for address in (
        "rtsp://cam/live",
        "rtsp://admin:pass@cam/live",
        "rtsp://admin:pa/ss@cam/live",
        "rtsp://admin:p@ss@cam/live",
        "rtsp://cam/live?user=admin&password=pass",
        "rtsp://admin:p?ss@cam/live",
    ):
        assert without_password(address) == "rtsp://cam/live"
    assert without_password("/dev/video0") == "/dev/video0"
    assert without_password("rtsp:/a:b@cam/1, a@b.png") == "rtsp:/cam/1, a@b.png"
