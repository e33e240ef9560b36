"""The demonstration: generated products, one model, a report."""

import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from omnial.config.load import load_settings
from omnial.config.presets import PUBLISHED_KINDS
from omnial.config.settings import Settings
from omnial.demo.production_line import CLASS_NAMES, generate
from omnial.errors import UserError
from omnial.files import locked, scratch_in, unused
from omnial.model_folder.config_file import CONFIG_FILE, RUN_FILE
from omnial.reporting.evaluation_report import REPORT_FILE, evaluate
from omnial.training.checkpoint import read_identity, what_is_computed
from omnial.training.fit import train

_logger = logging.getLogger(__name__)


class _Plan(NamedTuple):
    """Arguments of `generate`, size of the model, and its budget."""

    products: Mapping[str, Any]
    size: str
    budget: str


_SETTINGS: Final = (
    "data.height=128",
    "data.width=128",
    "training.quarter_share=0",
    "training.half_share=0",
    "model.second_look=none",
    *(f"{name}={share:g}" for name, share in PUBLISHED_KINDS.items()),
)
# A fifth of the images sets the thresholds: 20 of each product, enough for one of its own.
_FULL: Final = _Plan(
    {"size": 256, "train": 100, "test_good": 10, "per_kind": 5}, "lite", "minutes=7"
)
_QUICK: Final = _Plan({"size": 128, "train": 15, "test_good": 4, "per_kind": 1}, "tiny", "steps=60")


def run_demo(
    out: Path, *, quick: bool = False, minutes: float | None = None, seed: int = 0
) -> dict[str, Any]:
    """Generate the products, train a model on them, evaluate it and write the report.

    `quick` is a small model for 60 steps on few images, to see the way and not the quality;
    `minutes` of training take the place of 7 (or of the 60 steps). Returns the paths of `data`,
    `model` and `report` in `out`, and as `metrics` the content of metrics.json.

    Raises:
        UserError: `data` or `model` in `out` is not of a demonstration; `minutes` is impossible.
        RunError: a part failed, for example on a full disk.
    """
    plan = _QUICK if quick else _FULL
    budget = plan.budget if minutes is None else f"minutes={minutes}"
    # At half the resolution the network sees four times as many images in the same minutes, which
    # in so short a training is worth more than the detail; a quarter of that would show too little.
    # And no kind of defect is drawn that resembles those of the products.
    overrides = [f"training.{budget}", f"training.seed={seed}", *_SETTINGS]
    settings = load_settings(size=plan.size, overrides=overrides)
    data, model, report = out / "data", out / "model", out / "report"
    identity = read_identity(model)
    foreign = identity is None and not unused(model, RUN_FILE)
    if foreign or (identity is not None and identity.classes != list(CLASS_NAMES)):
        raise UserError(f"{model} is not of a demonstration; move it away or give another --out")

    with locked(out):
        _logger.info(f"1/3 products in {data}")
        generate(data, seed=seed, **plan.products)
        _logger.info(f"2/3 one model for all products in {model}, {budget.replace('=', ' ')}")
        _train(settings, data, model)
        _logger.info(f"3/3 evaluation and report in {report}")
        result = evaluate(model, [data], report)
    paths = {"data": data, "model": model, "report": report / REPORT_FILE}
    return {name: str(path) for name, path in paths.items()} | {"metrics": result.to_metrics()}


def can_show() -> bool:
    """Whether someone sits at a terminal with a display to open a page on."""
    display = sys.platform in {"darwin", "win32"} or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
    return display and sys.stdin is not None and sys.stdin.isatty()


def _train(settings: Settings, data: Path, model: Path) -> None:
    """Train, resume, or leave a finished model of the same settings as it is."""
    identity = read_identity(model)
    if identity is not None and identity.settings != what_is_computed(settings):
        # In one step, so that no kill leaves half a run for the next one to resume.
        with scratch_in(model.parent) as scratch:
            model.rename(scratch / "replaced")
    elif (model / CONFIG_FILE).is_file():
        _logger.info("    it is there already")
        return
    train(settings, [data], model, resume=True)
