"""`omnial predict`: scores, verdicts, heatmaps and outlines for images."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from omnial.cli import options
from omnial.cli.output import print_result, say, working
from omnial.cli.verb import ExitCode, verb
from omnial.data.records import BadFile
from omnial.errors import UserError, shown

if TYPE_CHECKING:
    from omnial.batch.archive import Engine

_ARCHIVES = "Archives"


@verb(
    "omnial predict models/mvtec photos --out results",
    "omnial predict models/mvtec one.png two.png --class bottle --out results",
    "omnial predict models/mvtec archive --out results --engine ray --workers 8 --no-pictures",
)
def predict(
    model_dir: options.AnyModelDir,
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH", help="Images, or folders of images.")
    ],
    out: Annotated[Path, options.folder("Folder for predictions, maps/ and overlays/.")],
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
    max_megapixels: options.MaxMegapixels = None,
    significant_bits: options.SignificantBits = None,
    device: options.Device = "auto",
    threads: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Threads of the engine, on Ray of each worker's. Scores are equal bit for bit "
            "where the numbers are. Default: all; on Ray 1.",
        ),
    ] = None,
    form: Annotated[
        Literal["jsonl", "parquet"] | None,
        typer.Option(
            "--format",
            rich_help_panel=options.OUTPUT_PANEL,
            help="predictions.jsonl, or Parquet files in predictions/, made part by part and gone "
            "on with after an interruption. Default: jsonl; parquet with ray, which makes nothing "
            "else.",
        ),
    ] = None,
    no_pictures: Annotated[
        bool,
        typer.Option(
            "--no-pictures", rich_help_panel=options.OUTPUT_PANEL, help="No maps, no overlays."
        ),
    ] = False,
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option(rich_help_panel=_ARCHIVES, help="This process, or workers on Ray."),
    ] = "local",
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            rich_help_panel=_ARCHIVES,
            help="Ray's workers. Default: as many as there are cores or GPUs for.",
        ),
    ] = None,
    ray_address: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            rich_help_panel=_ARCHIVES,
            help="A running Ray cluster. Default: RAY_ADDRESS, else this machine alone.",
        ),
    ] = None,
    part_images: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="N",
            rich_help_panel=_ARCHIVES,
            help="Images of a Parquet file, rounded up to whole batches.",
        ),
    ] = 1024,
    as_json: options.AsJson = False,
) -> ExitCode:
    """Inspect images of any size: a score and a verdict each, a heatmap and outlines.

    Goes on past files that cannot be read; the exit code is then 1.
    """
    if engine != "ray" and (workers is not None or ray_address is not None):
        raise UserError("--workers and --ray-address belong to --engine ray; add that")
    if engine == "ray" and form == "jsonl":
        raise UserError("--engine ray writes Parquet; leave --format jsonl away")
    read = options.reading(max_megapixels, significant_bits)
    options.check_out(out)
    if form == "parquet" or engine == "ray":
        with working() as progress:
            from omnial.inference.backends.base import needs_package

            with needs_package("pyarrow, which writes Parquet,", "omnial[parquet]"):
                from omnial.batch.archive import inspect_archive

            archive = inspect_archive(
                *(model_dir, paths, out),
                engine=_engine(engine, workers, ray_address),
                class_name=class_name,
                tile=tile,
                batch_size=batch_size,
                part_images=part_images,
                pictures=not no_pictures,
                reading=read,
                device=device,
                threads=threads,
                progress=progress,
            )
        for bad in archive.errors:
            say(f"not readable  {shown(bad.path)}: {bad.reason}")
        counts = (archive.n_images, archive.n_anomalous, archive.n_errors)
        cost = {"core_seconds": round(archive.core_seconds, 3)}
        return _finish(*counts, archive.errors, archive.predictions, as_json, cost)
    with working():
        from omnial.inference.inspector import Inspector, hold_process
        from omnial.inference.predictor import PREDICTIONS_FILE
        from omnial.inference.predictor import predict as inspect

        inspector = Inspector(
            model_dir, device=device, batch_size=batch_size, threads=threads, reading=read
        )
        hold_process(inspector, threads)
        summary = inspect(
            inspector,
            paths,
            out=out,
            class_name=class_name,
            tile=tile or "auto",
            pictures=not no_pictures,
            on_image=_show,
        )
    counts = (summary.n_images, summary.n_anomalous, len(summary.errors))
    return _finish(*counts, summary.errors, out / PREDICTIONS_FILE, as_json)


def _engine(name: str, workers: int | None, address: str | None) -> "Engine":
    if name == "ray":
        from omnial.batch.on_ray import OnRay
        from omnial.inference.backends.base import needs_package

        with needs_package("Ray, which --engine ray needs,", "omnial[ray]"):
            import ray  # noqa: F401

        return OnRay(workers, address)
    from omnial.batch.archive import in_this_process

    return in_this_process


def _finish(
    images: int,
    anomalous: int,
    unreadable: int,
    errors: Sequence[BadFile],
    predictions: Path,
    as_json: bool,
    more: Mapping[str, float] = MappingProxyType({}),
) -> ExitCode:
    result = {
        "images": images,
        "anomalous": anomalous,
        "unreadable": unreadable,
        "errors": [{"path": str(bad.path), "error": bad.reason} for bad in errors],
        "predictions": str(predictions),
        **more,
    }
    counts = f"{images} images, {anomalous} anomalous, {unreadable} not readable"
    print_result(result, as_json, lambda _: print(f"{counts}; see {predictions}"))
    return ExitCode.SOME_BAD if unreadable else ExitCode.DONE


def _show(row: Mapping[str, Any]) -> None:
    """Print the verdict on an image as soon as it is done."""
    if row["error"] is not None:
        say(f"not readable  {shown(row['path'])}: {row['error']}")
        return
    verdict = "ANOMALOUS" if row["anomalous"] else "good"
    product = row["class"] or "unknown product"
    limit = f"(limit {row['threshold']:.4f})"
    say(f"{verdict:<9}  {row['score']:.4f} {limit}  {product}  {shown(row['path'])}")
