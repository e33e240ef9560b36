import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from omnial.data.layouts import discover
from omnial.errors import RunError, UserError
from omnial.inference import predictor as predictor_module
from omnial.inference.inspector import Inspector
from omnial.inference.predictor import Row
from omnial.models.thresholds import calibrate
from omnial.models.trained_model import TrainedModel
from omnial.reporting.prediction_report import predict
from tests import small_model

SIZE = small_model.EDGE
KEYS = ["path", "class", "score", "threshold", "anomalous", "outlines", "map", "error"]


def red_model(geometry: str = "squash", **parts: Any) -> TrainedModel:
    return small_model.red_model(data={"geometry": geometry, "max_megapixels": 1}, **parts)


def write_image(
    path: Path,
    *,
    height: int = SIZE,
    width: int = SIZE,
    ground: tuple[int, int, int] = (0, 255, 0),
    defect: tuple[slice, slice] | None = None,
) -> Path:
    pixels = np.full((height, width, 3), ground, np.uint8)
    if defect is not None:
        pixels[(*defect, 0)] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def rows_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]


def map_of(out: Path, row: dict[str, Any]) -> NDArray[np.float64]:
    with Image.open(out / row["map"]) as image:
        assert image.mode == "I;16"
        return np.asarray(image) / 65535


def test_rows_maps_and_overlays_of_a_good_and_a_bad_part(tmp_path: Path) -> None:
    good = write_image(tmp_path / "in/good.png")
    bad = write_image(tmp_path / "in/bad.png", defect=(slice(10, 30), slice(20, 60)))
    seen: list[Row] = []
    summary = predict(
        Inspector.of(red_model()),
        [good, bad],
        out=tmp_path / "out",
        class_name="moss",
        on_image=seen.append,
    )
    assert (summary.n_images, summary.n_anomalous, summary.errors) == (2, 1, [])
    rows = rows_of(tmp_path / "out")
    assert rows == seen
    assert [list(row) for row in rows] == [KEYS, KEYS]
    assert [row["path"] for row in rows] == [str(good), str(bad)]
    assert [row["anomalous"] for row in rows] == [False, True]
    assert all(
        (row["class"], row["threshold"], row["error"]) == ("moss", 0.2, None) for row in rows
    )
    assert rows[0]["outlines"] == []
    (outline,) = rows[1]["outlines"]
    assert outline["area"] == 20 * 40
    corners = np.array(outline["polygon"])
    np.testing.assert_allclose(corners.min(axis=0), [19.5, 9.5], atol=0.02)
    np.testing.assert_allclose(corners.max(axis=0), [59.5, 29.5], atol=0.02)
    expected = np.full((SIZE, SIZE), 1 / (1 + np.exp(10)))
    expected[10:30, 20:60] = 1 / (1 + np.exp(-10))
    np.testing.assert_allclose(map_of(tmp_path / "out", rows[1]), expected, atol=1 / 65535)
    assert outline["peak"] == pytest.approx(expected.max(), abs=1e-4)
    assert rows[1]["score"] == pytest.approx(expected.max(), abs=1e-4)
    overlays = sorted(path.stem for path in (tmp_path / "out/overlays").glob("*.jpg"))
    assert overlays == sorted(Path(row["map"]).stem for row in rows)
    assert not (tmp_path / "out/predictions.jsonl.part").exists()


