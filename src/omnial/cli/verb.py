"""A verb: a command, its exit codes, and how every failure ends in one of them."""

import contextlib
import functools
import inspect
import io
import os
import platform
import sys
import tempfile
import traceback
from collections.abc import Callable, Collection
from enum import IntEnum
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import typer

from omnial._version import __version__
from omnial.cli.options import check_data, check_model, check_out
from omnial.distributed.launch import read_processes
from omnial.errors import RunError, UserError, without_password


class ExitCode(IntEnum):
    """Exit codes of every verb."""

    DONE = 0
    SOME_BAD = 1
    """Done, but some inputs were bad or a check fell short."""
    USER_ERROR = 2
    """The user's mistake; nothing was done."""
    FAILED = 3
    """Failed otherwise: disk, memory, internal."""
    INTERRUPTED = 130


class Verb(NamedTuple):
    """A command of `omnial`."""

    run: Callable[..., None]
    examples: str
    """The last paragraph of its help."""


def verb(*examples: str, shared: bool = False) -> Callable[[Callable[..., ExitCode]], Verb]:
    """Make a command of a function that returns its exit code and may fail in any way.

    Its help shows the examples. The folders that it is given are checked before it is called.
    Several processes can share its work if it is `shared`.
    """

    def make(function: Callable[..., ExitCode]) -> Verb:
        options = inspect.signature(function).parameters

        @functools.wraps(function)
        def run(**given: Any) -> None:
            def work() -> ExitCode:
                size = read_processes().size
                if size > 1 and not shared:
                    raise UserError(
                        f"{size} processes were started, but train and evaluate alone share "
                        "their work: start this command once"
                    )
                if given.get("out") is not None:
                    check_out(given["out"])
                for root in given.get("data") or ():
                    check_data(root)
                for name in {"model", "model_dir"} & given.keys():
                    if given[name] is not None:
                        check_model(given[name])
                return function(**given)

            code = settle(work, options)
            if code is not ExitCode.DONE:
                raise typer.Exit(int(code))

        title = "Example" if len(examples) == 1 else "Examples"
        return Verb(run, "\n\n".join([f"{title}:", *examples]))

    return make


def settle(work: Callable[[], ExitCode], options: Collection[str] = ()) -> ExitCode:
    """Do the work; turn what it raises into a message on standard error and an exit code.

    The message may name the verb's options.
    """
    try:
        code = work()
        sys.stdout.flush()
        return code
    except typer.Exit as request:
        return ExitCode(request.exit_code)
    except UserError as error:
        return _end(ExitCode.USER_ERROR, f"error: {error}", once=True)
    except KeyboardInterrupt as error:
        return _end(ExitCode.INTERRUPTED, " ".join(["interrupted", *error.args]), once=True)
    except BrokenPipeError:
        # Whoever read the output is gone; without this, the interpreter fails again at its end.
        _discard(sys.stdout)
        return _end(ExitCode.FAILED, "error: the output was closed before everything was written")
    except Exception as error:  # the last stop: everything else becomes one line and a log
        return _end(ExitCode.FAILED, error, options, once=isinstance(error, RunError))


def _end(
    code: ExitCode, why: str | Exception, options: Collection[str] = (), *, once: bool = False
) -> ExitCode:
    """Print why the command ends, unless standard error is closed.

    What all processes of a machine meet (`once`) is printed by one of them.
    """
    with contextlib.suppress(UserError):
        if once and read_processes().local_rank != 0:
            return code
    if isinstance(why, Exception):
        why = f"error: {_one_line(why, options)} ({_write_log()})"
    try:
        print(f"omnial: {why}", file=sys.stderr, flush=True)
    except OSError:
        _discard(sys.stderr)
    return code


def ready_streams() -> None:
    """Make the standard streams of this process fit for any text.

    What a console's encoding lacks is shown as an escape. A stream that was closed before the
    process began leads nowhere: else the next file that is opened would get its number, and what
    is printed.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            # The lowest number that is free is this one.
            handle = os.open(os.devnull, os.O_RDWR)
            mode = "r" if number == 0 else "w"
            setattr(sys, name, os.fdopen(handle, mode, encoding="utf-8"))
        elif number > 0 and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _discard(stream: TextIO) -> None:
    """Redirect a stream that cannot be written to."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _one_line(error: Exception, options: Collection[str]) -> str:
    name = type(error).__name__
    if isinstance(error, MemoryError) or name == "OutOfMemoryError":
        if "batch_size" in options:
            return "out of memory; a smaller --batch-size needs less"
        if "set_" in options:
            return "out of memory; a smaller --size or --set training.batch_size=N needs less"
        return "out of memory; close other programs, or use a machine with more"
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    if isinstance(error, RunError):
        return first
    return f"{name}: {first}" if first else name


def _write_log() -> str:
    """Write the traceback being handled to a file, and say where it is."""
    text = without_password(
        f"omnial {__version__}, Python {platform.python_version()}, {platform.platform()}\n"
        f"command: {' '.join(sys.argv)}\n\n{traceback.format_exc()}"
    )
    reason: Exception | None = None
    # Each of them may be missing: a temporary folder, the present one, a home.
    for folder in (tempfile.gettempdir, Path.cwd, Path.home):
        try:
            handle, name = tempfile.mkstemp(prefix="omnial-", suffix=".log", dir=folder())
            with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
            return f"details in {name}"
        except (OSError, RuntimeError) as error:  # RuntimeError: Path.home() found none
            reason = error
    return f"no log could be written: {reason}"
