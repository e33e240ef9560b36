"""`omnial synthesize`: see what the model learns from."""

from functools import partial
from pathlib import Path
from typing import Annotated

from omnial.cli import options
from omnial.cli.output import exit_code, print_result, working
from omnial.cli.verb import ExitCode, verb
from omnial.config.presets import DEFAULT_SIZE


@verb(
    "omnial synthesize --data mvtec --out sheets",
    "omnial synthesize --data mvtec/bottle --set synthesis.panels=false --out sheets",
)
def synthesize(
    data: options.Data,
    out: Annotated[Path, options.folder("Folder for the sheets.")],
    count: Annotated[int, options.number("Samples to draw.", options.OUTPUT)] = 24,
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
        from omnial.synthesis.preview import preview

        found = discover(data, need="train")
        catalogue = check_files(found, settings.data, progress=partial(progress, "checking files"))
        batch, names = preview(settings, catalogue, count, settings.training.seed)
        sheets = write_contact_sheets(batch, names, out)
    result = {"samples": len(names), "sheets": [str(sheet) for sheet in sheets]}
    print_result(result, as_json, lambda shown: print(*shown["sheets"], sep="\n"))
    return exit_code(catalogue.bad_files)
