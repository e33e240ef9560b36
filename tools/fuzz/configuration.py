"""Any text is a configuration or a `UserError`; a configuration survives being written and read."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from omnial.config.load import load_settings
from omnial.config.presets import RECIPES
from omnial.config.settings import Settings
from omnial.errors import UserError

_FOLDER = tempfile.TemporaryDirectory(prefix="omnial-fuzz-")
_FILE = Path(_FOLDER.name) / "run.yaml"
_SEPARATOR = b"\0"


def seeds() -> Iterator[bytes]:
    """The recipes of this project, and values on the command line."""
    for path in RECIPES.values():
        yield path.read_bytes()
    for text in (
        b"training.batch_size=8",
        b"synthesis.levels.0.blur=3",
        b"data.height=1e3",
        b"size=tiny",
        b"training={minutes: 1}",
        b"synthesis.levels=[{beta: [0, 1], blur: 3}]",
    ):
        yield b"data: {width: 64}\n" + _SEPARATOR + text


def target(data: bytes) -> None:
    """Load a file, and what stands behind its first zero byte as `--set`."""
    content, *texts = data.split(_SEPARATOR)
    _FILE.write_bytes(content)
    overrides = [text.decode("utf-8", "replace") for text in texts]
    try:
        settings = load_settings(config_file=_FILE, overrides=overrides)
    except UserError:
        return
    written = json.dumps(settings.model_dump(mode="json"), allow_nan=False)
    assert Settings.model_validate(json.loads(written)) == settings
