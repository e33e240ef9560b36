"""`omnial add` learns a product without a training, `omnial learn` from reviews of verdicts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from omnial.cli import options
from omnial.cli.output import exit_code, figure, print_next, print_result, print_table, say, working
from omnial.cli.verb import ExitCode, verb

_HISTORY = "History that `omnial serve --keep-files` wrote."


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

    False alarms join the normal images of their product. Missed defects are explained, and lower
    its threshold as far as the false-alarm rate allows. Other products stay as they are.
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
        missed = (str(len(row["missed"])), str(sum(one["found"] for one in row["missed"])))
        thresholds = (f"{row[key]:.4f}" for key in ("threshold_before", "threshold_after"))
        rows.append((name, str(row["false_alarms"]), alarms, *missed, *thresholds))
    print_table(("product", *headings), rows)
    misses = [(name, one) for name, row in products for one in row["missed"]]
    if misses:
        print("\nmissed defects, and what would have found them:")
        headings = ("score", "network", "normality", "threshold", "false alarms at it", "found now")
        cells = [
            [name, f"{one['number']} {one['name'] or ''}", f"{one['score']:.4f}"]
            + ["-" if one[key] is None else f"{one[key]:.1f}" for key in ("network", "normality")]
            + [f"{one['wanted']:.4f}", _share(one["false_alarms"]), "yes" if one["found"] else "no"]
            for name, one in misses
        ]
        print_table(("product", "picture", *headings), cells, texts=(0, 1))
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
        counts = (str(row["images"]), str(row["held_out"]))
        rows.append([name, *counts, f"{row['threshold']:.4f}", *cells(row["figures"])])
    if result["trained"] is not None:
        rows.append(["trained products", "", "", "", *cells(result["trained"])])
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
