"""Whole files or none, one run a folder, and what the user is told when the disk fails."""

import errno
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from omnial.errors import RunError, UserError
from omnial.files import (
    SCRATCH,
    failure,
    locked,
    replace_together,
    replacing,
    scratch_in,
    unused,
    writing,
)
from tests.faults.breaking import full_disk

posix = pytest.mark.skipif(os.name != "posix", reason="locks and signals of POSIX")


class TestReplacing:
    def test_a_failure_leaves_the_earlier_file_and_no_scratch(self, tmp_path: Path) -> None:
        file = tmp_path / "a"
        file.write_text("old")
        with (
            pytest.raises(OSError, match="No space"),
            full_disk("a.part"),
            replacing(file) as part,
        ):
            part.write_text("half")
        assert file.read_text() == "old"
        assert os.listdir(tmp_path) == ["a"]

    def test_the_name_appears_at_the_end(self, tmp_path: Path) -> None:
        with replacing(tmp_path / "a", flush=False) as part:
            part.write_text("new")
            assert not (tmp_path / "a").exists()
        assert (tmp_path / "a").read_text() == "new"

    def test_what_cannot_be_put_in_place_leaves_no_scratch(self, tmp_path: Path) -> None:
        (tmp_path / "a").mkdir()
        with pytest.raises(OSError, match="directory"), replacing(tmp_path / "a") as part:
            part.write_text("new")
        assert os.listdir(tmp_path) == ["a"]

    def test_a_write_that_fails_names_the_file(self, tmp_path: Path) -> None:
        with pytest.raises(OSError, match="No space") as failed, replacing(tmp_path / "a"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        assert failed.value.filename == str(tmp_path / "a")


class TestReplaceTogether:
    def test_nothing_moves_unless_everything_is_there(self, tmp_path: Path) -> None:
        for name in ("a", "b"):
            (tmp_path / name).write_text("old")
        with scratch_in(tmp_path) as scratch:
            (scratch / "a").write_text("new")
            with pytest.raises(FileNotFoundError):
                replace_together(scratch, tmp_path, ["a", "b"])
        assert [(tmp_path / name).read_text() for name in "ab"] == ["old", "old"]
        assert sorted(os.listdir(tmp_path)) == ["a", "b"]

    def test_files_of_subfolders_in_the_order_given(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        replace, order = os.replace, []

        def watched(source: Path, target: Path) -> None:
            order.append(Path(target).name)
            replace(source, target)

        monkeypatch.setattr("os.replace", watched)
        with scratch_in(tmp_path) as scratch:
            (scratch / "maps").mkdir()
            for name in ("maps/x", "record", "a"):
                (scratch / name).write_text(name)
            replace_together(scratch, tmp_path, ["record", "maps/x", "a"])
        assert order == ["record", "x", "a"]
        assert (tmp_path / "maps" / "x").read_text() == "maps/x"
        assert not (tmp_path / SCRATCH).exists()


class TestLocked:
    def test_a_missing_folder_is_made_and_removed_if_it_stays_empty(self, tmp_path: Path) -> None:
        with locked(tmp_path / "a" / "b"):
            assert (tmp_path / "a" / "b").is_dir()
        assert not (tmp_path / "a" / "b").exists()
        with locked(tmp_path / "c"):
            (tmp_path / "c" / "file").write_text("kept")
        assert (tmp_path / "c" / "file").exists()

    def test_an_empty_folder_of_the_user_stays(self, tmp_path: Path) -> None:
        with locked(tmp_path):
            pass
        assert tmp_path.is_dir()

    def test_scratch_of_a_killed_run_is_swept_and_nothing_else(self, tmp_path: Path) -> None:
        (tmp_path / SCRATCH / "deep").mkdir(parents=True)
        (tmp_path / SCRATCH / "deep" / "half").write_text("")
        (tmp_path / "mine.part").write_text("")
        with locked(tmp_path):
            assert os.listdir(tmp_path) == ["mine.part"]

    @posix
    def test_a_second_run_is_refused_until_the_first_is_killed(self, tmp_path: Path) -> None:
        script = (
            "import sys, time\nfrom pathlib import Path\nfrom omnial.files import locked\n"
            "with locked(Path(sys.argv[1])):\n    print('mine', flush=True)\n    time.sleep(60)\n"
        )
        first = subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert first.stdout is not None
        assert first.stdout.readline() == "mine\n"
        (tmp_path / SCRATCH).mkdir()
        try:
            with pytest.raises(UserError, match="another run"), locked(tmp_path):
                pass
            assert (tmp_path / SCRATCH).exists(), "the running one's scratch is not ours to sweep"
        finally:
            first.send_signal(signal.SIGKILL)
            first.wait()
            first.stdout.close()
        with locked(tmp_path):
            pass

    def test_below_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("mine")
        for folder in (tmp_path / "file", tmp_path / "file" / "deeper"):
            with pytest.raises(UserError, match=re.escape(str(tmp_path / "file"))), locked(folder):
                pass
        assert (tmp_path / "file").read_text() == "mine"

    def test_a_read_only_disk(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def read_only(path: Path, *_: object, **__: object) -> None:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

        monkeypatch.setattr(Path, "mkdir", read_only)
        with (
            pytest.raises(UserError, match=r"/x: Read-only file system\. .* another folder"),
            locked(tmp_path / "x"),
        ):
            pass


class TestUnused:
    @pytest.mark.parametrize("left", [(), ("checkpoints/",), ("checkpoints/run.json.part",)])
    def test_what_an_early_kill_leaves(self, tmp_path: Path, left: tuple[str, ...]) -> None:
        self.fill(tmp_path, left)
        assert unused(tmp_path, "checkpoints/run.json")

    @pytest.mark.parametrize(
        "there",
        ["notes.txt", "checkpoints/run.json", "checkpoints/x", "run.json.part", "other/"],
    )
    def test_what_somebody_may_need(self, tmp_path: Path, there: str) -> None:
        self.fill(tmp_path, [there])
        assert not unused(tmp_path, "checkpoints/run.json")

    def test_a_missing_folder_is_and_a_file_is_not(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        assert unused(tmp_path / "none", "x")
        assert not unused(tmp_path / "file", "x")

    def fill(self, folder: Path, names: object) -> None:
        for name in names:  # type: ignore[attr-defined]
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir() if name.endswith("/") else path.write_text("")


class TestMessages:
    @pytest.mark.parametrize(
        ("code", "remedy"),
        [
            (errno.ENOSPC, "Make room there, and repeat."),
            (errno.EROFS, "Make it writable, or name another folder, and repeat."),
            (errno.EACCES, "Make it writable, or name another folder, and repeat."),
        ],
    )
    def test_file_reason_and_remedy(self, code: int, remedy: str) -> None:
        text = failure("X", Path("folder"), OSError(code, os.strerror(code), "folder/file"))
        assert text == f"X to folder/file: {os.strerror(code)}. {remedy}"

    def test_another_libraries_error(self) -> None:
        class RustError(Exception):
            pass

        with (
            pytest.raises(RunError, match=r"^X could not be written to f: .*Make room there"),
            writing("X", Path("f"), RustError),
        ):
            raise RustError("I/O error: No space left on device (os error 28)")

    def test_other_errors_pass(self) -> None:
        with pytest.raises(ZeroDivisionError), writing("X", Path("f")):
            _ = 1 / 0
