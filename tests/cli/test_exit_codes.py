"""How every failure ends: exit code, one message on standard error, standard output clean."""

import errno
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from omnial.errors import RunError, UserError
from omnial.model_folder.validation_figures import ValidationFigures

VERBS = (
    *("demo", "data", "synthesize", "train", "evaluate", "runs", "predict", "watch", "serve"),
    *("calibrate", "drift", "add", "learn", "export", "verify", "info", "study", "attack"),
    "robustness",
)


Run = Callable[..., Any]


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., object]], None]:
    """Put a function in the place of the training."""

    def put(function: Callable[..., object]) -> None:
        module = ModuleType("omnial.training.fit")
        module.train = function  # type: ignore[attr-defined]  # a stand-in for the real module
        monkeypatch.setitem(sys.modules, "omnial.training.fit", module)

    return put


class Summary:
    def __init__(self, **facts: object) -> None:
        self.facts = facts
        self.notes: list[str] = []
        self.bad_files = facts.get("bad_files", [])
        self.validation = ValidationFigures.over({})
        self.suspicious: list[dict[str, object]] = []
        self.test_images = facts.get("test_images", 0)

    def to_dict(self) -> dict[str, object]:
        return self.facts


def raising(error: BaseException) -> Callable[..., object]:
    def function(*_: object, **__: object) -> object:
        raise error

    return function


def log_of(err: str) -> str:
    found = re.search(r"details in (\S+\.log)", err)
    assert found
    return Path(found[1]).read_text("utf-8")


class TestUsage:
    @pytest.mark.parametrize("verb", VERBS)
    def test_help_of_a_verb(self, run: Run, verb: str) -> None:
        ended = run(verb, "--help")

        assert ended.code == 0
        assert f"omnial {verb}" in ended.out
        assert "Example" in ended.out
        assert "<bool>" not in ended.out
        # A service prints no result that a program could read.
        assert verb == "serve" or "--json" in ended.out

    def test_help_lists_exactly_the_verbs(self, run: Run) -> None:
        ended = run("--help")

        assert ended.code == 0
        assert tuple(re.findall(r"^│ ([a-z]+) ", ended.out, re.MULTILINE)) == VERBS
        assert "<bool>" not in ended.out

    def test_version(self, run: Run) -> None:
        from omnial._version import __version__

        assert run("--version") == (0, f"omnial {__version__}\n", "")

    @pytest.mark.parametrize(
        "arguments",
        [
            ("fly",),
            ("train",),
            ("train", "--data", "x"),
            ("train", "--data", "x", "--out", "y", "--bogus"),
            ("train", "--data", "x", "--out", "y", "--steps", "many"),
            ("predict", "model"),
            ("evaluate", "--data", "x", "--out", "y"),
        ],
    )
    def test_usage_errors(self, run: Run, arguments: tuple[str, ...]) -> None:
        ended = run(*arguments)

        assert ended.code == 2
        assert ended.out == ""
        assert ended.err

    @pytest.mark.parametrize(
        ("arguments", "parts"),
        [
            (("--config", "missing.yaml"), ["missing.yaml"]),
            (("--set", "training.bogus=1"), ["training.bogus", "unknown"]),
            (("--set", "training.batch_size=0"), ["training.batch_size", "0", "at least 1"]),
            (("--system", "drem"), ["drem", "draem", "surrogate"]),
            (("--size", "huge"), ["huge", "lite"]),
            (("--minutes", "-1"), ["training.minutes", "above 0"]),
            (("--minutes", "nan"), ["training.minutes", "above 0"]),
            (("--steps", "3", "--images", "4"), ["one budget"]),
            (("--seed", "-4"), ["training.seed", "at least 0"]),
        ],
    )
    def test_mistakes_in_settings(
        self, run: Run, tmp_path: Path, arguments: tuple[str, ...], parts: list[str]
    ) -> None:
        out = tmp_path / "model"

        ended = run("train", "--data", tmp_path, "--out", out, *arguments)

        assert ended.code == 2
        assert ended.out == ""
        assert [part for part in parts if part not in ended.err] == []
        assert "Traceback" not in ended.err
        assert not out.exists()

    @pytest.mark.parametrize("below", ["", "deeper/model"])
    def test_out_is_a_file(self, run: Run, tmp_path: Path, below: str) -> None:
        file = tmp_path / "file"
        file.write_text("mine", "utf-8")

        ended = run("train", "--data", tmp_path, "--out", file / below)

        assert ended.code == 2
        assert str(file) in ended.err
        assert file.read_text("utf-8") == "mine"

    @pytest.mark.parametrize("verb", ["info", "evaluate", "predict"])
    def test_no_model_folder(self, run: Run, tmp_path: Path, verb: str) -> None:
        rest = {
            "info": [],
            "evaluate": ["--data", tmp_path, "--out", tmp_path / "r"],
            "predict": [tmp_path, "--out", tmp_path / "r"],
        }[verb]

        ended = run(verb, tmp_path / "nothing", *rest)

        assert ended.code == 2
        assert "nothing" in ended.err
        assert not (tmp_path / "r").exists()

    def test_info_of_a_model_takes_no_settings(self, run: Run, tmp_path: Path) -> None:
        ended = run("info", tmp_path, "--size", "lite")

        assert ended.code == 2
        assert "not both" in ended.err


