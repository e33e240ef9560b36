"""Systems, sizes and recipes by name: settings, laid over the defaults of `Settings`.

A *system* says what is computed, a *size* how wide it is and how it is trained; the two are
independent, so that any system runs at any size. A size also sets blocks, stem, loss weights and
schedule, for every system alike: only `paper` is the published network. A new name is a row here
and one in docs/configuration.md. A *recipe* is a configuration file, one for each published row.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeAlias

Preset: TypeAlias = Mapping[str, object]
"""Values by dotted path, `{"model.stem": 2}`."""

DEFAULT_SYSTEM: Final = "omnial"
DEFAULT_SIZE: Final = "lite"


def _both_networks(**fields: object) -> Preset:
    networks = ("model.reconstruction", "model.localization")
    return {f"{network}.{name}": fields[name] for network in networks for name in fields}


PUBLISHED_KINDS: Final[Mapping[str, float]] = dict.fromkeys(
    ("synthesis.line_share", "synthesis.own_texture_share", "synthesis.shade_share"), 0.0
)
"""No kinds of drawn defects but the published ones."""
_DRAEM_NETWORKS: Preset = {
    **_both_networks(norm="batch", attention="none", dilation=1),
    "model.initialisation": "normal",
    "model.image_score": "window_maximum",
    "model.reconstruction.upsampling": "bilinear",
    "model.reconstruction.jnd": False,
    "model.reconstruction.restore_colour": False,
    "model.localization.diffneck": False,
}
_DRAEM: Preset = {
    **_DRAEM_NETWORKS,
    **PUBLISHED_KINDS,
    "synthesis.anomalous_share": 0.5,
    "synthesis.panels": False,
    "synthesis.perlin_octaves": [0, 5],
    "synthesis.perlin_threshold": 0.5,
    # The texture's weight is 1 - beta, beta uniform in [0, 0.8).
    "synthesis.levels": [{"beta": [0.2, 1.0], "blur": 1}],
    "synthesis.level_probability": 1.0,
    "synthesis.jnd_gain": 0.0,
    "synthesis.label_correction": False,
    "synthesis.match_colour": False,
    "synthesis.texture_change": "photometric",
    "synthesis.turned_share": 0.3,
}
_JNLD: Preset = {
    **_DRAEM_NETWORKS,
    **PUBLISHED_KINDS,
    "model.reconstruction.jnd": True,
    "synthesis.panels": False,
}
_SURROGATE: Preset = {
    **_both_networks(norm="batch", attention="ca", dilation=1),
    **PUBLISHED_KINDS,
    "model.reconstruction.restore_colour": False,
    "model.localization.diffneck": False,
    "synthesis.panels": False,
}
_PANELS: Preset = {"synthesis.panels": True}

SYSTEMS: Final[Mapping[str, Preset]] = {
    "omnial": {},
    "omnial-no-panels": {"synthesis.panels": False},
    # Batch norm keeps an image's colours, so nothing restores them, as in `surrogate`.
    "omnial-batch-norm": {
        "model.reconstruction.norm": "batch",
        "model.reconstruction.restore_colour": False,
    },
    "omnial-ca": _both_networks(attention="ca"),
    "omnial-no-attention": _both_networks(attention="none"),
    "omnial-resblock": _both_networks(attention="resblock"),
    "omnial-bottleneck": _both_networks(attention="bottleneck"),
    "omnial-no-diffneck": {"model.localization.diffneck": False},
    "draem": _DRAEM,
    "draem-panels": {**_DRAEM, **_PANELS},
    "jnld": _JNLD,
    "jnld-panels": {**_JNLD, **_PANELS},
    "surrogate": _SURROGATE,
    "surrogate-panels": {**_SURROGATE, **_PANELS},
    "surrogate-panels-instance-norm": {
        **_SURROGATE,
        **_PANELS,
        "model.reconstruction.norm": "instance",
        "model.reconstruction.restore_colour": True,
    },
}
"""`omnial` and its ablations; the published baselines `draem` and `jnld`; the network that the
paper's perturbations come from, and the stages from there to `omnial`."""

# At our own sizes the image is sharp and defects are erased early, for every system alike; kinds of
# defects are more than the published ones, but for the baselines.
_OURS: Preset = {
    "model.blocks": "residual",
    "model.normality": "own",
    "synthesis.line_share": 0.3,
    "synthesis.own_texture_share": 0.2,
    "synthesis.shade_share": 0.25,
    "objective.image_mse": 10.0,
    "objective.defect_weight": 10.0,
    "training.optimizer": "muon",
    "training.schedule": "cosine",
}

# Most steps see a quarter of the pixels, the last ones and an inspection the image at two scales.
_TWO_SCALES: Preset = {
    **_OURS,
    "model.second_look": "half",
    "training.batch_size": 16,
    "training.learning_rate": 4e-3,
    "training.quarter_share": 0.85,
    "training.half_share": 0.5,
}

SIZES: Final[Mapping[str, Preset]] = {
    "paper": {},  # the defaults of `Settings`
    "base": {
        **_TWO_SCALES,
        "model.stem": 2,
        "model.reconstruction.widths": [64, 128, 256, 512, 512],
        "model.localization.widths": [32, 64, 128, 256, 256, 256],
    },
    "lite": {
        **_TWO_SCALES,
        "model.stem": 4,
        "model.reconstruction.widths": [32, 64, 128],
        "model.localization.widths": [32, 64, 64, 96, 96],
        "objective.ssim_stride": 4,
    },
    "tiny": {
        **_OURS,
        "data.height": 128,
        "data.width": 128,
        "model.stem": 4,
        "model.reconstruction.widths": [16, 32, 64],
        "model.localization.widths": [16, 32, 48, 64],
        "objective.ssim_stride": 4,
        "training.batch_size": 8,
        "training.learning_rate": 2e-3,
    },
}
"""`paper` is the published network, `base` a half of it; `lite` and `tiny` are for two cores."""

_FOLDER = Path(__file__).with_name("recipes")
RECIPES: Final[Mapping[str, Path]] = {
    path.stem: path for path in sorted(_FOLDER.glob("*.yaml"), key=lambda path: path.stem)
}
"""Files of settings of the published rows."""


def list_systems() -> list[str]:
    """Names of the systems: `omnial`, its ablations and stages, and the baselines.

    Example:
        >>> import omnial
        >>> "draem" in omnial.list_systems()
        True
    """
    return list(SYSTEMS)
