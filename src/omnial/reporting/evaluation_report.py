"""The evaluation report: one HTML file that opens offline, on a desk or a phone, and can be sent.

Everything is inside the file: style, charts, pictures (`data:` addresses) and a script for the
keys. Its content policy forbids the browser to run or load anything else; without the script,
links do what the keys do.
"""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np

from omnial.config.settings import AS_TRAINED, Reading
from omnial.distributed import collectives
from omnial.distributed.launch import connected, read_processes
from omnial.errors import shown
from omnial.evaluation.evaluate import device_of_process, evaluate_folder
from omnial.evaluation.result import (
    METRICS_FILE,
    TABLE_FILE,
    EvaluationResult,
    GalleryItem,
    SuspiciousImage,
    Verdicts,
    write_metrics,
)
from omnial.files import StrPath, as_path, as_paths, locked, replace_together, scratch_in, writing
from omnial.inference.overlay import heat_stops
from omnial.model_folder.validation_figures import ValidationFigures, in_words
from omnial.models.thresholds import is_anomalous
from omnial.progress import Progress, silent
from omnial.reporting import tables
from omnial.reporting.charts import CURVES, curve_chart, line_style, score_histogram
from omnial.reporting.judgement import dry_run, judgement, training_of
from omnial.reporting.render import data_uri, render, script
from omnial.reporting.report_pictures import jpeg, pictures

REPORT_FILE = "index.html"
MISTAKES: Final = ("missed", "false alarm")
"""Roles of the pictures that come first."""


def evaluate(
    model: StrPath,
    roots: StrPath | Iterable[StrPath],
    out: StrPath,
    *,
    batch_size: int = 16,
    gallery_per_class: int = 6,
    skip_bad_files: bool = False,
    device: str = "auto",
    reading: Reading = AS_TRAINED,
    progress: Progress = silent,
) -> EvaluationResult:
    """Evaluate a model on test images, and write metrics.json, metrics.csv and index.html.

    The three are put in place together: on a full disk, an earlier report stays as it was.

    Args:
        model: A model folder or an export folder; an export that does not reconstruct has
            neither PSNR and SSIM nor a gallery.
        roots: A data folder or several, see `omnial.data.layouts.discover`.
        out: Folder for the results.
        batch_size: Images that go through the network at once.
        gallery_per_class: Most pictures shown of each class.
        skip_bad_files: Leave unreadable files out, and list them, instead of stopping.
        device: A PyTorch device name, or `auto`. Where a launcher started several processes,
            which then share the images, it is `auto`, a GPU for each, or `cpu`.
        reading: How pictures are read, where that differs from the training.
        progress: Called with `checking files` and `evaluating`, the images done, and their number.

    Returns:
        The result; its `bad_files` names what was left out.

    Raises:
        UserError: The model folder or the data is bad, or `out` cannot be written to or is in use.
        RunError: The results cannot be written.
        TypeError: An argument is of another kind.

    Example:
        >>> import omnial
        >>> result = omnial.evaluate("model", "parts", "report")
        >>> print("image AUROC", result.mean["image_auroc"])  # doctest: +ELLIPSIS
        image AUROC ...
    """
    model, out = as_path(model, "model"), as_path(out, "out")
    roots = as_paths(roots, "roots")
    device = device_of_process(device, read_processes())
    gpu = device.startswith("cuda")
    with connected(gpu=gpu), collectives.first_holds(lambda: locked(out)):
        result = evaluate_folder(
            *(model, roots, batch_size, gallery_per_class, skip_bad_files),
            *(device, reading, progress),
        )

        def write() -> None:
            with writing("The report", out), scratch_in(out) as scratch:
                write_metrics(result, scratch)
                write_report(result, scratch)
                replace_together(scratch, out, (METRICS_FILE, TABLE_FILE, REPORT_FILE))

        collectives.first(write)
    return result


def write_report(result: EvaluationResult, folder: Path) -> Path:
    """Write `index.html` into a folder; the same result gives the same bytes."""
    page = folder / REPORT_FILE
    page.write_text(_page(result), encoding="utf-8", newline="\n")
    return page


def _page(result: EvaluationResult) -> str:
    shots = _shots(result)
    # Of each kind of curve, one line a class.
    curves = {key: [product.curves.get(key) for product in result.classes] for key in CURVES}
    stops = (f"rgb({c.red} {c.green} {c.blue}) {100 * at:.4g}%" for at, c in heat_stops())
    return render(
        "report.html",
        facts=_facts(result),
        total=result.verdicts,
        dry_run=dry_run(result),
        judgement=judgement(result),
        verdict_notes=_verdict_notes(result),
        share=tables.share,
        shots=shots,
        witnesses=any(shot["evidence"] for shot in shots),
        suspicious=[_suspicious(image) for image in result.suspicious],
        script=script("report.js"),
        products=[_product(result, index) for index in range(len(result.classes))],
        columns=tables.COLUMNS,
        mean=result.mean,
        mean_note=_mean_note(result),
        rebuilding=_rebuilding(result),
        charts={key: curve_chart(key, some) if any(some) else None for key, some in curves.items()},
        heat_stops=", ".join(stops),
        level=None if math.isnan(result.pixel_threshold) else result.pixel_threshold,
        details=(("Model", tables.flat(result.model)), ("Data", tables.flat(result.data))),
        bad_files=[(shown(bad.path), shown(bad.reason)) for bad in result.bad_files],
    )


