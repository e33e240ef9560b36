"""`omnial drift`: do normal images still score as they did?"""

from functools import partial
from typing import Any

import typer
from rich.table import Table

from omnial.cli import options
from omnial.cli.outcome import ExitCode, guarded
from omnial.cli.output import (
    print_json,
    print_table,
    say,
    say_left_out,
    say_trained,
    working,
)

_EPILOG = "Example:\n\nomnial drift exports/mvtec --data last-week"


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(epilog=_EPILOG)(drift)


@guarded
def drift(
    model_dir: options.AnyModelDir,
    data: options.Data,
    class_name: options.ClassOfAll = None,
    batch_size: options.BatchSize = 8,
    max_megapixels: options.MaxMegapixels = None,
    significant_bits: options.SignificantBits = None,
    device: options.Device = "auto",
    as_json: options.AsJson = False,
) -> ExitCode:
    """Compare recent normal images with those that the thresholds were set from.

    The exit code is 1 if the scores of a class have drifted, or if a file could not be read.
    """
    with working() as progress:
        from omnial.inference.drift import check_drift

        report = check_drift(
            model_dir,
            data,
            class_name=class_name,
            device=device,
            batch_size=batch_size,
            reading=options.reading(max_megapixels, significant_bits),
            on_progress=partial(progress, "scoring"),
        )
    result = report.to_dict()
    if as_json:
        print_json(result)
    else:
        _print(result)
    say_trained(report.trained)
    say_left_out(report.bad_files)
    for name in report.not_compared:
        say(f"{name}: the folder keeps no scores to compare with")
    return ExitCode.SOME_BAD if report.drifted or report.bad_files else ExitCode.DONE


def _print(result: dict[str, Any]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("class")
    for heading in ("then", "now", "above", "share above", "shift", "KS", "p"):
        table.add_column(heading, justify="right")
    table.add_column("verdict")
    for name, row in result["classes"].items():
        low, high = row["interval"]
        table.add_row(
            name,
            str(row["reference"]),
            str(row["recent"]),
            str(row["above"]),
            f"{100 * low:.1f} to {100 * high:.1f} %",
            f"{row['shift']:+.4f}",
            f"{row['statistic']:.3f}",
            f"{row['p_value']:.2g}",
            _verdict(row),
        )
    print_table(table)
    print(f"\nchosen false-alarm rate {100 * result['false_alarm_rate']:g} %")


def _verdict(row: dict[str, Any]) -> str:
    reasons = {"other scores": row["different"], "more false alarms": row["more_alarms"]}
    return ", ".join(reason for reason, found in reasons.items() if found) or "as before"
