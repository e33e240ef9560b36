"""`omnial evaluate`: a model's figures on test images, and a report to look at."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from omnial.cli import options
from omnial.cli.outcome import ExitCode, guarded_together
from omnial.cli.output import (
    metrics_table,
    print_json,
    print_table,
    say_left_out,
    working,
)
from omnial.cli.start import must_start, start_again
from omnial.distributed.world import read_world

_EPILOG = "Example:\n\nomnial evaluate models/mvtec --data mvtec --out reports/mvtec"


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(epilog=_EPILOG)(evaluate)


@guarded_together
def evaluate(
    model_dir: options.AnyModelDir,
    data: options.Data,
    out: Annotated[
        Path,
        typer.Option(
            metavar="REPORT_DIR",
            rich_help_panel=options.OUTPUT_PANEL,
            help="Folder for metrics.json, metrics.csv and index.html.",
        ),
    ],
    batch_size: Annotated[
        int, typer.Option(min=1, metavar="N", help="Images at a time; changes speed, not figures.")
    ] = 16,
    gallery: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="N",
            rich_help_panel=options.OUTPUT_PANEL,
            help="Most pictures shown of each class.",
        ),
    ] = 6,
    skip_bad_files: options.SkipBadFiles = False,
    max_megapixels: options.MaxMegapixels = None,
    significant_bits: options.SignificantBits = None,
    device: options.Device = "auto",
    devices: options.Devices = None,
    as_json: options.AsJson = False,
) -> ExitCode:
    """Compute the figures of a model on test images, and write a report that opens offline."""
    options.check_out(out)
    if devices is not None and must_start(devices):
        return start_again(devices)
    with working() as progress:
        from omnial.reporting.report import REPORT_FILE
        from omnial.reporting.run import evaluate as run

        result = run(
            model_dir,
            data,
            out,
            batch_size=batch_size,
            gallery_per_class=gallery,
            skip_bad_files=skip_bad_files,
            reading=options.reading(max_megapixels, significant_bits),
            device=device,
            on_checked=partial(progress, "checking files"),
            on_evaluated=partial(progress, "evaluating"),
        )
    if read_world().rank:
        return ExitCode.DONE
    metrics = result.to_metrics()
    if as_json:
        print_json(metrics)
    else:
        print_table(metrics_table(metrics))
        print(f"\nreport: {out / REPORT_FILE}")
    say_left_out(result.bad_files)
    return ExitCode.SOME_BAD if result.bad_files else ExitCode.DONE
