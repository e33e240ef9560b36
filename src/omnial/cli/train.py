"""`omnial train`: one model for all the classes that it is given."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from omnial.cli import options
from omnial.cli.options import flag, option
from omnial.cli.output import print_facts, print_result, print_validation, say, working
from omnial.cli.verb import ExitCode, must_start, start_again, verb
from omnial.config.presets import DEFAULT_SIZE
from omnial.distributed.launch import Processes, read_processes

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
    out: Annotated[Path, options.folder("Model folder to write.", "MODEL_DIR")],
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
    as_json: options.AsJson = False,
) -> ExitCode:
    """Train one model on the defect-free images of all classes, and write its folder.

    Settings are laid over each other: defaults, --size, --system, --config, --set.
    """
    from omnial.config.load import load_settings

    flags = {"minutes": minutes, "images": images, "steps": steps, "seed": seed}
    flags["devices"] = devices
    given = [f"training.{key}={value}" for key, value in flags.items() if value is not None]
    read = options.data_overrides(max_megapixels, significant_bits, skip_bad_files)
    settings = load_settings(
        system=system, size=size, config_file=config, overrides=[*given, *read, *(set_ or [])]
    )
    count = settings.training.devices
    if must_start(count):
        from omnial.training.devices import check_processes

        check_processes(settings.training, Processes(size=count, local_size=count))
        return start_again(count)
    with working():
        from omnial.training.fit import train as fit

        summary = fit(settings, data, out, resume=resume, init=init, progress=True)
    if read_processes().rank:
        return ExitCode.DONE
    print_result(summary.to_dict(), as_json, lambda result: print_facts(list(_facts(result))))
    if not as_json:
        print()
        print_validation(summary.validation)
    for note in summary.notes:
        say(note)
    for bad in summary.bad_files:
        say(f"left out: {bad}")
    return ExitCode.SOME_BAD if summary.bad_files else ExitCode.DONE


def _facts(summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The summary's single values as text."""
    for key, value in summary.items():
        if key not in {"validation", "notes", "bad_files"}:
            if isinstance(value, list):
                value = ", ".join(map(str, value))
            yield key.replace("_", " "), f"{value:.4g}" if isinstance(value, float) else f"{value}"
