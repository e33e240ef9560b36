"""`normality.onnx` gives what NumPy gives, for each product and kind of normality."""

import dataclasses
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from omnial.export.normality_graph import write_normality
from omnial.models.normality import (
    PRETRAINED_FEATURES,
    Normal,
    Normality,
    embedding_shape,
    with_normality,
)
from omnial.models.prediction import Prediction
from omnial.models.trained_model import TrainedModel


@pytest.mark.parametrize("kind", ["own", "own+pretrained"])
def test_the_graph_gives_what_numpy_gives(model: TrainedModel, kind: str, tmp_path: Path) -> None:
    changed = model.settings.model.model_copy(update={"normality": kind})
    settings = model.settings.model_copy(update={"model": changed})
    shape, size = embedding_shape(settings), (settings.data.height, settings.data.width)
    random, fitted = np.random.default_rng(0), dict[str, Normality]()
    for number, name in enumerate(model.classes):
        # As few images as components that one product lacks and the other has.
        train = random.normal(number, 1.0, (2 + 9 * number, *shape)).astype(np.float32)
        maps = random.uniform(0.01, 0.4, (3, *size)).astype(np.float32)
        others = random.normal(number, 1.2, (3, *shape)).astype(np.float32)
        held_out = map(Normal, others, maps, np.ones((3, *size), bool))
        of_others = PRETRAINED_FEATURES if kind == "own+pretrained" else 0
        one = Normality.fit(train, held_out, of_others)
        weights = random.uniform(0.5, 2.0, one.weights.shape).astype(np.float32)
        weights *= 3 / weights.sum()
        accepted = random.uniform(0.0, 4.0, (5 + number, 9 - number)).astype(np.float32)
        fitted[name] = dataclasses.replace(one, weights=weights, accepted=accepted)
    other = dataclasses.replace(model, settings=settings, normality=fitted)
    write_normality(other, tmp_path / "normality.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "normality.onnx")

    maps = random.uniform(0.0, 1.0, (2, *size)).astype(np.float32)
    embedding = random.normal(0.5, 2.0, (2, *shape)).astype(np.float32)
    valid = np.ones((2, *size), bool)
    valid[1, :, :30] = False
    for number, name in enumerate(model.classes):
        given = {"network_map": maps, "embedding": embedding, "valid": valid}
        found, scores = session.run(None, {**given, "product": np.array(number)})
        prediction = Prediction(maps, np.zeros(2), embedding=embedding)
        expected = with_normality(prediction, fitted, [name] * 2, valid, changed.image_score)
        np.testing.assert_allclose(found, expected.score_maps, atol=1e-5)
        np.testing.assert_allclose(scores, expected.scores, atol=1e-5)
        assert np.ptp(found) > 0.3
        none = {name: values[:0] for name, values in given.items()}
        found, scores = session.run(None, {**none, "product": np.array(number)})
        assert (found.shape, scores.shape) == ((0, *size), (0,))
