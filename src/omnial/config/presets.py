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


def _both_networks(**fields: object) -> Overrides:
    return {"model": {"reconstruction": dict(fields), "localization": dict(fields)}}


SYSTEMS: Final[Mapping[str, Overrides]] = MappingProxyType(
    {
        "omnial": {},
        "omnial-no-panels": {"synthesis": {"panels": False}},
        "omnial-batch-norm": {"model": {"reconstruction": {"norm": "batch"}}},
        "omnial-ca": _both_networks(attention="ca"),
        "omnial-no-attention": _both_networks(attention="none"),
        "omnial-resblock": _both_networks(attention="resblock"),
        "omnial-bottleneck": _both_networks(attention="bottleneck"),
        "omnial-no-diffneck": {"model": {"localization": {"diffneck": False}}},
        "surrogate": {
            "synthesis": {"panels": False},
            "model": {
                "reconstruction": {"norm": "batch", "attention": "ca", "dilation": 1},
                "localization": {
                    "norm": "batch",
                    "attention": "ca",
                    "dilation": 1,
                    "diffneck": False,
                },
            },
        },
    }
)
"""`omnial`, its ablations, and the network that the paper's perturbations come from."""

SIZES: Final[Mapping[str, Overrides]] = MappingProxyType(
    {
        "paper": {
            "data": {"height": 256, "width": 256},
            "model": {
                "stem": 1,
                "reconstruction": {"widths": [128, 256, 512, 1024, 1024]},
                "localization": {"widths": [64, 128, 256, 512, 512, 512]},
            },
            "training": {"batch_size": 20, "learning_rate": 1e-4, "schedule": "step"},
        },
        "base": {
            "data": {"height": 256, "width": 256},
            "model": {
                "stem": 2,
                "reconstruction": {"widths": [64, 128, 256, 512, 512]},
                "localization": {"widths": [32, 64, 128, 256, 256, 256]},
            },
            "training": {"batch_size": 16, "learning_rate": 3e-4, "schedule": "cosine"},
        },
        "lite": {
            "data": {"height": 256, "width": 256},
            "model": {
                "stem": 4,
                "reconstruction": {"widths": [32, 64, 128]},
                "localization": {"widths": [32, 64, 64, 96, 96]},
            },
            "objective": {"ssim_stride": 4},
            "training": {
                "batch_size": 16,
                "learning_rate": 1e-3,
                "schedule": "cosine",
                "quarter_share": 0.85,
            },
        },
        "tiny": {
            "data": {"height": 128, "width": 128},
            "model": {
                "stem": 4,
                "reconstruction": {"widths": [16, 32, 64]},
                "localization": {"widths": [16, 32, 48, 64]},
            },
            "objective": {"ssim_stride": 4},
            "training": {"batch_size": 8, "learning_rate": 2e-3, "schedule": "cosine"},
        },
    }
)
"""`paper` is the published network, `base` a half of it; `lite` and `tiny` are for two cores."""
