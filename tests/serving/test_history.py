"""What was inspected is kept, found again, bounded, and survives a restart."""

import asyncio
import csv
import sqlite3
import stat
from collections.abc import AsyncIterator
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from omnial.errors import UserError
from omnial.serving.findings import Finding
from omnial.serving.history import History, Search
from omnial.serving.history_file import read_reviews
from omnial.serving.replies import HistoryItem, InspectionReply, OutlineReply
from omnial.serving.routes import csv_lines
from tests.serving.running_service import BAD, GOOD, RedFinder, Running, model_of, running

DAY = 86400.0


class Clock:
    def __init__(self) -> None:
        self.now = 1e9

    def __call__(self) -> float:
        return self.now


def entry(picture_jpeg: bytes = b"picture", **changes: Any) -> tuple[Finding, str]:
    """A finding, and the model that made it."""
    values: dict[str, Any] = {
        "id": None,
        "name": "1.png",
        "sha256": "ab" * 32,
        "class_name": "moss",
        "score": 0.5,
        "threshold": 0.2,
        "anomalous": True,
        "width": 64,
        "height": 48,
        "outlines": [OutlineReply(polygon=[(0.0, 1.0)], area=3, peak=0.5)],
        "suspects": None,
        "map": None,
    }
    return Finding(InspectionReply(**{**values, **changes}), b"map", picture_jpeg), "abc"


def history(path: Path, clock: Clock | None = None, **bounds: float) -> History:
    return History(path, **{"days": 10.0, "megabytes": 100.0, **bounds}, clock=clock or Clock())


def names(kept: History, **search: Any) -> list[str | None]:
    return [found.name for found in kept.search(Search(**search), None, 1000)]


def test_what_was_kept_is_there_after_a_restart(tmp_path: Path) -> None:
    first = history(tmp_path / "deep" / "h.sqlite")
    number = first.add(*entry())
    first.review(number, "false_alarm")
    first.close()
    again = history(tmp_path / "deep" / "h.sqlite")

    kept = again.get(number)
    assert kept is not None
    assert (kept.name, kept.class_name, kept.score, kept.anomalous) == ("1.png", "moss", 0.5, True)
    assert (kept.outlines[0].area, kept.suspects) == (3, None)
    now = "2001-09-09T01:46:40.000Z"
    assert (kept.time, kept.review, kept.reviewed) == (now, "false_alarm", now)
    assert (again.file(number, "picture"), again.file(number, "map")) == (b"picture", b"map")
    assert again.add(*entry()) == number + 1
    again.close()


def test_what_was_written_survives_the_process(tmp_path: Path) -> None:
    killed = history(tmp_path / "h.sqlite")
    killed.add(*entry())
    # Nothing is closed: so a killed process leaves the files.
    again = history(tmp_path / "h.sqlite")

    assert names(again) == ["1.png"]
    again.close()
    killed.close()


def test_old_inspections_are_forgotten(tmp_path: Path) -> None:
    clock = Clock()
    kept = history(tmp_path / "h.sqlite", clock, days=10)
    kept.add(*entry(name="old"))
    clock.now += 9 * DAY
    kept.add(*entry(name="young"))
    clock.now += 2 * DAY
    for index in range(64):
        kept.add(*entry(name=str(index)))
    assert "old" not in names(kept)
    assert "young" in names(kept)
    kept.close()
    clock.now += 30 * DAY
    kept = history(tmp_path / "h.sqlite", clock, days=10)
    assert names(kept) == []
    kept.close()


def test_the_file_stays_within_its_size(tmp_path: Path) -> None:
    path = tmp_path / "h.sqlite"
    kept = history(path, megabytes=1)
    blob = np.random.default_rng(0).bytes(10_000)
    for index in range(400):
        kept.add(*entry(name=str(index), picture_jpeg=blob))
    left = names(kept)
    kept.close()

    # A megabyte, and what may come between two looks at the size.
    assert path.stat().st_size < 1_000_000 + 70 * 11_000
    assert left == [str(index) for index in range(399, 399 - len(left), -1)]
    assert 50 < len(left) < 200


def test_a_smaller_bound_shrinks_the_file(tmp_path: Path) -> None:
    path = tmp_path / "h.sqlite"
    kept = history(path)
    for _ in range(300):
        kept.add(*entry(picture_jpeg=bytes(10_000)))
    kept.close()
    before = path.stat().st_size
    history(path, megabytes=1).close()

    assert before > 3_000_000
    assert path.stat().st_size <= 1_000_000


