import base64
import dataclasses
import hashlib
import io
import re
import stat
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from omnial.data.records import BadFile, ImageRecord
from omnial.errors import UserError
from omnial.evaluation.result import EvaluationResult, SuspiciousImage
from omnial.models.normality import Witnesses
from omnial.reporting.evaluation_report import evaluate, write_report

Make = Callable[..., EvaluationResult]
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """A page that was read strictly: every tag is closed in its place."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.source = text
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts))

    @property
    def pictures(self) -> list[dict[str, str | None]]:
        """The gallery's pictures."""
        return [image for image in self.all("img") if image.get("class") != "chart"]

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def page(result: EvaluationResult, folder: Path) -> Page:
    folder.mkdir(parents=True, exist_ok=True)
    return Page(write_report(result, folder).read_text(encoding="utf-8"))


def decoded(uri: str | None) -> Image.Image:
    assert uri is not None
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_the_page_holds_every_class_figure_and_picture(make_result: Make, tmp_path: Path) -> None:
    read = page(make_result(), tmp_path / "new" / "report")
    for word in ("cap", "label", "scratch", "scratch/000.png", "Worst misses", "False alarms"):
        assert word in read.text
    # 0.875, 0.9012, 0.8888 | 0.987, 0.4321, 0.5, 0.75 | 31.26 dB, 0.9444: two classes and the mean
    for number in ("87.5", "90.1", "88.9", "98.7", "43.2", "50.0", "75.0", "31.3", "94.4"):
        assert read.text.split().count(number) >= 3, number
    charts = [image for image in read.all("img") if image.get("class") == "chart"]
    pictures = read.pictures
    assert len(pictures) == 2 * 3 * 6
    for picture in pictures:
        assert picture["alt"]
        opened = decoded(picture["src"])
        assert opened.size == (int(picture["width"] or 0), int(picture["height"] or 0))
    # Four charts of curves and a histogram for each class; a legend key for each class.
    assert len(charts) == 4 + 2
    assert all((chart["src"] or "").startswith("data:image/svg+xml;base64,") for chart in charts)
    assert all(chart["alt"] for chart in charts)
    assert len(read.all("svg")) == 2


def test_verdicts_count_scores_strictly_above_the_threshold(
    make_result: Make, tmp_path: Path
) -> None:
    # Scores: good 0.1, 0.25, 0.4, 0.55; defective 0.35, 0.5, 0.65, 0.8. Threshold 0.5.
    read = page(make_result(("cap",)), tmp_path)
    assert "50.0 % of the defective images found: 2 of 4, 2 missed" in read.text
    assert "25.0 % of the good images called defective: 1 false alarm in 4" in read.text
    assert "score 0.350 is not above the threshold 0.500: called good" in read.text
    assert "score 0.550 is above the threshold 0.500: called defective" in read.text


def test_nothing_comes_from_outside(make_result: Make, tmp_path: Path) -> None:
    write_report(make_result(("cap",)), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]
    read = Page((tmp_path / "index.html").read_text(encoding="utf-8"))
    assert not re.search(r"https?://|//[a-z]+\.[a-z]|@import|<link", read.source)
    # The one script is the one that the policy allows.
    (script,) = re.findall(r"<script>(.*?)</script>", read.source, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [a["content"] for a in read.all("meta") if "http-equiv" in a]
    assert f"; script-src 'sha256-{digest}'" in (policy or "")
    for _, attributes in read.elements:
        for name in ("src", "href"):
            address = attributes.get(name)
            assert address is None or address.startswith(("data:image/", "#"))


def test_links_and_drawings_meet_their_targets(make_result: Make, tmp_path: Path) -> None:
    read = page(make_result(bad_files=(BadFile(Path("x.png"), "cut off"),)), tmp_path)
    identifiers = [a["id"] for _, a in read.elements if "id" in a]
    assert len(identifiers) == len(set(identifiers))
    targets = [a["href"] for _, a in read.elements if (a.get("href") or "").startswith("#")]
    targets += re.findall(r"url\((#[^)]+)\)", read.source)
    targets += [f"#{a['aria-labelledby']}" for _, a in read.elements if "aria-labelledby" in a]
    assert {str(target)[1:] for target in targets} <= set(identifiers)


def test_hostile_names_are_only_ever_text(make_result: Make, tmp_path: Path) -> None:
    hostile = (
        '<script>alert(1)</script> a&b"c\'d" onload="x',
        "$\\frac{1}{0}$ {{ 7 * 7 }} {% raw %}",
        "naïve Flasche 瓶 line\nbreak\u202edrow \udcff",
    )

    def named(names: tuple[str, ...]) -> EvaluationResult:
        result = make_result(names, bad_files=tuple(BadFile(Path(n), f"why {n}") for n in names))
        items = [
            dataclasses.replace(item, record=ImageRecord(Path(f"{name}.png"), name, "test", name))
            for name, item in zip(names, result.gallery, strict=False)
        ]
        model = {"system": names[0], "notes": list(names), **{n: {n: [n]} for n in names}}
        return dataclasses.replace(result, gallery=tuple(items), model=model)

    read = page(named(hostile), tmp_path / "hostile")
    harmless = page(named(tuple(f"name{i}" for i in range(len(hostile)))), tmp_path / "harmless")
    # Not a single element or attribute more or less.
    assert [(tag, sorted(a)) for tag, a in read.elements] == [
        (tag, sorted(a)) for tag, a in harmless.elements
    ]
    for name in hostile:
        shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)
        assert f"why {shown}" in read.text
        assert f"{shown.rpartition('/')[2]}.png" in read.text


