"""Reviews of a service's verdicts are learnt: false alarms fall, and nothing else moves."""

import itertools
from collections.abc import Callable, Iterable
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from omnial.calibration.add_product import add_product
from omnial.errors import UserError
from omnial.inference.inspector import Inspector
from omnial.model_folder.config_file import read_config
from omnial.model_folder.weights_file import load_model
from omnial.models.thresholds import is_anomalous, threshold
from omnial.serving.findings import Finding
from omnial.serving.history import History
from omnial.serving.learn_reviews import learn_reviews
from omnial.serving.replies import InspectionReply, Review

Reviews = Iterable[tuple[bytes | None, str | None, Review]]
Write = Callable[[Reviews], Path]
CELL = 16
"""Pixels of a picture in the edge of a cell of features and around one of accepted evidence."""


class Unkept(bytes):
    """A file that the service inspected and did not keep."""


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a history of reviewed pictures: their files, products and reviews, the first first.

    `right` is said of the verdict anomalous, `right good` of the other.
    """

    def call(reviews: Reviews) -> Path:
        now = itertools.count(1e9)
        path = tmp_path / "history.sqlite"
        history = History(path, days=1e6, megabytes=100, clock=lambda: float(next(now)))
        for content, class_name, review in reviews:
            reply = InspectionReply(
                id=None,
                name="part.png",
                sha256=sha256(content or b"").hexdigest(),
                class_name=class_name,
                score=0.5,
                threshold=0.2,
                anomalous=review in ("false_alarm", "right"),
                outlines=[],
                suspects=None,
                width=64,
                height=64,
                map=None,
            )
            kept = None if isinstance(content, Unkept) else content
            number = history.add(Finding(reply, b"map", b"small", kept), "model")
            history.review(number, review.split()[0])
        history.close()
        return path

    return call


@pytest.fixture(scope="module")
def model(trained: Path, line: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gears and tiles, five held-out scores each: one false alarm in five may come."""
    out = tmp_path_factory.mktemp("both") / "model"
    add_product(trained, [line / "tile"], out, device="cpu")
    return out


def png(pixels: np.ndarray) -> bytes:
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def with_label(line: Path, count: int) -> list[bytes]:
    """Good gears with a bright label, which no training image has."""
    pictures = []
    for index, path in enumerate(sorted((line / "gear/train/good").iterdir())[:count]):
        pixels = np.array(Image.open(path).convert("RGB"))
        pixels[40:56, 36:58] = 210 + index % 5
        pictures.append(png(pixels))
    return pictures


def scores(folder: Path, pictures: Iterable[bytes], name: str) -> list[float]:
    images = [Image.open(BytesIO(content)) for content in pictures]
    return [found.score for found in Inspector(folder, device="cpu").inspect(images, name)]


def map_of(folder: Path, picture: bytes, name: str) -> NDArray[np.float32]:
    (found,) = Inspector(folder, device="cpu").inspect([Image.open(BytesIO(picture))], name)
    return found.score_map


