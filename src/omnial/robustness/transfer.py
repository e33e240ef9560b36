"""Surrogate transfer, the paper's protocol: one set of perturbations, given to every model."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from omnial.errors import UserError
from omnial.models.prediction import Backend
from omnial.models.torch_backend import TorchBackend
from omnial.models.trained_model import TrainedModel
from omnial.robustness.adversarial_set import AdversarialSet
from omnial.robustness.figures import LevelFigures, class_figures
from omnial.robustness.levels import UNATTACKED
from omnial.robustness.samples import Clean

Progress = Callable[[int], None]
"""Told after every batch how many samples it had."""


def evaluate_on_set(
    model: TrainedModel, data: AdversarialSet, batch_size: int = 16, advance: Progress | None = None
) -> dict[str, LevelFigures]:
    """What a model makes of every level of a set, and of the samples before the attack.

    Args:
        model: Any model of the set's classes and size.
        data: The set.
        batch_size: Samples that go through the network at once.
        advance: Told after every batch.

    Returns:
        The figures of level `0` (unattacked) and of each level of the set.
    """
    return figures_on_set(TorchBackend(model), data, batch_size, advance)


def figures_on_set(
    backend: Backend, data: AdversarialSet, batch_size: int, advance: Progress | None = None
) -> dict[str, LevelFigures]:
    """The same on any engine."""
    levels = (UNATTACKED, *(level.name for level in data.levels))
    rows: dict[str, dict[str, dict[str, float | None]]] = {name: {} for name in levels}
    for class_name in data.classes:
        batches = _batches(data, class_name, levels, batch_size, advance)
        count = len(data.entries(class_name))
        for name, figures in class_figures(backend, batches, levels, count).items():
            rows[name][class_name] = figures
    return {name: LevelFigures.over(classes) for name, classes in rows.items()}


def check_fits(model: TrainedModel, name: str, data: AdversarialSet) -> None:
    """Refuse a model that the set was not made for.

    Raises:
        UserError: It sees images of another size, or has not learned one of the classes.
    """
    settings, identity = model.settings.data, data.manifest.identity
    if (settings.height, settings.width) != data.size or settings.geometry != identity.geometry:
        raise UserError(
            f"{name}: the model sees images of {settings.height} x {settings.width} pixels "
            f"({settings.geometry}), the set in {data.folder} has {data.size[0]} x "
            f"{data.size[1]} ({identity.geometry}). Attack a surrogate of the model's size, or "
            "train the model at the set's."
        )
    unknown = [product for product in data.classes if product not in model.classes]
    if unknown:
        raise UserError(
            f"{name}: the model has not learned {', '.join(unknown)}, which the set in "
            f"{data.folder} holds. Give models that were trained on all its classes."
        )


def _batches(
    data: AdversarialSet,
    class_name: str,
    levels: Sequence[str],
    batch_size: int,
    advance: Progress | None,
) -> Iterator[tuple[Clean, Mapping[str, NDArray[np.float32]]]]:
    for batch in data.batches(class_name, batch_size):
        yield batch.clean, {name: batch.images(name) for name in levels}
        if advance is not None:
            advance(len(batch.clean))
