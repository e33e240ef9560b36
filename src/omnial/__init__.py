"""omnial: one network that inspects many products."""

import os
import random
from importlib import import_module
from typing import TYPE_CHECKING, Any

from omnial._version import __version__ as __version__

if TYPE_CHECKING:
    from omnial.config.load import load_settings as load_settings
    from omnial.config.own_code import allow_code as allow_code
    from omnial.config.presets import list_systems as list_systems
    from omnial.errors import RunError as RunError
    from omnial.errors import UserError as UserError
    from omnial.inference.inspection import Inspection as Inspection
    from omnial.inference.inspector import Inspector as Inspector
    from omnial.model_folder.weights_file import load_model as load_model
    from omnial.models.system import create_model as create_model
    from omnial.reporting.evaluation_report import evaluate as evaluate
    from omnial.reporting.prediction_report import predict as predict
    from omnial.training.train_call import train as train

_HOMES = {
    "Inspection": "omnial.inference.inspection",
    "Inspector": "omnial.inference.inspector",
    "RunError": "omnial.errors",
    "UserError": "omnial.errors",
    "allow_code": "omnial.config.own_code",
    "create_model": "omnial.models.system",
    "evaluate": "omnial.reporting.evaluation_report",
    "list_systems": "omnial.config.presets",
    "load_model": "omnial.model_folder.weights_file",
    "load_settings": "omnial.config.load",
    "predict": "omnial.reporting.prediction_report",
    "train": "omnial.training.train_call",
}
__all__ = sorted([*_HOMES, "__version__"])


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: `omnial --help` needs no PyTorch.

    The caller's environment and random state are afterwards what they were.
    """
    if name not in _HOMES:
        raise AttributeError(f"module 'omnial' has no attribute {name!r}")
    # What is imported below sets environment variables and draws from Python's own generator.
    environment, state = dict(os.environ), random.getstate()
    try:
        found = globals()[name] = getattr(import_module(_HOMES[name]), name)
        return found
    finally:
        random.setstate(state)
        for key in os.environ.keys() - environment.keys():
            del os.environ[key]
        os.environ.update(environment)
