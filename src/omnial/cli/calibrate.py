"""`omnial calibrate`, `drift`, `add` and `learn`: thresholds and products of a trained model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from omnial.cli import options
from omnial.cli.options import folder, number, option
from omnial.cli.output import exit_code, figure, print_next, print_result, print_table, say, working
from omnial.cli.verb import ExitCode, verb
from omnial.errors import UserError

_RATE = "Share of normal images that may be called anomalous. Default: as before."
_TILE = (
    "Inspect in overlapping tiles of N source pixels an edge, now and from now on; 0: whole "
    "images. Default: as before."
)
_OUT = "Write a copy of the folder; without it, the folder itself is changed."
_HISTORY = "History that `omnial serve --keep-files` wrote."


@verb(
    "omnial calibrate models/mvtec --data normals --false-alarm-rate 0.01",
    "omnial calibrate exports/mvtec --data normals/bottle --out exports/mvtec-2",
)
def calibrate(
    model_dir: options.AnyModelDir,
    data: options.Data,
    false_alarm_rate: Annotated[float | None, option("R", _RATE)] = None,
    class_name: options.ClassOfAll = None,
    tile: Annotated[int | None, number(_TILE, least=0)] = None,
    out: Annotated[Path | None, folder(_OUT)] = None,
    batch_size: options.BatchSize = 8,
    max_megapixels: options.MaxMegapixels = None,
    significant_bits: options.SignificantBits = None,
    device: options.Device = "auto",
    as_json: options.AsJson = False,
) -> ExitCode:
    """Set thresholds from normal images, of each class and of all together.

    Shows the interval in which the true false-alarm rate lies, and warns where images are few.
    """
    if false_alarm_rate is not None and not 0.0 < false_alarm_rate < 1.0:
        raise UserError(
            f"--false-alarm-rate {false_alarm_rate:g}: give a share above 0 and below 1"
        )
    if tile is not None and 0 < tile < options.SMALLEST_TILE:
        raise UserError(f"--tile {tile}: give {options.SMALLEST_TILE} or more, or 0")
    from omnial.model_folder.config_file import check_free

    if out is not None:
        check_free(out)  # before PyTorch is imported, which takes seconds
    with working() as progress:
        from omnial.calibration.calibrate_folder import calibrate_folder

        report = calibrate_folder(
            *(model_dir, data),
            false_alarm_rate=false_alarm_rate,
            class_name=class_name,
            tile="auto" if tile is None else tile or None,
            out=out,
            device=device,
            batch_size=batch_size,
            reading=options.reading(max_megapixels, significant_bits),
            progress=progress,
        )
    print_result(report.to_dict(), as_json, _show_thresholds)
    _say_trained(report.trained)
    code = exit_code(report.bad_files)
    if not as_json:
        print_next("predict", out or model_dir, "new_pictures")
    return code


@verb("omnial drift exports/mvtec --data last-week")
def drift(
    model_dir: options.AnyModelDir,
    data: options.Data,
    class_name: options.ClassOfAll = None,
    batch_size: options.BatchSize = 8,
    max_megapixels: options.MaxMegapixels = None,
    significant_bits: options.SignificantBits = None,
    device: options.Device = "auto",
    as_json: options.AsJson = False,
) -> ExitCode:
    """Compare recent normal images with those that the thresholds were set from.

    The exit code is 1 if the scores of a class have drifted, or if a file could not be read.
    """
    with working() as progress:
        from omnial.calibration.drift import check_drift

        report = check_drift(
            *(model_dir, data),
            class_name=class_name,
            device=device,
            batch_size=batch_size,
            reading=options.reading(max_megapixels, significant_bits),
            progress=progress,
        )
    print_result(report.to_dict(), as_json, _show_drift)
    _say_trained(report.trained)
    for name in report.not_compared:
        say(f"{name}: the folder keeps no scores to compare with")
    return exit_code(report.bad_files, failed=report.drifted)


def _say_trained(counts: Mapping[str, int]) -> None:
    for name, count in counts.items():
        if count:
            say(f"{name}: {count} images left out, the network was trained on them")


def _show_thresholds(result: Mapping[str, Any]) -> None:
    table = []
    for name, row in {**result["classes"], "all together": result["overall"]}.items():
        interval = row["interval"]
        span = "-" if interval is None else " to ".join(f"{100 * end:.1f}" for end in interval)
        threshold = f"{row['threshold']:.4f}" + ("" if row["own"] else " (of all products)")
        table.append((name, row["images"], f"{row['before']:.4f}", threshold, f"{span} %"))
    print_table(("class", "images", "before", "threshold", "true false-alarm rate"), table)
    rate, confidence = 100 * result["false_alarm_rate"], 100 * result["confidence"]
    print(
        f"\nchosen false-alarm rate {rate:g} %; the true one lies in the interval in "
        f"{confidence:g} of 100 calibrations"
    )
    print(f"written to {result['folder']}")
    for name, count in result["used"].items():
        say(f"{name}: {count} normal images")
    for warning in result["warnings"]:
        say(f"warning: {warning}")


def _show_drift(result: Mapping[str, Any]) -> None:
    headings = (
        *("class", "calibrated on", "images now", "alarms", "true alarm rate", "score shift"),
        *("KS distance", "p-value", "verdict"),
    )
    table = []
    for name, row in result["classes"].items():
        low, high = (f"{100 * end:.1f}" for end in row["interval"])
        reasons = {"scores differ": row["different"], "more alarms": row["more_alarms"]}
        verdict = ", ".join(reason for reason, found in reasons.items() if found) or "as before"
        counts = (row[key] for key in ("reference", "recent", "above"))
        tests = (f"{row['shift']:+.4f}", f"{row['statistic']:.3f}", f"{row['p_value']:.2g}")
        table.append((name, *counts, f"{low} to {high} %", *tests, verdict))
    print_table(headings, table, texts=(0, 8))
    print(f"\nchosen false-alarm rate {100 * result['false_alarm_rate']:g} %")
    if any(row["different"] or row["more_alarms"] for row in result["classes"].values()):
        print(
            "Look at these images: light, focus, material? If the parts are as they should be, "
            "calibrate with them,\nor train again with them: omnial calibrate MODEL --data RECENT"
        )


@verb("omnial add models/line --data parts/bracket --out models/line-2")
def add(
    model_dir: options.ModelDir,
    data: options.Data,
    out: Annotated[Path, options.folder("Folder for the new model.")],
    max_megapixels: options.MaxMegapixels = None,
    significant_bits: options.SignificantBits = None,
    skip_bad_files: options.SkipBadFiles = False,
    device: options.Device = "auto",
    as_json: options.AsJson = False,
) -> ExitCode:
    """Add a product to a model from good images alone, in about a minute, without a training.

    The network stays as it is, so that it finds less on the new product than on those that it was
    trained on. Nothing changes for these.
    """
    from omnial.model_folder.config_file import check_free

    check_free(out)  # before PyTorch is imported, which takes seconds
    with working():
        from omnial.calibration.add_product import add_product

        report = add_product(
            *(model_dir, data, out),
            skip_bad_files=skip_bad_files,
            device=device,
            reading=options.reading(max_megapixels, significant_bits),
        )
    print_result(report.to_dict(), as_json, _show_added)
    if not as_json:
        print_next("predict", out, "new_pictures")
    return exit_code(report.bad_files)


@verb("omnial learn models/line runs/serve/history.sqlite --out models/line-2")
def learn(
    model_dir: options.ModelDir,
    history: Annotated[Path, typer.Argument(metavar="HISTORY", help=_HISTORY)],
    out: Annotated[Path, options.folder("Folder for the new model.")],
    max_megapixels: options.MaxMegapixels = None,
    significant_bits: options.SignificantBits = None,
    device: options.Device = "auto",
    as_json: options.AsJson = False,
) -> ExitCode:
    """Learn from the verdicts that people reviewed on the page of `omnial serve`.

    What false alarms of a product share counts for nothing in its place. Missed defects are
    explained, and lower its threshold as far as the false-alarm rate allows. Other products stay.
    """
    from omnial.model_folder.config_file import check_free

    check_free(out)  # before PyTorch is imported, which takes seconds
    with working():
        from omnial.serving.learn_reviews import learn_reviews

        report = learn_reviews(
            *(model_dir, history, out),
            device=device,
            reading=options.reading(max_megapixels, significant_bits),
        )
    print_result(report.to_dict(), as_json, _show_learnt)
    if not as_json:
        print_next("serve", out)
    return exit_code(report.bad_files)


def _show_learnt(result: Mapping[str, Any]) -> None:
    products = result["products"].items()
    headings = ("false alarms learnt", "still alarms", "missed", "found now", "threshold", "now")
    rows = []
    for name, row in products:
        alarms = f"{row['alarms_after']} (before {row['alarms_before']})"
        missed = (len(row["missed"]), sum(one["found"] for one in row["missed"]))
        thresholds = (f"{row[key]:.4f}" for key in ("threshold_before", "threshold_after"))
        rows.append((name, row["false_alarms"], alarms, *missed, *thresholds))
    print_table(("product", *headings), rows)
    misses = [(name, one) for name, row in products for one in row["missed"]]
    if misses:
        print("\nmissed defects, and what would have found them:")
        witnesses = ["network", "normality"]
        if any(one["pretrained"] is not None for _, one in misses):
            witnesses.append("pretrained")
        explained = ("score", *witnesses, "threshold", "false alarms at it", "found now")
        cells = [
            [name, f"{one['number']} {one['name'] or ''}", f"{one['score']:.4f}"]
            + ["-" if one[key] is None else f"{one[key]:.1f}" for key in witnesses]
            + [f"{one['wanted']:.4f}", _share(one["false_alarms"]), "yes" if one["found"] else "no"]
            for name, one in misses
        ]
        print_table(("product", "picture", *explained), cells, texts=(0, 1))
    print(f"\nchosen false-alarm rate {100 * result['false_alarm_rate']:g} %")
    print(f"written to {result['folder']}")
    for name, row in products:
        if not row["own"]:
            say(f"{name}: too few normal scores to set its threshold anew")
    for reason, count in result["left_out"].items():
        say(f"{count} reviews {reason} left out")


def _share(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _show_added(result: Mapping[str, Any]) -> None:
    names = ("image_auroc", "pixel_ap", "recognised")

    def cells(figures: Mapping[str, float | None]) -> list[str]:
        return [figure(name, figures.get(name)) for name in names]

    rows = []
    for name, row in result["products"].items():
        counts = (row["images"], row["held_out"])
        rows.append((name, *counts, f"{row['threshold']:.4f}", *cells(row["figures"])))
    if result["trained"] is not None:
        rows.append(("trained products", "", "", "", *cells(result["trained"])))
    headings = [name.replace("_", " ") for name in names]
    print_table(("product", "images", "held out", "threshold", *headings), rows)
    print(
        "\nThe figures are those of drawn defects on good images. The network was not trained on "
        "the new\nproducts: expect it to find less on them. To train it on them, too:\n"
        "    omnial train --data ALL_PRODUCTS --init MODEL_DIR --out NEW_DIR"
    )
    print(f"written to {result['folder']}")
    for name, row in result["products"].items():
        if not row["own"]:
            say(
                f"warning: {name}: {row['held_out']} images held out are too few for a false-alarm "
                f"rate of {result['false_alarm_rate']:g}; the threshold is the largest of their "
                "scores, or that of all products together where it is larger"
            )
