"""`omnial demo`, `data`, `synthesize`, `runs` and `info`: see what there is, without a training."""

import webbrowser
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from omnial.cli import options
from omnial.cli.options import flag, number, option
from omnial.cli.output import (
    exit_code,
    figure,
    print_facts,
    print_metrics,
    print_next,
    print_next_training,
    print_result,
    print_table,
    print_validation,
    say_few,
    working,
)
from omnial.cli.verb import ExitCode, verb
from omnial.config.presets import DEFAULT_SIZE
from omnial.errors import UserError, shown

_OPEN = "Open the report where there is a display and a terminal."
_DESCRIBED_SIZE = "paper"


@verb("omnial demo --quick", "omnial demo --minutes 20 --out runs/long-demo")
def demo(
    quick: Annotated[
        bool, flag("--quick", "A small model for half a minute: shows the way only.")
    ] = False,
    minutes: Annotated[float | None, option("M", "Minutes of training. Default: 7.")] = None,
    out: Annotated[Path, options.folder("Folder for data, model and report.")] = Path("runs/demo"),
    open_browser: Annotated[bool, flag("--open/--no-open", _OPEN, options.OUTPUT)] = True,
    as_json: options.AsJson = False,
) -> ExitCode:
    """Generate a small production line, train one model on it, evaluate it, write a report.

    Parts that an earlier run with the same settings finished are used again.
    """
    with working():
        from omnial.demo.run_demo import can_show, run_demo

        result = run_demo(out, quick=quick, minutes=minutes)
    print_result(result, as_json, lambda shown: print_metrics(shown["metrics"]))
    if not as_json:
        print(f"\nreport: {result['report']}")
        if open_browser and can_show():
            webbrowser.open(Path(result["report"]).resolve().as_uri())
        print_next("predict", result["model"], result["data"])
    return ExitCode.DONE


@verb("omnial data parts", "omnial data mvtec visa --json")
def data(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH...", help="Roots with a folder for each class, or classes."),
    ],
    max_megapixels: options.MaxMegapixels = None,
    significant_bits: options.SignificantBits = None,
    as_json: options.AsJson = False,
) -> ExitCode:
    """Say what is in data folders: layout, classes, images, sizes, suspicious files.

    Suspicious are files that cannot be read, masks without a marked pixel or of another size than
    their image, and equal files in training and test data, in two classes, or good and defective.
    """
    from omnial.config.load import load_settings
    from omnial.data.checks import describe_data

    settings = load_settings(
        overrides=options.data_overrides(max_megapixels, significant_bits, False)
    )
    with working() as progress:
        found = describe_data(paths, settings.data, progress=progress)
    print_result(asdict(found), as_json, _show_data)
    suspicious = bool(found.bad_files or found.duplicates)
    few = say_few({name: one.train for name, one in found.classes.items()})
    if not (as_json or suspicious or few):
        print_next_training(paths)
    return exit_code(failed=suspicious)


def _show_data(result: Mapping[str, Any]) -> None:
    from omnial.data.listing import listed

    headings = ("class", "layout", "train", "test good", "defective", "masks", "pixels")
    keys = ("layout", "train", "good", "defective", "masks")
    classes = result["classes"].items()
    rows = [(name, *(one[key] for key in keys), _pixels(**one)) for name, one in classes]
    print_table(headings, rows, texts=(0, 1, 6))
    for name, one in classes:
        if one["unused"]:
            print(f"{shown(name)}: {one['unused']} files of its layout are not used")
    if bad := result["bad_files"]:
        print(f"\nfiles that cannot be used: {len(bad)}")
        print(listed([f"{one['path']}: {one['reason']}" for one in bad]))
    if alike := result["duplicates"]:
        print(f"\npictures that are in two places: {len(alike)}")
        print(listed([", ".join(map(str, paths)) for paths in alike]))


def _pixels(sizes: int, smallest: list[int], largest: list[int], **_: object) -> str:
    """Sizes in words: `640 x 480`, or from the smallest to the largest."""
    if not sizes:
        return "-"
    words = [f"{width} x {height}" for width, height in (smallest, largest)]
    return words[0] if sizes == 1 else f"{words[0]} to {words[1]}, {sizes} sizes"


