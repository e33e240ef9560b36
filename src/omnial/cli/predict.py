"""`omnial predict` and `omnial watch`: pictures that are there, and those that arrive."""

import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from omnial.cli import options
from omnial.cli.options import flag, number, option
from omnial.cli.output import print_next, print_result, print_table, say, working
from omnial.cli.verb import ExitCode, verb
from omnial.errors import UserError, shown, told_apart, without_password
from omnial.progress import silent

if TYPE_CHECKING:
    from omnial.batch.archive import Engine
    from omnial.inference.predictor import PredictSummary

_ARCHIVES = "Archives"
_UNKNOWN = "unknown product"
_THREADS = (
    "Threads of the engine, on Ray of each worker's. With another number, scores differ in the "
    "last digit. Default: all; on Ray 1."
)
_FORMAT = (
    "predictions.jsonl, or Parquet files in predictions/, made part by part and gone on with after "
    "an interruption. Default: jsonl; parquet with ray, which makes nothing else."
)
_WORKERS = "Ray's workers. Default: as many as there are cores or GPUs for."
_RAY = "A running Ray cluster. Default: RAY_ADDRESS, else this machine alone."
_PART = "Images of a Parquet file, rounded up to whole batches."
_HOOKS = "Answers"
_SOURCE = (
    "A folder that pictures arrive in, a video file, a camera (/dev/video0, or its number), or an "
    "address (rtsp://...)."
)
_EVERY = "Seconds between two frames of a video. Default: every frame, of a camera the newest."
_EXISTING = "Inspect the files that are in the folder already too."
_RUN = (
    "Run this command for each verdict, without a shell: {path}, {class}, {verdict}, {score}, "
    "{overlay} and others are filled in; all of it is JSON on its standard input."
)
_HOOK = "Post each verdict as JSON to this HTTP address."
_PICTURES = "Keep maps, masks, overlays and frames of all images, of anomalous ones, or of none."


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
    out: Annotated[Path, options.folder("Folder for the results.")] = Path("runs/predictions"),
    class_name: options.ClassName = None,
    batch_size: options.BatchSize = 8,
    tile: options.Tile = None,
    max_megapixels: options.MaxMegapixels = None,
    significant_bits: options.SignificantBits = None,
    device: options.Device = "auto",
    threads: Annotated[int | None, number(_THREADS)] = None,
    form: Annotated[
        Literal["jsonl", "parquet"] | None, option(None, _FORMAT, options.OUTPUT, name="--format")
    ] = None,
    no_pictures: Annotated[
        bool, flag("--no-pictures", "No maps, masks, overlays and page.", options.OUTPUT)
    ] = False,
    coco: Annotated[
        bool, flag("--coco", "Write the outlines as COCO JSON too.", options.OUTPUT)
    ] = False,
    engine: Annotated[
        Literal["local", "ray"], option(None, "This process, or workers on Ray.", _ARCHIVES)
    ] = "local",
    workers: Annotated[int | None, number(_WORKERS, _ARCHIVES)] = None,
    ray_address: Annotated[str | None, option("HOST:PORT", _RAY, _ARCHIVES)] = None,
    part_images: Annotated[int, number(_PART, _ARCHIVES)] = 1024,
    as_json: options.AsJson = False,
) -> ExitCode:
    """Inspect images of any size: a score and a verdict each, a heatmap and outlines.

    Goes on past files that cannot be read; the exit code is then 1.
    """
    if engine != "ray" and (workers is not None or ray_address is not None):
        raise UserError("--workers and --ray-address belong to --engine ray; add that")
    if engine == "ray" and form == "jsonl":
        raise UserError("--engine ray writes Parquet; leave --format jsonl away")
    if coco and (engine == "ray" or form == "parquet"):
        raise UserError("--coco belongs to --format jsonl; an archive has its outlines in Parquet")
    from omnial.inference.inputs import check_inputs

    check_inputs(paths)
    read = options.reading(max_megapixels, significant_bits)
    if form == "parquet" or engine == "ray":
        with working() as progress:
            from omnial.inference.engines import needs_package

            with needs_package("pyarrow, which writes Parquet,", ".[parquet]"):
                from omnial.batch.archive import PREDICTIONS, inspect_archive

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
        cost = {"core_seconds": round(archive.core_seconds, 3)}
        return _finish(model_dir, archive, archive.n_errors, out / PREDICTIONS, as_json, cost)
    with working() as progress:
        from omnial.inference.inspector import Inspector, hold_process
        from omnial.inference.predictor import PREDICTIONS_FILE
        from omnial.reporting.prediction_report import PAGE_FILE, refuse_others
        from omnial.reporting.prediction_report import predict as inspect

        refuse_others(out)
        inspector = Inspector(
            model_dir, device=device, batch_size=batch_size, threads=threads, reading=read
        )
        hold_process(inspector, threads)
        bar = sys.stderr.isatty()
        summary = inspect(
            *(inspector, paths),
            out=out,
            class_name=class_name,
            tile=tile or "auto",
            pictures=not no_pictures,
            coco=coco,
            on_image=_show_unreadable if bar else show_verdict,
            progress=progress if bar else silent,
        )
    more = {"products": products_of(summary), "page": None if no_pictures else out / PAGE_FILE}
    return _finish(model_dir, summary, len(summary.errors), out / PREDICTIONS_FILE, as_json, more)


