"""The robustness report: figures, two pictures and one HTML page that opens offline."""

import csv
import json
from pathlib import Path
from typing import Final

from omnial.data.listing import mark_own
from omnial.errors import shown
from omnial.files import locked, replace_together, scratch_in, writing
from omnial.reporting import robustness_tables as tables
from omnial.reporting.charts import line_style
from omnial.reporting.render import data_uri, render
from omnial.reporting.robustness_charts import (
    level_chart,
    levels_figure,
    severity_chart,
    targeted_figure,
)
from omnial.reporting.tables import duration
from omnial.robustness.evaluate_models import RobustnessResult
from omnial.robustness.published import CAVEATS
from omnial.robustness.transfer import FIGURES

REPORT_FILE: Final = "index.html"
_FIGURES_FILE, _TABLE_FILE = "robustness.json", "robustness.csv"
_TARGETED_FILE, _LEVELS_FILE = "targeted.png", "levels.png"


def write_robustness(result: RobustnessResult, out: Path) -> Path:
    """Write robustness.json, robustness.csv, targeted.png, levels.png and index.html together.

    A folder that cannot be written to, or is in use, is a UserError. The result is the page.
    """
    names = (_FIGURES_FILE, _TABLE_FILE, _TARGETED_FILE, _LEVELS_FILE, REPORT_FILE)
    with locked(out), writing("The report", out), scratch_in(out) as scratch:
        content = json.dumps(result.to_dict(), indent=2, allow_nan=False, ensure_ascii=False)
        (scratch / _FIGURES_FILE).write_text(content + "\n", encoding="utf-8")
        _write_table(result, scratch / _TABLE_FILE)
        targeted_figure(result).save(scratch / _TARGETED_FILE, "PNG")
        levels_figure(result).save(scratch / _LEVELS_FILE, "PNG")
        pictures = [(scratch / name).read_bytes() for name in (_TARGETED_FILE, _LEVELS_FILE)]
        page = _page(result, *pictures)
        (scratch / REPORT_FILE).write_text(page, encoding="utf-8", newline="\n")
        mark_own(out, (_TARGETED_FILE, _LEVELS_FILE))
        replace_together(scratch, out, names)
    return out / REPORT_FILE


def _write_table(result: RobustnessResult, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("attack", "model", "level", "class", *FIGURES))
        attacks = result.attacks()
        for model in result.models:
            for corruption, severities in model.corruptions.items():
                figures = {severity: row.figures for severity, row in severities.items()}
                attacks.setdefault(corruption, {})[model.name] = figures
        for attack, models in attacks.items():
            for name, levels in models.items():
                for level, found in levels.items():
                    for class_name, row in [*found.classes.items(), ("mean", found.mean)]:
                        values = (row[figure] for figure in FIGURES)
                        table.writerow((attack, name, level, class_name, *values))


def _page(result: RobustnessResult, targeted: bytes, levels: bytes) -> str:
    facts, severities = result.set_facts, severity_chart(result)
    surrogate = facts["surrogate"]
    return render(
        "robustness.html",
        facts=[
            ("Set", shown(facts["folder"])),
            ("Attacked model", f"{surrogate['system']}, {surrogate['size']}"),
            ("Samples", f"{facts['samples']:,}, {facts['anomalous']:,} with a defect"),
            ("Attack", f"{facts['steps']} steps of {facts['alpha']:g} of the radius"),
            ("Seed", str(facts["seed"])),
            ("Time", duration(result.seconds)),
        ],
        legend=[(shown(m.name), line_style(index)) for index, m in enumerate(result.models)],
        failed=[shown(text) for text in result.failed()],
        checks=[(shown(attack), check) for attack, check in result.checks()],
        transfer=tables.transfer_tables(result),
        published=tables.published_table(),
        caveats=CAVEATS,
        white_box=tables.white_box_tables(result),
        verdicts=tables.verdict_table(result),
        corruptions=tables.corruption_tables(result.models),
        perception=tables.perception_table(result),
        level_chart=data_uri(level_chart(result)),
        severity_chart=None if severities is None else data_uri(severities),
        targeted=data_uri(targeted),
        levels=data_uri(levels),
        bad_files=[(shown(bad.path), shown(bad.reason)) for bad in result.bad_files],
    )
