"""`omnial study`: one of the paper's tables, row by row, resumable."""

from pathlib import Path
from typing import Annotated

import typer

from omnial.cli import options
from omnial.cli.options import OUTPUT, SETTINGS, flag, number, option
from omnial.cli.output import print_result, say, working
from omnial.cli.verb import ExitCode, verb
from omnial.config.presets import DEFAULT_SIZE
from omnial.errors import UserError
from omnial.studies.study_rows import STUDIES, StudyOptions

_ROBUSTNESS = "robustness"
_PANEL = "The study robustness"
_OUT = "Folder for the table and a small file for each run, to be kept."
_SEEDS = "Runs of each row, with seeds from 0. Default: the study's own number."
_ROW = "Compute this row alone now, of all. Repeatable."
_CLASS = "A class that the table is about. Repeatable."
_WORK = "Folder for the models, which need not last."
_GALLERY = "Train each row on the demo data too, and draw what it makes of ten images."
_JOBS = "Trainings at the same time, each with its share of the cores."
_ATTACKED = "Samples of each class that each model's own attacks take."
_STEPS = "Steps of these attacks, from either start."
_CORRUPTED = "Test images of each class under every corruption."


@verb(
    "omnial study stages --data mvtec --images 20000 --out docs/results/stages",
    "OMNIAL_DATA=/data omnial study systems --data mvtec --size base --out results/systems",
)
def study(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help=f"{', '.join(STUDIES)} or {_ROBUSTNESS}.")
    ],
    data: options.Data,
    out: Annotated[Path, options.folder(_OUT)],
    size: Annotated[str, options.size_option(DEFAULT_SIZE)] = DEFAULT_SIZE,
    images: Annotated[
        int, number("Images that each run trains on, the same for all.", SETTINGS)
    ] = 20_000,
    seeds: Annotated[int | None, number(_SEEDS, SETTINGS)] = None,
    rows: Annotated[list[str] | None, option("NAME", _ROW, name="--row")] = None,
    classes: Annotated[list[str] | None, option("NAME", _CLASS, name="--class")] = None,
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
    options.check_out(work)
    read = options.data_overrides(max_megapixels, significant_bits, skip_bad_files)
    overrides, chosen = (*read, *(set_ or ())), tuple(rows or ())
    with working():
        if name == _ROBUSTNESS:
            if seeds not in (None, 1) or classes:
                raise UserError("the study robustness has one seed and all classes of the data")
            from omnial.studies.robustness_parts import RobustnessOptions
            from omnial.studies.robustness_study import run_robustness_study

            robustness = RobustnessOptions(
                *(size, images, 1, overrides, (), chosen, gallery, jobs),
                *(samples, white_box_samples, white_box_steps, corruption_images),
            )
            summary = run_robustness_study(data, out, work, robustness)
        else:
            from omnial.studies.run_study import run_study

            table, about = STUDIES[name], tuple(classes or ())
            number_ = table.seeds if seeds is None else seeds
            asked = StudyOptions(size, images, number_, overrides, about, chosen, gallery, jobs)
            summary = run_study(table, data, out, work, asked)
    print_result(
        summary.to_dict(),
        as_json,
        lambda _: print(f"{summary.page.read_text('utf-8')}\npage: {summary.page}"),
    )
    for run in summary.missing:
        say(f"not finished: {run}")
    return ExitCode.SOME_BAD if summary.missing else ExitCode.DONE
