"""Files whose name, or whose place on the disk, is hostile."""

import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from tests.bad_input.forge import HEIGHT, WIDTH, png
from tests.bad_input.outcomes import (
    DAMAGED,
    MISSING,
    NO_FILE,
    Answer,
    Case,
    PassedOver,
    Read,
    Refused,
)

_LOOP = "the file cannot be opened (Too many levels of symbolic links)"


def named(name: str, made: str, shown: str | None = None) -> Case:
    """A sound picture with a bad name."""
    read = Read(HEIGHT, WIDTH)
    return Case(name, made, _picture, read, read, Answer(200, name=shown), _any_name)


def over(name: str, made: str, write: Callable[[Path], None] | None = None) -> Case:
    """A file that a search does not take up, though the service would read its content."""
    answer = Answer(200) if write is None else None
    return Case(name, made, write or _picture, PassedOver(), PassedOver(), answer)


def special(
    name: str,
    made: str,
    write: Callable[[Path], None],
    reason: str,
    possible: Callable[[], bool] = lambda: hasattr(os, "mkfifo"),
) -> Case:
    """A thing that is no ordinary file, and so has no content to be sent."""
    return Case(name, made, write, Refused(reason), Refused(reason), None, possible)


def _any_name() -> bool:
    return sys.platform == "linux"


def _picture(path: Path) -> None:
    path.write_bytes(png())


def _socket(path: Path) -> None:
    # The name of a socket is bounded to some hundred bytes, the path to it need not be.
    with socket.socket(socket.AF_UNIX) as made:
        before = os.getcwd()
        os.chdir(path.parent)
        try:
            made.bind(path.name)
        finally:
            os.chdir(before)


def _unreadable(path: Path) -> None:
    _picture(path)
    path.chmod(0)


def _folder(path: Path) -> None:
    path.mkdir()


def _to(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


_BYTES = os.fsdecode(b"\xff\xfe\x80.png")
_CAFE = "cafe\N{COMBINING ACUTE ACCENT}.png"

NAMES = (
    named("-rf.png", "begins with a dash"),
    named("--help.png", "begins with two dashes"),
    named(" .png", "a space", ".png"),
    named("a\nb: ANOMALOUS.png", "a line break", "ab: ANOMALOUS.png"),
    named("a\tb\r.png", "a tabulator and a carriage return", "ab.png"),
    named("\x1b[2J\x1b]0;x\x07.png", "commands to a terminal", "[2J]0;x.png"),
    named("\u202egnp.exe.png", "a mark that turns the direction of writing", "gnp.exe.png"),
    named(_BYTES, "bytes that are no UTF-8", "\N{REPLACEMENT CHARACTER}" * 3 + ".png"),
    named(_CAFE, "an accent of its own"),
    named("caf\xe9.png", "the same name, composed"),
    named("\N{SNOWMAN}\U0001f9e0.png", "a character of four bytes"),
    named("x" * 251 + ".png", "255 bytes", "x" * 200),
    named("\u20ac" * 83 + "xx.png", "255 bytes of three-byte characters"),
    named("C:\\..\\up.png", "a Windows path", "up.png"),
    named("CON.png", "a device of Windows"),
    named("%s%n{0}${HOME}.png", "formats"),
    named("`id`;$(id)|&'\".png", "commands to a shell"),
    named("<img src=x onerror=alert(1)>.png", "HTML"),
    named("=cmd|'x'!A1.png", "a formula"),
    named("UPPER.PNG", "an ending in capitals"),
    named("a.png.jpeg.TIF", "several endings"),
    over("hidden.png.txt", "a PNG file with the ending txt"),
    over("picture", "a PNG file without an ending"),
    over(".hidden.png", "begins with a dot"),
    over("._photo.png", "what macOS puts next to a file"),
    over("folder.png", "a folder", _folder),
    over("here.png", "a link to its own folder", _to(".")),
    special("nowhere.png", "a link to nothing", _to("nothing.png"), MISSING),
    special("loop.png", "a link to itself", _to("loop.png"), _LOOP),
    special("zero.png", "a link to /dev/zero", _to("/dev/zero"), NO_FILE),
    special("null.png", "a link to /dev/null", _to("/dev/null"), NO_FILE),
    special("pipe.png", "a named pipe that nobody writes to", lambda p: os.mkfifo(p), NO_FILE),
    special("socket.png", "a socket", _socket, NO_FILE),
    special("memory.png", "a file that fails when it is read", _to("/proc/self/mem"),
            DAMAGED, _any_name),
    special("unreadable.png", "no permission to read it", _unreadable,
            "the file may not be read; check its permissions",
            lambda: hasattr(os, "geteuid") and os.geteuid() != 0),
)  # fmt: skip
