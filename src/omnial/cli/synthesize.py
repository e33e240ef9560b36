"""`omnial synthesize`: see what the model learns from."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from omnial.cli import options
from omnial.cli.outcome import ExitCode, guarded
from omnial.cli.output import print_json, say_left_out, working
from omnial.config.presets import DEFAULT_SIZE

_EPILOG = (
    "Examples:\n\n"
    "omnial synthesize --data mvtec --out sheets\n\n"
    "omnial synthesize --data mvtec/bottle --set synthesis.panels=false --out sheets"
)


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(epilog=_EPILOG)(synthesize)


@guarded
def synthesize(
    data: options.Data,
    out: Annotated[
        Path,
        typer.Option(
            metavar="DIR", rich_help_panel=options.OUTPUT_PANEL, help="Folder for the sheets."
        ),
    ],
    count: Annotated[
        int,
        typer.Option(
            min=1, metavar="N", rich_help_panel=options.OUTPUT_PANEL, help="Samples to draw."
        ),
    ] = 24,
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
    options.check_out(out)
    with working() as progress:
        from omnial.data.checks import check_files
        from omnial.data.layouts import discover
        from omnial.reporting.sheets import write_contact_sheets
        from omnial.synthesis.preview import preview

        found = discover(data, need="train")
        catalogue = check_files(found, settings.data, progress=partial(progress, "checking files"))
        batch, names = preview(settings, catalogue, count, settings.training.seed)
        sheets = write_contact_sheets(batch, names, out)
    if as_json:
        print_json({"samples": len(names), "sheets": [str(sheet) for sheet in sheets]})
    else:
        print("\n".join(str(sheet) for sheet in sheets))
    say_left_out(catalogue.bad_files)
    return ExitCode.SOME_BAD if catalogue.bad_files else ExitCode.DONE
