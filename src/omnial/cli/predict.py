"""`omnial predict`: scores, verdicts, heatmaps and outlines for images."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from omnial.cli import options
from omnial.cli.outcome import ExitCode, guarded
from omnial.cli.output import print_json, say, working
from omnial.errors import shown

_EPILOG = (
    "Examples:\n\n"
    "omnial predict models/mvtec photos --out results\n\n"
    "omnial predict models/mvtec one.png two.png --class bottle --out results"
)


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(epilog=_EPILOG)(predict)


@guarded
def predict(
    model_dir: options.AnyModelDir,
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH", help="Images, or folders of images.")
    ],
    out: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            rich_help_panel=options.OUTPUT_PANEL,
            help="Folder for predictions.jsonl, maps/ and overlays/.",
        ),
    ],
    class_name: Annotated[
        str | None,
        typer.Option(
            "--class",
            metavar="NAME",
            help="Product on the images. Without it, the model recognises the product.",
        ),
    ] = None,
    batch_size: options.BatchSize = 8,
    tile: options.Tile = None,
    device: options.Device = "auto",
    as_json: options.AsJson = False,
) -> ExitCode:
    """Inspect images of any size: a score and a verdict each, a heatmap and outlines.

    Goes on past files that cannot be read; the exit code is then 1.
    """
    options.check_out(out)
    with working():
        from omnial.inference.inspector import Inspector
        from omnial.inference.predictor import PREDICTIONS_FILE
        from omnial.inference.predictor import predict as inspect

        summary = inspect(
            Inspector(model_dir, device=device, batch_size=batch_size),
            paths,
            out=out,
            class_name=class_name,
            tile=tile or "auto",
            on_image=_show,
        )
    predictions = out / PREDICTIONS_FILE
    if as_json:
        errors = [{"path": str(bad.path), "error": bad.reason} for bad in summary.errors]
        print_json(
            {
                "images": summary.n_images,
                "anomalous": summary.n_anomalous,
                "errors": errors,
                "predictions": str(predictions),
            }
        )
    else:
        print(
            f"{summary.n_images} images, {summary.n_anomalous} anomalous, "
            f"{len(summary.errors)} not readable; see {predictions}"
        )
    return ExitCode.SOME_BAD if summary.errors else ExitCode.DONE


def _show(row: Mapping[str, Any]) -> None:
    """Tell the user about one image as soon as it is done."""
    if row["error"] is not None:
        say(f"not readable  {shown(row['path'])}: {row['error']}")
        return
    verdict = "ANOMALOUS" if row["anomalous"] else "good"
    product = row["class"] or "unknown product"
    limit = f"(limit {row['threshold']:.4f})"
    say(f"{verdict:<9}  {row['score']:.4f} {limit}  {product}  {shown(row['path'])}")