def test_missing_figures_are_dashes(make_result: Make, tmp_path: Path) -> None:
    with_masks, without = make_result(("cap",)), make_result(("label",), pixels=False)
    mixed = dataclasses.replace(
        with_masks,
        classes=with_masks.classes + without.classes,
        gallery=with_masks.gallery + without.gallery,
        mean_over=with_masks.mean_over
        | {"image_auroc": 2, "psnr": 2, "ssim": 2}
        | {"image_ap": 2, "image_f1_max": 2},
    )
    read = page(mixed, tmp_path)
    # The four pixel figures of the class without masks.
    assert len(re.findall(r'class="number"[^>]*>—</td>', read.source)) == 4
    assert "pixel AUROC, pixel AP, pixel best F1, AUPRO over 1 of 2 products" in read.text
    # Both defective images of the class without masks have no ground truth to show.
    assert read.source.count(">no mask<") == 2
    assert len(read.pictures) == 2 * 3 * 6 - 2
    assert "None" not in read.text
    assert not re.search(r"\bnan\b", read.source)


@pytest.mark.parametrize(("good", "defective"), [(4, 0), (0, 4)])
def test_one_kind_of_image_alone(
    good: int, defective: int, make_result: Make, tmp_path: Path
) -> None:
    read = page(make_result(("cap",), good=good, defective=defective, pixels=False), tmp_path)
    assert "No product has both good and defective images" in read.text
    charts = [base64.b64decode((a["src"] or "").partition(",")[2]) for a in read.all("img")]
    assert any(b"none in the test set" in chart for chart in charts)
    assert ("defective images found:" in read.text) == bool(defective)
    assert ("good images called defective:" in read.text) == bool(good)


def test_a_detector_without_thresholds_gives_no_verdicts(make_result: Make, tmp_path: Path) -> None:
    nothing = float("nan")
    read = page(make_result(("cap",), threshold=nothing, level=nothing, model={}), tmp_path)
    assert "no calibrated threshold" in read.text
    badges = re.findall(r'class="badge[^"]*">([^<]+)<', read.source)
    assert badges == ["no verdict"] * 3
    assert not re.search(r"\bnan\b", read.source)
    outlined = [a["alt"] for a in read.all("img") if "outlined findings" in (a["alt"] or "")]
    assert len(outlined) == 3
    assert all((alt or "").startswith("Input with 0 outlined findings") for alt in outlined)


def test_notes_about_thresholds_and_bad_files_are_shown(make_result: Make, tmp_path: Path) -> None:
    model = {"classes": ["cap"], "notes": ["cap has too few images for its own threshold"]}
    bad = (BadFile(Path("data/cap/test/good/9.png"), "the file ends early"),)
    read = page(make_result(model=model, bad_files=bad), tmp_path)
    assert "cap has too few images for its own threshold" in read.text
    assert "The model has not learned label" in read.text
    assert "data/cap/test/good/9.png the file ends early" in read.text


def test_no_classes_and_no_gallery(make_result: Make, tmp_path: Path) -> None:
    full = make_result(("cap",))
    empty = page(dataclasses.replace(full, classes=(), gallery=()), tmp_path / "a")
    assert "Inspection report" in empty.text
    bare = page(dataclasses.replace(full, gallery=()), tmp_path / "b")
    assert bare.text.count("No pictures were kept") == 1
    assert bare.text.count("Of 2 no picture was kept") == 1
    assert bare.text.count("Of 1 no picture was kept") == 1


def test_the_same_result_gives_the_same_bytes_and_replaces_the_old(
    make_result: Make, tmp_path: Path
) -> None:
    (tmp_path / "index.html").write_text("old")
    first = write_report(make_result(("cap",)), tmp_path).read_bytes()
    (tmp_path / "again").mkdir()
    second = write_report(make_result(("cap",)), tmp_path / "again").read_bytes()
    assert first == second
    assert stat.S_IMODE((tmp_path / "index.html").stat().st_mode) == 0o644


def test_a_file_in_the_folders_place(tmp_path: Path) -> None:
    (tmp_path / "report").write_text("mine")
    with pytest.raises(UserError, match="Name another folder"):
        evaluate(tmp_path / "model", tmp_path, tmp_path / "report")
    assert (tmp_path / "report").read_text() == "mine"


