"""The demonstration: generated products, one model, a report.

`demo.json` next to the parts says what the model was trained from, so that a second run with the
same settings uses a finished model again and resumes a training that was cut short.
"""

import json
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from omnial._version import __version__
from omnial.config.load import load_settings
from omnial.config.settings import Settings
from omnial.demo.production_line import generate
from omnial.errors import UserError
from omnial.files import locked, replacing, scratch_in, writing
from omnial.reporting.evaluation_report import REPORT_FILE, evaluate
from omnial.training.fit import train
from omnial.untrusted import read_json

_logger = logging.getLogger(__name__)
_STATE_FILE: Final = "demo.json"


class _Plan(NamedTuple):
    """Arguments of `generate`, size of the model, and its budget."""

    products: Mapping[str, Any]
    size: str
    budget: str


# A fifth of the images sets the thresholds: 20 of each product, enough for one of its own.
_FULL: Final = _Plan(
    {"size": 256, "train": 100, "test_good": 10, "per_kind": 5}, "lite", "minutes=7"
)
_QUICK: Final = _Plan({"size": 128, "train": 15, "test_good": 4, "per_kind": 1}, "tiny", "steps=60")


def run_demo(
    out: Path, *, quick: bool = False, minutes: float | None = None, seed: int = 0
) -> dict[str, Any]:
    """Generate the products, train a model on them, evaluate it and write the report.

    Args:
        out: folder for `data`, `model` and `report`.
        quick: a small model for 60 steps on few images, to see the way and not the quality.
        minutes: minutes of training, instead of 7 (or of the 60 steps).
        seed: seed of the products and of the training.

    Returns:
        Paths of `data`, `model` and `report`, and as `metrics` the content of metrics.json.

    Raises:
        UserError: `data` or `model` in `out` is not of a demonstration; `minutes` is impossible.
        RunError: a part failed, for example on a full disk.
    """
    plan = _QUICK if quick else _FULL
    budget = plan.budget if minutes is None else f"minutes={minutes}"
    # At half the resolution the network sees four times as many images in the same minutes, which
    # in so short a training is worth more than the detail; a quarter of that would show too little.
    values = [budget, f"seed={seed}", "quarter_share=0"]
    settings = load_settings(
        size=plan.size,
        overrides=[*(f"training.{value}" for value in values), "data.height=128", "data.width=128"],
    )
    data, model, report = out / "data", out / "model", out / "report"
    recipe = {
        "version": __version__,
        "products": plan.products,
        "settings": settings.model_dump(mode="json"),
    }
    state = _read_state(out)
    if model.exists() and state is None:
        raise UserError(f"{model} is not of a demonstration; move it away or give another --out")

    with locked(out):
        _logger.info(f"1/3 products in {data}")
        generate(data, seed=seed, **plan.products)
        _logger.info(f"2/3 one model for all products in {model}, {budget.replace('=', ' ')}")
        _train(out, settings, recipe, state or {})
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


def _train(
    out: Path, settings: Settings, recipe: Mapping[str, object], state: Mapping[str, object]
) -> None:
    """Train, resume, or leave a finished model of the same recipe as it is."""
    model = out / "model"
    same = state.get("recipe") == recipe
    if same and state.get("finished") is True and (model / "config.json").is_file():
        _logger.info("    it is there already")
        return
    resume = same and any((model / "checkpoints").glob("*"))
    if not resume:
        # The state comes first: without it, a model cut short here would look like another's.
        with scratch_in(out) as scratch:
            # In one step, so that no kill leaves half a run for the next one to resume.
            if model.exists():
                model.rename(scratch / "replaced")
            _write_state(out, recipe, finished=False)
    train(settings, [out / "data"], model, resume=resume)
    _write_state(out, recipe, finished=True)


def _read_state(out: Path) -> dict[str, object] | None:
    """The state that an earlier run wrote; None where there was none."""
    try:
        state = read_json(out / _STATE_FILE)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return state if isinstance(state, dict) else None


def _write_state(out: Path, recipe: Mapping[str, object], *, finished: bool) -> None:
    with writing("The demonstration's state", out), replacing(out / _STATE_FILE) as draft:
        text = json.dumps({"recipe": recipe, "finished": finished}, indent=2)
        draft.write_text(text + "\n", "utf-8")
