"""`omnial study`: one of the paper's tables, row by row, resumable."""

from pathlib import Path
from typing import Annotated

import typer

from omnial.cli import options
from omnial.cli.output import print_result, say, working
from omnial.cli.verb import ExitCode, verb
from omnial.config.presets import DEFAULT_SIZE
from omnial.errors import UserError
from omnial.studies.study_rows import STUDIES

_DEFAULT_IMAGES = 20_000
_ROBUSTNESS = "robustness"
_ROBUSTNESS_PANEL = "The study robustness"


@verb(
    "omnial study stages --data mvtec --images 20000 --out docs/results/stages",
    "OMNIAL_DATA=/data omnial study systems --data mvtec --size base --out results/systems",
)
def study(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help=f"{', '.join(STUDIES)} or {_ROBUSTNESS}.",
        ),
    ],
    data: options.Data,
    out: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            rich_help_panel=options.OUTPUT_PANEL,
            help="Folder for the table and a small file for each run, to be kept.",
        ),
    ],
    size: Annotated[str, options.size_option(DEFAULT_SIZE)] = DEFAULT_SIZE,
    images: Annotated[
        int,
        options.number("Images that each run trains on, the same for all.", options.SETTINGS_PANEL),
    ] = _DEFAULT_IMAGES,
    seeds: Annotated[
        int | None,
        options.number(
            "Runs of each row, with seeds from 0. Default: the study's own number.",
            options.SETTINGS_PANEL,
        ),
    ] = None,
    rows: Annotated[
        list[str] | None,
        typer.Option(
            "--row", metavar="NAME", help="Compute this row alone now, of all. Repeatable."
        ),
    ] = None,
    classes: Annotated[
        list[str] | None,
        typer.Option(
            "--class", metavar="NAME", help="A class that the table is about. Repeatable."
        ),
    ] = None,
    set_: options.Set = None,
    max_megapixels: options.MaxMegapixels = None,
    significant_bits: options.SignificantBits = None,
    skip_bad_files: options.SkipBadFiles = False,
    work: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            rich_help_panel=options.OUTPUT_PANEL,
            help="Folder for the models, which need not last.",
        ),
    ] = Path("runs/studies"),
    gallery: Annotated[
        bool,
        typer.Option(
            "--gallery/--no-gallery",
            rich_help_panel=options.OUTPUT_PANEL,
            help="Train each row on the demo data too, and draw what it makes of ten images.",
        ),
    ] = True,
    jobs: Annotated[
        int,
        options.number(
            "Trainings at the same time, each with its share of the cores.",
            options.SETTINGS_PANEL,
        ),
    ] = 1,
    samples: Annotated[
        int, options.number("Samples of each class in the adversarial set.", _ROBUSTNESS_PANEL)
    ] = 50,
    white_box_samples: Annotated[
        int,
        options.number(
            "Samples of each class that each model's own attacks take.", _ROBUSTNESS_PANEL
        ),
    ] = 10,
    white_box_steps: Annotated[
        int, options.number("Steps of these attacks, from either start.", _ROBUSTNESS_PANEL)
    ] = 20,
    corruption_images: Annotated[
        int,
        options.number(
            "Test images of each class under every corruption.", _ROBUSTNESS_PANEL, least=2
        ),
    ] = 40,
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
    options.check_out(out)
    options.check_out(work)
    read = options.data_overrides(max_megapixels, significant_bits, skip_bad_files)
    overrides, chosen = (*read, *(set_ or ())), tuple(rows or ())
    with working():
        from omnial.studies.run_study import StudyOptions, run_study

        if name == _ROBUSTNESS:
            if seeds not in (None, 1) or classes:
                raise UserError("the study robustness has one seed and all classes of the data")
            from omnial.studies.robustness_parts import RobustnessOptions
            from omnial.studies.robustness_study import run_robustness_study

            robustness = RobustnessOptions(
                *(size, images, overrides, chosen),
                *(samples, white_box_samples, white_box_steps, corruption_images),
                *(gallery, jobs),
            )
            summary = run_robustness_study(data, out, work, robustness)
        else:
            table = STUDIES[name]
            number = table.seeds if seeds is None else seeds
            about = tuple(classes or ())
            asked = StudyOptions(size, images, number, overrides, about, chosen, gallery, jobs)
            summary = run_study(table, data, out, work, asked)
    print_result(
        summary.to_dict(),
        as_json,
        lambda _: print(f"{summary.page.read_text('utf-8')}\npage: {summary.page}"),
    )
    for run in summary.missing:
        say(f"not finished: {run}")
    return ExitCode.SOME_BAD if summary.missing else ExitCode.DONE