def test_search(tmp_path: Path) -> None:
    clock = Clock()
    kept = history(tmp_path / "h.sqlite", clock)
    rows = [
        ("a_1.png", "moss", True, "right"),
        ("ab1.png", "sea", False, "missed"),
        ("100%.png", None, True, None),
        (None, "moss", False, None),
    ]
    for name, product, anomalous, review in rows:
        clock.now += 60
        digest = f"{int(clock.now):064x}"
        number = kept.add(*entry(name=name, class_name=product, anomalous=anomalous, sha256=digest))
        kept.review(number, review)  # type: ignore[arg-type]

    assert names(kept) == [None, "100%.png", "ab1.png", "a_1.png"]
    assert names(kept, text="a_1") == ["a_1.png"]
    assert names(kept, text="%") == ["100%.png"]
    assert names(kept, text="AB1") == ["ab1.png"]
    assert names(kept, text="'; DROP TABLE inspections; --") == []
    assert names(kept, text=f"{int(1e9 + 60):064x}") == ["a_1.png"]
    assert names(kept, class_name="moss") == [None, "a_1.png"]
    assert names(kept, class_name="") == ["100%.png"]
    assert names(kept, verdict="anomalous") == ["100%.png", "a_1.png"]
    assert names(kept, review="missed") == ["ab1.png"]
    assert names(kept, reviewed=False) == [None, "100%.png"]
    assert names(kept, since=1e9 + 120, until=1e9 + 240) == ["100%.png", "ab1.png"]
    kept.close()


def test_pages_have_no_gap_and_no_repetition(tmp_path: Path) -> None:
    kept = history(tmp_path / "h.sqlite")
    for index in range(25):
        kept.add(*entry(name=str(index)))
    seen: list[int] = []
    before = None
    while page := kept.search(Search(), before, 7):
        seen += [found.id for found in page]
        before = page[-1].id
        kept.add(*entry(name="new"))

    assert seen == list(range(25, 0, -1))
    kept.close()


def test_the_file_is_its_owners(tmp_path: Path) -> None:
    kept = history(tmp_path / "h.sqlite")
    kept.add(*entry())
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    kept.close()

    assert modes == {0o600}


