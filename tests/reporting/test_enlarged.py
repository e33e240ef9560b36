"""The report in a real browser: enlarged pictures, keys, the way back, print."""

import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from omnial.evaluation.result import EvaluationResult
from omnial.reporting.evaluation_report import write_report

# Functions: the page's policy lets no text be evaluated.
CLOSED = "() => !document.querySelector('article:target')"
OPEN = "() => document.querySelector('#{}:target')"


@pytest.fixture(scope="module")
def written(
    make_result: Callable[..., EvaluationResult], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return write_report(make_result(), tmp_path_factory.mktemp("report"))


@pytest.fixture
def report(browser: Any, written: Path) -> Iterator[Any]:
    """The report, loaded; at the end nothing may have failed or been asked for."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page, wrong, asked = context.new_page(), [], []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
    page.on("request", lambda request: asked.append(request.url))
    page.goto(written.as_uri())
    yield page
    context.close()
    assert wrong == []
    assert [url for url in asked if not url.startswith(("data:", written.as_uri()))] == []


def test_keys_go_through_the_pictures_and_close_them(report: Any) -> None:
    report.locator("#picture-1 .row a").first.click()
    report.wait_for_function(OPEN.format("picture-1"))
    captions = report.locator("#picture-1 figcaption").all_inner_texts()
    assert captions == ["Input", "Rebuilt", "JND", "Score map", "Marked", "Truth"]
    shown = report.locator("#picture-1 img")
    boxes = [shown.nth(index).bounding_box() for index in range(shown.count())]
    assert all(0 <= b["x"] <= 1280 - b["width"] for b in boxes)
    assert all(0 <= b["y"] <= 900 - b["height"] for b in boxes)
    assert min(b["width"] for b in boxes) > 250

    for key, expected in (("ArrowRight", 2), ("ArrowLeft", 1), ("ArrowLeft", 0), ("ArrowLeft", 0)):
        report.keyboard.press(key)
        report.wait_for_function(OPEN.format(f"picture-{expected}"))
        report.wait_for_function("() => document.activeElement.rel == 'close'")
    report.keyboard.press("Escape")
    report.wait_for_function(CLOSED)


def test_back_closes_wherever_one_has_gone(report: Any) -> None:
    address = report.url
    report.locator("#picture-0 .row a").first.click()
    report.wait_for_function(OPEN.format("picture-0"))
    report.keyboard.press("ArrowRight")
    report.wait_for_function(OPEN.format("picture-1"))
    report.locator("article:target >> text=Next").click()
    report.wait_for_function(OPEN.format("picture-2"))
    report.go_back()
    report.wait_for_function(CLOSED)
    assert report.url == address


def test_a_link_to_a_picture_opens_and_closes_it(report: Any) -> None:
    report.goto(f"{report.url}#picture-3")
    report.reload()
    report.wait_for_function(OPEN.format("picture-3"))
    report.keyboard.press("Escape")
    report.wait_for_function(CLOSED)
    assert report.url.endswith("#mistakes")


@pytest.mark.parametrize(("scheme", "width"), [("light", 1400), ("dark", 390)])
def test_axe_finds_nothing_serious(
    report: Any, check_accessible: Callable[[Any], None], scheme: str, width: int
) -> None:
    report.set_viewport_size({"width": width, "height": 844})
    report.emulate_media(color_scheme=scheme)
    check_accessible(report)
    report.locator("#picture-1 .row a").first.click()
    report.wait_for_function(OPEN.format("picture-1"))
    check_accessible(report)


def test_headings_step_by_one(report: Any) -> None:
    levels = report.evaluate(
        "[...document.querySelectorAll('h1, h2, h3, h4, h5, h6')].map((h) => +h.tagName[1])"
    )
    assert levels[0] == 1
    assert all(below - above <= 1 for above, below in pairwise(levels))


def test_it_prints_on_ten_pages(
    browser: Any, make_result: Callable[..., EvaluationResult], tmp_path: Path
) -> None:
    names = tuple(f"product {index}" for index in range(8))
    path = write_report(make_result(names, good=20, defective=30), tmp_path)
    page = browser.new_page()
    page.goto(path.as_uri())
    sheets = re.findall(rb"/Type /Page\b", page.pdf(format="A4"))
    page.close()
    assert 1 <= len(sheets) <= 10
