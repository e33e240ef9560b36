import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from omnial.batch.archive import (
    Assignment,
    PartResult,
    Worker,
    in_this_process,
    inspect_archive,
)
from omnial.cli import app
from omnial.errors import RunError, UserError
from omnial.inference.predictor import Row


def without_map(rows: Sequence[Row]) -> list[Row]:
    return [{**row, "map": None} for row in rows]


def parquet(out: Path) -> list[Row]:
    rows: list[Row] = pq.read_table(out / "predictions").to_pylist()
    return rows


def test_rows_are_those_of_the_engine_without_parts(
    model: Path, archive: Path, expected: list[Row], tmp_path: Path
) -> None:
    seen: list[tuple[str, int, int]] = []
    summary = inspect_archive(
        *(model, [archive], tmp_path / "out"),
        batch_size=4,
        part_images=7,
        progress=lambda *report: seen.append(report),
    )
    rows = parquet(tmp_path / "out")
    assert without_map(rows) == expected
    # Parts hold whole batches: 8, 8 and the rest.
    assert seen == [
        *(("listing", images, images) for images in (8, 16, 23)),
        *(("inspecting", images, 23) for images in (0, 8, 16, 23)),
    ]
    assert summary.n_images == len(expected)
    assert summary.n_anomalous == sum(row["anomalous"] is True for row in expected)
    assert [(str(bad.path), bad.reason) for bad in summary.errors] == [
        (row["path"], row["error"]) for row in expected if row["error"]
    ]
    assert summary.n_errors == len(summary.errors)
    for row in rows:
        assert (row["map"] is None) == (row["error"] is not None)
        if row["map"] is not None:
            with Image.open(tmp_path / "out" / row["map"]) as image, Image.open(row["path"]) as own:
                assert image.size == own.size
    assert not list((tmp_path / "out/predictions").glob(".*"))


