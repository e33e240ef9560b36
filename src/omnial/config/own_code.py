"""Code of the user's own in place of a built-in part, named by import path: `my_parts:Gate`.

A model folder may come from anywhere, and importing code runs it. So a name is followed only once
the user has given it: in a setting on the command line, in a file or in Python (`load_settings`
notes it), with `omnial --code`, in the environment variable OMNIAL_CODE, or by `allow_code`.
"""

import importlib
import importlib.util
import inspect
import os
import re
import sys
from typing import Any, Final

from omnial.config.settings import IMPORT_PATH, Settings, is_own
from omnial.errors import UserError

VARIABLE: Final = "OMNIAL_CODE"
"""Of the environment: import paths that may be followed, with spaces between them."""
_allowed: set[str] = set()


def allow_code(*paths: str) -> None:
    """Let this process import code that a model folder names.

    Args:
        paths: Import paths, `package.module:name`, exactly as the folder's `config.json` has them.

    Raises:
        UserError: A text is no import path.

    Example:
        >>> import omnial
        >>> omnial.allow_code("my_parts:Gate")
    """
    for path in paths:
        if not re.fullmatch(IMPORT_PATH, path):
            raise UserError(f"{path!r} is no import path; write package.module:name")
    _allowed.update(paths)


def name_code(settings: Settings) -> None:
    """Allow what settings name that the user gave, and find its modules without importing them."""
    model = settings.model
    parts = (settings.synthesis.recipe, model.network)
    attentions = (model.reconstruction.attention, model.localization.attention)
    for path in filter(is_own, (*parts, *attentions)):
        allow_code(path)
        _find(path)


def load_own(path: str) -> Any:
    """Import what a path names; a UserError if the user did not name it, or it does not exist."""
    if path not in _allowed and path not in os.environ.get(VARIABLE, "").split():
        raise UserError(
            f"{path} is code that is not part of omnial, and importing it runs it. If you trust "
            f"it: `omnial --code {path}` and the rest of the command, or "
            f"omnial.allow_code({path!r}) in Python"
        )
    _find(path)
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise UserError(f"{path} cannot be imported: {reason}") from error


def call_own(path: str, **arguments: Any) -> Any:
    """Call what an import path names, in this order; a UserError if it takes other arguments."""
    part = load_own(path)
    try:
        inspect.signature(part).bind(*arguments.values())
    except (TypeError, ValueError) as error:
        raise UserError(f"{path} must take ({', '.join(arguments)}): {error}") from error
    return part(*arguments.values())


def _find(path: str) -> None:
    """Refuse a module that is neither installed nor in the present folder."""
    here, module = os.getcwd(), path.partition(":")[0]
    if here not in sys.path:  # the command `omnial` alone does not look there
        sys.path.append(here)
    try:
        found = importlib.util.find_spec(module)
    except ImportError:
        found = None
    if found is None:
        raise UserError(
            f"{path}: there is no module {module}, neither installed nor in the present folder"
        )
