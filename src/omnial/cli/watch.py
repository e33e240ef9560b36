"""`omnial watch`: pictures that arrive in a folder or from a camera, inspected as they come."""

import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from omnial.cli import options
from omnial.cli.options import flag, number, option
from omnial.cli.output import print_result, say, working
from omnial.cli.predict import print_products, products_of, show_verdict
from omnial.cli.verb import ExitCode, verb

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
        from omnial.watching.hooks import command_hook, http_hook
        from omnial.watching.video import without_password
        from omnial.watching.watcher import EVENT_NAMES, open_feed
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
    counts = "{images} images, {anomalous} anomalous, {unreadable} not readable".format_map(result)
    more = {
        "dropped": "frames dropped, as the camera was faster",
        "waiting": "files still wait",
        "undelivered": "verdicts were not delivered",
    }
    parts = [counts, *(f"{result[key]} {words}" for key, words in more.items() if result[key])]
    print(f"{'; '.join(parts)}; see {result['page'] or result['out']}")
