"""The page in a real browser: a defective part of the demonstration is dropped and outlined."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from omnial.demo.production_line import Pair, render_pair
from omnial.models.system import Output
from tests.serving.running_service import RedFinder, Running, model_of, png, running

DROP = """
([data, names]) => {
  const transfer = new DataTransfer();
  data.forEach((text, index) => {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    transfer.items.add(new File([bytes], names[index], { type: "image/png" }));
  });
  document.getElementById("drop").dispatchEvent(
    new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
}
"""
PAIR: Pair = render_pair("gear", "test", "missing_part", 0, seed=3, size=128)


class TwinFinder(RedFinder):
    """Marks where an image differs from the defect-free twin: a model that is never wrong."""

    def forward(self, images: Tensor) -> Output:
        twin = torch.from_numpy(PAIR.normal.astype(np.float32) / 255).permute(2, 0, 1)
        logit = 60 * ((images - twin).abs().amax(1, keepdim=True) - 0.06)
        return Output(images, images[:, :1], torch.cat([-logit, logit], 1))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    history = tmp_path_factory.mktemp("page") / "h.sqlite"
    with running(model_of(TwinFinder(), size=128), history=history) as service:
        yield service


@pytest.fixture
def page(browser: Any, service: Running) -> Iterator[Any]:
    """The page, loaded; at the end nothing may have failed, or have left this machine."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    asked: list[str] = []
    wrong: list[str] = []
    opened.on("request", lambda request: asked.append(request.url))
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
    opened.goto(service.url)
    opened.wait_for_selector("html[data-ready]")
    yield opened
    context.close()
    # The browser's own note of a refusal, which one of the tests provokes.
    assert [text for text in wrong if "status of 422" not in text] == []
    assert all(url.startswith((service.url, f"blob:{service.url}")) for url in asked)


def drop(page: Any, **files: bytes) -> None:
    data = [base64.b64encode(content).decode() for content in files.values()]
    page.evaluate(DROP, [data, [f"{name}.png" for name in files]])


def corners(page: Any) -> np.ndarray[Any, Any]:
    points = page.locator("#outlines polygon.line").first.get_attribute("points")
    return np.array([[float(x) for x in corner.split(",")] for corner in points.split()])


def test_a_dropped_defect_is_outlined(page: Any) -> None:
    drop(page, defect=png(PAIR.image), twin=png(PAIR.normal))
    page.wait_for_selector("#verdict.bad")
    page.wait_for_selector(".tile:not([disabled]) >> text=twin.png")

    assert page.inner_text("#verdict").startswith("Anomalous")
    rows, columns = np.nonzero(PAIR.mask)
    outline = corners(page)
    np.testing.assert_allclose(outline.min(0), [columns.min(), rows.min()], atol=6)
    np.testing.assert_allclose(outline.max(0), [columns.max(), rows.max()], atol=6)
    # The score map lies over the picture, coloured where the defect is and nowhere else.
    alpha = page.evaluate(
        """() => { const c = document.getElementById("heat");
        return [...c.getContext("2d").getImageData(0, 0, c.width, c.height).data]
            .filter((_, i) => i % 4 === 3); }"""
    )
    heat = np.array(alpha).reshape(128, 128)
    assert heat[PAIR.mask].mean() > 100
    assert heat[~PAIR.mask].mean() < 20
    picture, svg = (page.locator(name).bounding_box() for name in ("#picture", "#outlines"))
    assert picture == pytest.approx(svg, abs=1)
    badges = page.locator("#results .badge").all_inner_texts()
    assert badges == ["Anomalous", "Good"]


def test_the_threshold_slider_decides_again(page: Any, service: Running) -> None:
    drop(page, defect=png(PAIR.image))
    page.wait_for_selector("#verdict.bad")
    slider = page.locator("#threshold")
    # The picture shows neither product, so the largest threshold holds.
    assert float(slider.input_value()) == pytest.approx(0.3)

    slider.fill("1")
    assert page.inner_text("#verdict").startswith("Good")
    assert page.locator("#outlines polygon").count() == 0
    assert page.locator("#results .badge").inner_text() == "Good"
    assert "calibrated 0.300" in page.inner_text("#threshold-reset")
    page.click("#threshold-reset")
    assert page.inner_text("#verdict").startswith("Anomalous")
    assert page.locator("#outlines polygon.line").count() >= 1
    # What is stored was not touched.
    assert service.http.get("/v1/history").json()["items"][0]["anomalous"] is True


def test_a_good_image_shows_its_suspects_below_another_threshold(page: Any) -> None:
    drop(page, twin=png(PAIR.normal))
    page.wait_for_selector("#results .badge >> text=Good")
    page.locator("#threshold").fill("0")

    assert page.inner_text("#verdict").startswith("Anomalous")
    assert page.locator("#outlines polygon.line").count() >= 1


def test_everything_by_keyboard(page: Any, service: Running) -> None:
    drop(page, keys=png(PAIR.image))
    page.wait_for_selector("#verdict.bad")
    # From the top: the link past the header, the links in it, and on to the picker.
    reached = []
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("document.activeElement.id || document.activeElement.className")
        )
        if reached[-1] == "overlay":
            break
    assert [
        name for name in reached if name in ("skip", "files", "tile", "threshold", "overlay")
    ] == [
        *("skip", "files", "tile", "threshold", "overlay"),
    ]
    page.keyboard.press("Home")
    assert page.inner_text("#overlay-value") == "0 %"
    assert page.evaluate("getComputedStyle(document.getElementById('heat')).opacity") == "0"
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert not page.locator("#show-outlines").is_checked()
    assert page.locator("#outlines").is_hidden()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Right"
    page.keyboard.press("Enter")
    page.wait_for_selector("#review button[aria-pressed=true]")
    # The word is kept, and the focus stays where it was.
    assert page.evaluate("document.activeElement.textContent") == "Right"
    assert service.http.get("/v1/history").json()["items"][0]["review"] == "right"