def _facts(result: EvaluationResult) -> list[tuple[str, str]]:
    known = {**result.model, **training_of(result)}
    pairs = [
        (label, tables.text_of(known[key]))
        for key, label in (("system", "System"), ("size", "Size"), ("images", "Training images"))
        if isinstance(known.get(key), str | int | float)
    ]
    seconds = known.get("seconds")
    if isinstance(seconds, int | float):
        pairs.append(("Training time", tables.duration(seconds)))
    return [
        *pairs,
        ("Products", f"{len(result.classes):,}"),
        ("Test images", f"{sum(len(product.images) for product in result.classes):,}"),
        ("Evaluation time", tables.duration(result.seconds)),
    ]


def _verdict_notes(result: EvaluationResult) -> list[str]:
    """What the reader must know about the thresholds: the model's own notes, foreign products."""
    own, learned = result.model.get("notes"), result.model.get("classes")
    notes = [shown(str(note)) for note in own] if isinstance(own, list | tuple) else []
    if isinstance(learned, list | tuple):
        foreign = [shown(c.name) for c in result.classes if c.name not in learned]
        if foreign:
            notes.append(
                f"The model has not learned {', '.join(foreign)}, "
                "so the highest threshold of the products that it knows is used."
            )
    return notes


def _mean_note(result: EvaluationResult) -> str:
    """Which means are over fewer classes than there are, in words; empty where none is."""
    fewer: dict[int, list[str]] = {}
    for column in tables.COLUMNS:
        count = result.mean_over.get(column.key, 0)
        if 0 < count < len(result.classes):
            fewer.setdefault(count, []).append(column.long_label)
    return "; ".join(
        f"{', '.join(labels)} over {count} of {len(result.classes)} products"
        for count, labels in sorted(fewer.items())
    )


def _rebuilding(result: EvaluationResult) -> list[tuple[str, str]]:
    """What the model's validation images say of the reconstruction of each product, if known."""
    found = ValidationFigures.of_training(training_of(result))
    if found is None:
        return []
    said = ((c.name, in_words(found.classes.get(c.name, {}))) for c in result.classes)
    return [(shown(name), words) for name, words in said if words is not None]


def _product(result: EvaluationResult, index: int) -> dict[str, Any]:
    product, anchor = result.classes[index], f"product-{index}"
    thresholds = sorted({i.threshold for i in product.images if not math.isnan(i.threshold)})
    good, defective = (
        [i.score for i in product.images if i.record.anomalous == kind and math.isfinite(i.score)]
        for kind in (False, True)
    )
    return {
        "anchor": anchor,
        "name": shown(product.name),
        "line": line_style(index),
        "verdicts": Verdicts.of(product.images),
        "threshold": ", ".join(map(tables.score, thresholds)) or tables.NOTHING,
        "figures": product.figures,
        "kind_columns": tables.present_columns(product.kinds.values()),
        "kinds": [
            {
                "name": shown(kind),
                "verdicts": Verdicts.of(i for i in product.images if i.record.kind == kind),
                "figures": figures,
            }
            for kind, figures in product.kinds.items()
        ],
        "histogram": score_histogram(good, defective, thresholds, shown(product.name)),
    }


def _shots(result: EvaluationResult) -> list[dict[str, Any]]:
    """All pictures in the page's order: wrong verdicts first, the worst of them at the top."""
    names = [product.name for product in result.classes]
    wrong = [item for item in result.gallery if item.role in MISTAKES]
    wrong.sort(key=lambda i: (MISTAKES.index(i.role), -abs(i.score - i.threshold)))
    items = wrong + [item for item in result.gallery if item.role not in MISTAKES]
    anchors = [f"picture-{number}" for number in range(len(items))]
    shots = []
    for item, anchor, before, after in zip(
        items, anchors, [None, *anchors], [*anchors[1:], None], strict=False
    ):
        home = "mistakes"
        if item.role not in MISTAKES:
            home = f"product-{names.index(item.record.class_name)}"
        links = {"close": home, "prev": before, "next": after}
        shot = _shot(item, result.pixel_threshold)
        shots.append({**shot, "anchor": anchor, "home": home, "links": links})
    return shots


def _suspicious(image: SuspiciousImage) -> dict[str, Any]:
    uri = None
    if image.image is not None:
        uri = data_uri(jpeg(image.image, thin_lines=False), "image/jpeg")
    names = {"product": shown(image.class_name), "file": shown(image.file)}
    return names | {"score": tables.score(image.score), "uri": uri}


def _shot(item: GalleryItem, level: float) -> dict[str, Any]:
    path, score = item.record.path, tables.score(item.score)
    badge, sentence = "no verdict", f"score {score}, no threshold"
    if not math.isnan(item.threshold):
        called = is_anomalous(item.score, item.threshold)
        right, wrong = ("found", "false alarm") if called else ("passed", "missed")
        badge = right if item.record.anomalous == called else wrong
        sentence = (
            f"score {score} is {'above' if called else 'not above'} the threshold "
            f"{tables.score(item.threshold)}: called {'defective' if called else 'good'}"
        )
    return {
        "role": item.role,
        "product": shown(item.record.class_name),
        "file": shown(f"{item.record.kind}/{path.name}"),
        "path": shown(path),
        "badge": badge,
        "sentence": sentence,
        "evidence": _evidence(item),
        "pictures": pictures(item, level),
    }


def _evidence(item: GalleryItem) -> str:
    """Which of the witnesses spoke; empty where there are none."""
    if item.witnesses is None:
        return ""
    at = np.unravel_index(np.argmax(item.score_map), item.score_map.shape)
    parts = {name: float(evidence[at]) for name, evidence in item.witnesses.named().items()}
    ordered = sorted(parts, key=lambda name: -parts[name])
    said = ", ".join(f"{name} {parts[name]:.1f}" for name in ordered)
    return f"{said} at the brightest place"
