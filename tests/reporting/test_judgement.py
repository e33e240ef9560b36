"""The sentence on top of a report."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from omnial.evaluation.result import EvaluationResult
from omnial.reporting.judgement import judgement

Make = Callable[..., EvaluationResult]


def renamed(result: EvaluationResult, kinds: list[str]) -> EvaluationResult:
    """The first class with its defective images of these kinds, in their order."""
    first, names = result.classes[0], iter(kinds)
    images = tuple(
        dataclasses.replace(i, record=dataclasses.replace(i.record, kind=next(names)))
        if i.record.anomalous
        else i
        for i in first.images
    )
    return dataclasses.replace(
        result, classes=(dataclasses.replace(first, images=images), *result.classes[1:])
    )


def test_it_counts_and_says_where(make_result: Make) -> None:
    # Missed at 0.7: 0.35, 0.5 and 0.65 of each product's four defects.
    one = make_result(("cap",), threshold=0.7)
    assert judgement(one).startswith(
        "3 of 4 defects missed, all of them scratch on cap; no good parts alarmed."
    )
    most = renamed(one, ["bent", "bent", "scratch", "scratch"])
    assert "missed, most of them bent on cap;" in judgement(most)
    product = renamed(one, ["bent", "dent", "scratch", "scratch"])
    assert "missed, all of them on cap;" in judgement(product)
    assert judgement(make_result(threshold=0.7)).startswith("6 of 8 defects missed; no good")
    # Of three products with 3, 3 and 4 missed defects none has more than half.
    three = make_result(("cap", "label", "nut"), threshold=0.7)
    cap, *others = three.classes
    images = tuple(dataclasses.replace(i, score=min(i.score, 0.6)) for i in cap.images)
    three = dataclasses.replace(three, classes=(dataclasses.replace(cap, images=images), *others))
    assert "10 of 12 defects missed, most often on cap (4);" in judgement(three)
    single = renamed(make_result(("cap",), threshold=0.4), ["bent", "dent", "dent", "dent"])
    assert "1 of 4 defects missed, bent on cap;" in judgement(single)


def test_nothing_wrong_and_nothing_known(make_result: Make) -> None:
    apart = make_result(("cap",), good=1, threshold=0.3)
    assert judgement(apart) == "Every defect found; no good parts alarmed."
    assert judgement(make_result(threshold=float("nan"))) == ""
    assert judgement(make_result(defective=0, pixels=False, threshold=0.9)) == (
        "No good parts alarmed."
    )


@pytest.mark.parametrize(
    ("auroc", "covered", "advice"),
    [
        (0.95, 0.2, "omnial calibrate, with a higher false-alarm rate"),
        (0.6, 0.001, "--set data.height=96 --set data.width=96"),
        (0.6, 0.2, "Train longer"),
        (None, 0.2, "Train longer"),
    ],
)
def test_advice_follows_from_what_went_wrong(
    make_result: Make, auroc: float | None, covered: float, advice: str
) -> None:
    result = make_result(("cap",), threshold=0.7)
    own = result.classes[0]
    own = dataclasses.replace(own, figures={**own.figures, "image_auroc": auroc})
    mask = np.zeros(2000, bool)
    mask[: round(covered * mask.size)] = True
    gallery = tuple(dataclasses.replace(i, mask=mask.reshape(40, 50)) for i in result.gallery)
    result = dataclasses.replace(result, classes=(own,), gallery=gallery)
    assert advice in judgement(result)
    assert "Good parts that look new" not in judgement(result)


def test_many_alarms_are_spoken_of(make_result: Make) -> None:
    assert "set the thresholds again" in judgement(make_result(threshold=0.3))
