"""A user's program, checked with `mypy --strict` against the installed wheel by `.ci/run`.

Each `type: ignore` is a mistake that mypy must find: without omnial's types it would be unused,
and mypy would say so.
"""

from pathlib import Path

import omnial
from omnial import Inspection, Inspector


def worst(inspector: Inspector, pictures: list[Path]) -> Inspection:
    """The picture with the highest score."""
    return max(inspector.inspect(pictures), key=lambda found: found.score)


def train(parts: Path, model: Path) -> int:
    """Train a small model, and count the images that it has seen."""
    try:
        return omnial.train([parts], model, size="tiny", minutes=1).images
    except omnial.UserError as error:
        raise SystemExit(str(error)) from error


def mistaken(inspector: Inspector) -> None:
    """What mypy must refuse."""
    omnial.load_model(17)  # type: ignore[arg-type]
    inspector.inspect("part.png").scores  # type: ignore[attr-defined]  # noqa: B018
    omnial.train(Path("parts"))  # type: ignore[call-arg]
    name: str = worst(inspector, []).score  # type: ignore[assignment]
    print(name)
