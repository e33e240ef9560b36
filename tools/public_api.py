"""Write the public API down in tests/public_api.txt: names and signatures, as the sources say.

    python -m tools.public_api

The file is a promise to users. A change of it is a change of version.
"""

import ast
import inspect
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Final, NamedTuple

import omnial

PAGE: Final = Path(__file__).parents[1] / "tests" / "public_api.txt"
RETURNED: Final = (
    "omnial.config.settings.Settings",
    "omnial.data.image_file.ImageError",
    "omnial.evaluation.result.ClassResult",
    "omnial.evaluation.result.EvaluationResult",
    "omnial.inference.outlines.Outline",
    "omnial.inference.predictor.PredictSummary",
    "omnial.models.trained_model.TrainedModel",
    "omnial.training.fit.TrainSummary",
)
"""What the public functions return or raise, besides the names of `omnial` itself."""
ALIASES: Final = (
    "omnial.inference.given.Picture",
    "omnial.inference.inspector.Tile",
    "omnial.inference.engines.BackendName",
)
"""Types of their arguments that have a name."""


class Entry(NamedTuple):
    """One public name."""

    text: str
    docstring: str | None
    """None for what needs none: a field, an alias."""


def entries() -> Iterator[Entry]:
    """Every public name, a class with its public members behind it."""
    for name in omnial.__all__:
        if name == "__version__":
            yield Entry("omnial.__version__: str", None)
        else:
            thing = getattr(omnial, name)
            yield from _entries(f"{thing.__module__}.{name}", f"omnial.{name}")
    for path in (*RETURNED, *ALIASES):
        yield from _entries(path, path)


def text() -> str:
    """The file's content."""
    return "\n".join(entry.text for entry in entries()) + "\n"


def _entries(path: str, shown: str) -> Iterator[Entry]:
    module, _, name = path.rpartition(".")
    source = Path(inspect.getfile(import_module(module))).read_text("utf-8")
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            yield Entry(_signature(node, shown), ast.get_docstring(node) or "")
        elif isinstance(node, ast.ClassDef) and node.name == name:
            bases = ", ".join(map(ast.unparse, node.bases))
            yield Entry(f"class {shown}({bases})", ast.get_docstring(node) or "")
            yield from _members(node, shown)
        elif isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == name:
            yield Entry(f"{shown} = {node.value and ast.unparse(node.value)}", None)


def _members(owner: ast.ClassDef, shown: str) -> Iterator[Entry]:
    for node in owner.body:
        if isinstance(node, ast.AnnAssign) and not ast.unparse(node.target).startswith("_"):
            default = "" if node.value is None else f" = {ast.unparse(node.value)}"
            field = f"{shown}.{ast.unparse(node.target)}: {ast.unparse(node.annotation)}"
            yield Entry(field + default, None)
        elif isinstance(node, ast.FunctionDef) and node.name == "__init__":
            # Its arguments stand in the class's docstring.
            yield Entry(_signature(node, shown), None)
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            marks = {ast.unparse(one) for one in node.decorator_list}
            documented = "overload" not in marks
            line = " ".join([*(f"@{mark}" for mark in sorted(marks)), ""])
            line += _signature(node, f"{shown}.{node.name}")
            yield Entry(line, (ast.get_docstring(node) or "") if documented else None)


def _signature(node: ast.FunctionDef, shown: str) -> str:
    returned = "None" if node.returns is None else ast.unparse(node.returns)
    return f"{shown}({ast.unparse(node.args)}) -> {returned}"


if __name__ == "__main__":
    PAGE.write_text(text(), "utf-8")