def _engine(name: str, workers: int | None, address: str | None) -> "Engine":
    from omnial.batch.archive import in_this_process
    from omnial.batch.on_ray import OnRay
    from omnial.inference.engines import needs_package

    if name == "local":
        return in_this_process
    with needs_package("Ray, which --engine ray needs,", ".[ray]"):
        import ray  # noqa: F401
    return OnRay(workers, address)


def _finish(
    model_dir: Path,
    summary: "PredictSummary",
    unreadable: int,
    predictions: Path,
    as_json: bool,
    more: Mapping[str, object],
) -> ExitCode:
    result = {
        "images": summary.n_images,
        "anomalous": summary.n_anomalous,
        "unreadable": unreadable,
        "errors": [{"path": bad.path, "error": bad.reason} for bad in summary.errors],
        "predictions": predictions,
        **more,
    }
    print_result(result, as_json, _print_counts)
    if not as_json:
        from omnial.model_folder.export_folder import is_export

        exporting = ("export", model_dir, "--format", "openvino")
        print_next(*(("serve", model_dir) if is_export(model_dir) else exporting))
    return ExitCode.SOME_BAD if unreadable else ExitCode.DONE


def _print_counts(result: Mapping[str, Any]) -> None:
    if "products" in result:
        print_products(result["products"])
    print(f"{_counts(result)}; see {result.get('page') or result['predictions']}")


def _counts(result: Mapping[str, Any]) -> str:
    images = "1 image" if result["images"] == 1 else f"{result['images']} images"
    return f"{images}, {result['anomalous']} anomalous, {result['unreadable']} not readable"


def products_of(summary: "PredictSummary") -> list[dict[str, object]]:
    """Counts of each product as JSON values."""
    return [
        {"class": name, "images": images, "anomalous": anomalous}
        for name, images, anomalous in summary.by_product()
    ]


def print_products(products: Sequence[Mapping[str, Any]]) -> None:
    """Print a row for each product, if there is any."""
    rows = [(one["class"] or _UNKNOWN, one["images"], one["anomalous"]) for one in products]
    if rows:
        print_table(("product", "images", "anomalous"), rows)
        print()


def show_verdict(row: Mapping[str, Any]) -> None:
    """Print the verdict on an image as soon as it is done."""
    if row["error"] is not None:
        _show_unreadable(row)
        return
    verdict = "ANOMALOUS" if row["anomalous"] else "good"
    scores = "{} (threshold {})".format(*told_apart(row["score"], row["threshold"]))
    say(f"{verdict:<9}  {scores}  {row['class'] or _UNKNOWN}  {shown(row['path'])}")


