"""`omnial attack`: an adversarial set from a model and defect-free images."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from omnial.cli import options
from omnial.cli.output import exit_code, print_facts, print_result, say, working
from omnial.cli.verb import ExitCode, verb
from omnial.errors import UserError


@verb(
    "omnial attack models/surrogate --data mvtec --out sets/mvtec",
    "omnial attack models/surrogate --data mvtec --samples 10 --steps 20 --out sets/strong",
)
def attack(
    model_dir: options.ModelDir,
    data: options.Data,
    out: Annotated[Path, options.folder("Folder for the set.", "SET_DIR")],
    samples: Annotated[int, options.number("Samples a class, four of five with a defect.")] = 50,
    steps: Annotated[int, options.number("Steps of the attack.")] = 5,
    alpha: Annotated[
        float | None,
        typer.Option(
            metavar="X", help="Length of a step as a share of the radius. Default: 2.5 / steps."
        ),
    ] = None,
    seed: options.Seed = None,
    batch_size: options.AttackBatchSize = 10,
    skip_bad_files: options.SkipBadFiles = False,
    max_megapixels: options.MaxMegapixels = None,
    significant_bits: options.SignificantBits = None,
    device: options.Device = "auto",
    as_json: options.AsJson = False,
) -> ExitCode:
    """Attack a model on synthesized defects at five levels, and keep the samples.

    For the paper's protocol the model is a `surrogate`. An interrupted run goes on when the same
    command is given again.
    """
    if alpha is not None and alpha <= 0:
        raise UserError(f"--alpha {alpha}: a step needs a length above 0")
    options.check_out(out)
    with working() as progress:
        from omnial.robustness.build_set import SetPlan, build_set

        built = build_set(
            model_dir,
            data,
            out,
            SetPlan(samples, seed=seed or 0, steps=steps, alpha=alpha, batch_size=batch_size),
            skip_bad_files=skip_bad_files,
            reading=options.reading(max_megapixels, significant_bits),
            device=device,
            progress=progress,
        )
        checks = built.data.checks()
    areas = [area for name in built.data.classes for area in built.data.defect_pixels(name)]
    result: dict[str, Any] = {
        "set": str(out),
        "classes": list(built.data.classes),
        "samples": len(areas),
        "anomalous": sum(area > 0 for area in areas),
        "levels": [level.name for level in built.data.levels],
        "checks": [vars(check) for check in checks],
        "bad_files": [f"{bad.path}: {bad.reason}" for bad in built.bad_files],
    }
    print_result(result, as_json, _show)
    failed = any(not check.passed for check in checks)
    if failed:
        say("the attack failed a check of itself: its figures would be no measure of robustness")
    return exit_code(built.bad_files, failed=failed)


def _show(result: Mapping[str, Any]) -> None:
    print_facts([(key, _text(value)) for key, value in result.items() if key != "checks"])
    for check in result["checks"]:
        print(f"{'passed' if check['passed'] else 'FAILED'}  {check['name']}: {check['detail']}")


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
