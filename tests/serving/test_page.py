"""The page in a real browser: a defective part of the demonstration is dropped and outlined."""

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
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


@pytest.fixture(scope="module")
def tab(browser: Any) -> Iterator[Any]:
    """One tab for all tests: a new one each would start a browser process each."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    yield context.new_page()
    context.close()


@pytest.fixture
def page(tab: Any, service: Running) -> Iterator[Any]:
    """The page, loaded anew; at the end nothing may have failed, or have left this machine."""
    tab.goto("about:blank")  # nothing of the last test's page is heard in this one
    tab.set_viewport_size({"width": 1280, "height": 900})
    tab.emulate_media(color_scheme="light")
    tab.mouse.move(0, 0)
    asked: list[str] = []
    wrong: list[str] = []
    heard = {
        "request": lambda request: asked.append(request.url),
        "pageerror": lambda error: wrong.append(str(error)),
        "console": lambda m: wrong.append(m.text) if m.type == "error" else None,
    }
    for event, listener in heard.items():
        tab.on(event, listener)
    tab.goto(service.url)
    tab.wait_for_selector("html[data-ready]")
    yield tab
    for event, listener in heard.items():
        tab.remove_listener(event, listener)
    # The browser's own note of a refusal, which one of the tests provokes.
    assert [text for text in wrong if "status of 422" not in text] == []
    assert all(url.startswith((service.url, f"blob:{service.url}")) for url in asked)


def drop_list(page: Any, files: list[tuple[str, bytes]]) -> None:
    data = [base64.b64encode(content).decode() for _, content in files]
    page.evaluate(DROP, [data, [name for name, _ in files]])


def drop(page: Any, **files: bytes) -> None:
    drop_list(page, [(f"{name}.png", content) for name, content in files.items()])


def all_done(page: Any, count: int) -> None:
    page.wait_for_selector(f".tile:not([disabled]) >> nth={count - 1}")


def corners(page: Any) -> np.ndarray[Any, Any]:
    points = page.locator("#outlines polygon.line").first.get_attribute("points")
    return np.array([[float(x) for x in corner.split(",")] for corner in points.split()])


def test_a_dropped_defect_is_outlined(page: Any) -> None:
    drop(page, defect=png(PAIR.image), twin=png(PAIR.normal))
    page.wait_for_selector("#verdict.bad")
    page.wait_for_selector(".tile:not([disabled]) >> text=twin.png")

    assert page.inner_text("#verdict").startswith("DEFECT")
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
    assert badges == ["Defect", "Good"]


def test_the_threshold_slider_decides_again(page: Any, service: Running) -> None:
    drop(page, defect=png(PAIR.image))
    page.wait_for_selector("#verdict.bad")
    page.click("summary >> text=Score and threshold")
    slider = page.locator("#threshold")
    # The picture shows neither product, so the largest threshold holds.
    assert float(slider.input_value()) == pytest.approx(0.3)

    slider.fill("1")
    assert page.inner_text("#verdict").startswith("GOOD")
    assert "only tried" in page.inner_text("#verdict")
    assert page.locator("#outlines polygon").count() == 0
    assert page.locator("#results .badge").inner_text() == "Good"
    assert page.inner_text("#count") == "0 of 1 defective"
    assert "calibrated 0.300" in page.inner_text("#threshold-reset")
    page.click("#threshold-reset")
    assert page.inner_text("#verdict").startswith("DEFECT")
    assert page.locator("#outlines polygon.line").count() >= 1
    # What is stored was not touched.
    assert service.http.get("/v1/history").json()["items"][0]["anomalous"] is True


def test_a_good_image_shows_its_suspects_below_another_threshold(page: Any) -> None:
    drop(page, twin=png(PAIR.normal))
    page.wait_for_selector("#results .badge >> text=Good")
    # A good part is never coloured or outlined, wherever its score map is above the level.
    assert page.locator("#heat").is_hidden()
    assert page.locator("#outlines polygon, #numbers span").count() == 0
    page.click("summary >> text=Score and threshold")
    page.locator("#threshold").fill("0")

    assert page.inner_text("#verdict").startswith("DEFECT")
    assert page.locator("#heat").is_visible()
    assert page.locator("#outlines polygon.line").count() >= 1


def test_everything_by_keyboard(page: Any, service: Running) -> None:
    drop(page, keys=png(PAIR.image))
    page.wait_for_selector("#verdict.bad")
    page.evaluate("document.querySelector('#details details').open = true")
    # From the top: the link past the header, the links in it, and on to the picker.
    stops = ("skip", "files", "tile", "frame", "show-marks", "Correct", "threshold", "overlay")
    page.focus(".skip")
    reached = ["skip"]
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("(e => e.id || e.className || e.textContent)(document.activeElement)")
        )
        if reached[-1] == "show-marks":
            page.keyboard.press("Space")
        elif reached[-1] == "overlay":
            break
    assert [name for name in reached if name in stops] == list(stops)
    assert page.locator("#marks").is_hidden()
    page.keyboard.press("Home")
    assert page.inner_text("#overlay-value") == "0 %"
    assert page.evaluate("getComputedStyle(document.getElementById('heat')).opacity") == "0"
    page.locator("#review button").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#review button[aria-pressed=true]")
    # The word is kept, and the focus stays where it was.
    assert page.evaluate("document.activeElement.textContent") == "Correct"
    assert service.http.get("/v1/history").json()["items"][0]["review"] == "right"


def test_the_verdict_stands_above_the_fold(page: Any) -> None:
    phone, screen = {"width": 390, "height": 844}, {"width": 1400, "height": 900}
    page.set_viewport_size(phone)
    tall = ("tall.png", png(np.zeros((300, 40, 3), np.uint8)))
    rest = 26 * [("000.png", png(PAIR.normal))]
    drop_list(page, [("000.png", png(PAIR.image)), tall, *rest])
    all_done(page, 28)

    for size in (phone, screen):
        page.set_viewport_size(size)
        assert page.evaluate("scrollY") == 0
        for name in ("#count", ".tile >> nth=0", "#verdict", "#frame"):
            box = page.locator(name).bounding_box()
            assert box["y"] >= 0, name
            assert box["y"] + box["height"] <= size["height"], name
            assert 0 <= box["x"] <= size["width"] - box["width"], name
        thumb, inside = (
            page.locator(f".thumb{part}").nth(1).bounding_box() for part in ("", " img")
        )
        assert inside == thumb
        size_of_verdict = page.evaluate(
            "parseFloat(getComputedStyle(document.querySelector('#verdict strong')).fontSize)"
        )
        assert size_of_verdict >= 28


def test_many_pictures_are_counted_listed_and_cleared(page: Any) -> None:
    files = [("000.png", png(PAIR.normal)), ("000.png", png(PAIR.image)), ("000.png", b"no image")]
    drop_list(page, files)
    all_done(page, 3)

    assert page.inner_text("#count") == "1 of 2 defective, 1 not inspected"
    names = page.locator("#results .name").all_inner_texts()
    assert names == [f"{number} \u00b7 000.png" for number in (1, 2, 3)]
    badges = page.locator("#results .badge:visible")
    assert badges.all_inner_texts() == ["Good", "Defect", "Not inspected"]
    page.select_option("#order", "worst")
    assert badges.all_inner_texts() == ["Not inspected", "Defect", "Good"]
    for wanted, listed in (("defect", "Defect"), ("good", "Good"), ("failed", "Not inspected")):
        page.select_option("#filter", wanted)
        assert badges.all_inner_texts() == [listed]
    page.click("#clear")
    assert page.locator(".tile").count() == 0
    assert page.locator("#work").is_hidden()


def test_arrow_keys_go_through_the_listed_pictures(page: Any) -> None:
    files = [("a.png", png(PAIR.image)), ("b.png", b"no image"), ("c.png", png(PAIR.normal))]
    drop_list(page, files)
    all_done(page, 3)
    page.wait_for_selector("#verdict.bad")

    for key, verdict, caption in (
        ("ArrowLeft", "DEFECT", "a.png"),
        ("ArrowRight", "NOT INSPECTED", "b.png"),
        ("ArrowRight", "GOOD", "c.png"),
        ("ArrowRight", "GOOD", "c.png"),
        ("ArrowLeft", "NOT INSPECTED", "b.png"),
    ):
        page.keyboard.press(key)
        assert page.inner_text("#verdict").startswith(verdict)
        assert caption in page.inner_text("#caption")
    # A slider and a list keep their arrow keys.
    page.keyboard.press("ArrowLeft")
    page.focus("#filter")
    page.keyboard.press("ArrowRight")
    assert "a.png" in page.inner_text("#caption")


def test_the_picture_is_zoomed_and_moved(page: Any) -> None:
    drop(page, defect=png(PAIR.image))
    page.wait_for_selector("#verdict.bad")
    frame, stage = page.locator("#frame"), page.locator("#stage")
    fitted, box = stage.bounding_box(), frame.bounding_box()
    assert fitted["height"] == pytest.approx(box["height"], abs=1)

    # What lies below the pointer stays there.
    x, y = fitted["x"] + 0.75 * fitted["width"], fitted["y"] + 0.25 * fitted["height"]
    page.mouse.move(x, y)
    page.mouse.wheel(0, -800)
    page.wait_for_selector("#frame.zoomed")
    large = stage.bounding_box()
    assert large["width"] > 2 * fitted["width"]
    assert (x - large["x"]) / large["width"] == pytest.approx(0.75, abs=0.01)
    assert (y - large["y"]) / large["height"] == pytest.approx(0.25, abs=0.01)
    # The marks stay on the picture.
    assert page.locator("#outlines").bounding_box() == pytest.approx(large, abs=1)

    page.mouse.down()
    page.mouse.move(x - 40, y + 30)
    page.mouse.up()
    moved = stage.bounding_box()
    assert (moved["x"] - large["x"], moved["y"] - large["y"]) == pytest.approx((-40, 30), abs=2)
    frame.focus()
    page.keyboard.press("ArrowRight")
    assert stage.bounding_box()["x"] == pytest.approx(moved["x"] - 60, abs=2)
    page.keyboard.press("0")
    assert stage.bounding_box() == pytest.approx(fitted, abs=1)
    page.keyboard.press("+")
    assert stage.bounding_box()["width"] > fitted["width"]


def test_the_full_screen_shows_verdict_and_picture(page: Any) -> None:
    drop(page, defect=png(PAIR.image))
    page.wait_for_selector("#verdict.bad")
    page.click("#full")
    page.wait_for_function("() => document.fullscreenElement?.id === 'view'")

    assert page.locator("#verdict").is_visible()
    assert page.locator("#frame").bounding_box()["height"] > 300
    page.click("#full")
    page.wait_for_function("() => document.fullscreenElement === null")


def test_numbers_on_the_picture_match_the_table(page: Any) -> None:
    pixels = PAIR.normal.copy()
    places = ((20, 24), (100, 90))  # x, y of the middles, the larger one first
    pixels[14:34, 10:30] = 255 - pixels[14:34, 10:30]
    pixels[86:94, 96:104] = 255 - pixels[86:94, 96:104]
    drop(page, two=png(pixels))
    page.wait_for_selector("#verdict.bad")

    assert "2 places marked" in page.inner_text("#verdict")
    numbers = page.locator("#numbers span")
    assert numbers.all_inner_texts() == ["1", "2"]
    stage = page.locator("#stage").bounding_box()
    for index, (x, y) in enumerate(places):
        cells = page.locator("#regions tbody tr").nth(index).locator("td").all_inner_texts()
        assert cells[0] == str(index + 1)
        assert [int(part) for part in cells[1].split(",")] == pytest.approx([x, y], abs=2)
        box = numbers.nth(index).bounding_box()
        seen = (
            128 * (box["x"] + box["width"] / 2 - stage["x"]) / stage["width"],
            128 * (box["y"] + box["height"] / 2 - stage["y"]) / stage["height"],
        )
        assert seen == pytest.approx((x, y), abs=15)

    # Its button brings a place to the middle, and marks it.
    page.locator("#regions button").nth(1).click()
    frame, stage = (page.locator(name).bounding_box() for name in ("#frame", "#stage"))
    assert stage["x"] + stage["width"] * 100.5 / 128 == pytest.approx(
        frame["x"] + frame["width"] / 2, abs=frame["width"] / 4
    )
    assert page.locator("#outlines .chosen").get_attribute("data-index") == "1"


def test_a_marked_picture_is_saved(page: Any, tmp_path: Path) -> None:
    drop_list(page, [("part.7.png", png(PAIR.image)), ("twin.png", png(PAIR.normal))])
    page.wait_for_selector("#verdict.bad")
    all_done(page, 2)
    saved = []
    for name in ("part.7_marked.png", "twin_marked.png"):
        with page.expect_download() as saving:
            page.click("#save")
        assert saving.value.suggested_filename == name
        saving.value.save_as(tmp_path / name)
        with Image.open(tmp_path / name) as image:
            saved.append(np.asarray(image.convert("RGB")).astype(int))
        page.click("#next")

    defect, good = saved
    # Below the strip with the verdict lies the picture, seven times as large.
    strip = len(defect) - 7 * 128
    assert defect[1, 1].tolist() == [0xB3, 0x26, 0x1E]
    assert good[1, 1].tolist() == [0x17, 0x66, 0x3A]
    assert np.array_equal(good[strip + 3 :: 7, 3::7], PAIR.normal)
    cyan = np.abs(defect[strip:] - (0, 0xE5, 0xFF)).max(axis=2) < 10
    rows, columns = np.nonzero(cyan)
    truth = np.argwhere(PAIR.mask)
    assert cyan.any()
    assert rows.max() / 7 == pytest.approx(truth[:, 0].max(), abs=8)
    assert columns.min() / 7 == pytest.approx(truth[:, 1].min(), abs=8)
    assert not (np.abs(good[strip:] - (0, 0xE5, 0xFF)).max(axis=2) < 10).any()


@pytest.mark.parametrize(("scheme", "size"), [("light", (1400, 900)), ("dark", (390, 844))])
def test_axe_finds_nothing_serious(
    page: Any, check_accessible: Callable[[Any], None], scheme: str, size: tuple[int, int]
) -> None:
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.emulate_media(color_scheme=scheme)
    check_accessible(page)
    drop_list(page, [("a.png", png(PAIR.image)), ("b.png", b""), ("c.png", png(PAIR.normal))])
    all_done(page, 3)
    for verdict in ("DEFECT", "NOT INSPECTED", "GOOD"):
        page.wait_for_selector(f"#verdict >> text={verdict}")
        check_accessible(page)
        page.keyboard.press("ArrowRight")


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

    assert "not a PNG" in page.inner_text("#results small")
    # No icon of a broken image, and nothing that looks like a verdict.
    assert page.locator("#results img").count() == 0
    assert page.locator("#results .bad").count() == 0
    assert page.inner_text("#verdict").startswith("NOT INSPECTED")
    assert "not a PNG" in page.inner_text("#verdict")
    assert page.locator("#frame").is_hidden()


def test_the_camera(page: Any) -> None:
    page.click("#camera-open")
    page.wait_for_selector("#camera:not([hidden])")
    page.wait_for_function("() => document.getElementById('video').videoWidth > 0")
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


def test_a_phone(browser: Any, service: Running) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 740}, has_touch=True)
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
    assert "defect" in page.locator("#picture").get_attribute("alt")
