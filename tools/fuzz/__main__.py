"""Fuzz one target for a while: python -m tools.fuzz TARGET [--seconds 60] [--seed 1].

A target is a module next to this file with `target(data: bytes) -> None`, which raises where the
code misbehaves, and perhaps `seeds()`, byte strings to begin with. An input that crashes it is
written to `runs/fuzz/`; python -m tools.fuzz TARGET FILE repeats it.
"""

import argparse
import importlib
import pkgutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import atheris

_FOUND = Path("runs/fuzz")
_LONGEST_INPUT = 20_000
_ROOM = Path(__file__).parent
_PACKAGES = ["omnial", "PIL", "yaml", "python_multipart", "starlette.formparsers"]
"""Code whose branches guide the search."""


def targets() -> list[str]:
    """Names of the targets, in order."""
    names = (module.name for module in pkgutil.iter_modules([str(_ROOM)]))
    return sorted(name for name in names if not name.startswith("_"))


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="tools.fuzz", description=__doc__.partition("\n")[0])
    parser.add_argument("target", nargs="?", choices=targets())
    parser.add_argument("files", nargs="*", help="run these inputs alone")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--list", action="store_true", help="print the targets")
    given = parser.parse_args(arguments)
    if given.list or given.target is None:
        print(*targets(), sep="\n")
        return

    with atheris.instrument_imports(include=_PACKAGES):
        module = importlib.import_module(f"tools.fuzz.{given.target}")
    if given.files:
        for name in given.files:
            module.target(Path(name).read_bytes())
        return
    _FOUND.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="omnial-fuzz-") as corpus:
        for number, seed in enumerate(getattr(module, "seeds", tuple)()):
            (Path(corpus) / f"{number:04}").write_bytes(seed)
        options = (
            f"-max_total_time={given.seconds}",
            f"-seed={given.seed}",
            f"-max_len={_LONGEST_INPUT}",
            f"-artifact_prefix={_FOUND}/{given.target}-",
            "-timeout=20",
            "-rss_limit_mb=4000",
            "-print_final_stats=1",
        )
        atheris.Setup([sys.argv[0], *options, corpus], module.target)
        atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