class TestFailures:
    @pytest.mark.parametrize(
        ("error", "code", "line"),
        [
            (UserError("mend this"), 2, "mend this"),
            (KeyboardInterrupt(), 130, "interrupted"),
            (RunError("loss is not finite"), 3, "loss is not finite"),
            (MemoryError(), 3, "out of memory"),
            (OSError(errno.ENOSPC, "No space left on device"), 3, "No space left on device"),
            (ZeroDivisionError("division by zero"), 3, "ZeroDivisionError: division by zero"),
        ],
    )
    def test_codes(
        self,
        run: Run,
        training: Callable[[Callable[..., object]], None],
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
        error: BaseException,
        code: int,
        line: str,
    ) -> None:
        training(raising(error))
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

        ended = run("train", "--data", tmp_path, "--out", tmp_path / "model")

        assert ended.code == code
        assert ended.out == ""
        assert len(ended.err.splitlines()) == 1
        assert line in ended.err
        if code == 3:
            log = log_of(ended.err)
            assert "Traceback" in log
            assert type(error).__name__ in log
            assert "--data" in log

    def test_a_log_of_names_that_are_no_text(
        self,
        run: Run,
        training: Callable[[Callable[..., object]], None],
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        training(raising(ZeroDivisionError()))
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

        monkeypatch.chdir(tmp_path)
        os.mkdir(b"\xff")

        ended = run("train", "--data", os.fsdecode(b"\xff"), "--out", tmp_path / "model")

        assert ended.code == 3
        assert r"--data \udcff" in log_of(ended.err)

    def test_no_place_for_a_log(
        self,
        run: Run,
        training: Callable[[Callable[..., object]], None],
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        training(raising(OSError(errno.ENOSPC, "No space left on device")))
        monkeypatch.setattr(
            "tempfile.mkstemp", raising(OSError(errno.ENOSPC, "No space left on device"))
        )

        ended = run("train", "--data", tmp_path, "--out", tmp_path / "model")

        assert ended.code == 3
        assert "no log could be written" in ended.err
        assert len(ended.err.splitlines()) == 1

    @pytest.mark.skipif(os.name != "posix", reason="POSIX looks a home up in the passwd table")
    @pytest.mark.parametrize("temporary", [True, False])
    def test_a_user_without_a_home(
        self,
        temporary: bool,
        run: Run,
        training: Callable[[Callable[..., object]], None],
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        training(raising(ZeroDivisionError("by nought")))
        monkeypatch.delenv("HOME")
        monkeypatch.setattr("pwd.getpwuid", raising(KeyError("uid not found")))
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        if not temporary:
            # As in a container that can be read alone, started in a folder that is gone.
            monkeypatch.setattr("tempfile.gettempdir", raising(FileNotFoundError("no folder")))
            monkeypatch.setattr("pathlib.Path.cwd", raising(FileNotFoundError("no folder")))

        ended = run("train", "--data", tmp_path, "--out", tmp_path / "model")

        assert ended.code == 3
        assert "ZeroDivisionError: by nought" in ended.err
        assert ("details in" if temporary else "no log could be written") in ended.err
        assert len(ended.err.splitlines()) == 1


class TestTrain:
    def test_what_the_training_is_given(
        self, run: Run, training: Callable[[Callable[..., object]], None], tmp_path: Path
    ) -> None:
        calls: list[tuple[tuple[object, ...], dict[str, object]]] = []

        def function(*arguments: object, **options: object) -> Summary:
            calls.append((arguments, options))
            print("progress")
            return Summary(steps=5)

        training(function)
        config = tmp_path / "run.yaml"
        config.write_text("training: {seed: 3, minutes: 2}\nsize: tiny\n", "utf-8")
        a, b, out = tmp_path / "a", tmp_path / "b", tmp_path / "model"
        a.mkdir()
        b.mkdir()

        ended = run(
            *("train", "--data", a, "--data", b, "--out", out, "--config", config, "--resume"),
            *("--steps", 5, "--set", "training.batch_size=2", "--seed", 4, "--json"),
        )

        assert ended.code == 0
        assert json.loads(ended.out) == {"steps": 5}
        assert "progress" in ended.err
        [((settings, roots, folder), options)] = calls
        assert (settings.size, settings.training.seed) == ("tiny", 4)  # type: ignore[attr-defined]
        assert settings.training.steps == 5  # type: ignore[attr-defined]
        assert settings.training.minutes is None  # type: ignore[attr-defined]
        assert settings.training.batch_size == 2  # type: ignore[attr-defined]
        assert (list(roots), folder) == ([a, b], out)  # type: ignore[call-overload]
        assert (options["resume"], options["init"]) == (True, None)

    def test_skipped_files_give_code_1(
        self, run: Run, training: Callable[[Callable[..., object]], None], tmp_path: Path
    ) -> None:
        training(lambda *_, **__: Summary(steps=5, bad_files=["x.png"]))

        assert run("train", "--data", tmp_path, "--out", tmp_path / "model").code == 1

    @pytest.mark.parametrize(
        ("images", "verb", "rest"),
        [(0, "predict", "new_pictures"), (3, "evaluate", "--data {data}")],
    )
    def test_the_next_command_is_one_that_the_data_allow(
        self,
        run: Run,
        training: Callable[[Callable[..., object]], None],
        tmp_path: Path,
        images: int,
        verb: str,
        rest: str,
    ) -> None:
        training(lambda *_, **__: Summary(steps=5, test_images=images))

        ended = run("train", "--data", tmp_path, "--out", tmp_path / "model")

        last = f"next: omnial {verb} {tmp_path}/model {rest.format(data=tmp_path)}"
        assert ended.out.splitlines()[-1] == last


class TestInfo:
    def test_contract(self, run: Run) -> None:
        ended = run("info", "--json")
        result = json.loads(ended.out)

        assert ended.code == 0
        assert {name: part["published"] for name, part in result["parts"].items()} == {
            "module": 524_328,
            "reconstruction": 62_852_092,
            "localization": 28_700_653,
        }
        parts = result["parts"]
        assert result["total"] == (
            parts["reconstruction"]["parameters"] + parts["localization"]["parameters"]
        )
        assert result["flops"] > 0

    def test_sizes_and_overrides(self, run: Run) -> None:
        tiny = json.loads(run("info", "--size", "tiny", "--json").out)
        wide = json.loads(run("info", "--size=tiny", "--set", "data.width=256", "--json").out)

        assert tiny["parts"]["reconstruction"]["published"] is None
        assert wide["input"] == {"height": 128, "width": 256}
        assert wide["total"] == tiny["total"]
        assert wide["flops"] == pytest.approx(2 * tiny["flops"], rel=0.05)

    def test_text(self, run: Run) -> None:
        ended = run("info", "--size", "tiny")

        assert ended.code == 0
        assert "reconstruction" in ended.out
        assert "GFLOP" in ended.out