def test_false_alarms_fall_and_nothing_else_moves(
    model: Path, line: Path, write: Write, tmp_path: Path
) -> None:
    pictures = with_label(line, 24)
    learnt, new = pictures[:12], pictures[12:]
    history = write((content, "gear", "false_alarm") for content in learnt)
    content = history.read_bytes()

    report = learn_reviews(model, history, tmp_path / "out", device="cpu")

    assert history.read_bytes() == content
    product = report.products["gear"]
    assert product.false_alarms == 12
    assert product.alarms_after <= 3
    before, after = load_model(model, "cpu"), load_model(tmp_path / "out", "cpu")
    limit_before, limit_after = (m.calibration.threshold_for("gear") for m in (before, after))
    assert (limit_before, limit_after) == (product.threshold_before, product.threshold_after)
    alarms = [
        sum(is_anomalous(score, limit) for score in scores(folder, new, "gear"))
        for folder, limit in ((model, limit_before), (tmp_path / "out", limit_after))
    ]
    assert alarms[1] <= 4
    if before.normality:  # two steps teach the network alone nothing
        assert product.alarms_before == alarms[0] == 12

        # Nothing moves but where the label is, and within a cell of it.
        maps = [map_of(folder, new[0], "gear") for folder in (model, tmp_path / "out")]
        rows, columns = np.nonzero(maps[0] != maps[1])
        assert len(rows) > 100
        assert rows.min() >= 40 - CELL
        assert rows.max() < 56 + CELL
        assert columns.min() >= 36 - CELL
        assert columns.max() < 58 + CELL
        assert (maps[1] <= maps[0]).all()

    # The new threshold follows from the stored scores and those of the pictures, as learnt.
    own = scores(tmp_path / "out", learnt, "gear")
    expected = sorted([*before.calibration.scores["gear"], *own])
    assert after.calibration.scores["gear"] == pytest.approx(expected, abs=3e-5)
    assert limit_after == threshold(after.calibration.scores["gear"], 0.8)
    # The tile stays to the last bit, in what it knows and in how it decides.
    old, new_ = before.calibration, after.calibration
    for mapping in ("per_class", "scores", "counts"):
        assert getattr(new_, mapping)["tile"] == getattr(old, mapping)["tile"]
    assert (new_.pooled, new_.pixel) == (old.pooled, old.pixel)
    tiles = [path.read_bytes() for path in sorted((line / "tile/test").rglob("*.png"))]
    assert scores(tmp_path / "out", tiles, "tile") == scores(model, tiles, "tile")
    for name, weights in before.network.state_dict().items():
        assert torch.equal(weights, after.network.state_dict()[name])
    changes = read_config(tmp_path / "out").training["changes"]
    assert [change["command"] for change in changes] == ["add", "learn"]
    assert changes[1]["weights_before"] == read_config(model).weights_sha256
    assert changes[1]["products"] == {"gear": {"false_alarms": 12, "missed": 0}}


@pytest.mark.parametrize("trained", ["own"], indirect=True)
def test_what_was_learnt_is_not_learnt_again(
    model: Path, line: Path, write: Write, tmp_path: Path
) -> None:
    history = write((content, "gear", "false_alarm") for content in with_label(line, 5))
    learn_reviews(model, history, tmp_path / "out", device="cpu")
    with pytest.raises(UserError, match="5 learnt or trained on before"):
        learn_reviews(tmp_path / "out", history, tmp_path / "again", device="cpu")
    assert not (tmp_path / "again").exists()


def test_a_missed_defect_lowers_the_threshold_only_as_far_as_the_rate_allows(
    model: Path, line: Path, write: Write, tmp_path: Path
) -> None:
    """Of five normal scores, one may lie above: the threshold may go down to the second largest."""
    normal = read_config(model).calibration.scores["gear"]
    limit = read_config(model).calibration.threshold_for("gear")
    pictures = [p.read_bytes() for p in sorted((line / "gear/train/good").iterdir())]
    pictures += [p.read_bytes() for p in sorted((line / "gear/test").rglob("*.png"))]
    missed = {
        content: score
        for content, score in zip(pictures, scores(model, pictures, "gear"), strict=True)
        if not is_anomalous(score, limit)
    }
    history = write((content, "gear", "missed") for content in missed)

    report = learn_reviews(model, history, tmp_path / "out", device="cpu")

    product = report.products["gear"]
    after = read_config(tmp_path / "out").calibration
    assert after.scores["gear"] == normal
    assert sum(is_anomalous(score, after.threshold_for("gear")) for score in normal) <= 1
    assert product.threshold_after == after.threshold_for("gear") <= limit
    assert len(product.missed) == len(missed)
    for one in product.missed:
        above = sum(is_anomalous(score, one.wanted) for score in normal)
        assert one.false_alarms == above / 5
        assert is_anomalous(one.score, one.wanted)
        assert one.found == is_anomalous(one.score, product.threshold_after)
        assert one.found >= (above <= 1)
        kind = read_config(model).settings.model.normality
        spoken = {"network": one.network, "normality": one.normality, "pretrained": one.pretrained}
        silent = {"none": set(spoken), "own": {"pretrained"}}.get(kind, set())
        assert {name for name, evidence in spoken.items() if evidence is None} == silent
        assert min(evidence or 0.0 for evidence in spoken.values()) >= 0
    assert any(not one.found for one in product.missed)


