"""`omnial robustness`: figures of models under attacks and corruptions."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from omnial.cli import options
from omnial.cli.output import exit_code, print_result, print_table, say, working
from omnial.cli.verb import ExitCode, verb


@verb(
    "omnial robustness sets/mvtec models/omnial models/draem --out reports/robust",
    "omnial robustness sets/mvtec models/omnial --data mvtec --corruptions --out reports/robust",
)
def robustness(
    set_dir: Annotated[
        Path, typer.Argument(metavar="SET_DIR", help="Set that `omnial attack` wrote.")
    ],
    model_dirs: Annotated[
        list[Path],
        typer.Argument(metavar="MODEL_DIR", help="Model folders that `omnial train` wrote."),
    ],
    out: Annotated[
        Path, options.folder("Folder for robustness.json, robustness.csv, pictures and index.html.")
    ],
    white_box: Annotated[
        bool,
        typer.Option(
            "--white-box/--no-white-box",
            help="Also attack each model itself: on the set and, with --data, in its verdicts.",
        ),
    ] = True,
    white_box_samples: Annotated[
        int, options.number("Samples of each class that are attacked this way.")
    ] = 10,
    white_box_steps: Annotated[
        int, options.number("Steps of these attacks, from either start.")
    ] = 20,
    data: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR",
            help="Test images, for attacks on verdicts and for --corruptions. Repeatable.",
        ),
    ] = None,
    corruptions: Annotated[
        bool,
        typer.Option("--corruptions", help="Also evaluate on corrupted test images (with --data)."),
    ] = False,
    batch_size: options.AttackBatchSize = 16,
    skip_bad_files: options.SkipBadFiles = False,
    max_megapixels: options.MaxMegapixels = None,
    significant_bits: options.SignificantBits = None,
    device: options.Device = "auto",
    as_json: options.AsJson = False,
) -> ExitCode:
    """Evaluate models on an adversarial set, attack each of them itself, and write a report."""
    options.check_out(out)
    with working() as progress:
        from omnial.reporting.robustness_report import write_robustness
        from omnial.robustness.evaluate_models import RobustnessPlan, evaluate_robustness
        from omnial.robustness.white_box import WhiteBoxPlan

        box = WhiteBoxPlan(samples=white_box_samples)
        box = replace(box, schedule=replace(box.schedule, steps=white_box_steps))
        plan = RobustnessPlan(
            white_box=box if white_box else None,
            data=data or (),
            corruptions=corruptions,
            batch_size=batch_size,
            skip_bad_files=skip_bad_files,
            reading=options.reading(max_megapixels, significant_bits),
        )
        found = evaluate_robustness(set_dir, model_dirs, plan, device=device, progress=progress)
        page = write_robustness(found, out)
    result = found.to_dict()
    print_result(result, as_json, _show)
    if not as_json:
        print(f"\nreport: {page}")
    if data and not white_box:
        say("verdicts on the test images were not attacked (--no-white-box)")
    for failed in result["failed"]:
        say(f"the attack failed a check of itself: {failed}")
    return exit_code(found.bad_files, failed=bool(result["failed"]))


def _show(result: Mapping[str, Any]) -> None:
    """Print the mean figures of each model at each level."""
    levels = [("0", "clean"), *((level["name"], level["name"]) for level in result["levels"])]
    table = []
    for name, model in result["models"].items():
        for label, rows in (("transfer", model["transfer"]), ("white box", model["white_box"])):
            if rows is not None:
                rows = rows.get("levels", rows)
                table.append((name, label, *(_cell(rows.get(level)) for level, _ in levels)))
    print_table(("model", "pixel AP at", *(heading for _, heading in levels)), table, texts=(0, 1))


def _cell(row: dict[str, Any] | None) -> str:
    value = None if row is None else row["mean"]["pixel_ap"]
    return "-" if value is None else f"{value:.3f}"
