"""The evaluation report: one HTML file that opens offline, on a desk or a phone, and can be sent.

Everything is inside the file: style, charts (SVG) and pictures (`data:` addresses). It runs no
script, and its content policy forbids the browser to load anything else.
"""

import math
from pathlib import Path

from omnial.errors import UserError, shown
from omnial.evaluation.result import EvaluationResult
from omnial.files import replacing, writing
from omnial.inference.overlay import heat_stops
from omnial.reporting import page, tables
from omnial.reporting.html import render
from omnial.reporting.pictures import PICTURES

REPORT_FILE = "index.html"


def write_report(result: EvaluationResult, out_dir: Path) -> Path:
    """Write `index.html` for people who inspect parts.

    The same result gives the same bytes. An earlier report is replaced in one step, so that a
    reader never meets half a page.

    Args:
        result: What the evaluation found.
        out_dir: The folder, made if it is missing.

    Returns:
        The file.

    Raises:
        UserError: `out_dir` is a file.
        RunError: The page cannot be written.
    """
    if out_dir.exists() and not out_dir.is_dir():
        raise UserError(f"{out_dir} is a file, and the report needs a folder: give another --out")
    text = _render(result)
    target = out_dir / REPORT_FILE
    with writing("The report", out_dir):
        out_dir.mkdir(parents=True, exist_ok=True)
        with replacing(target) as part:
            part.write_text(text, encoding="utf-8", newline="\n")
    return target


def _render(result: EvaluationResult) -> str:
    """The page as text."""
    every = [image for product in result.classes for image in product.images]
    return render(
        "report.html",
        facts=page.facts(result),
        total=tables.verdicts(every),
        verdict_notes=page.verdict_notes(result),
        share=tables.share,
        products=page.products(result),
        column_groups=page.column_groups(),
        mean=tables.cells(result.mean),
        mean_note=page.mean_note(result),
        rebuilding=page.rebuilding(result),
        charts=page.charts(result),
        picture_kinds=PICTURES,
        heat_stops=", ".join(
            f"rgb({colour.red} {colour.green} {colour.blue}) {100 * score:.4g}%"
            for score, colour in heat_stops()
        ),
        level=None if math.isnan(result.pixel_threshold) else result.pixel_threshold,
        details=(("Model", tables.flat(result.model)), ("Data", tables.flat(result.data))),
        bad_files=[(shown(bad.path), shown(bad.reason)) for bad in result.bad_files],
    )