@verb(
    "omnial synthesize --data mvtec --out sheets",
    "omnial synthesize --data mvtec/bottle --set synthesis.panels=false --out sheets",
)
def synthesize(
    data: options.Data,
    out: Annotated[Path, options.folder("Folder for the sheets.")] = Path("runs/sheets"),
    count: Annotated[int, number("Samples to draw.", options.OUTPUT)] = 24,
    system: options.System = None,
    size: Annotated[str | None, options.size_option(DEFAULT_SIZE)] = None,
    config: options.Config = None,
    set_: options.Set = None,
    seed: options.Seed = None,
    max_megapixels: options.MaxMegapixels = None,
    significant_bits: options.SignificantBits = None,
    skip_bad_files: options.SkipBadFiles = False,
    as_json: options.AsJson = False,
) -> ExitCode:
    """Draw training samples and write contact sheets of them.

    A row a sample: normal image, anomalous image, mask, JND map, panel and level.
    """
    from omnial.config.load import load_settings

    seeded = [] if seed is None else [f"training.seed={seed}"]
    read = options.data_overrides(max_megapixels, significant_bits, skip_bad_files)
    settings = load_settings(
        system=system, size=size, config_file=config, overrides=[*seeded, *read, *(set_ or [])]
    )
    with working() as progress:
        from omnial.data.checks import check_files
        from omnial.data.layouts import discover
        from omnial.reporting.picture_grid import write_contact_sheets
        from omnial.synthesis.recipe import preview

        catalogue = check_files(discover(data, need="train"), settings.data, progress=progress)
        batch, names = preview(settings, catalogue, count, settings.training.seed)
        sheets = write_contact_sheets(batch, names, out)
    result = {"samples": len(names), "sheets": [str(sheet) for sheet in sheets]}
    print_result(result, as_json, lambda shown: print(*shown["sheets"], sep="\n"))
    if not as_json:
        print_next_training(data)
    return exit_code(catalogue.bad_files)


@verb("omnial runs", "omnial runs models --json")
def runs(
    folder: Annotated[
        Path,
        typer.Argument(metavar="[FOLDER]", help="Folder with model folders in it, or below it."),
    ] = Path(),
    as_json: options.AsJson = False,
) -> ExitCode:
    """List what was trained: when, on which products, how good, and what is not finished."""
    with working():
        from omnial.model_folder.runs import find_runs

        found = find_runs(folder)
    print_result({"runs": [vars(run) for run in found]}, as_json, _show_runs)
    return exit_code(failed=any(run.state == "unreadable" for run in found))


def _show_runs(result: Mapping[str, Any]) -> None:
    found = [run for run in result["runs"] if run["state"] != "unreadable"]
    headings = ("folder", "when (UTC)", "system, size", "products", "images", "minutes")
    figures = {"image_auroc": "image AUROC", "pixel_ap": "pixel AP", "psnr": "PSNR"}
    rows = [
        (
            *(run["folder"], (run["time"] or "-")[:16].replace("T", " ")),
            f"{run['system']}, {run['size']}",
            _products(run["classes"]),
            run["training_images"],
            None if run["seconds"] is None else f"{run['seconds'] / 60:.1f}",
            *(figure(key, (run["figures"] or {}).get(key)) for key in figures),
        )
        for run in found
    ]
    if rows:
        print_table((*headings, *figures.values()), rows, texts=(0, 1, 2, 3))
        print("\nfigures: defects drawn onto good images that were held out (PSNR in dB)")
    else:
        print("no trained models there")
    for run in result["runs"]:
        name = shown(run["folder"])
        if run["state"] == "running":
            print(f"\n{name} is being trained")
        elif run["state"] == "unfinished":
            command = run["command"] or "give the command that began it again, with --resume"
            print(f"\n{name} is not finished; go on with:\n  {shown(command)}")
        elif run["state"] == "unreadable":
            print(f"\n{shown(run['reason'])}")


