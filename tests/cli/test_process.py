"""The installed command, in a process of its own."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

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


def test_exit_codes_reach_the_shell(tmp_path: Path) -> None:
    done = subprocess.run([*OMNIAL, "--version"], capture_output=True, text=True)
    wrong = subprocess.run([*OMNIAL, "fly"], capture_output=True, text=True)
    bad = subprocess.run(
        [*OMNIAL, "train", "--data", "x", "--out", tmp_path / "m", "--set", "a=1"],
        capture_output=True,
        text=True,
    )

    assert (done.returncode, wrong.returncode, bad.returncode) == (0, 2, 2)
    assert (wrong.stdout, bad.stdout) == ("", "")
    assert len(bad.stderr.splitlines()) == 1


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_interrupt(tmp_path: Path) -> None:
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
        f"sys.argv = ['omnial', 'train', '--data', 'x', '--out', {str(tmp_path / 'm')!r}]\n"
        "from omnial.cli import main\n"
        "main()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert process.stderr.readline() == "ready\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)

    assert process.wait(timeout=30) == 130
    assert process.stderr.read() == "omnial: interrupted\n"
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