@pytest.mark.parametrize("kind", ["text", "foreign", "folder", "below a file"])
def test_what_is_no_history_is_left_alone(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "h.sqlite"
    if kind == "text":
        path.write_text("not a database " * 100)
    elif kind == "folder":
        path.mkdir()
    elif kind == "below a file":
        path.write_text("x")
        path = path / "h.sqlite"
    else:
        with sqlite3.connect(path) as other:
            other.execute("CREATE TABLE inspections (id)")
        other.close()
    content = path.read_bytes() if path.is_file() else None

    with pytest.raises(UserError, match=r"h\.sqlite"):
        history(path)
    assert content is None or path.read_bytes() == content


def test_a_full_disk_does_not_stop_the_line(tmp_path: Path) -> None:
    with running(model_of(RedFinder()), history=tmp_path / "h.sqlite") as service:
        service.http.post("/v1/inspect", content=GOOD)
        with sqlite3.connect(tmp_path / "h.sqlite") as other:
            other.execute("DROP TABLE inspections")
        other.close()
        answer = service.http.post("/v1/inspect", content=BAD)
        search = service.http.get("/v1/history")
        metrics = service.http.get("/metrics").text

    assert (answer.status_code, answer.json()["anomalous"]) == (200, True)
    assert answer.json()["id"] is None
    assert (search.status_code, search.json()["error"]) == (503, "no_history")
    assert "omnial_history_failures_total 1.0" in metrics


def test_a_service_goes_on_with_the_history_of_the_last_one(tmp_path: Path) -> None:
    path = tmp_path / "h.sqlite"
    with running(model_of(RedFinder()), history=path) as first:
        number = first.http.post("/v1/inspect", content=BAD, params={"name": "b.png"}).json()["id"]
        first.http.put(f"/v1/history/{number}/review", json={"review": "right"})
    with running(model_of(RedFinder()), history=path) as second:
        (item,) = second.http.get("/v1/history").json()["items"]
        picture = second.http.get(f"/v1/history/{number}/picture")
        score_map = second.http.get(f"/v1/history/{number}/map")

    assert (item["id"], item["name"], item["review"], item["model"]) == (
        *(number, "b.png", "right", "abc123"),
    )
    assert item["outlines"][0]["area"] == 800
    for answer, kind in ((picture, "JPEG"), (score_map, "PNG")):
        with Image.open(BytesIO(answer.content)) as image:
            assert (image.format, image.size) == (kind, (64, 64))


def test_no_history_where_none_is_wanted() -> None:
    with running(model_of(RedFinder())) as service:
        reply = service.http.post("/v1/inspect", content=BAD).json()
        assert reply["id"] is None
        assert service.http.get("/v1/history").status_code == 404
        assert service.http.get("/v1/model").json()["history"] is False


def kept_number(plain: Running, content: bytes, name: str = "x.png") -> int:
    number: int = plain.http.post("/v1/inspect", content=content, params={"name": name}).json()[
        "id"
    ]
    return number


def test_a_review_can_be_changed_and_taken_back(plain: Running) -> None:
    number = kept_number(plain, BAD)

    def say(word: str | None) -> httpx.Response:
        return plain.http.put(f"/v1/history/{number}/review", json={"review": word})

    assert say("right").json()["review"] == "right"
    assert say("false_alarm").json()["review"] == "false_alarm"
    assert say("missed").status_code == 409
    assert plain.http.get(f"/v1/history/{number}").json()["review"] == "false_alarm"
    item = say(None).json()
    assert (item["review"], item["reviewed"]) == (None, None)
    good = kept_number(plain, GOOD)
    path = f"/v1/history/{good}/review"
    assert plain.http.put(path, json={"review": "missed"}).status_code == 200
    assert plain.http.put(path, json={"review": "false_alarm"}).status_code == 409
    assert plain.http.put(path, json={"review": "right", "x": 1}).status_code == 422


def test_search_over_http(plain: Running) -> None:
    numbers = [kept_number(plain, content, "searched.png") for content in (BAD, GOOD, BAD)]
    found = {"text": "searched"}

    page = plain.http.get("/v1/history", params={**found, "limit": 2}).json()
    rest = plain.http.get("/v1/history", params={**found, "before": page["next"]}).json()
    bad = plain.http.get("/v1/history", params={**found, "verdict": "anomalous"}).json()
    future = plain.http.get("/v1/history", params={**found, "since": "2999-01-01"}).json()

    assert [item["id"] for item in page["items"]] == numbers[:0:-1]
    assert ([item["id"] for item in rest["items"]], rest["next"]) == (numbers[:1], None)
    assert [item["id"] for item in bad["items"]] == [numbers[2], numbers[0]]
    assert future["items"] == []


@pytest.mark.parametrize("path", ["0", "-1", "9" * 30, "x"])
def test_numbers_that_are_none(plain: Running, path: str) -> None:
    assert plain.http.get(f"/v1/history/{path}").status_code in (404, 422)


@given(st.text(alphabet=st.sampled_from("=+-@\t\r\n\"', a\uff1d;|%"), max_size=8))
def test_no_cell_is_a_formula(name: str) -> None:
    kept = {"id": 1, "time": "", "name": name, "sha256": "ab", "class": name, "score": 1.0}
    kept |= {"threshold": 0.5, "anomalous": True, "width": 9, "height": 9, "outlines": []}
    kept |= {"suspects": None, "review": None, "reviewed": None, "model": "abc"}

    async def entries() -> AsyncIterator[HistoryItem]:
        yield HistoryItem.model_validate(kept)

    async def table() -> str:
        return "".join([line async for line in csv_lines(entries())])

    (row,) = csv.DictReader(StringIO(asyncio.run(table()), newline=""))
    for cell in (row["name"], row["class"]):
        assert cell in (name, f"'{name}")
        assert cell.lstrip(" ")[:1] not in set("=+-@\t\r\n\uff1d")


def test_the_table_holds_what_was_searched_for(plain: Running) -> None:
    number = kept_number(plain, BAD, '=HYPERLINK("evil";"x").png')
    answer = plain.http.get("/v1/history.csv", params={"text": "HYPERLINK"})
    (row,) = csv.DictReader(StringIO(answer.text))

    assert answer.headers["Content-Type"].startswith("text/csv")
    assert "attachment" in answer.headers["Content-Disposition"]
    assert row["id"] == str(number)
    assert row["name"] == """'=HYPERLINK("evil";"x").png"""
    assert (row["verdict"], row["class"], row["largest_area"]) == ("anomalous", "moss", "800")


@pytest.mark.parametrize("keep", [False, True])
def test_files_are_kept_for_learning_where_the_service_was_told_to(
    tmp_path: Path, keep: bool
) -> None:
    path = tmp_path / "h.sqlite"
    with running(model_of(RedFinder()), history=path, history_files=keep) as service:
        for content, review in ((BAD, "false_alarm"), (GOOD, "missed"), (GOOD, "right")):
            number = service.http.post("/v1/inspect", content=content).json()["id"]
            service.http.put(f"/v1/history/{number}/review", json={"review": review})
        # A running service is no hindrance.
        found = list(read_reviews(path))
    assert [(one.number, one.class_name, one.review) for one in found] == [
        (1, "moss", "false_alarm"),
        (2, "moss", "missed"),
        (3, "moss", "right"),
    ]
    assert [one.file for one in found] == ([BAD, GOOD, GOOD] if keep else [None] * 3)


def test_reviews_come_in_the_order_in_which_they_were_given(tmp_path: Path) -> None:
    clock = Clock()
    kept = history(tmp_path / "h.sqlite", clock)
    for name in "abc":
        kept.add(*entry(name=name))
    for number in (2, 1, 3):
        clock.now += 1
        kept.review(number, "missed")
    kept.close()
    assert [one.name for one in read_reviews(tmp_path / "h.sqlite")] == ["b", "a", "c"]


def test_a_history_of_another_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "h.sqlite"
    kept = history(path)
    kept.review(kept.add(*entry()), "missed")
    kept.close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 1")
    db.close()
    content = path.read_bytes()
    for read in (history, lambda path: list(read_reviews(path))):
        with pytest.raises(UserError, match="another version of omnial"):
            read(path)
    assert path.read_bytes() == content


def test_reviews_of_another_programs_file(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE inspections (id)")
    db.close()
    content = path.read_bytes()
    with pytest.raises(UserError, match="not a usable history: another program"):
        list(read_reviews(path))
    assert path.read_bytes() == content
