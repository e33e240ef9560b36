"""`omnial drift`: do normal images still score as they did?"""

from collections.abc import Mapping
from typing import Any

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


@verb("omnial drift exports/mvtec --data last-week")
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
        from omnial.calibration.drift import check_drift

        report = check_drift(
            model_dir,
            data,
            class_name=class_name,
            device=device,
            batch_size=batch_size,
            reading=options.reading(max_megapixels, significant_bits),
            progress=progress,
        )
    print_result(report.to_dict(), as_json, _show)
    say_trained(report.trained)
    for name in report.not_compared:
        say(f"{name}: the folder keeps no scores to compare with")
    return exit_code(report.bad_files, failed=bool(report.drifted))


def _show(result: Mapping[str, Any]) -> None:
    headings = ("class", "then", "now", "above", "share above", "shift", "KS", "p", "verdict")
    table = []
    for name, row in result["classes"].items():
        low, high = row["interval"]
        table.append(
            (
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
        )
    print_table(headings, table, texts=(0, 8))
    print(f"\nchosen false-alarm rate {100 * result['false_alarm_rate']:g} %")


def _verdict(row: dict[str, Any]) -> str:
    reasons = {"other scores": row["different"], "more false alarms": row["more_alarms"]}
    return ", ".join(reason for reason, found in reasons.items() if found) or "as before"