def test_the_history_is_searched_reviewed_and_saved(
    page: Any, service: Running, tmp_path: Path
) -> None:
    for name in ("wanted", "other"):
        service.http.post("/v1/inspect", content=png(PAIR.image), params={"name": f"{name}.png"})
    page.fill("#search [name=text]", "wanted")
    page.press("#search [name=text]", "Enter")
    page.wait_for_selector("#found >> text=1 inspection")
    page.click("#items button >> text=False alarm")
    page.wait_for_selector("#items small >> text=False alarm")
    page.click("#items button.open")
    page.wait_for_selector("#verdict.bad")
    assert "wanted.png" in page.inner_text("#caption")
    assert page.locator("#outlines polygon.line").count() >= 1
    with page.expect_download() as saving:
        page.click("#csv")
    saving.value.save_as(tmp_path / "saved.csv")

    lines = (tmp_path / "saved.csv").read_text("utf-8").splitlines()
    assert len(lines) == 2
    assert '"wanted.png"' in lines[1]
    assert '"false_alarm"' in lines[1]


def test_names_are_text(page: Any) -> None:
    name = "<img src=x onerror=document.title=1>"
    drop(page, **{name: png(PAIR.image)})
    page.wait_for_selector("#verdict.bad")

    assert name in page.inner_text("#caption")
    assert page.locator("#caption img").count() == 0
    assert page.title() == "omnial: inspect"


def test_a_bad_file_gets_its_reason(page: Any) -> None:
    drop(page, text=b"no image")
    page.wait_for_selector("#results .badge >> text=Not inspected")

    assert "not a PNG" in page.inner_text("#results .hint")
    assert page.locator("#results button").is_disabled()


def test_the_camera(page: Any) -> None:
    page.click("#camera-open")
    page.wait_for_selector("#camera:not([hidden])")
    page.wait_for_function("document.getElementById('video').videoWidth > 0")
    page.click("#camera-take")
    page.wait_for_selector("#results .tile:not([disabled])")

    assert "camera-" in page.inner_text("#results")


def test_the_token_is_asked_for_once(browser: Any) -> None:
    token = "a-token-of-some-length"
    with running(model_of(TwinFinder(), size=128), token=token) as locked:
        context = browser.new_context()
        opened = context.new_page()
        opened.goto(locked.url)
        opened.wait_for_selector("#login[open]")
        opened.fill("#token", token)
        opened.keyboard.press("Enter")
        opened.wait_for_selector("html[data-ready]")
        drop(opened, defect=png(PAIR.image))
        opened.wait_for_selector("#verdict.bad")

        # Without a history there is nothing to search and nothing to review.
        assert opened.locator("#history").is_hidden()
        assert opened.locator("#review button").count() == 0
        context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone(browser: Any, service: Running, scheme: str) -> None:
    context = browser.new_context(
        viewport={"width": 360, "height": 740}, color_scheme=scheme, has_touch=True
    )
    opened = context.new_page()
    opened.goto(service.url)
    opened.wait_for_selector("html[data-ready]")
    drop(opened, phone=png(PAIR.image))
    opened.wait_for_selector("#verdict.bad")

    # Nothing is wider than the screen, and every button is large enough for a finger.
    assert opened.evaluate("document.documentElement.scrollWidth") <= 360
    heights = opened.evaluate(
        "[...document.querySelectorAll('button, .button, select')].filter((e) => e.offsetParent)"
        ".map((e) => e.getBoundingClientRect().height)"
    )
    assert min(heights) >= 40
    context.close()


def test_every_control_has_a_name(page: Any) -> None:
    drop(page, defect=png(PAIR.image))
    page.wait_for_selector("#verdict.bad")
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("input, select, button, a, video")].filter((e) =>
          !(e.labels?.length || e.textContent.trim() || e.getAttribute("aria-label")))
          .map((e) => e.outerHTML)"""
    )

    assert nameless == []
    assert page.locator("#verdict").get_attribute("aria-live") == "polite"
    assert "anomalous" in page.locator("#picture").get_attribute("alt")
