"""`omnial verify`: does an export compute here what PyTorch computed when it was made?"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from omnial.cli import options
from omnial.cli.output import exit_code, print_facts, print_result, working
from omnial.cli.verb import ExitCode, verb


@verb("omnial verify exports/mvtec")
def verify(
    export_dir: Annotated[
        Path, typer.Argument(metavar="EXPORT_DIR", help="Folder that `omnial export` wrote.")
    ],
    device: options.Device = "auto",
    as_json: options.AsJson = False,
) -> ExitCode:
    """Check an export on this machine: its files, and its results against those of PyTorch.

    Needs no PyTorch and no images. The exit code is 1 if the results differ by too much.
    """
    with working():
        from omnial.inference.verify import verify as run

        found = run(export_dir, device=device)
    result = {
        "passed": found.passed,
        "reasons": list(found.reasons),
        "differences": found.differences.model_dump(),
        "tolerance": found.tolerance.model_dump(),
        "engine": found.facts,
    }
    print_result(result, as_json, _show)
    return exit_code((), failed=not found.passed)


def _show(result: Mapping[str, Any]) -> None:
    differences = result["differences"]
    print_facts(
        [
            ("engine", ", ".join(f"{name} {value}" for name, value in result["engine"].items())),
            ("samples", differences["images"]),
            ("largest map difference", f"{differences['map_largest']:.2g}"),
            ("mean map difference", f"{differences['map_mean']:.2g}"),
            ("largest score difference", f"{differences['score_largest']:.2g}"),
            ("result", "good" if result["passed"] else "; ".join(result["reasons"])),
        ]
    )