@pytest.mark.parametrize("geometry", ["squash", "pad"])
@pytest.mark.parametrize(("height", "width"), [(200, 90), (31, 77), (128, 256)])
def test_map_overlay_and_outline_have_the_size_of_the_source(
    tmp_path: Path, geometry: str, height: int, width: int
) -> None:
    rows, columns = slice(height // 4, height // 2), slice(width // 4, width // 2)
    path = write_image(tmp_path / "in.png", height=height, width=width, defect=(rows, columns))
    predict(Inspector.of(red_model(geometry)), [path], out=tmp_path / "out")
    (row,) = rows_of(tmp_path / "out")
    assert map_of(tmp_path / "out", row).shape == (height, width)
    with Image.open(next((tmp_path / "out/overlays").glob("*.jpg"))) as overlay:
        assert overlay.size == (width, height)
    (outline,) = row["outlines"]
    corners = np.array(outline["polygon"])
    scale = max(height, width) / SIZE
    expected = [[columns.start - 0.5, rows.start - 0.5], [columns.stop - 0.5, rows.stop - 0.5]]
    found = [corners.min(axis=0), corners.max(axis=0)]
    np.testing.assert_allclose(found, expected, atol=1.0 + scale)
    area = (rows.stop - rows.start) * (columns.stop - columns.start)
    assert outline["area"] == pytest.approx(area, rel=0.25)


def test_product_is_recognised_and_an_unknown_one_gets_the_largest_threshold(
    tmp_path: Path,
) -> None:
    paths = [
        write_image(tmp_path / "1.png", ground=(0, 240, 0)),
        write_image(tmp_path / "2.png", ground=(0, 0, 240)),
        write_image(tmp_path / "3.png", ground=(0, 255, 255)),
    ]
    predict(Inspector.of(red_model(), batch_size=2), paths, out=tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    assert [row["class"] for row in rows] == ["moss", "sea", None]
    assert [row["threshold"] for row in rows] == [0.2, 0.3, 0.3]


@pytest.mark.parametrize("class_name", ["moss", None])
def test_nothing_counts_outside_the_region_of_interest(
    tmp_path: Path, class_name: str | None
) -> None:
    roi = np.zeros((SIZE, SIZE), bool)
    roi[:, :32] = True
    outside = write_image(tmp_path / "1.png", defect=(slice(10, 40), slice(40, 60)))
    inside = write_image(tmp_path / "2.png", defect=(slice(10, 40), slice(5, 25)))
    other = write_image(
        tmp_path / "3.png", ground=(0, 0, 255), defect=(slice(10, 40), slice(40, 60))
    )
    model = red_model(rois={"moss": roi})
    predict(
        Inspector.of(model), [outside, inside, other], out=tmp_path / "out", class_name=class_name
    )
    rows = rows_of(tmp_path / "out")
    if class_name is None:
        assert [row["class"] for row in rows] == ["moss", "moss", "sea"]
        assert rows[2]["anomalous"]
    assert [row["anomalous"] for row in rows[:2]] == [False, True]
    assert (map_of(tmp_path / "out", rows[0])[:, 32:] == 0).all()


def test_result_does_not_depend_on_the_batch(tmp_path: Path) -> None:
    for index in range(5):
        defect = (slice(5, 15 + 5 * index), slice(20, 40))
        write_image(tmp_path / f"in/{index}.png", ground=(20 * index, 255, 0), defect=defect)
    for size in (1, 3, 8):
        inspector = Inspector.of(red_model(), batch_size=size)
        predict(inspector, [tmp_path / "in"], out=tmp_path / f"out{size}")
    assert rows_of(tmp_path / "out1") == rows_of(tmp_path / "out3") == rows_of(tmp_path / "out8")


def test_bad_files_get_a_row_and_the_run_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    write_image(folder / "1.png")
    (folder / "2.png").write_bytes((folder / "1.png").read_bytes()[:60])
    (folder / "3.png").write_bytes(b"")
    write_image(folder / "4.png", height=1100, width=1000)
    (folder / "5.txt").write_text("not an image")
    write_image(folder / "6.png", defect=(slice(0, 64), slice(0, 64)))
    paths = [folder, folder / "5.txt"]
    summary = predict(Inspector.of(red_model(), batch_size=2), paths, out=tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    assert [Path(row["path"]).name for row in rows] == [
        *("1.png", "2.png", "3.png", "4.png", "6.png", "5.txt")
    ]
    failed = [row for row in rows if row["error"]]
    assert [Path(row["path"]).stem for row in failed] == ["2", "3", "4", "5"]
    for row in failed:
        values = [row[key] for key in ("class", "score", "threshold", "anomalous", "map")]
        assert values == [None] * 5
        assert row["outlines"] == []
        assert list(row) == KEYS
    assert "megapixels" in failed[2]["error"]
    assert (summary.n_images, summary.n_anomalous) == (6, 1)
    assert [(bad.path.stem, bad.reason) for bad in summary.errors] == [
        (Path(row["path"]).stem, row["error"]) for row in failed
    ]


def test_run_of_nothing_but_bad_files(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(b"?")
    summary = predict(
        Inspector.of(red_model()), [tmp_path / "1.png"], out=tmp_path / "out", class_name="sea"
    )
    assert len(summary.errors) == summary.n_images == 1
    (row,) = rows_of(tmp_path / "out")
    assert (row["class"], row["map"]) == ("sea", None)


def test_equal_stems_from_different_folders_keep_their_own_maps(tmp_path: Path) -> None:
    write_image(tmp_path / "a/000.png")
    write_image(tmp_path / "b/000.png", defect=(slice(0, 64), slice(0, 64)))
    predict(Inspector.of(red_model()), [tmp_path / "a", tmp_path / "b"], out=tmp_path / "out")
    first, second = rows_of(tmp_path / "out")
    assert map_of(tmp_path / "out", first).max() < 0.01
    assert map_of(tmp_path / "out", second).min() > 0.99


def test_second_run_into_the_searched_folder_does_not_inspect_its_results(tmp_path: Path) -> None:
    write_image(tmp_path / "1.png")
    for _ in range(2):
        assert predict(Inspector.of(red_model()), [tmp_path], out=tmp_path).n_images == 1
    assert len(rows_of(tmp_path)) == 1


def pictures_of(out: Path) -> list[str]:
    return sorted(
        path.relative_to(out).as_posix()
        for kind in ("maps", "masks", "overlays")
        for path in (out / kind).glob("*.*g")
    )


def expected_pictures(out: Path) -> list[str]:
    """A map, a mask and an overlay of every row that names a map."""
    stems = sorted(Path(row["map"]).stem for row in rows_of(out) if row["map"])
    kinds = (("maps", "png"), ("masks", "png"), ("overlays", "jpg"))
    return [f"{kind}/{stem}.{suffix}" for kind, suffix in kinds for stem in stems]


def lists_of(out: Path) -> set[str]:
    return {path.name for path in out.iterdir() if path.is_file()}


@pytest.mark.parametrize("pictures", [True, False])
def test_a_second_run_leaves_no_picture_of_the_first(tmp_path: Path, pictures: bool) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    for name in ("gone", "damaged", "stays"):
        write_image(folder / f"{name}.png", defect=(slice(0, 64), slice(0, 64)))
    predict(Inspector.of(red_model()), [folder], out=out, coco=True)
    assert len(pictures_of(out)) == 9
    lists = {"predictions.jsonl", "results.csv", "index.html", "coco.json"}
    assert lists_of(out) == lists
    (out / "overlays/mine.jpg").write_bytes(b"kept")
    (folder / "gone.png").unlink()
    (folder / "damaged.png").write_bytes(b"?")
    write_image(folder / "stays.png")
    predict(Inspector.of(red_model()), [folder], out=out, pictures=pictures)
    assert [row["anomalous"] for row in rows_of(out)] == [None, False]
    assert len(expected_pictures(out)) == (3 if pictures else 0)
    assert lists_of(out) == lists - {"coco.json"} - ({"index.html"} if not pictures else set())
    assert pictures_of(out) == sorted([*expected_pictures(out), "overlays/mine.jpg"])


def test_an_overlay_in_another_format_replaces_the_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = write_image(tmp_path / "1.png"), tmp_path / "out"
    predict(Inspector.of(red_model()), [path], out=out)
    monkeypatch.setattr(predictor_module, "_LONGEST_JPEG", SIZE - 1)
    predict(Inspector.of(red_model()), [path], out=out)
    assert [Path(name).suffix for name in pictures_of(out)] == [".png"] * 3
    assert "data:image/jpeg" in (out / "index.html").read_text("utf-8")


def test_a_run_after_an_interrupted_one_leaves_none_of_its_pictures(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for name in ("1", "2", "3", "4"):
        write_image(tmp_path / f"in/{name}.png")

    def stop(row: Row) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict(Inspector.of(red_model()), [tmp_path / "in"], out=out, on_image=stop)
    part = out / "predictions.jsonl.part"
    part.write_text(part.read_text() + '{"path": "cut')
    (tmp_path / "in/1.png").unlink()
    (tmp_path / "in/2.png").write_bytes(b"?")
    predict(Inspector.of(red_model()), [tmp_path / "in"], out=out)
    assert pictures_of(out) == expected_pictures(out)
    assert len(rows_of(out)) == 3


def test_the_folder_of_an_archive_is_refused(tmp_path: Path) -> None:
    path = write_image(tmp_path / "1.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/job.json").write_text("{}")
    with pytest.raises(UserError, match="archive"):
        predict(Inspector.of(red_model()), [path], out=tmp_path / "out")
    assert [found.name for found in (tmp_path / "out").iterdir()] == ["job.json"]


@pytest.mark.parametrize("name", ["index.html", "results.csv", "coco.json"])
def test_a_file_of_somebody_else_is_not_lost(tmp_path: Path, name: str) -> None:
    path = write_image(tmp_path / "1.png")
    (tmp_path / name).write_text("mine")
    with pytest.raises(UserError, match=rf"results of something else \({name}\)"):
        predict(Inspector.of(red_model()), [path], out=tmp_path)
    assert (tmp_path / name).read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 2


def test_another_run_over_the_same_folder_does_not_inspect_the_results(tmp_path: Path) -> None:
    write_image(tmp_path / "1.png")
    inspector = Inspector.of(red_model())
    for name in ("monday", "tuesday", "tuesday", "."):
        summary = predict(inspector, [tmp_path], out=tmp_path / name)
        assert summary.n_images == 1
    assert [row["path"] for row in rows_of(tmp_path / "tuesday")] == [str(tmp_path / "1.png")]
    # They are no product either.
    write_image(tmp_path / "nut/good/1.png")
    assert discover([tmp_path], need="train").names == ("nut",)


def test_anomalous_image_below_the_pixel_level_is_outlined_above_half_its_peak(
    tmp_path: Path,
) -> None:
    # Red of 0.45 gives a score of 0.27, above the threshold and below the pixel level.
    pixels = np.zeros((SIZE, SIZE, 3), np.uint8)
    pixels[..., 1] = 255
    pixels[16:48, 8:24, 0] = 115
    Image.fromarray(pixels).save(tmp_path / "1.png")
    predict(
        Inspector.of(red_model()), [tmp_path / "1.png"], out=tmp_path / "out", class_name="moss"
    )
    (row,) = rows_of(tmp_path / "out")
    assert row["anomalous"]
    assert map_of(tmp_path / "out", row).max() < 0.5
    assert [outline["area"] for outline in row["outlines"]] == [32 * 16]


def test_specks_are_outlined_only_where_there_is_nothing_else(tmp_path: Path) -> None:
    pixels = np.zeros((SIZE, SIZE, 3), np.uint8)
    pixels[..., 1] = 255
    pixels[5, 5, 0] = 255
    Image.fromarray(pixels).save(tmp_path / "1.png")
    pixels[20:40, 20:40, 0] = 255
    Image.fromarray(pixels).save(tmp_path / "2.png")
    scores = {"moss": (0.001,), "sea": (0.001,)}
    calibration = calibrate(scores, 0.5, 0.5)
    model = red_model(calibration=calibration)
    predict(Inspector.of(model), [tmp_path / "1.png", tmp_path / "2.png"], out=tmp_path / "out")
    rows = rows_of(tmp_path / "out")
    areas = [[outline["area"] for outline in row["outlines"]] for row in rows]
    assert areas == [[1], [400]]


def test_sixteen_bit_grey_is_inspected_like_eight_bit(tmp_path: Path) -> None:
    grey = np.linspace(0, 255, SIZE * SIZE).astype(np.uint8).reshape(SIZE, SIZE)
    Image.fromarray(grey).save(tmp_path / "8.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "16.png")
    paths = [tmp_path / "8.png", tmp_path / "16.png"]
    predict(Inspector.of(red_model()), paths, out=tmp_path / "out", class_name="moss")
    first, second = rows_of(tmp_path / "out")
    assert first["score"] == pytest.approx(second["score"], abs=1e-6)


def test_finished_rows_stay_after_an_interruption(tmp_path: Path) -> None:
    for index in range(6):
        write_image(tmp_path / f"in/{index}.png")

    def stop(row: Row) -> None:
        if str(row["path"]).endswith("3.png"):
            raise KeyboardInterrupt

    inspector = Inspector.of(red_model(), batch_size=2)
    with pytest.raises(KeyboardInterrupt):
        predict(inspector, [tmp_path / "in"], out=tmp_path / "out", on_image=stop)
    assert not (tmp_path / "out/predictions.jsonl").exists()
    lines = (tmp_path / "out/predictions.jsonl.part").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [Path(row["path"]).stem for row in rows] == ["0", "1", "2", "3"]
    assert all((tmp_path / "out" / row["map"]).exists() for row in rows)


def test_result_that_cannot_be_written_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    path = write_image(tmp_path / "1.png")
    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(RunError, match="No space left"):
        predict(Inspector.of(red_model()), [path], out=tmp_path / "out")


def test_mistakes_of_the_user_leave_no_trace(tmp_path: Path) -> None:
    path = write_image(tmp_path / "1.png")
    out = tmp_path / "out"
    with pytest.raises(UserError, match="moss, sea"):
        predict(Inspector.of(red_model()), [path], out=out, class_name="bottle")
    with pytest.raises(UserError, match="nothing"):
        predict(Inspector.of(red_model()), [path, tmp_path / "nothing"], out=out)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="No images"):
        predict(Inspector.of(red_model()), [tmp_path / "empty"], out=out)
    assert not out.exists()
    with pytest.raises(UserError, match=r"1\.png: File exists\. Name another folder"):
        predict(Inspector.of(red_model()), [path], out=path)


def test_nothing_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "1.png").write_bytes(b"?")
    write_image(tmp_path / "2.png")
    predict(Inspector.of(red_model()), [tmp_path], out=tmp_path / "out")
    assert capfd.readouterr() == ("", "")


def test_without_pictures_the_rows_are_the_same_and_name_no_map(tmp_path: Path) -> None:
    write_image(tmp_path / "in/1.png", defect=(slice(10, 30), slice(20, 60)))
    (tmp_path / "in/2.png").write_bytes(b"?")
    predict(Inspector.of(red_model()), [tmp_path / "in"], out=tmp_path / "with")
    predict(Inspector.of(red_model()), [tmp_path / "in"], out=tmp_path / "no", pictures=False)
    expected = [{**row, "map": None} for row in rows_of(tmp_path / "with")]
    assert rows_of(tmp_path / "no") == expected
    written = {path.name for path in (tmp_path / "no").iterdir()}
    assert written == {"predictions.jsonl", "results.csv"}


def test_a_mask_is_white_within_the_outlines_and_of_the_size_of_the_image(tmp_path: Path) -> None:
    good = write_image(tmp_path / "good.png", height=70, width=130)
    bad = write_image(
        tmp_path / "bad.png", height=128, width=192, defect=(slice(32, 64), slice(96, 144))
    )
    predict(Inspector.of(red_model("pad")), [good, bad], out=tmp_path / "out")
    masks = []
    for row in rows_of(tmp_path / "out"):
        with Image.open(tmp_path / "out" / "masks" / Path(row["map"]).name) as image:
            assert image.mode == "L"
            masks.append(np.asarray(image))
    assert masks[0].shape == (70, 130)
    assert not masks[0].any()
    assert (masks[1].shape, set(np.unique(masks[1]))) == ((128, 192), {0, 255})
    expected = np.zeros((128, 192), bool)
    expected[32:64, 96:144] = True
    # A network pixel is three of the image.
    assert (masks[1] > 0)[expected].mean() > 0.9
    assert (masks[1] > 0)[~expected].mean() < 0.02


def test_the_table_says_what_the_rows_say_and_holds_no_formula(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_image(Path("=1+1.png"), height=50, width=70, defect=(slice(5, 30), slice(20, 60)))
    write_image(Path('grün, "alt".png'))
    Path("broken.png").write_bytes(b"?")
    paths = ["=1+1.png", 'grün, "alt".png', "broken.png"]
    predict(Inspector.of(red_model()), paths, out="out")
    with open("out/results.csv", encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    rows = rows_of(Path("out"))
    assert [line["image"] for line in table] == ["'=1+1.png", *paths[1:]]
    assert [line["verdict"] for line in table] == ["anomalous", "good", "not readable"]
    assert [line["product"] for line in table] == ["moss", "moss", ""]
    assert float(table[0]["score"]) == pytest.approx(rows[0]["score"], abs=1e-6)
    assert (table[0]["defects"], table[0]["largest_defect"]) == (
        "1",
        str(rows[0]["outlines"][0]["area"]),
    )
    assert (table[0]["width"], table[0]["height"]) == ("70", "50")
    for line in table[:2]:
        assert Path("out", line["overlay"]).is_file()
        assert Path("out", line["mask"]).is_file()
    broken = table[2]
    assert [broken[key] for key in ("score", "threshold", "width", "overlay")] == [""] * 4
    assert broken["error"] == rows[2]["error"]


def test_coco_holds_the_outlines_in_its_own_coordinates(tmp_path: Path) -> None:
    good = write_image(tmp_path / "good.png", height=50, width=80)
    bad = write_image(tmp_path / "bad.png", defect=(slice(10, 30), slice(20, 60)))
    (tmp_path / "broken.png").write_bytes(b"?")
    paths = [good, tmp_path / "broken.png", bad]
    predict(Inspector.of(red_model()), paths, out=tmp_path / "out", coco=True)
    found = json.loads((tmp_path / "out/coco.json").read_text("utf-8"))
    sizes = [(one["id"], one["file_name"], one["width"], one["height"]) for one in found["images"]]
    assert sizes == [(1, str(good), 80, 50), (2, str(bad), SIZE, SIZE)]
    (one,) = found["annotations"]
    assert (one["image_id"], one["area"], one["iscrowd"]) == (2, 20 * 40, 0)
    assert one["category_id"] in [category["id"] for category in found["categories"]]
    # The corner of pixel (20, 10) is at (20, 10), that of (59, 29) at (60, 30).
    np.testing.assert_allclose(one["bbox"], [20, 10, 40, 20], atol=0.05)
    x, y = np.reshape(one["segmentation"][0], (-1, 2)).T
    enclosed = abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2
    assert enclosed == pytest.approx(20 * 40, rel=0.02)


def test_the_summary_counts_products_and_progress_is_reported(tmp_path: Path) -> None:
    write_image(tmp_path / "in/1.png", defect=(slice(0, 20), slice(0, 30)))
    write_image(tmp_path / "in/2.png", ground=(0, 0, 255))
    write_image(tmp_path / "in/3.png", ground=(0, 255, 255))
    (tmp_path / "in/4.png").write_bytes(b"?")
    seen: list[tuple[str, int, int]] = []
    summary = predict(
        Inspector.of(red_model()),
        tmp_path / "in",
        out=tmp_path / "out",
        progress=lambda *report: seen.append(report),
    )
    assert summary.by_product() == [("moss", 1, 1), ("sea", 1, 0), (None, 1, 0)]
    assert seen == [("inspecting", done, 4) for done in range(1, 5)]