def _products(names: Sequence[str]) -> str:
    if len(names) < 3:
        return ", ".join(names)
    return f"{names[0]} and {len(names) - 1} more"


@verb(
    "omnial info", "omnial info --size lite --set model.stem=2", "omnial info models/mvtec --json"
)
def info(
    model_dir: Annotated[
        Path | None,
        typer.Argument(
            metavar="[MODEL_DIR]", show_default=False, help="Describe this trained model instead."
        ),
    ] = None,
    system: options.System = None,
    size: Annotated[str | None, options.size_option(_DESCRIBED_SIZE)] = None,
    config: options.Config = None,
    set_: options.Set = None,
    as_json: options.AsJson = False,
) -> ExitCode:
    """Count parameters, part by part next to the published counts, and operations.

    Of a model folder also the classes, the thresholds, how it was trained and what its validation
    images said.
    """
    if model_dir is not None and (system or size or config or set_):
        raise UserError("give MODEL_DIR or settings, not both: a trained model has its own")
    trained: dict[str, Any] = {}
    with working():
        from omnial.config.load import load_settings
        from omnial.model_folder.weights_file import load_model
        from omnial.models.count import describe

        if model_dir is None:
            settings = load_settings(
                system=system,
                size=size,
                config_file=config,
                overrides=set_ or [],
                default_size=_DESCRIBED_SIZE,
            )
        else:
            model = load_model(model_dir, "cpu")
            settings, calibration = model.settings, model.calibration
            trained = {
                "model": str(model_dir),
                "classes": list(model.classes),
                "calibration": calibration.summary(),
                "notes": list(calibration.notes()),
                "thresholds": {name: calibration.threshold_for(name) for name in model.classes},
                "weights": {name: one.weight_of for name, one in model.normality.items()},
                "training": dict(model.training),
            }
        shape = {"height": settings.data.height, "width": settings.data.width}
        counts = describe(settings.model, **shape)
    names = {"system": settings.system, "size": settings.size, "input": shape}
    print_result(names | counts | trained, as_json, _show_description)
    return ExitCode.DONE


def _show_description(result: Mapping[str, Any]) -> None:
    from omnial.model_folder.validation_figures import ValidationFigures

    size, training = result["input"], dict(result.get("training", {}))
    validation = ValidationFigures.of_training(training)
    if validation is not None:
        del training["validation"]  # has a table of its own
    suspicious = training.pop("suspicious", [])
    if not any(training.get("images_in_windows", {}).values()):
        training.pop("images_in_windows", None)
    print_facts(
        {
            "system": result["system"],
            "size": result["size"],
            "input": f"{size['height']} x {size['width']}",
            "parameters": f"{result['total']:,}",
            "operations": f"{result['flops'] / 1e9:,.1f} GFLOP an image",
            **({"training": ""} if training else {}),
            **{f"  {key}": value for key, value in training.items()},
        }
    )
    print()
    parts = [_part(name, **part) for name, part in result["parts"].items()]
    print_table(("part", "parameters", "published", "difference"), parts)
    if "model" in result:
        print()
        weights = result["weights"]
        witnesses = list(next(iter(weights.values()), {}))
        rows = [
            (name, f"{value:.4f}", *(f"{weights[name][one]:.2f}" for one in witnesses))
            for name, value in result["thresholds"].items()
        ]
        counts = [f"weight of {one}" for one in witnesses]
        print_table(("class", "threshold", *counts), rows)
        if validation is not None:
            print()
            print_validation(validation)
        if suspicious:
            print("\ntraining images that may not be good:")
            found = [(one["class"], one["file"], f"{one['score']:.4f}") for one in suspicious]
            print_table(("class", "file", "score"), found, texts=(0, 1))
        print("\n".join(["", *result["notes"]]).rstrip())


def _part(name: str, parameters: int, published: int | None) -> tuple[object, ...]:
    label = "module alone, 512 channels" if name == "module" else name
    if published is None:
        return label, f"{parameters:,}", None, None
    return label, f"{parameters:,}", f"{published:,}", f"{parameters - published:+,}"
