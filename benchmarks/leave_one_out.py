"""What `omnial add` costs: each product added to a model of the others, beside a model of all.

One model is trained on all products, and one on all but each product, at an equal budget; the
product that was left out is then added, and both are evaluated on its test images.

    python benchmarks/leave_one_out.py --data DIR --out DIR --size lite --images 20000

A training that is done already is not repeated, so that a run can be stopped and started again.
"""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from omnial.calibration.add_product import add_product
from omnial.config.load import load_settings
from omnial.config.settings import Settings
from omnial.data.layouts import discover
from omnial.evaluation.result import FIGURES
from omnial.metrics.ranking import Figures
from omnial.model_folder.config_file import CONFIG_FILE
from omnial.reporting.evaluation_report import evaluate
from omnial.training.fit import train


def main(
    data: Annotated[Path, typer.Option(help="A data set of at least two products.")],
    out: Annotated[Path, typer.Option(help="Folder for models and reports.")],
    size: str = "lite",
    images: int = 20_000,
    product: Annotated[list[str] | None, typer.Option(help="Only this one. Repeatable.")] = None,
) -> None:
    """Train, add and evaluate, and print a row for each product, trained and added."""
    settings = load_settings(size=size, overrides=[f"training.images={images}"])
    roots = {found.name: found.root for found in discover([data], need="test").classes}
    everything = _trained(settings, list(roots.values()), out / "all")
    rows: list[tuple[str, str, Figures]] = []
    for name in product or list(roots):
        others = [root for other, root in roots.items() if other != name]
        added = out / f"with-{name}-added"
        if not (added / CONFIG_FILE).exists():
            add_product(_trained(settings, others, out / f"without-{name}"), [roots[name]], added)
        for kind, model in (("trained", everything), ("added", added)):
            result = evaluate(model, roots[name], out / "reports" / f"{name}-{kind}")
            rows.append((name, kind, result.classes[0].figures))
    table = Table("product", "", *(name.replace("_", " ") for name in FIGURES))
    for name, kind, figures in rows:
        values = [figures.get(figure) for figure in FIGURES]
        table.add_row(name, kind, *("-" if value is None else f"{value:.3f}" for value in values))
    Console(width=140).print(table)


def _trained(settings: Settings, roots: list[Path], folder: Path) -> Path:
    """The model folder, trained now unless it was before."""
    if not (folder / CONFIG_FILE).exists():
        train(settings, roots, folder, resume=True)
    return folder


if __name__ == "__main__":
    typer.run(main)
