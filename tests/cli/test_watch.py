"""`omnial watch` from the command line: a folder, a video file, Ctrl+C."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from omnial.model_folder.weights_file import save_model
from tests.small_model import untrained

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save_model(folder, untrained(["leaf", "sky"]))
    return folder


def picture(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.full((40, 60, 3), (0, 240, 0), np.uint8)).save(path)
    return path


def test_files_that_are_there_and_one_that_arrives_bit_by_bit(
    run: Run, model: Path, tmp_path: Path
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    picture(folder / "first.png")
    whole = picture(tmp_path / "later.png").read_bytes()

    def arrive() -> None:
        rows = out / "predictions.jsonl"
        while not (rows.is_file() and rows.stat().st_size):
            time.sleep(0.02)
        with (folder / "later.png").open("wb") as file:
            for start in range(0, len(whole), len(whole) // 3 + 1):
                file.write(whole[start : start + len(whole) // 3 + 1])
                file.flush()
                time.sleep(0.1)

    thread = threading.Thread(target=arrive)
    thread.start()
    ended = run(
        *("watch", folder, "--model", model, "--out", out, "--existing", "--stop-after", 2),
        *("--class", "leaf", "--json"),
    )
    thread.join()
    assert ended.code == 0, ended.err
    rows = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    assert [Path(row["path"]).name for row in rows] == ["first.png", "later.png"]
    assert rows[0]["score"] == rows[1]["score"]
    result = json.loads(ended.out)
    assert (result["images"], result["unreadable"], result["waiting"]) == (2, 0, 0)
    assert Path(result["page"]).is_file()
    assert ended.err.count("leaf") == 2


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_ctrl_c_ends_it_with_a_summary(model: Path, tmp_path: Path) -> None:
    """In a process of its own: a signal to this one meets whatever the tests before have loaded."""
    folder, out = tmp_path / "in", tmp_path / "out"
    picture(folder / "1.png")
    (folder / "2.png").write_bytes(b"")
    arguments = ("watch", folder, "--model", model, "--out", out, "--existing")
    command = [sys.executable, "-m", "omnial", *map(str, arguments)]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A process started in the background of a script inherits that SIGINT is ignored.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    try:
        rows = out / "predictions.jsonl"
        while process.poll() is None and not (rows.is_file() and rows.stat().st_size):
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        shown, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, said
    assert f"1 image, {int('ANOMALOUS' in said)} anomalous, 0 not readable" in shown
    assert f"see {out}/index.html" in shown.replace("\n", "")


def test_a_video_file_is_played_to_its_end(run: Run, model: Path, tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
    clip = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for _ in range(5):
        writer.write(np.full((48, 64, 3), (0, 240, 0), np.uint8))
    writer.release()
    ended = run("watch", clip, "--model", model, "--out", tmp_path / "out", "--pictures", "none")
    assert ended.code == 0, ended.err
    assert "5 images" in ended.out
    assert len((tmp_path / "out" / "predictions.jsonl").read_text().splitlines()) == 5


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (["--run", "no-such-command-here"], "no such command"),
        (["--hook", "host/path"], "http://"),
        (["--every", "2"], "--every"),
    ],
)
def test_mistakes_are_told_at_once(run: Run, tmp_path: Path, more: list[str], reason: str) -> None:
    (tmp_path / "in").mkdir()
    ended = run("watch", tmp_path / "in", "--model", tmp_path, "--out", tmp_path / "out", *more)
    assert (ended.code, reason in ended.err) == (2, True)
    assert not (tmp_path / "out").exists()
