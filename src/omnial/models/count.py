"""Parameters and operations of a network, beside the published counts."""

from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from omnial.config.settings import ModelSettings
from omnial.models.attention import make_attention
from omnial.models.system import OmniAL

_MODULE_CHANNELS = 512
# The supplement's Table 6: module alone at C = 512, reconstruction, localization with DiffNeck.
_PUBLISHED = {
    "resblock": (527_019, 63_906_674, 30_852_340),
    "bottleneck": (524_966, 62_852_068, 30_847_397),
    "ca": (524_288, 62_851_972, 28_700_493),
    "dcsa": (524_328, 62_852_092, 28_700_653),
}


def count_parameters(module: nn.Module) -> int:
    """Trainable parameters."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def describe(settings: ModelSettings, height: int, width: int) -> dict[str, Any]:
    """Count a model's parameters per part and its operations for one image.

    Nothing is computed and no weights are allocated.

    Args:
        settings: The network.
        height: Rows of the input in pixels.
        width: Columns of the input in pixels.

    Returns:
        `parts` (`module`, `reconstruction`, `localization`: `parameters` and `published`, which is
        null unless the network has the published widths), `total` parameters, and `flops` of one
        forward pass of one image (a multiplication and an addition are two).
    """
    kind = settings.reconstruction.attention
    published: tuple[int | None, ...] = (None, None, None)
    if _has_published_layers(settings):
        published = _PUBLISHED.get(kind, published)
    with torch.device("meta"):
        model = OmniAL(settings).eval()
        module = make_attention(kind, _MODULE_CHANNELS, settings.reconstruction.norm)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(torch.empty(1, 3, height, width))
    reconstruction = count_parameters(model.reconstruction)
    localization = count_parameters(model.neck) + count_parameters(model.localization)
    counts = (count_parameters(module), reconstruction, localization)
    names = ("module", "reconstruction", "localization")
    return {
        "parts": {
            name: {"parameters": count, "published": figure}
            for name, count, figure in zip(names, counts, published, strict=True)
        },
        "total": reconstruction + localization,
        "flops": counter.get_total_flops(),
    }


def _has_published_layers(settings: ModelSettings) -> bool:
    """Whether only the module differs from the paper's network (its own row may be published)."""
    kind = settings.reconstruction.attention
    paper = ModelSettings()
    same = paper.model_copy(
        update={
            "reconstruction": paper.reconstruction.model_copy(update={"attention": kind}),
            "localization": paper.localization.model_copy(update={"attention": kind}),
        }
    )
    return settings == same
