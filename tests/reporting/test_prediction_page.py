"""The page of `omnial predict`: worst first, bounded, harmless, filtered in a browser, offline."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from omnial.reporting import prediction_report
from omnial.reporting.prediction_report import write_page

Row = dict[str, Any]


def row(name: str, score: float, threshold: float = 0.4, product: str | None = "gear") -> Row:
    return {
        "path": f"line/{name}",
        "class": product,
        "score": score,
        "threshold": threshold,
        "anomalous": score > threshold,
        "outlines": [],
        "map": f"maps/{Path(name).stem}.png",
        "error": None,
    }


def page_of(folder: Path, rows: list[Row]) -> str:
    (folder / "overlays").mkdir(exist_ok=True)
    for one in rows:
        if one["map"]:
            pixels = np.full((40, 900, 3), 120, np.uint8)
            Image.fromarray(pixels).save(folder / "overlays" / f"{Path(one['map']).stem}.jpg")
    path = folder / "rows"
    path.write_text("".join(json.dumps(one) + "\n" for one in rows) + '{"path": "cut', "utf-8")
    write_page(folder, path)
    return (folder / "index.html").read_text("utf-8")


def names(page: str) -> list[str]:
    return re.findall(r'<p title="line/([^"]*)"', page)


def test_the_worst_come_first_by_their_distance_to_their_own_threshold(tmp_path: Path) -> None:
    rows = [row("a.png", 0.5), row("b.png", 0.6, 0.1), row("c.png", 0.2), row("d.png", 0.9, 0.8)]
    bad = {**row("e.png", 0.0), "score": None, "threshold": None, "anomalous": None}
    page = page_of(tmp_path, [*rows, {**bad, "map": None, "error": "is <cut> off"}])
    # b is 0.5 above, a 0.1, d 0.1 (less by rounding), c 0.2 below.
    assert names(page)[0] == "b.png"
    assert names(page)[-1] == "c.png"
    assert "<h1>3 of 4 images anomalous</h1>" in page
    assert "line/e.png</span>: is &lt;cut&gt; off" in page


def test_the_page_stays_bounded_and_says_what_it_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction_report, "_MOST", 3)
    page = page_of(tmp_path, [row(f"{index}.png", index / 20) for index in range(9)])
    assert names(page) == ["8.png", "7.png", "6.png"]
    assert "The 3 worst of 9 first" in page
    assert re.findall(r'width="(\d+)" height="(\d+)"', page) == [("240", "11")] * 3


def test_a_name_is_neither_markup_nor_an_address(tmp_path: Path) -> None:
    page = page_of(tmp_path, [row("<b>&.png", 0.9, product='"><script>')])
    assert "<b>&" not in page
    assert page.count("<script>") == 1
    assert 'href="overlays/%3Cb%3E%26.jpg"' in page


def test_a_picture_that_was_removed_is_left_out(tmp_path: Path) -> None:
    rows = [row("a.png", 0.9), row("b.png", 0.8)]
    page_of(tmp_path, rows)
    (tmp_path / "overlays" / "a.jpg").unlink()
    write_page(tmp_path, tmp_path / "rows")
    assert names((tmp_path / "index.html").read_text("utf-8")) == ["b.png"]


@pytest.mark.parametrize(("scheme", "width"), [("light", 1400), ("dark", 390)])
def test_axe_finds_nothing_serious(
    browser: Any,
    check_accessible: Callable[[Any], None],
    tmp_path: Path,
    scheme: Any,
    width: int,
) -> None:
    bad = {**row("c.png", 0.0), "score": None, "threshold": None, "anomalous": None}
    bad = {**bad, "map": None, "error": "is cut off"}
    page_of(tmp_path, [row("a.png", 0.9), row("b.png", 0.1, product=None), bad])
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
    page = context.new_page()
    page.goto((tmp_path / "index.html").as_uri())
    check_accessible(page)
    context.close()


def test_the_filter_in_a_browser_of_a_phone(browser: Any, tmp_path: Path) -> None:
    rows = [row("a.png", 0.9), row("b.png", 0.1), row("a_very_long_name" * 9 + ".png", 0.8)]
    rows.append(row("d.png", 0.7, product=None))
    page_of(tmp_path, rows)
    context = browser.new_context(viewport={"width": 390, "height": 844})
    page, wrong = context.new_page(), []
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto((tmp_path / "index.html").as_uri())
    shown = page.locator(".shots article:visible")
    assert shown.count() == 4
    page.select_option("select[name=product]", "gear")
    assert shown.count() == 3
    page.select_option("select[name=verdict]", "good")
    assert (shown.count(), page.inner_text("output")) == (1, "1 of 4 shown")
    assert "b.png" in shown.first.inner_text()
    page.select_option("select[name=product]", "unknown product")
    assert shown.count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.select_option("select[name=verdict]", "")
    shown.first.locator("a").click()
    page.wait_for_url("**/overlays/d.jpg")
    context.close()
    assert wrong == []
