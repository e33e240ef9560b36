"""`omnial evaluate`: a model's figures on test images, and a report to look at."""

from pathlib import Path
from typing import Annotated

from omnial.cli import options
from omnial.cli.output import exit_code, print_metrics, print_result, working
from omnial.cli.verb import ExitCode, must_start, start_again, verb
from omnial.distributed.launch import read_processes


@verb("omnial evaluate models/mvtec --data mvtec --out reports/mvtec", shared=True)
def evaluate(
    model_dir: options.AnyModelDir,
    data: options.Data,
    out: Annotated[
        Path, options.folder("Folder for metrics.json, metrics.csv and index.html.", "REPORT_DIR")
    ],
    batch_size: options.BatchSize = 16,
    gallery: Annotated[
        int, options.number("Most pictures shown of each class.", options.OUTPUT, least=0)
    ] = 6,
    skip_bad_files: options.SkipBadFiles = False,
    max_megapixels: options.MaxMegapixels = None,
    significant_bits: options.SignificantBits = None,
    device: options.Device = "auto",
    devices: options.Devices = None,
    as_json: options.AsJson = False,
) -> ExitCode:
    """Compute the figures of a model on test images, and write a report that opens offline."""
    if devices is not None and must_start(devices):
        return start_again(devices)
    with working() as progress:
        from omnial.reporting.evaluation_report import REPORT_FILE
        from omnial.reporting.evaluation_report import evaluate as run

        result = run(
            *(model_dir, data, out),
            batch_size=batch_size,
            gallery_per_class=gallery,
            skip_bad_files=skip_bad_files,
            reading=options.reading(max_megapixels, significant_bits),
            device=device,
            progress=progress,
        )
    if read_processes().rank:
        return ExitCode.DONE
    print_result(result.to_metrics(), as_json, print_metrics)
    if not as_json:
        print(f"\nreport: {out / REPORT_FILE}")
    return exit_code(result.bad_files)
