"""A folder as a feed: what is whole is taken once, in order; what is not is waited for."""

import logging
import os
from pathlib import Path
from typing import Any

import pytest

from omnial.watching.feeds import FolderFeed


class Clock:
    """Time that passes when a test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def taken(feed: FolderFeed, clock: Clock, seconds: float = 1.0) -> list[str]:
    """What is given within some seconds."""
    names = []
    for _ in range(round(seconds / 0.2)):
        clock.now += 0.2
        names += [Path(one.path).name for one in feed.take(100) or []]
    return names


def put(path: Path, content: bytes = b"whole", age: int = 0) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    os.utime(path, ns=(0, 1_000_000_000_000 - age))


@pytest.fixture(autouse=True)
def _no_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)


def test_new_and_changed_files_are_given_once_in_the_order_of_their_times(tmp_path: Path) -> None:
    put(tmp_path / "old.png")
    clock = Clock()
    feed = FolderFeed(tmp_path, clock=clock)
    assert taken(feed, clock) == []
    put(tmp_path / "b.png", age=5)
    put(tmp_path / "a.png", age=3)
    put(tmp_path / "tray" / "c.jpg", age=4)
    put(tmp_path / "notes.txt")
    put(tmp_path / ".d.png")
    assert taken(feed, clock) == ["b.png", "c.jpg", "a.png"]
    assert taken(feed, clock) == []
    put(tmp_path / "old.png", b"another")
    assert taken(feed, clock) == ["old.png"]


def test_what_is_there_already_counts_where_it_is_asked_for(tmp_path: Path) -> None:
    put(tmp_path / "old.png")
    clock = Clock()
    assert taken(FolderFeed(tmp_path, existing=True, clock=clock), clock) == ["old.png"]


def test_a_file_that_grows_or_is_empty_is_not_given_yet(tmp_path: Path) -> None:
    clock = Clock()
    feed = FolderFeed(tmp_path, clock=clock)
    put(tmp_path / "empty.png", b"")
    for size in range(1, 9):
        put(tmp_path / "grows.png", b"x" * size)
        assert taken(feed, clock, 0.2) == []
    assert taken(feed, clock, 0.8) == ["grows.png"]
    assert taken(feed, clock, 4) == ["empty.png"]


def test_an_unreadable_file_comes_again_for_a_while(tmp_path: Path) -> None:
    clock = Clock()
    feed = FolderFeed(tmp_path, clock=clock)
    put(tmp_path / "a.png", b"half")
    clock.now += 0.2
    feed.take(1)
    clock.now += 1
    (arrival,) = feed.take(1) or []
    assert feed.again(arrival)
    put(tmp_path / "a.png", b"all of it")
    assert taken(feed, clock) == ["a.png"]
    # As it stays, it is given up after some seconds.
    tries = 0
    while feed.again(arrival):
        tries += 1
        assert taken(feed, clock) == ["a.png"]
    assert 2 <= tries <= 5
    assert taken(feed, clock) == []
    (tmp_path / "a.png").unlink()
    assert not feed.again(arrival)


def test_a_folder_below_that_cannot_be_read_hinders_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as the `lost+found` of a disk."""
    scandir, clock = os.scandir, Clock()

    def denied(path: Path) -> Any:
        if Path(path).name == "lost+found":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr("os.scandir", denied)
    put(tmp_path / "lost+found" / "a.png")
    put(tmp_path / "b.png")
    feed = FolderFeed(tmp_path, clock=clock)
    put(tmp_path / "c.png")
    assert taken(feed, clock) == ["c.png"]
    assert [record.message for record in caplog.records] == [
        f"{tmp_path / 'lost+found'} cannot be listed: left out as long as it cannot"
    ]
    monkeypatch.setattr("os.scandir", scandir)
    assert taken(feed, clock) == ["a.png"]
    monkeypatch.setattr("os.scandir", denied)
    assert taken(feed, clock) == []
    monkeypatch.setattr("os.scandir", scandir)
    assert taken(feed, clock) == []
    assert len(caplog.records) == 2


def test_a_folder_that_goes_and_comes_back_gives_nothing_twice(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    share, clock = tmp_path / "share", Clock()
    put(share / "a.png")
    feed = FolderFeed(share, existing=True, clock=clock)
    assert taken(feed, clock) == ["a.png"]
    share.rename(tmp_path / "away")
    assert taken(feed, clock) == []
    share.mkdir()
    assert taken(feed, clock) == []
    share.rmdir()
    (tmp_path / "away").rename(share)
    put(share / "b.png")
    assert taken(feed, clock) == ["b.png"]
    assert len([one for one in caplog.records if "waiting for it" in one.message]) == 1
    assert "there again" in caplog.text


def test_more_than_is_asked_for_waits(tmp_path: Path) -> None:
    clock = Clock()
    feed = FolderFeed(tmp_path, clock=clock)
    for index in range(5):
        put(tmp_path / f"{index}.png", age=-index)
    clock.now += 0.2
    feed.take(2)
    clock.now += 0.6
    assert [one.stem for one in feed.take(2) or []] == ["0", "1"]
    assert feed.waiting() == 3
