"""`omnial attack`, `omnial robustness`, and `omnial study`: the paper's tables."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from omnial.cli import options
from omnial.cli.options import OUTPUT, SETTINGS, flag, model_folder, number, option
from omnial.cli.output import (
    exit_code,
    figure,
    print_facts,
    print_result,
    print_table,
    say,
    working,
)
from omnial.cli.verb import ExitCode, verb
from omnial.config.presets import DEFAULT_SIZE
from omnial.errors import UserError
from omnial.studies.study_rows import STUDIES, StudyOptions

_ALPHA = "Length of a step as a share of the radius. Default: 2.5 / steps."
_OUT = "Folder for robustness.json, robustness.csv, pictures and index.html."
_WHITE_BOX = "Also attack each model itself: on the set and, with --data, in its verdicts."
_DATA = "Test images, for attacks on verdicts and for --corruptions. Repeatable."
_CORRUPTIONS = "Also evaluate on corrupted test images (with --data)."
_ROBUSTNESS = "robustness"
_PANEL = "The study robustness"
_STUDY_OUT = "Folder for the table and a small file for each run, to be kept."
_IMAGES = "Images that each run trains on, the same for all. Default: 20000."
_SEEDS = "Runs of each row, with seeds from 0. Default: the study's own number."
_ROW = "Compute this row alone now, of all. Repeatable."
_STUDY_CLASS = "A class that the table is about. Repeatable."
_WORK = "Folder for the models, which need not last."
_GALLERY = "Train each row on the demo data too, and draw what it makes of ten images."
_JOBS = "Trainings at the same time, each with its share of the cores."
_ATTACKED = "Samples of each class that each model's own attacks take."
_STEPS = "Steps of these attacks, from either start."
_CORRUPTED = "Test images of each class under every corruption."


@verb(
    "omnial attack models/surrogate --data mvtec --out sets/mvtec",
    "omnial attack models/surrogate --data mvtec --samples 10 --steps 20 --out sets/strong",
)
def attack(
    model_dir: options.ModelDir,
    data: options.Data,
    out: Annotated[Path, options.folder("Folder for the set.", "SET_DIR")] = Path("runs/set"),
    samples: Annotated[int, number("Samples a class, four of five with a defect.")] = 50,
    steps: Annotated[int, number("Steps of the attack.")] = 5,
    alpha: Annotated[float | None, option("X", _ALPHA)] = None,
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
    with working() as progress:
        from omnial.robustness.build_set import SetPlan, build_set

        plan = SetPlan(samples, seed=seed or 0, steps=steps, alpha=alpha, batch_size=batch_size)
        data_set, bad_files = build_set(
            *(model_dir, data, out, plan),
            skip_bad_files=skip_bad_files,
            reading=options.reading(max_megapixels, significant_bits),
            device=device,
            progress=progress,
        )
        checks, facts = data_set.checks(), data_set.facts()
    result: dict[str, Any] = {
        "set": str(out),
        "classes": list(data_set.classes),
        "samples": facts["samples"],
        "anomalous": facts["anomalous"],
        "levels": [level.name for level in data_set.levels],
        "checks": [vars(check) for check in checks],
        "bad_files": [f"{bad.path}: {bad.reason}" for bad in bad_files],
    }
    print_result(result, as_json, _show_set)
    failed = any(not check.passed for check in checks)
    if failed:
        say("the attack failed a check of itself: its figures would be no measure of robustness")
    return exit_code(bad_files, failed=failed)


@verb(
    "omnial robustness sets/mvtec models/omnial models/draem --out reports/robust",
    "omnial robustness sets/mvtec models/omnial --data mvtec --corruptions --out reports/robust",
)
def robustness(
    set_dir: Annotated[Path, model_folder("Set that `omnial attack` wrote.", "SET_DIR")],
    model_dirs: Annotated[list[Path], model_folder("Model folders that `omnial train` wrote.")],
    out: Annotated[Path, options.folder(_OUT)] = Path("runs/robustness"),
    white_box: Annotated[bool, flag("--white-box/--no-white-box", _WHITE_BOX)] = True,
    white_box_samples: Annotated[
        int, number("Samples of each class that are attacked this way.")
    ] = 10,
    white_box_steps: Annotated[int, number("Steps of these attacks, from either start.")] = 20,
    data: Annotated[list[Path] | None, option("DIR", _DATA)] = None,
    corruptions: Annotated[bool, flag("--corruptions", _CORRUPTIONS)] = False,
    batch_size: options.AttackBatchSize = 16,
    skip_bad_files: options.SkipBadFiles = False,
    max_megapixels: options.MaxMegapixels = None,
    significant_bits: options.SignificantBits = None,
    device: options.Device = "auto",
    as_json: options.AsJson = False,
) -> ExitCode:
    """Evaluate models on an adversarial set, attack each of them itself, and write a report."""
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
    print_result(result, as_json, _show_levels)
    if not as_json:
        print(f"\nreport: {page}")
    if data and not white_box:
        say("verdicts on the test images were not attacked (--no-white-box)")
    for failed in result["failed"]:
        say(f"the attack failed a check of itself: {failed}")
    return exit_code(found.bad_files, failed=bool(result["failed"]))


@verb(
    "omnial study stages --data mvtec --images 20000 --out docs/results/stages",
    "OMNIAL_DATA=/data omnial study systems --data mvtec --size base --out results/systems",
)
def study(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help=f"{', '.join(STUDIES)} or {_ROBUSTNESS}.")
    ],
    roots: options.Data,
    out: Annotated[Path, options.folder(_STUDY_OUT)],
    size: Annotated[str, options.size_option(DEFAULT_SIZE)] = DEFAULT_SIZE,
    images: Annotated[int | None, number(_IMAGES, SETTINGS)] = None,
    seeds: Annotated[int | None, number(_SEEDS, SETTINGS)] = None,
    rows: Annotated[list[str] | None, option("NAME", _ROW, name="--row")] = None,
    classes: Annotated[list[str] | None, option("NAME", _STUDY_CLASS, name="--class")] = None,
    set_: options.Set = None,
    max_megapixels: options.MaxMegapixels = None,
    significant_bits: options.SignificantBits = None,
    skip_bad_files: options.SkipBadFiles = False,
    work: Annotated[Path, options.folder(_WORK)] = Path("runs/studies"),
    gallery: Annotated[bool, flag("--gallery/--no-gallery", _GALLERY, OUTPUT)] = True,
    jobs: Annotated[int, number(_JOBS, SETTINGS)] = 1,
    samples: Annotated[int, number("Samples of each class in the adversarial set.", _PANEL)] = 50,
    white_box_samples: Annotated[int, number(_ATTACKED, _PANEL)] = 10,
    white_box_steps: Annotated[int, number(_STEPS, _PANEL)] = 20,
    corruption_images: Annotated[int, number(_CORRUPTED, _PANEL, least=2)] = 40,
    as_json: options.AsJson = False,
) -> ExitCode:
    """Train and evaluate the rows of a table of the paper, each at an equal budget.

    Runs that stand in the output folder already are kept, and a run that was cut short goes on, so
    that the same command may be given again and again. Data folders are looked for here, and then
    below $OMNIAL_DATA.
    """
    allowed = (*STUDIES, _ROBUSTNESS)
    if name not in allowed:
        raise UserError(f"study: {name!r} is unknown; allowed are {', '.join(allowed)}")
    if images is not None and name in STUDIES and STUDIES[name].own_images:
        raise UserError(f"the study {name} trains on numbers of images of its own; omit --images")
    options.check_out(work)
    from omnial.studies.study_data import find_roots

    data = find_roots(roots)
    read = options.data_overrides(max_megapixels, significant_bits, skip_bad_files)
    overrides, chosen = (*read, *(set_ or ())), tuple(rows or ())
    budget = StudyOptions.images if images is None else images
    with working():
        if name == _ROBUSTNESS:
            if seeds not in (None, 1) or classes:
                raise UserError("the study robustness has one seed and all classes of the data")
            from omnial.studies.robustness_study import RobustnessOptions, run_robustness_study

            robustness = RobustnessOptions(
                *(size, budget, 1, overrides, (), chosen, gallery, jobs),
                *(samples, white_box_samples, white_box_steps, corruption_images),
            )
            summary = run_robustness_study(data, out, work, robustness)
        else:
            from omnial.studies.run_study import run_study

            table, about = STUDIES[name], tuple(classes or ())
            number_ = table.seeds if seeds is None else seeds
            asked = StudyOptions(size, budget, number_, overrides, about, chosen, gallery, jobs)
            summary = run_study(table, data, out, work, asked)
    print_result(
        summary.to_dict(),
        as_json,
        lambda _: print(f"{summary.page.read_text('utf-8')}\npage: {summary.page}"),
    )
    for run in summary.missing:
        say(f"not finished: {run}")
    return ExitCode.SOME_BAD if summary.missing else ExitCode.DONE


def _show_set(result: Mapping[str, Any]) -> None:
    print_facts({key: value for key, value in result.items() if key != "checks"})
    for check in result["checks"]:
        print(f"{'passed' if check['passed'] else 'FAILED'}  {check['name']}: {check['detail']}")


def _show_levels(result: Mapping[str, Any]) -> None:
    """Print the mean figures of each model at each level."""
    levels = {"0": "clean", **{level["name"]: level["name"] for level in result["levels"]}}
    table = []
    for name, model in result["models"].items():
        for label, rows in (("transfer", model["transfer"]), ("white box", model["white_box"])):
            if rows is not None:
                rows = rows.get("levels", rows)
                found = {level: row["mean"]["pixel_ap"] for level, row in rows.items()}
                cells = (figure("pixel_ap", found.get(level)) for level in levels)
                table.append((name, label, *cells))
    print_table(("model", "pixel AP at", *levels.values()), table, texts=(0, 1))
