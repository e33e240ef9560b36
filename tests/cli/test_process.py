"""The installed command, in a process of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from omnial.inference.result_files import TABLE_FILE
from omnial.model_folder.config_file import RUN_FILE
from omnial.model_folder.weights_file import save_model
from tests.small_model import untrained

OMNIAL = [sys.executable, "-c", "from omnial.cli import main; main()"]


def test_help_loads_no_heavy_library() -> None:
    script = (
        "import sys\n"
        "from omnial.cli import main\n"
        "sys.argv = ['omnial', 'train', '--help']\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n    assert end.code == 0\n"
        "print([name for name in ('torch', 'numpy', 'scipy') if name in sys.modules])\n"
    )

    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == "[]"


def test_completion_of_the_shell_and_of_a_verb() -> None:
    omnial = f"{sys.executable} -m omnial"
    complete = f"COMP_WORDS='omnial tra' COMP_CWORD=1 _OMNIAL_COMPLETE=complete_bash {omnial}"
    # Not the last command, which bash itself would become.
    script = f"{omnial} --show-completion bash; echo; {complete}; true"

    ended = subprocess.run(["bash", "-c", script], capture_output=True, text=True)

    assert ended.stderr == ""
    assert "complete -o default -F _omnial_completion omnial" in ended.stdout
    assert ended.stdout.splitlines()[-1] == "train"


FULL = ("--out", "full")


TOLD = (
    (("--version",), ""),
    (("train", "--data", "no-such"), "the data folder no-such does not exist"),
    (("study", "stages", "--data", "no-such", "--out", "o"), "no-such does not exist; check"),
    (("train", "--data", ".", *FULL), "full: the folder is not empty"),
    (("evaluate", "m", "--data", "."), "m is not a usable model folder: it does not exist"),
    (("predict", "full", "none.png"), "No such file or folder: none.png. Check the spelling"),
    (("predict", "full", ".", "--out", "watched"), "watched holds the results of something"),
    (("calibrate", "full", "--data", ".", *FULL), "full exists and is not an empty folder"),
    (("add", "full", "--data", ".", *FULL), "full exists and is not an empty folder"),
    (("learn", "full", "h.sqlite", *FULL), "full exists and is not an empty folder"),
    (("export", "full", "--format", "onnx", *FULL), "full is not empty and is no export folder"),
)


def test_mistakes_are_told_before_pytorch_is_imported(tmp_path: Path) -> None:
    """One process after the other would take seconds; what one command imports, the others show."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").touch()
    (tmp_path / "watched").mkdir()
    (tmp_path / "watched" / TABLE_FILE).touch()
    script = (
        "import contextlib, io, json, sys\n"
        "from omnial.cli import main\n"
        f"for arguments in {[arguments for arguments, _ in TOLD]!r}:\n"
        "    code, sys.argv = None, ['omnial', *arguments]\n"
        "    out, told = io.StringIO(), io.StringIO()\n"
        "    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(told):\n"
        "        try:\n            main()\n"
        "        except SystemExit as end:\n            code = end.code\n"
        "    print(json.dumps([code, told.getvalue(), 'torch' in sys.modules]))\n"
    )

    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path
    )

    assert ended.returncode == 0, ended.stderr
    for (arguments, said), line in zip(TOLD, ended.stdout.splitlines(), strict=True):
        code, told, torch_is_loaded = json.loads(line)
        assert code == (2 if said else 0), (arguments, told)
        assert said in told, arguments
        assert not torch_is_loaded, arguments


def test_exit_codes_reach_the_shell(tmp_path: Path) -> None:
    done = subprocess.run([*OMNIAL, "--version"], capture_output=True, text=True)
    wrong = subprocess.run([*OMNIAL, "fly"], capture_output=True, text=True)
    bad = subprocess.run(
        [*OMNIAL, "train", "--data", ".", "--out", tmp_path / "m", "--set", "a=1"],
        capture_output=True,
        text=True,
    )

    assert (done.returncode, wrong.returncode, bad.returncode) == (0, 2, 2)
    assert (wrong.stdout, bad.stdout) == ("", "")
    assert len(bad.stderr.splitlines()) == 1


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("kept", [False, True])
def test_interrupt(tmp_path: Path, kept: bool) -> None:
    if kept:
        (tmp_path / "m" / "checkpoints").mkdir(parents=True)
        (tmp_path / "m" / "checkpoints" / "last.ckpt").touch()
        (tmp_path / "m" / RUN_FILE).touch()
    arguments = ["train", "--data", ".", "--out", str(tmp_path / "m"), "--resume"]
    script = (
        "import signal, sys, time, types\n"
        # A process started in the background of a script inherits that SIGINT is ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "fit = types.ModuleType('omnial.training.fit')\n"
        "def train(*_, **__):\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(60)\n"
        "fit.train = train\n"
        "sys.modules['omnial.training.fit'] = fit\n"
        f"sys.argv = ['omnial', *{arguments!r}]\n"
        "from omnial.cli import main\n"
        "main()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert process.stderr.readline() == "ready\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)

    assert process.wait(timeout=30) == 130
    command = f"omnial {' '.join(arguments)}"
    said = (
        f"- a checkpoint is kept, go on with:\n  {command}"
        if kept
        else "before the first checkpoint"
    )
    assert process.stderr.read() == f"omnial: interrupted {said}\n"
    process.stderr.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_disk_behind_standard_output(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [*OMNIAL, "--version"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"TMPDIR": str(tmp_path)},
        )

    assert ended.returncode == 3
    assert "No space left" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_console_that_lacks_a_letter(tmp_path: Path) -> None:
    save_model(tmp_path / "model", untrained(["größe", "部品"]))

    ended = subprocess.run(
        [*OMNIAL, "runs", tmp_path],
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
    )

    assert ended.returncode == 0, ended.stderr
    assert rb"gr\xf6\xdfe" in ended.stdout
    assert rb"\u90e8\u54c1" in ended.stdout


@pytest.mark.skipif(os.name != "posix", reason="closes streams as a shell of POSIX does")
@pytest.mark.parametrize(
    ("closed", "verb", "code"),
    [
        (">&-", "--version", 0),
        ("<&- >&- 2>&-", "--version", 0),
        ("2>&-", "fly", 2),
        (">&- 2>&-", "fly", 2),
    ],
)
def test_no_stream_is_no_error(closed: str, verb: str, code: int, tmp_path: Path) -> None:
    """What is printed goes nowhere, not into the file that is opened next."""
    script = (
        "import sys\n"
        "from omnial.cli import main\n"
        "try:\n    main()\n"
        "finally:\n"
        f"    with open({str(tmp_path / 'next')!r}, 'w') as file:\n"
        "        print('printed')\n"
        "        print('told', file=sys.stderr)\n"
    )

    ended = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-c", script, verb],
        capture_output=True,
        text=True,
    )

    assert ended.returncode == code
    assert (tmp_path / "next").read_text() == ""
    assert "told" not in ended.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_message_that_nobody_can_read_leaves_the_exit_code(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        ended = subprocess.run([*OMNIAL, "info", tmp_path / "none"], stderr=full)

    assert ended.returncode == 2
