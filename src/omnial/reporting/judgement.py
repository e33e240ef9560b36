"""What an evaluation says in one or two sentences, and what to do about it."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from omnial.errors import shown
from omnial.evaluation.result import EvaluationResult

DRY_RUN_IMAGES = 2_000
"""Images of a training, counting repeats, below which its figures mean nothing. [O]"""
_SMALL = 0.003  # share of an image that a small defect covers, at most
_TELLS_APART = 0.9  # image AUROC from which a threshold is at fault rather than the scores
_MANY_ALARMS = 0.1  # of the good images


def training_of(result: EvaluationResult) -> Mapping[str, Any]:
    """Facts about the training of the model; empty where there are none."""
    training = result.model.get("training")
    return training if isinstance(training, Mapping) else {}


def dry_run(result: EvaluationResult) -> str:
    """A warning where the model had hardly any training; empty otherwise."""
    images = training_of(result).get("images")
    if not isinstance(images, int) or images >= DRY_RUN_IMAGES:
        return ""
    return (
        f"This is a dry run: the model was trained on {images:,} images, counting repeats. "
        "It shows the way, and its figures mean nothing."
    )


def judgement(result: EvaluationResult) -> str:
    """How many defects were missed, where most of them are, and advice; empty without verdicts."""
    counts, said = result.verdicts, []
    if counts.defective:
        missed = f"{counts.missed} of {counts.defective} defects missed"
        said.append(missed + _where(result) if counts.missed else "Every defect found")
    if counts.good:
        some = f"{counts.false_alarms} of {counts.good}" if counts.false_alarms else "no"
        said.append(f"{some} good parts alarmed")
    if not said:
        return ""
    text = "; ".join(said)
    return f"{text[0].upper()}{text[1:]}. {_advice(result)}".strip()


def _where(result: EvaluationResult) -> str:
    """The kind and product, or the product, of more than half of the missed defects, or of most."""
    records = [i.record for c in result.classes for i in c.images if i.mistake == "missed"]
    places = Counter((shown(r.kind), shown(r.class_name)) for r in records)
    names = Counter(shown(r.class_name) for r in records)
    (kind, on), most = places.most_common(1)[0]
    (name, of_name), *others = names.most_common(2)
    if 2 * most > len(records):
        place = f"{kind} on {on}"
    elif 2 * of_name > len(records):
        place, most = f"on {name}", of_name
    else:
        ahead = others and of_name > others[0][1]
        return f", most often on {name} ({of_name})" if ahead else ""
    share = "all of them " if most == len(records) else "most of them "
    return f", {share if len(records) > 1 else ''}{place}"


def _advice(result: EvaluationResult) -> str:
    """What to try, from what went wrong."""
    counts, advice = result.verdicts, []
    if counts.missed:
        shown_misses = [item for item in result.gallery if item.role == "missed"]
        covered = [float(item.mask.mean()) for item in shown_misses if item.mask is not None]
        missing = [c for c in result.classes if any(i.mistake == "missed" for i in c.images)]
        known = [c.figures.get("image_auroc") for c in missing]
        rankings = [value for value in known if value is not None]
        if rankings and min(rankings) >= _TELLS_APART:
            advice.append(
                "The scores tell good from defective: a lower threshold finds more "
                "(omnial calibrate, with a higher false-alarm rate)."
            )
        elif covered and float(np.median(covered)) <= _SMALL:
            size = [f"--set data.{edge}={_twice(result, edge)}" for edge in ("height", "width")]
            advice.append(
                "The missed defects are small: train on a larger input "
                f"({' '.join(size)}), with more minutes."
            )
        else:
            advice.append("Train longer (--minutes), or a larger model (--size).")
    if counts.good and counts.false_alarms > _MANY_ALARMS * counts.good:
        advice.append(
            "Good parts that look new alarm: train on more of them, or set the thresholds again "
            "with new ones (omnial calibrate)."
        )
    return " ".join(advice)


def _twice(result: EvaluationResult, edge: str) -> int:
    """Twice the height or width of the network's input."""
    pixels = result.data.get(edge)
    return 2 * pixels if isinstance(pixels, int) else 512
