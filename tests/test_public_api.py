"""The public API is what docs/api.md says, and changes only when somebody means it to."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import omnial
from omnial.demo.production_line import generate
from tools import public_api

PAGE = (Path(__file__).parents[1] / "docs" / "api.md").read_text("utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
# The page trains for half an hour.
LONG = 'load_settings(size="lite", overrides=["training.minutes=30"])'
SHORT = (
    'load_settings(size="tiny", overrides=["training.steps=1", "training.batch_size=2", '
    '"training.precision=fp32", "data.height=64", "data.width=64"])'
)


def test_names_and_signatures_are_those_written_down() -> None:
    written = public_api.PAGE.read_text("utf-8").splitlines()
    assert public_api.text().splitlines() == written, (
        "The public API has changed. If that is meant: `make api`, a line in CHANGELOG.md, and a "
        "new version by the rules of Semantic Versioning."
    )


def test_a_removed_argument_would_show() -> None:
    lines = public_api.text().splitlines()
    for path in (*public_api.RETURNED, *public_api.ALIASES):
        assert any(path in line for line in lines), f"nothing is written down about {path}"
    (line,) = (line for line in lines if line.startswith("omnial.load_model("))
    assert line == (
        "omnial.load_model(folder: StrPath, device: str='auto', *, "
        "reading: Reading=AS_TRAINED) -> TrainedModel"
    )


def test_every_public_name_has_a_docstring() -> None:
    assert [one.text for one in public_api.entries() if one.docstring == ""] == []


def test_the_page_names_every_public_name() -> None:
    listed = re.findall(r"^\| `omnial\.(\w+)` \|", PAGE, re.MULTILINE)
    assert sorted(listed) == sorted(set(omnial.__all__) - {"__version__"})
    used = "".join(EXAMPLES)
    missing = [name for name in listed if f"omnial.{name}" not in used]
    assert missing == ["RunError"], "each has an example, but for what only a broken disk shows"


def test_the_examples_of_the_page_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    generate(Path("parts"), seed=1, classes=["gear"], size=64, train=6, test_good=1, per_kind=1)
    Path("new_pictures").mkdir()
    Image.open("parts/gear/test/good/000.png").save("new_pictures/17.png")

    names: dict[str, Any] = {}
    for example in EXAMPLES:
        exec(example.replace(LONG, SHORT), names)

    assert names["summary"].n_images == 1
    assert Path("report/index.html").is_file()
    printed = capsys.readouterr().out
    assert "missing.png" in printed
    assert "does not know the class" in printed


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'inspect'"):
        omnial.inspect  # noqa: B018


def test_importing_the_package_imports_no_pytorch() -> None:
    code = "import sys, omnial; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
