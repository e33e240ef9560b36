"""A full disk: one clear line, exit code 3, and what was there before is there still."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from PIL import Image

from omnial.calibration.calibrate_folder import calibrate_folder
from omnial.cli.verb import ExitCode, settle
from omnial.config.settings import Settings
from omnial.demo.production_line import CLASS_NAMES, generate
from omnial.errors import RunError, UserError
from omnial.inference.inspector import Inspector
from omnial.model_folder.weights_file import load_model, save_model
from omnial.reporting import evaluation_report as report_module
from omnial.reporting.evaluation_report import evaluate
from omnial.reporting.prediction_report import predict
from omnial.robustness.build_set import SetPlan, build_set
from omnial.studies.results_store import write_file
from omnial.training.checkpoint import folder_of_checkpoints, read_checkpoint, write_checkpoint
from omnial.training.fit import train
from tests.faults.breaking import files, full_disk, no_space

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning_fabric")


def refused(work: Callable[[], object], ending: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The work ends as the command line would end, and names the file and the way out."""

    def verb() -> ExitCode:
        work()
        return ExitCode.DONE

    assert settle(verb) is ExitCode.FAILED
    line = capsys.readouterr().err.splitlines()[-1]
    assert "No space left on device" in line
    assert "Make room there, and repeat" in line
    assert ending in line


class TestTraining:
    def test_the_checkpoint_before_is_kept_and_gone_on_from(
        self,
        model: Path,
        data: Path,
        settings: Settings,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        out = tmp_path / "model"
        with full_disk("last.ckpt.part", after=1):
            refused(lambda: train(settings, [data], out, progress=False), "last.ckpt.part", capsys)
        checkpoint = folder_of_checkpoints(out) / "last.ckpt"
        assert read_checkpoint(checkpoint)["step"] == 1
        assert not (out / "model.safetensors").exists()

        train(settings, [data], out, resume=True, progress=False)

        name = "model.safetensors"
        assert (out / name).read_bytes() == (model / name).read_bytes()

    def test_the_disk_fills_up_in_the_middle_of_a_checkpoint(self, tmp_path: Path) -> None:
        path = tmp_path / "last.ckpt"
        write_checkpoint(path, {"step": 1})

        class Small(io.FileIO):
            def write(self, content: Any, /) -> int:
                if self.tell() + len(content) > 1000:
                    raise no_space(str(self.name))
                return super().write(content)

        state = {"step": 2, "weights": torch.zeros(1000)}
        with (
            mock.patch.object(Path, "open", lambda self, _: Small(self, "w")),
            pytest.raises(RunError, match=r"last\.ckpt\.part: No space .* kept.*--resume"),
        ):
            write_checkpoint(path, state)
        assert read_checkpoint(path) == {"step": 1}
        assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]

    @pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
    def test_half_a_checkpoint_is_refused(
        self, share: float, data: Path, settings: Settings, model: Path, tmp_path: Path
    ) -> None:
        whole = (folder_of_checkpoints(model) / "last.ckpt").read_bytes()
        path = tmp_path / "last.ckpt"
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(UserError, match=r"last\.ckpt: not a whole checkpoint .*Remove it"):
            read_checkpoint(path)

    def test_a_checkpoint_of_something_else_is_refused(self, tmp_path: Path) -> None:
        for content in ([1], {"weights": torch.zeros(1)}):
            torch.save(content, tmp_path / "last.ckpt")
            with pytest.raises(UserError, match="no state of a training"):
                read_checkpoint(tmp_path / "last.ckpt")

    def test_a_model(self, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        trained = load_model(model, "cpu")
        save_model(tmp_path, trained)
        before = files(tmp_path)
        for ending in ("model.safetensors.part", "config.json.part"):
            with full_disk(ending):
                refused(lambda: save_model(tmp_path, trained), ending, capsys)
        assert {name: len(text) for name, text in files(tmp_path).items()} == {
            name: len(text) for name, text in before.items()
        }
        load_model(tmp_path, "cpu")


def test_a_report(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = evaluate(model, [data], tmp_path)
    before = files(tmp_path)
    with mock.patch.object(report_module, "evaluate_folder", return_value=result):
        for ending in ("metrics.json.part", "metrics.csv.part", "index.html"):
            with full_disk(ending):
                refused(lambda: evaluate(model, [data], tmp_path), ending, capsys)
    assert files(tmp_path) == before


def test_a_class_of_a_set(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, out = SetPlan(samples=2, steps=1, batch_size=1), tmp_path / "set"
    name = f"{CLASS_NAMES[0]}.safetensors"
    with full_disk(f"{name}.part"):
        refused(lambda: build_set(model, [data], out, plan), f"{name}.part", capsys)
    assert [path.name for path in out.rglob("*.safetensors*")] == []
    assert len(build_set(model, [data], out, plan)[0].classes) == 1


def test_predictions(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = sorted((data / CLASS_NAMES[0] / "test").glob("*/*.png"))[:2]
    inspector = Inspector(model, device="cpu")
    predict(inspector, images[:1], out=tmp_path)
    before, save = files(tmp_path), Image.Image.save

    def failing(self: Image.Image, path: Path, kind: str, **options: object) -> None:
        if kind == "JPEG" and images[1].stem in path.name:
            path.write_bytes(b"half")
            raise no_space(str(path))
        save(self, path, kind, **options)

    with mock.patch.object(Image.Image, "save", failing):
        refused(lambda: predict(inspector, images, out=tmp_path), ".jpg.part", capsys)
    assert files(tmp_path) == before


def test_thresholds(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "model"
    save_model(folder, load_model(model, "cpu"))
    before = files(folder)
    for out in (None, tmp_path / "copy"):
        with full_disk("config.json"):
            refused(
                lambda out=out: calibrate_folder(folder, [data], out=out),
                "config.json",
                capsys,
            )
    assert files(folder) == before
    assert not (tmp_path / "copy").exists()


def test_a_file_of_a_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_file(tmp_path / "a.json", b"old")
    with full_disk("a.json.part"):
        refused(lambda: write_file(tmp_path / "a.json", b"new"), "a.json.part", capsys)
    assert files(tmp_path) == {"a.json": b"old"}


def test_products(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few: dict[str, Any] = {"classes": CLASS_NAMES[:1], "size": 64, "test_good": 0, "per_kind": 0}
    generate(tmp_path / "data", seed=0, train=1, **few)
    before = files(tmp_path)

    def failing(self: Image.Image, path: Path, **_: object) -> None:
        raise no_space(str(path))

    with mock.patch.object(Image.Image, "save", failing):
        refused(lambda: generate(tmp_path / "data", seed=1, train=1, **few), "000.png", capsys)
    assert files(tmp_path) == before


def test_a_folder_that_cannot_be_written_is_told_before_any_work(
    model: Path, data: Path, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 2: nothing was done. A superuser may write anywhere, so the check is replaced."""
    monkeypatch.setattr("os.access", lambda *_, **__: False)
    out, images = tmp_path / "out", [data / CLASS_NAMES[0] / "test"]
    out.mkdir()
    for work in (
        lambda: train(settings, [data], out, progress=False),
        lambda: evaluate(model, [data], out),
        lambda: build_set(model, [data], out, SetPlan(samples=1)),
        lambda: predict(Inspector(model, device="cpu"), images, out=out),
    ):
        with pytest.raises(UserError, match=r"out: Permission denied\. Make it writable"):
            work()
    assert list(out.iterdir()) == []
