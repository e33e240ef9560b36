"""Systems and sizes by name: partial settings laid over the defaults of `Settings`.

A *system* says what is computed, a *size* how wide and how long; the two are independent, so
that any system runs at any size. A new row in a table here is all that a new name takes.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, TypeAlias

Overrides: TypeAlias = Mapping[str, object]
"""Partial settings, nested as `Settings` is: `{"model": {"stem": 2}}`."""

DEFAULT_SYSTEM: Final = "omnial"
DEFAULT_SIZE: Final = "lite"


def _over(*layers: Overrides) -> Overrides:
    """Partial settings laid over each other, the later ones on top."""
    result: dict[str, object] = {}
    for layer in layers:
        for key, value in layer.items():
            below = result.get(key)
            if isinstance(below, Mapping) and isinstance(value, Mapping):
                result[key] = _over(below, value)
            else:
                result[key] = value
    return result


def _both_networks(**fields: object) -> Overrides:
    return {"model": {"reconstruction": dict(fields), "localization": dict(fields)}}


_DRAEM_NETWORKS = {
    "initialisation": "normal",
    "image_score": "window_maximum",
    "reconstruction": {
        "norm": "batch",
        "attention": "none",
        "dilation": 1,
        "upsampling": "bilinear",
        "jnd": False,
        "restore_colour": False,
    },
    "localization": {"norm": "batch", "attention": "none", "dilation": 1, "diffneck": False},
}
_DRAEM_SYNTHESIS = {
    "anomalous_share": 0.5,
    "panels": False,
    "perlin_octaves": [0, 5],
    "perlin_threshold": 0.5,
    # The texture's weight is 1 - beta, beta uniform in [0, 0.8).
    "levels": [{"beta": [0.2, 1.0], "blur": 1}],
    "level_probability": 1.0,
    "jnd_gain": 0.0,
    "label_correction": False,
    "match_colour": False,
    "texture_change": "photometric",
    "turned_share": 0.3,
}
_DRAEM = {"model": _DRAEM_NETWORKS, "synthesis": _DRAEM_SYNTHESIS}
_JNLD = _over(
    {"model": _DRAEM_NETWORKS, "synthesis": {"panels": False}},
    {"model": {"reconstruction": {"jnd": True}}},
)
_SURROGATE = _over(
    _both_networks(norm="batch", attention="ca", dilation=1),
    {
        "synthesis": {"panels": False},
        "model": {"reconstruction": {"restore_colour": False}, "localization": {"diffneck": False}},
    },
)
_PANELS = {"synthesis": {"panels": True}}

SYSTEMS: Final[Mapping[str, Overrides]] = MappingProxyType(
    {
        "omnial": {},
        "omnial-no-panels": {"synthesis": {"panels": False}},
        # Batch norm keeps an image's colours, so nothing restores them, as in `surrogate`.
        "omnial-batch-norm": {
            "model": {"reconstruction": {"norm": "batch", "restore_colour": False}}
        },
        "omnial-ca": _both_networks(attention="ca"),
        "omnial-no-attention": _both_networks(attention="none"),
        "omnial-resblock": _both_networks(attention="resblock"),
        "omnial-bottleneck": _both_networks(attention="bottleneck"),
        "omnial-no-diffneck": {"model": {"localization": {"diffneck": False}}},
        "draem": _DRAEM,
        "draem-panels": _over(_DRAEM, _PANELS),
        "jnld": _JNLD,
        "jnld-panels": _over(_JNLD, _PANELS),
        "surrogate": _SURROGATE,
        "surrogate-panels": _over(_SURROGATE, _PANELS),
        "surrogate-panels-instance-norm": _over(
            _SURROGATE,
            _PANELS,
            {"model": {"reconstruction": {"norm": "instance", "restore_colour": True}}},
        ),
    }
)
"""`omnial` and its ablations; the published baselines `draem` and `jnld`; the network that the
paper's perturbations come from, and the stages from there to `omnial`."""

# For every system alike at our own sizes: the image is sharp, and defects are erased, early.
_OURS = {
    "model": {"blocks": "residual", "localization": {"difference_windows": [1, 3, 7]}},
    "objective": {"image_mse": 10.0, "defect_weight": 10.0},
}

SIZES: Final[Mapping[str, Overrides]] = MappingProxyType(
    {
        "paper": {},  # the defaults of `Settings`
        "base": _over(
            _OURS,
            {
                "data": {"height": 256, "width": 256},
                "model": {
                    "stem": 2,
                    "reconstruction": {"widths": [64, 128, 256, 512, 512]},
                    "localization": {"widths": [32, 64, 128, 256, 256, 256]},
                },
                "training": {"batch_size": 16, "learning_rate": 3e-4, "schedule": "cosine"},
            },
        ),
        "lite": _over(
            _OURS,
            {
                "data": {"height": 256, "width": 256},
                "model": {
                    "stem": 4,
                    "reconstruction": {"widths": [32, 64, 128]},
                    "localization": {"widths": [32, 64, 64, 96, 96]},
                },
                "objective": {"ssim_stride": 4},
                "training": {
                    "batch_size": 16,
                    "learning_rate": 2e-3,
                    "schedule": "cosine",
                    "quarter_share": 0.85,
                },
            },
        ),
        "tiny": _over(
            _OURS,
            {
                "data": {"height": 128, "width": 128},
                "model": {
                    "stem": 4,
                    "reconstruction": {"widths": [16, 32, 64]},
                    "localization": {"widths": [16, 32, 48, 64]},
                },
                "objective": {"ssim_stride": 4},
                "training": {"batch_size": 8, "learning_rate": 1e-3, "schedule": "cosine"},
            },
        ),
    }
)
"""`paper` is the published network, `base` a half of it; `lite` and `tiny` are for two cores."""
