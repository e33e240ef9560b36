"""`omnial verify`: does an export compute here what PyTorch computed when it was made?"""

from pathlib import Path
from typing import Annotated

import typer

from omnial.cli import options
from omnial.cli.outcome import ExitCode, guarded
from omnial.cli.output import print_facts, print_json, working

_EPILOG = "Example:\n\nomnial verify exports/mvtec"


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(epilog=_EPILOG)(verify)


@guarded
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
        from omnial.inference.samples import verify as run

        found = run(export_dir, device=device)
    differences = found.differences.model_dump()
    if as_json:
        print_json(
            {
                "passed": found.passed,
                "reasons": list(found.reasons),
                "differences": differences,
                "tolerance": found.tolerance.model_dump(),
                "engine": found.facts,
            }
        )
    else:
        print_facts(
            [
                ("engine", ", ".join(f"{k} {v}" for k, v in found.facts.items())),
                ("samples", differences["images"]),
                ("largest map difference", f"{differences['map_largest']:.2g}"),
                ("mean map difference", f"{differences['map_mean']:.2g}"),
                ("largest score difference", f"{differences['score_largest']:.2g}"),
                ("result", "good" if found.passed else "; ".join(found.reasons)),
            ]
        )
    return ExitCode.DONE if found.passed else ExitCode.SOME_BAD
