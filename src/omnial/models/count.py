"""Parameters and operations of a network, next to the published counts."""

from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from omnial.config.load import load_settings
from omnial.config.settings import ModelSettings
from omnial.models.attention import make_attention
from omnial.models.system import InspectionNetwork, build_model

_MODULE_CHANNELS = 512
# The supplement's Table 6: module alone at C = 512, reconstruction, localization with DiffNeck.
# DRAEM's are those of its published code; it has no module.
_PUBLISHED: Final[Mapping[str, tuple[int | None, ...]]] = {
    "omnial-resblock": (527_019, 63_906_674, 30_852_340),
    "omnial-bottleneck": (524_966, 62_852_068, 30_847_397),
    "omnial-ca": (524_288, 62_851_972, 28_700_493),
    "omnial": (524_328, 62_852_092, 28_700_653),
    "draem": (None, 69_048_579, 28_374_146),
}


def count_parameters(module: nn.Module) -> int:
    """Trainable parameters."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def describe(settings: ModelSettings, height: int, width: int) -> dict[str, Any]:
    """Count a model's parameters per part and its operations for an image of height x width.

    Nothing is computed and no weights are allocated. The result has `parts` (`module`,
    `reconstruction`, `localization`, and `pretrained` where there is such a network; of a network
    of the user's own its direct children): `parameters` and `published`, which is null unless the
    network has the published widths; `total` parameters; and `flops` of one forward pass of one
    image (a multiplication and an addition are two).
    """
    kind, norm = settings.reconstruction.attention, settings.reconstruction.norm
    with torch.device("meta"):
        model = build_model(settings).eval()
        module = make_attention(kind, _MODULE_CHANNELS, norm)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(torch.empty(1, 3, height, width))
    if isinstance(model, InspectionNetwork):
        counts = {
            "module": count_parameters(module),
            "reconstruction": count_parameters(model.reconstruction),
            "localization": count_parameters(model.neck) + count_parameters(model.localization),
        }
        published = _published(settings)
        if model.pretrained is not None:
            counts["pretrained"] = sum(one.numel() for one in model.pretrained.parameters())
            published = (*published, None)
    else:  # one of the user's own
        counts = {name: count_parameters(part) for name, part in model.named_children()}
        published = (None,) * len(counts)
    return {
        "parts": {
            name: {"parameters": count, "published": known}
            for (name, count), known in zip(counts.items(), published, strict=True)
        },
        "total": count_parameters(model) + counts.get("pretrained", 0),
        "flops": counter.get_total_flops(),
    }


def _published(settings: ModelSettings) -> tuple[int | None, ...]:
    """The published counts, where the layers are those of a published system."""
    for system, counts in _PUBLISHED.items():
        if _layers(settings) == _layers(load_settings(system=system, size="paper").model):
            return counts
    return None, None, None


def _layers(settings: ModelSettings) -> ModelSettings:
    """The settings as published where ours change how the layers are connected."""
    return settings.model_copy(update={"blocks": "plain"})
