"""The robustness report: figures, two pictures and one HTML page that opens offline."""

from pathlib import Path
from typing import Final

from PIL import Image

from omnial.data.own_pictures import mark_own
from omnial.errors import shown
from omnial.files import locked, replace_together, scratch_in, writing
from omnial.reporting import robustness_page as page
from omnial.reporting.render import render
from omnial.reporting.report_pictures import data_uri
from omnial.reporting.tables import duration
from omnial.robustness.assess import FIGURES_FILE, TABLE_FILE, write_figures
from omnial.robustness.assessment import Assessment
from omnial.robustness.published import CAVEATS

REPORT_FILE: Final = "index.html"
TARGETED_FILE, LEVELS_FILE = "targeted.png", "levels.png"


def write_robustness(assessment: Assessment, out: Path) -> Path:
    """Write robustness.json, robustness.csv, targeted.png, levels.png and index.html.

    Args:
        assessment: What was found.
        out: The folder, made if it is missing. The files are put in place together.

    Returns:
        The page.

    Raises:
        UserError: The folder cannot be written to, or is in use.
        RunError: A file cannot be written.
    """
    names = (FIGURES_FILE, TABLE_FILE, TARGETED_FILE, LEVELS_FILE, REPORT_FILE)
    with locked(out), writing("The report", out), scratch_in(out) as scratch:
        _write(assessment, scratch)
        mark_own(out, (TARGETED_FILE, LEVELS_FILE))
        replace_together(scratch, out, names)
    return out / REPORT_FILE


def _write(assessment: Assessment, out: Path) -> None:
    """Write all files into a folder that is there."""
    write_figures(assessment, out)
    targeted, levels = page.targeted_figure(assessment), page.levels_figure(assessment)
    for name, picture in ((TARGETED_FILE, targeted), (LEVELS_FILE, levels)):
        Image.fromarray(picture).save(out / name, "PNG")
    text = _render(assessment, data_uri(targeted), data_uri(levels))
    (out / REPORT_FILE).write_text(text, encoding="utf-8", newline="\n")


def _render(assessment: Assessment, targeted: str, levels: str) -> str:
    """The page as text."""
    facts = assessment.set_facts
    surrogate = facts["surrogate"]
    return render(
        "robustness.html",
        facts=[
            ("Set", shown(facts["folder"])),
            ("Attacked model", f"{surrogate['system']}, {surrogate['size']}"),
            ("Samples", f"{facts['samples']:,}, {facts['anomalous']:,} with a defect"),
            ("Attack", f"{facts['steps']} steps of {facts['alpha']:g} of the radius"),
            ("Seed", str(facts["seed"])),
            ("Time", duration(assessment.seconds)),
        ],
        legend=page.legend(assessment),
        failed=[shown(text) for text in assessment.failed()],
        checks=page.checks(assessment),
        transfer=page.transfer_tables(assessment),
        published=page.published_table(),
        caveats=CAVEATS,
        white_box=page.white_box_tables(assessment),
        scores=page.score_table(assessment),
        corruptions=page.corruption_tables(assessment),
        perception=page.perception_table(assessment),
        level_charts=page.level_charts(assessment),
        severity_charts=page.severity_charts(assessment),
        targeted=targeted,
        levels=levels,
        bad_files=[(shown(bad.path), shown(bad.reason)) for bad in assessment.bad_files],
    )
