"""`omnial calibrate`: thresholds from normal images, and how sure they are."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from omnial.cli import options
from omnial.cli.output import (
    exit_code,
    print_result,
    print_table,
    say,
    say_trained,
    working,
)
from omnial.cli.verb import ExitCode, verb


@verb(
    "omnial calibrate models/mvtec --data normals --false-alarm-rate 0.01",
    "omnial calibrate exports/mvtec --data normals/bottle --out exports/mvtec-2",
)
def calibrate(
    model_dir: options.AnyModelDir,
    data: options.Data,
    false_alarm_rate: Annotated[
        float | None,
        typer.Option(
            metavar="R",
            help="Share of normal images that may be called anomalous. Default: as before.",
        ),
    ] = None,
    class_name: options.ClassOfAll = None,
    tile: Annotated[
        int | None,
        options.number(
            "Inspect in overlapping tiles of N source pixels an edge, now and from now on. "
            "Default: whole images."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        options.folder("Write a copy of the folder; without it, the folder itself is changed."),
    ] = None,
    batch_size: options.BatchSize = 8,
    max_megapixels: options.MaxMegapixels = None,
    significant_bits: options.SignificantBits = None,
    device: options.Device = "auto",
    as_json: options.AsJson = False,
) -> ExitCode:
    """Set thresholds from normal images, of each class and of all together.

    Shows the interval in which the true false-alarm rate lies, and warns where images are few.
    """
    options.check_rate(false_alarm_rate)
    if out is not None:
        options.check_out(out)
    with working() as progress:
        from omnial.calibration.calibrate import calibrate_folder

        report = calibrate_folder(
            model_dir,
            data,
            false_alarm_rate=false_alarm_rate,
            class_name=class_name,
            tile=tile,
            out=out,
            device=device,
            batch_size=batch_size,
            reading=options.reading(max_megapixels, significant_bits),
            progress=progress,
        )
    print_result(report.to_dict(), as_json, _show)
    say_trained(report.trained)
    return exit_code(report.bad_files)


def _show(result: Mapping[str, Any]) -> None:
    table = []
    rows = {**result["classes"], "all together": result["overall"]}
    for name, row in rows.items():
        interval = row["interval"]
        span = "-" if interval is None else " to ".join(f"{100 * end:.1f}" for end in interval)
        limit = f"{row['threshold']:.4f}" + ("" if row["own"] else " (of all)")
        table.append((name, str(row["images"]), f"{row['before']:.4f}", limit, f"{span} %"))
    print_table(("class", "images", "before", "threshold", "true false-alarm rate"), table)
    rate, confidence = 100 * result["false_alarm_rate"], 100 * result["confidence"]
    print(f"\nchosen false-alarm rate {rate:g} %; intervals cover it with {confidence:g} %")
    print(f"written to {result['folder']}")
    for name, count in result["used"].items():
        say(f"{name}: {count} normal images")
    for warning in result["warnings"]:
        say(f"warning: {warning}")