def test_the_reconstruction_is_described_in_words(make_result: Make, tmp_path: Path) -> None:
    figures: dict[str, dict[str, float]] = {
        "cap": {"psnr": 27.94, "erased": 0.71},
        "label": {"psnr": 31.0, "erased": 0.2},
        "other": {"psnr": 12.0, "erased": 0.2},
    }
    validation = {"classes": figures, "mean": {}}
    read = page(make_result(model={"training": {"validation": validation}}), tmp_path)
    assert "cap: the reconstruction shows the product sharply (27.9 dB) and removes 71 %" in (
        read.text
    )
    assert "label: the reconstruction shows the product sharply (31.0 dB) but copies" in read.text
    assert "flat image" not in read.text
    assert "drawn" not in page(make_result(("cap",)), tmp_path).text


def test_mistakes_come_first_and_the_lists_hold_nothing_else(
    make_result: Make, tmp_path: Path
) -> None:
    read = page(make_result(), tmp_path / "both")
    badges = re.findall(r'class="badge[^"]*">([^<]+)<', read.source)
    assert badges == ["missed"] * 2 + ["false alarm"] * 2 + ["found"] * 2
    assert read.source.index('id="mistakes"') < read.source.index('id="verdicts"')
    assert [a for a in read.all("p") if (a.get("class") or "") == "tile bad"]

    # At 0.3 every defect is found, and at 0.9 no good part is alarmed.
    eager = page(make_result(("cap",), threshold=0.3), tmp_path / "eager")
    assert "No defect was missed." in eager.text
    assert "missed" not in re.findall(r'class="badge[^"]*">([^<]+)<', eager.source)
    lazy = page(make_result(("cap",), threshold=0.9), tmp_path / "lazy")
    assert "No good part was alarmed." in lazy.text
    assert "false alarm" not in re.findall(r'class="badge[^"]*">([^<]+)<', lazy.source)
    assert "Closest calls" in lazy.text


def test_each_witness_has_a_picture_and_a_figure(make_result: Make, tmp_path: Path) -> None:
    result = make_result(("cap",))
    spoken = []
    for item in result.gallery:
        network = np.full(item.score_map.shape, 0.5, np.float32)
        normality = np.where(item.score_map > 0.5, 4.0, 1.0).astype(np.float32)
        both = Witnesses(network, normality)
        spoken.append(dataclasses.replace(item, witnesses=both, score_map=both.score_maps))
    read = page(dataclasses.replace(result, gallery=tuple(spoken)), tmp_path)
    assert read.text.count("normality 4.0, network 0.5 at the brightest place") == 2
    assert len(read.pictures) == 3 * 8
    seen = {(a["alt"] or "").partition(",")[0]: decoded(a["src"]) for a in read.pictures[:8]}
    levels = [
        np.asarray(seen[name].convert("L"), float).max() for name in seen if "vidence" in name
    ]
    whole = next(seen[name] for name in seen if name.startswith("Score map"))
    # One scale: what says less is darker, and the sum is the brightest.
    assert levels[0] < levels[1] < np.asarray(whole.convert("L"), float).max()
    assert "Normality" not in page(result, tmp_path / "without").text


def test_pretrained_features_stand_beside_the_others(make_result: Make, tmp_path: Path) -> None:
    result = make_result(("cap",))
    item = result.gallery[0]
    one = np.ones(item.score_map.shape, np.float32)
    three = Witnesses(3 * one, one, 6 * one)
    changed = dataclasses.replace(item, witnesses=three, score_map=three.score_maps)
    read = page(dataclasses.replace(result, gallery=(changed,)), tmp_path)
    assert "pretrained 6.0, network 3.0, normality 1.0 at the brightest place" in read.text
    assert any("pretrained" in (picture["alt"] or "") for picture in read.pictures)


def test_training_images_that_stand_out(make_result: Make, tmp_path: Path) -> None:
    shown = SuspiciousImage("cap", "7.png", 0.71, np.full((9, 12, 3), 50, np.uint8))
    hidden = SuspiciousImage("label", "<b>.png", 0.612)
    result = dataclasses.replace(make_result(("cap",)), suspicious=(shown, hidden))
    read = page(result, tmp_path / "some")
    assert "Look at these: are they really good?" in read.text
    assert "cap: 7.png score 0.710" in read.text
    assert "label: <b>.png score 0.612" in read.text
    (own,) = [a for a in read.pictures if "Training image" in (a["alt"] or "")]
    assert decoded(own["src"]).size == (12, 9)
    assert "stand out" not in page(make_result(("cap",)), tmp_path / "none").text


def test_a_dry_run_says_so_on_top(make_result: Make, tmp_path: Path) -> None:
    def trained(images: int) -> Page:
        model = {"training": {"images": images}}
        return page(make_result(("cap",), model=model), tmp_path / str(images))

    read = trained(480)
    assert "dry run: the model was trained on 480 images" in read.text
    assert read.source.index("dry run") < read.source.index('class="tiles"')
    assert "dry run" not in trained(200_000).text
