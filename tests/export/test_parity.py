"""The three engines give the same results for the same folder's worth of model."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from omnial.config.settings import ImageScore
from omnial.errors import UserError
from omnial.export.build import build, float_nodes, write_onnx
from omnial.inference.engines import OnnxBackend, OpenVinoBackend
from omnial.inference.inspector import Inspector
from omnial.model_folder.export_folder import Format
from omnial.models.channels_last import InstanceNorm
from omnial.models.normality import PRETRAINED_FEATURES, embedding_shape, with_normality
from omnial.models.scoring import image_score, image_scores
from omnial.models.system import build_model
from omnial.models.torch_backend import TorchBackend
from omnial.models.trained_model import TrainedModel
from tests.pretrained import random_network

CLASSES = ("bolt", "tile")
HEIGHT, WIDTH = 64, 96
Picture = Callable[..., NDArray[np.uint8]]
FORMATS: tuple[Format, ...] = ("onnx", "openvino")
SIZES = (1, 3, 5)


def batch(count: int) -> tuple[NDArray[np.float32], NDArray[Any]]:
    random = np.random.default_rng(count)
    images = random.random((count, 3, HEIGHT, WIDTH), np.float32)
    valid = random.random((count, HEIGHT, WIDTH)) < 0.9
    valid[0] = True
    valid[-1, :, :50] = False
    return images, valid


@pytest.mark.parametrize("name", FORMATS)
def test_any_number_of_images_gives_what_pytorch_gives(
    model: TrainedModel, exports: dict[Format, Path], name: Format
) -> None:
    engine, reference = Inspector(exports[name]).backend, TorchBackend(model)
    assert reference.run(*batch(3)).score_maps.std() > 0.05
    for count in SIZES:
        found, expected = engine.run(*batch(count)), reference.run(*batch(count))
        np.testing.assert_allclose(found.score_maps, expected.score_maps, atol=1e-4)
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)
        assert found.embedding is not None
        assert expected.embedding is not None
        np.testing.assert_allclose(found.embedding, expected.embedding, atol=1e-3)
        if name == "onnx":
            assert found.reconstruction is not None
            np.testing.assert_allclose(found.reconstruction, expected.reconstruction, atol=1e-3)
        else:
            assert found.reconstruction is None


def test_a_graph_looks_as_often_as_its_network(model: TrainedModel, tmp_path: Path) -> None:
    network = model.settings.model.model_copy(update={"second_look": "half"})
    twice = build_model(network).eval()
    twice.load_state_dict(model.network.state_dict())
    settings = model.settings.model_copy(update={"model": network})
    other = dataclasses.replace(model, settings=settings, network=twice)
    write_onnx(other, tmp_path / "model.onnx")
    found = OnnxBackend(tmp_path / "model.onnx", threads=1).run(*batch(3)).score_maps
    expected = TorchBackend(other).run(*batch(3)).score_maps
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert np.abs(expected - TorchBackend(model).run(*batch(3)).score_maps).max() > 1e-2


def test_a_graph_scores_by_its_networks_rule_and_keeps_pretrained_features_in_float(
    model: TrainedModel, tmp_path: Path
) -> None:
    update = {"normality": "own+pretrained", "image_score": "window_maximum"}
    changed = model.settings.model.model_copy(update=update)
    settings = model.settings.model_copy(update={"model": changed})
    network = build_model(changed).eval()
    network.load_state_dict(model.network.state_dict(), strict=False)
    network.pretrained = random_network()
    other = dataclasses.replace(model, settings=settings, network=network)
    write_onnx(other, tmp_path / "model.onnx")
    reference = TorchBackend(other).run(*batch(3))
    assert np.abs(reference.scores - TorchBackend(model).run(*batch(3)).scores).min() > 1e-3
    expected = reference.embedding
    assert expected is not None
    assert expected.shape[1:] == embedding_shape(settings)
    assert np.ptp(expected[:, -PRETRAINED_FEATURES:]) > 1.0
    for engine in (OnnxBackend, OpenVinoBackend):
        found = engine(tmp_path / "model.onnx", threads=1).run(*batch(3))
        assert found.embedding is not None
        np.testing.assert_allclose(found.embedding, expected, atol=1e-3)
        np.testing.assert_allclose(found.scores, reference.scores, atol=1e-4)
    built = build(tmp_path / "model.onnx", "openvino", "bf16", tmp_path, pretrained=True)
    found = OpenVinoBackend(built, threads=1, hint="bf16").run(*batch(3)).embedding
    assert found is not None
    of_others = slice(-PRETRAINED_FEATURES, None)
    np.testing.assert_allclose(found[:, of_others], expected[:, of_others], atol=1e-3)

    in_float = set(float_nodes(tmp_path / "model.onnx", network))
    of_it = [
        node.name
        for node in onnx.load(tmp_path / "model.onnx").graph.node
        if node.op_type == "Conv"
        and any("network.pretrained" in entry.value for entry in node.metadata_props)
    ]
    assert len(of_it) == 1 + 2 + 3 * 4
    assert in_float.issuperset(of_it)


def test_openvino_runs_what_was_exported_to_onnx(
    model: TrainedModel, exports: dict[Format, Path]
) -> None:
    engine = Inspector(exports["onnx"], "openvino", threads=1).backend
    found, expected = engine.run(*batch(2)), TorchBackend(model).run(*batch(2))
    np.testing.assert_allclose(found.score_maps, expected.score_maps, atol=1e-4)
    assert engine.facts()["precision"] == "f32"


def test_openvino_with_a_share_of_the_cores_holds_on_to_none(exports: dict[Format, Path]) -> None:
    # Two processes of one thread each would otherwise take turns on the first core.
    engine = OpenVinoBackend(exports["onnx"] / "model.onnx", threads=1)
    assert engine._compiled.get_property("ENABLE_CPU_PINNING") is False
    assert engine._compiled.get_property("INFERENCE_NUM_THREADS") == 1


def test_an_engine_that_does_not_fit_the_folder_is_refused(
    model_dir: Path, exports: dict[Format, Path]
) -> None:
    with pytest.raises(UserError, match="omnial export"):
        Inspector(model_dir, "onnx")
    with pytest.raises(UserError, match="cannot run"):
        Inspector(exports["openvino"], "onnx")
    for name in FORMATS:
        with pytest.raises(UserError, match="teapot"):
            Inspector(exports[name], device="teapot")


@pytest.mark.parametrize("class_name", [None, *CLASSES])
def test_verdicts_maps_and_outlines_agree(
    model_dir: Path, exports: dict[Format, Path], picture: Picture, class_name: str | None
) -> None:
    pictures = [picture(name, 50 + seed, defect=True) for name in CLASSES for seed in range(2)]
    large = np.kron(pictures[0], np.ones((3, 2, 1), np.uint8))
    pictures.append(large)
    expected = list(Inspector(model_dir).inspect(pictures, class_name))
    for name in FORMATS:
        for one, other in zip(
            Inspector(exports[name], batch_size=2).inspect(pictures, class_name),
            expected,
            strict=True,
        ):
            assert one.class_name == other.class_name
            assert one.score == pytest.approx(other.score, abs=1e-4)
            assert one.threshold == other.threshold
            assert one.anomalous == other.anomalous
            np.testing.assert_allclose(one.score_map, other.score_map, atol=1e-4)
            # A pixel at the very level may join two outlines or part them.
            assert abs(len(one.outlines) - len(other.outlines)) <= 1
    assert expected[-1].score_map.shape == large.shape[:2]


def test_instance_norm_is_the_operator_of_onnx(
    model: TrainedModel, graphs: dict[bool, Path]
) -> None:
    nodes = onnx.load(graphs[False]).graph.node
    found = sum(node.op_type == "InstanceNormalization" for node in nodes)
    kinds = (InstanceNorm, torch.nn.InstanceNorm2d)
    assert found == sum(isinstance(module, kinds) for module in model.network.modules()) > 0
    assert not any(node.op_type == "BatchNormalization" for node in nodes)


def test_what_stays_in_float_when_the_rest_is_quantized(
    model: TrainedModel, graphs: dict[bool, Path]
) -> None:
    names = set(float_nodes(graphs[False], model.network))
    nodes = {node.name: node for node in onnx.load(graphs[False]).graph.node}
    assert names <= set(nodes)
    quantized = [node for name, node in nodes.items() if name not in names]
    assert {node.op_type for node in quantized} == {"Conv"}
    scopes = " ".join(
        entry.value
        for node in quantized
        for entry in node.metadata_props
        if entry.key == "pkg.torch.onnx.name_scopes"
    )
    for place in (
        *("weigh", "standard", "head", "network.reconstruction", "network.neck"),
        "localization.encoder.0",
    ):
        assert place not in scopes
    for place in ("localization.encoder.1", "localization.decoder"):
        assert place in scopes
    assert {"Softmax", "TopK"} <= {nodes[name].op_type for name in names}


@pytest.mark.parametrize("rule", ["top_mean", "window_maximum"])
@pytest.mark.parametrize("size", [(64, 96), (33, 70), (256, 256)])
def test_the_score_in_numpy_is_that_of_the_network(size: tuple[int, int], rule: ImageScore) -> None:
    random = np.random.default_rng(0)
    valid = random.random((3, *size)) < 0.6
    valid[2] = False
    maps = np.where(valid, random.random((3, *size), np.float32), np.float32(0))
    expected = image_score(torch.from_numpy(maps), torch.from_numpy(valid), rule)
    np.testing.assert_allclose(image_scores(maps, valid, rule), expected.numpy(), atol=1e-5)


def test_restricting_later_equals_restricting_at_once(model: TrainedModel) -> None:
    images, valid = batch(3)
    at_once = TorchBackend(model).run(images, valid)
    whole = TorchBackend(model).run(images, np.ones_like(valid))
    rule, names = model.settings.model.image_score, [None] * 3
    later = with_normality(whole, {}, names, valid, rule)
    np.testing.assert_array_equal(later.score_maps, at_once.score_maps)
    np.testing.assert_allclose(later.scores, at_once.scores, atol=1e-5)
    with pytest.raises(ValueError, match="valid"):
        with_normality(whole, {}, names, valid[:, 1:], rule)