def _show_unreadable(row: Mapping[str, Any]) -> None:
    if row["error"] is not None:
        say(f"not readable  {shown(row['path'])}: {row['error']}")


@verb(
    "omnial watch incoming --model line --out results",
    "omnial watch rtsp://camera/stream --model line --out results --every 2 --pictures anomalous",
    "omnial watch incoming --model line --run 'mosquitto_pub -t line/1 -m {verdict}'",
)
def watch(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help=_SOURCE)],
    model: Annotated[Path, option("MODEL_DIR", options.ANY_MODEL)],
    out: Annotated[Path, options.folder("Folder for the results, which it adds to.")] = Path(
        "runs/watch"
    ),
    class_name: options.ClassName = None,
    existing: Annotated[bool, flag("--existing", _EXISTING)] = False,
    every: Annotated[float, option("S", _EVERY, least=0)] = 0.0,
    stop_after: Annotated[int | None, number("End after N images.")] = None,
    run: Annotated[str | None, option("COMMAND", _RUN, _HOOKS)] = None,
    hook: Annotated[str | None, option("URL", _HOOK, _HOOKS)] = None,
    batch_size: options.BatchSize = 8,
    tile: options.Tile = None,
    max_megapixels: options.MaxMegapixels = None,
    significant_bits: options.SignificantBits = None,
    device: options.Device = "auto",
    threads: Annotated[int | None, number("Threads of the engine. Default: all.")] = None,
    pictures: Annotated[
        Literal["all", "anomalous", "none"], option(None, _PICTURES, options.OUTPUT)
    ] = "all",
    as_json: options.AsJson = False,
) -> ExitCode:
    """Inspect what arrives, write it down as predict does, and tell other programs.

    Ctrl+C, or SIGTERM, ends it after the pictures that it has begun.
    """
    read = options.reading(max_megapixels, significant_bits)
    with working():
        from omnial.signals import noting_signals
        from omnial.watching.feeds import open_feed
        from omnial.watching.hooks import command_hook, http_hook
        from omnial.watching.watcher import EVENT_NAMES
        from omnial.watching.watcher import watch as inspect

        hooks = [] if run is None else [command_hook(run, EVENT_NAMES)]
        hooks += [] if hook is None else [http_hook(hook)]
        # Before the model is loaded: what comes in the meantime has arrived.
        feed = open_feed(source, existing=existing, every=every)

        from omnial.inference.inspector import Inspector, hold_process
        from omnial.reporting.prediction_report import PAGE_FILE

        with noting_signals() as signals:
            inspector = Inspector(
                model, device=device, batch_size=batch_size, threads=threads, reading=read
            )
            hold_process(inspector, threads)
            say(f"watching {without_password(source)}; Ctrl+C ends it")
            summary = inspect(
                *(inspector, feed, out),
                class_name=class_name,
                tile=tile or "auto",
                kept=pictures,
                hooks=hooks,
                stop_after=stop_after,
                stopped=lambda: signals,
                on_image=show_verdict,
            )
    result = {
        "images": summary.n_images,
        "anomalous": summary.n_anomalous,
        "unreadable": len(summary.errors),
        "dropped": summary.dropped,
        "waiting": summary.waiting,
        "undelivered": summary.undelivered,
        "products": products_of(summary),
        "page": None if pictures == "none" else out / PAGE_FILE,
        "out": out,
    }
    print_result(result, as_json, _print_summary)
    if signal.SIGINT in signals:
        return ExitCode.INTERRUPTED
    return ExitCode.SOME_BAD if summary.errors or summary.undelivered else ExitCode.DONE


def _print_summary(result: Mapping[str, Any]) -> None:
    print_products(result["products"])
    counts = _counts(result)
    more = {
        "dropped": "frames dropped, as the camera was faster",
        "waiting": "files still wait",
        "undelivered": "verdicts were not delivered",
    }
    parts = [counts, *(f"{result[key]} {words}" for key, words in more.items() if result[key])]
    print(f"{'; '.join(parts)}; see {result['page'] or result['out']}")