def test_a_part_that_is_done_again_leaves_no_picture_of_the_first_time(
    model: Path, archive: Path, tmp_path: Path
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    shutil.copytree(archive / "line0", folder)
    first = inspect_archive(model, [folder], out)
    (out / "predictions/part-000000.parquet").unlink()
    (folder / "000.png").write_bytes(b"?")
    second = inspect_archive(model, [folder], out)
    assert second.n_errors == first.n_errors + 1
    drawn = [path.stem for path in (out / "overlays/000000").iterdir()]
    assert sorted(drawn) == sorted(Path(str(row["map"])).stem for row in parquet(out) if row["map"])


@pytest.mark.parametrize("name", ["predictions.jsonl", "predictions.jsonl.part"])
def test_the_folder_of_another_run_is_refused(
    model: Path, archive: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_text("{}\n")
    with pytest.raises(UserError, match=r"predictions\.jsonl"):
        inspect_archive(model, [archive], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_worker_that_is_believed_dead_disturbs_no_other(
    model: Path, archive: Path, expected: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two write the same pictures: the second from start to end within the first's writing."""
    save, depth, out = Image.Image.save, [0], tmp_path / "out"

    def rival(image: Image.Image, path: Path, *args: Any, **options: Any) -> None:
        save(image, path, *args, **options)
        if depth[0] == 0:
            depth[0] = 1
            Worker(assignments[0]).inspect(0)

    assignments: list[Assignment] = []

    def two(assignment: Assignment, parts: Sequence[int]) -> Iterator[PartResult]:
        assignments.append(assignment)
        # What a worker that was killed leaves behind, which the end of the run removes.
        for kind in ("maps", "overlays"):
            (out / kind / "000000").mkdir(parents=True)
            (out / kind / "000000/.001.png.0.part").write_bytes(b"half")
        with monkeypatch.context() as patch:
            patch.setattr(Image.Image, "save", rival)
            yield from [Worker(assignment).inspect(part) for part in parts]

    inspect_archive(model, [archive], out, batch_size=4, engine=two)
    assert depth == [1]
    assert without_map(parquet(out)) == expected
    pictures = [path.name for kind in ("maps", "overlays") for path in (out / kind).rglob("*/*.*")]
    assert len(pictures) == 2 * sum(row["error"] is None for row in expected)
    assert not [name for name in pictures if name.endswith(".part")]


def test_nothing_but_rows_without_pictures(
    model: Path, archive: Path, expected: list[Row], tmp_path: Path
) -> None:
    inspect_archive(model, [archive], tmp_path / "out", batch_size=4, pictures=False)
    assert parquet(tmp_path / "out") == expected
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["job.json", "listing.parquet", "predictions"]


def test_what_was_cut_short_goes_on_where_it_was(
    model: Path, archive: Path, expected: list[Row], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    asked: list[int] = []

    def stop(what: str, done: int, total: int) -> None:
        if (what, done) == ("inspecting", 8):
            raise KeyboardInterrupt

    def noting(assignment: Assignment, parts: Sequence[int]) -> Iterator[PartResult]:
        asked.extend(parts)
        return in_this_process(assignment, parts)

    arguments: dict[str, Any] = {"batch_size": 4, "part_images": 4, "pictures": False}
    with pytest.raises(KeyboardInterrupt):
        inspect_archive(model, [archive], out, **arguments, progress=stop)
    written = {path: path.stat().st_mtime_ns for path in (out / "predictions").iterdir()}
    assert len(written) == 2
    (out / "predictions/.part-000002.parquet.0.part").write_bytes(b"half")
    # An archive that has grown does not shift the parts.
    summary = inspect_archive(model, [archive], out, **arguments, engine=noting)
    assert asked == [2, 3, 4, 5]
    assert summary.n_images == len(expected)
    assert parquet(out) == expected
    assert {path: path.stat().st_mtime_ns for path in written} == written
    again = inspect_archive(model, [archive], out, **arguments, engine=noting)
    assert (again.n_images, again.errors) == (len(expected), summary.errors)
    assert asked == [2, 3, 4, 5]


def test_images_that_come_later_do_not_shift_the_parts(model: Path, tmp_path: Path) -> None:
    image = np.zeros((40, 40, 3), np.uint8)
    for name in ("b", "c", "d"):
        Image.fromarray(image).save(tmp_path / f"{name}.png")

    def stop(what: str, done: int, total: int) -> None:
        if (what, done) == ("inspecting", 2):
            raise KeyboardInterrupt

    arguments: dict[str, Any] = {"batch_size": 1, "part_images": 2, "pictures": False}
    with pytest.raises(KeyboardInterrupt):
        inspect_archive(model, [tmp_path], tmp_path / "out", **arguments, progress=stop)
    Image.fromarray(image).save(tmp_path / "a.png")
    inspect_archive(model, [tmp_path], tmp_path / "out", **arguments)
    names = [Path(row["path"]).stem for row in parquet(tmp_path / "out")]
    assert names == ["b", "c", "d"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"class_name": "nut"}, "class_name"),
        ({"batch_size": 2}, "batch_size"),
        ({"tile": 64}, "tile"),
        ({"pictures": True}, "pictures"),
    ],
)
def test_another_job_is_refused(
    model: Path, archive: Path, tmp_path: Path, change: dict[str, Any], named: str
) -> None:
    arguments: dict[str, Any] = {"batch_size": 4, "part_images": 64, "pictures": False}
    image = archive / "line0/000.png"
    inspect_archive(model, [image], tmp_path / "out", **arguments)
    before = parquet(tmp_path / "out")
    with pytest.raises(UserError, match=rf"another job: {named}.* differ"):
        inspect_archive(model, [image], tmp_path / "out", **{**arguments, **change})
    assert parquet(tmp_path / "out") == before


def test_another_model_is_refused(model: Path, archive: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for path in model.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    config = json.loads((other / "config.json").read_text("utf-8"))
    config["training"]["note"] = "trained again"
    image = archive / "line0/000.png"
    inspect_archive(model, [image], tmp_path / "out", pictures=False)
    inspect_archive(other, [image], tmp_path / "out", pictures=False)
    (other / "config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(UserError, match="another job: model differ"):
        inspect_archive(other, [image], tmp_path / "out", pictures=False)


def test_mistakes_of_the_user_leave_no_trace(model: Path, archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(UserError, match="bolt, nut"):
        inspect_archive(model, [archive], out, class_name="screw")
    with pytest.raises(UserError, match=r"config\.json"):
        inspect_archive(tmp_path, [archive], out)
    with pytest.raises(UserError, match="No such file"):
        inspect_archive(model, [archive / "none"], out)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="No images"):
        inspect_archive(model, [tmp_path / "empty"], out)
    assert not out.exists()
    out.write_bytes(b"")
    with pytest.raises(UserError, match="Name another folder"):
        inspect_archive(model, [archive], out)


def test_damaged_part_is_named(model: Path, archive: Path, tmp_path: Path) -> None:
    inspect_archive(model, [archive], tmp_path / "out", pictures=False)
    (file,) = (tmp_path / "out/predictions").iterdir()
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(RunError, match=r"part-000000\.parquet.*Remove the file"):
        inspect_archive(model, [archive], tmp_path / "out", pictures=False)


def test_relative_paths_stand_in_the_rows_as_they_were_given(
    model: Path, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(archive)
    inspect_archive(model, [Path("line1")], tmp_path / "out", pictures=False)
    rows = parquet(tmp_path / "out")
    assert rows[0]["path"] == os.path.join("line1", "001.png")
    assert rows[0]["error"] is None


@pytest.mark.skipif(os.name != "posix", reason="file names are bytes on POSIX alone")
def test_name_that_is_not_utf8_is_inspected_and_escaped(model: Path, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"M\xfcller.png")
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(path)
    inspect_archive(model, [tmp_path], tmp_path / "out", pictures=False)
    (row,) = parquet(tmp_path / "out")
    assert row["error"] is None
    assert row["path"] == f"{tmp_path}/M\\udcfcller.png"


def test_verb_writes_parquet_and_says_what_it_found(
    model: Path, archive: Path, expected: list[Row], tmp_path: Path
) -> None:
    options = ["--format", "parquet", "--no-pictures", "--batch-size", "4", "--json"]
    arguments = ["predict", str(model), str(archive), "--out", str(tmp_path / "out"), *options]
    ended = CliRunner().invoke(app, arguments)
    assert ended.exit_code == 1, ended.output
    printed = json.loads(ended.stdout)
    assert printed.pop("core_seconds") > 0
    assert printed == {
        "images": len(expected),
        "anomalous": sum(row["anomalous"] is True for row in expected),
        "unreadable": 2,
        "errors": [
            {"path": row["path"], "error": row["error"]} for row in expected if row["error"]
        ],
        "predictions": str(tmp_path / "out/predictions"),
    }
    assert parquet(tmp_path / "out") == expected


@pytest.mark.parametrize(
    "options",
    [
        ("--workers", "2"),
        ("--ray-address", "auto"),
        ("--engine", "ray", "--format", "jsonl"),
    ],
)
def test_options_that_do_not_belong_together_are_refused(
    model: Path, archive: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    out = tmp_path / "out"
    ended = CliRunner().invoke(
        app, ["predict", str(model), str(archive), "--out", str(out), *options]
    )
    assert ended.exit_code == 2
    assert "--engine ray" in ended.output
    assert not out.exists()


def test_without_ray_the_user_is_told_what_to_install(
    model: Path, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    out = tmp_path / "out"
    arguments = ["predict", str(model), str(archive), "--out", str(out), "--engine", "ray"]
    ended = CliRunner().invoke(app, arguments)
    assert ended.exit_code == 2
    assert "pip install '.[ray]'" in ended.output
    assert not out.exists()