@pytest.mark.parametrize("trained", ["own"], indirect=True)
def test_the_last_review_of_a_picture_counts(
    model: Path, line: Path, write: Write, tmp_path: Path
) -> None:
    first, second = with_label(line, 2)
    history = write(
        [
            (first, "gear", "missed"),
            (second, "gear", "missed"),
            (first, "gear", "false_alarm"),
            (first, "gear", "false_alarm"),
        ]
    )
    report = learn_reviews(model, history, tmp_path / "out", device="cpu")
    product = report.products["gear"]
    assert (product.false_alarms, len(product.missed)) == (1, 1)


@pytest.mark.parametrize("trained", ["own"], indirect=True)
def test_a_verdict_that_is_right_takes_back_what_it_contradicts(
    model: Path, line: Path, write: Write, tmp_path: Path
) -> None:
    """And nothing else: by another model, the part that was called a false alarm is good."""
    pictures = [*with_label(line, 4), with_label(line, 5)[4]]
    reviews = ("false_alarm", "right"), ("missed", "right good"), ("false_alarm", "right good")
    pairs = zip(pictures[:4], (*reviews, ("missed", "right")), strict=True)
    given: list[tuple[bytes, str, Review]]
    given = [(one, "gear", review) for one, both in pairs for review in both]
    given += [(pictures[4], "gear", "false_alarm"), (Unkept(pictures[4]), "gear", "right")]
    # Said again without the file, it stays.
    given += [(Unkept(pictures[2]), "gear", "false_alarm")]
    history = write(given)
    report = learn_reviews(model, history, tmp_path / "out", device="cpu")
    product = report.products["gear"]
    assert (product.false_alarms, len(product.missed)) == (1, 1)
    assert report.left_out == {"taken back by a later one": 3, "without the image file": 1}


@pytest.mark.parametrize("trained", ["own"], indirect=True)
def test_reviews_that_cannot_be_learnt_from_are_counted(
    model: Path, line: Path, write: Write, tmp_path: Path
) -> None:
    (good,) = with_label(line, 1)
    history = write(
        [
            (good, "gear", "false_alarm"),
            (None, "gear", "false_alarm"),
            (good, None, "false_alarm"),
            (good, "nut", "missed"),
            (b"no image", "gear", "missed"),
        ]
    )
    report = learn_reviews(model, history, tmp_path / "out", device="cpu")
    assert set(report.products) == {"gear"}
    assert report.left_out == {
        "without the image file": 1,
        "of products that the model does not know": 2,
    }
    (bad,) = report.bad_files
    assert str(bad.path) == "picture 5 (part.png)"


@pytest.mark.parametrize("trained", ["own"], indirect=True)
class TestRefusals:
    def refused(self, model: Path, history: Path, out: Path, reason: str) -> None:
        with pytest.raises(UserError, match=reason):
            learn_reviews(model, history, out, device="cpu")

    def test_a_history_without_files(self, model: Path, write: Write, tmp_path: Path) -> None:
        history = write([(None, "gear", "false_alarm"), (None, "tile", "missed")])
        self.refused(model, history, tmp_path / "out", "2 reviews but no image.*--keep-files")
        assert not (tmp_path / "out").exists()

    def test_a_history_without_such_reviews(
        self, model: Path, write: Write, tmp_path: Path
    ) -> None:
        history = write([(b"x", "gear", "right")])
        self.refused(model, history, tmp_path / "out", "no verdict is reviewed")

    def test_pictures_of_which_none_can_be_read(
        self, model: Path, write: Write, tmp_path: Path
    ) -> None:
        history = write([(b"x", "gear", "missed")])
        self.refused(model, history, tmp_path / "out", "1 no image that can be read")

    def test_other_files(self, model: Path, tmp_path: Path) -> None:
        self.refused(model, tmp_path / "none.sqlite", tmp_path / "out", "no such file")
        (tmp_path / "text").write_text("no history" * 100)
        self.refused(model, tmp_path / "text", tmp_path / "out", "not a usable history")
        assert (tmp_path / "text").read_text() == "no history" * 100

    def test_an_occupied_folder(self, model: Path, write: Write) -> None:
        history = write([(b"x", "gear", "missed")])
        self.refused(model, history, model, "not an empty folder")
