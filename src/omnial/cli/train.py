"""`omnial train`: one model for all its classes; `omnial evaluate`: its figures, and a report.

Several processes can share the work of both: where `--devices` asks for them, the command starts
itself again.
"""

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from omnial.cli import options
from omnial.cli.options import flag, option
from omnial.cli.output import (
    exit_code,
    print_facts,
    print_metrics,
    print_next,
    print_result,
    print_validation,
    say,
    say_few,
    working,
)
from omnial.cli.verb import ExitCode, verb
from omnial.config.presets import DEFAULT_SIZE
from omnial.config.settings import Settings
from omnial.distributed.launch import Processes, read_processes
from omnial.errors import shown

_BUDGET = "Budget (one of them)"
_IMAGES = "Images to train on, counting repeats. Default: 200,000."


@verb(
    "omnial train --data mvtec --minutes 30 --out models/mvtec",
    "omnial train --data visa --data my_part --size base --set data.width=320 --out models/all",
    "omnial train --data mvtec --minutes 30 --out models/mvtec --resume",
    shared=True,
)
def train(
    data: options.Data,
    out: Annotated[Path, options.folder("Model folder to write.", "MODEL_DIR")] = Path(
        "runs/model"
    ),
    system: options.System = None,
    size: Annotated[str | None, options.size_option(DEFAULT_SIZE)] = None,
    config: options.Config = None,
    set_: options.Set = None,
    seed: options.Seed = None,
    minutes: Annotated[float | None, option("M", "Minutes of training steps.", _BUDGET)] = None,
    images: Annotated[int | None, option("N", _IMAGES, _BUDGET)] = None,
    steps: Annotated[int | None, option("N", "Training steps (batches).", _BUDGET)] = None,
    resume: Annotated[
        bool, flag("--resume", "Go on from the last checkpoint in MODEL_DIR.")
    ] = False,
    init: Annotated[
        Path | None, option("MODEL_DIR", "Start from this model's weights: add products.")
    ] = None,
    max_megapixels: options.MaxMegapixels = None,
    significant_bits: options.SignificantBits = None,
    skip_bad_files: options.SkipBadFiles = False,
    devices: options.Devices = None,
    print_config: Annotated[
        bool, flag("--print-config", "Print the settings as YAML for --config; train nothing.")
    ] = False,
    dry_run: Annotated[
        bool, flag("--dry-run", "Check the data and say what would be trained; train nothing.")
    ] = False,
    as_json: options.AsJson = False,
) -> ExitCode:
    """Train one model on the defect-free images of all classes, and write its folder.

    Settings are laid over each other: defaults, --size, --system, --config, --set.
    """
    from omnial.config.load import load_settings
    from omnial.model_folder.config_file import check_run

    flags = {"minutes": minutes, "images": images, "steps": steps, "seed": seed}
    flags["devices"] = devices
    given = [f"training.{key}={value}" for key, value in flags.items() if value is not None]
    read = options.data_overrides(max_megapixels, significant_bits, skip_bad_files)
    settings = load_settings(
        system=system, size=size, config_file=config, overrides=[*given, *read, *(set_ or [])]
    )
    if print_config:
        import yaml

        print(yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False), end="")
        return ExitCode.DONE
    if read_processes().size == 1:
        check_run(out, resume)  # before PyTorch is imported, which takes seconds
    if dry_run:
        return _dry_run(settings, data, out, as_json)
    count = settings.training.devices
    if _must_start(count):
        from omnial.training.devices import check_processes

        check_processes(settings.training, Processes(size=count, local_size=count))
        return _start(count)
    with working():
        from omnial.training.fit import train as fit

        try:
            go_on = _command_to_go_on()
            summary = fit(settings, data, out, resume=resume, init=init, command=go_on)
        except KeyboardInterrupt as error:
            raise KeyboardInterrupt(*error.args, _how_to_go_on(out)) from error
    if read_processes().rank:
        return ExitCode.DONE
    print_result(summary.to_dict(), as_json, _show)
    if not as_json:
        print()
        print_validation(summary.validation)
    for note in summary.notes:
        say(note)
    if summary.suspicious:
        say("look at these training images: are they really good?")
    for image in summary.suspicious:
        say(f"  {image['class']}: {shown(image['file'])} (score {image['score']:.3f})")
    for bad in summary.bad_files:
        say(f"left out: {bad}")
    if not as_json:
        if summary.test_images:
            print_next("evaluate", out, *(word for root in data for word in ("--data", root)))
        else:
            print_next("predict", out, "new_pictures")
    return ExitCode.SOME_BAD if summary.bad_files else ExitCode.DONE


@verb("omnial evaluate models/mvtec --data mvtec --out reports/mvtec", shared=True)
def evaluate(
    model_dir: options.AnyModelDir,
    data: options.Data,
    out: Annotated[
        Path, options.folder("Folder for metrics.json, metrics.csv and index.html.", "REPORT_DIR")
    ] = Path("runs/report"),
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
    if devices is not None and _must_start(devices):
        return _start(devices)
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
    code = exit_code(result.bad_files)
    if not as_json:
        print_next("predict", model_dir, "new_pictures")
    return code


def _must_start(devices: int) -> bool:
    """Whether this process is the one that a user started, and others shall do the work."""
    return devices > 1 and read_processes().size == 1


def _start(devices: int) -> ExitCode:
    """Run the command line of this process as so many processes, and end as they end."""
    from omnial.distributed.launch import start_here

    code = start_here(devices, [sys.executable, "-m", "omnial", *sys.argv[1:]])
    return ExitCode(code) if code in set(ExitCode) else ExitCode.FAILED


def _dry_run(settings: Settings, data: list[Path], out: Path, as_json: bool) -> ExitCode:
    """Read everything that a training would, and say what it would do."""
    with working() as progress:
        from omnial.data.checks import check_files
        from omnial.data.layouts import discover
        from omnial.training.schedule import planned_steps

        catalogue = check_files(discover(data, need="train"), settings.data, progress=progress)
    steps, minutes = planned_steps(settings.training), settings.training.minutes
    result = {
        "model": str(out),
        "classes": {product.name: len(product.train) for product in catalogue.classes},
        "system": settings.system,
        "size": settings.size,
        "input": f"{settings.data.height} x {settings.data.width}",
        "budget": f"{minutes:g} minutes" if steps is None else f"{steps:,} steps",
        "batch": settings.training.batch_size,
    }
    print_result(result, as_json, print_facts)
    too_few = say_few({product.name: len(product.train) for product in catalogue.classes})
    return exit_code(catalogue.bad_files, failed=too_few)


def _how_to_go_on(out: Path) -> str:
    from omnial.model_folder.config_file import CHECKPOINT_FILE

    if not (out / CHECKPOINT_FILE).exists():
        return "before the first checkpoint"
    return f"- a checkpoint is kept, go on with:\n  {shlex.join(_command_to_go_on())}"


def _command_to_go_on() -> list[str]:
    arguments = [one for one in sys.argv[1:] if one != "--resume"]
    return ["omnial", *arguments, "--resume"]


def _show(summary: Mapping[str, Any]) -> None:
    apart = {"validation", "suspicious", "notes", "bad_files", "test_images"}
    print_facts({key: value for key, value in summary.items() if key not in apart})
