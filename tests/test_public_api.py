import subprocess
import sys

import pytest

import omnial


def test_every_public_name_is_there_and_nothing_else() -> None:
    assert omnial.__all__ == [
        "Inspector",
        "__version__",
        "evaluate",
        "load_model",
        "load_settings",
        "predict",
        "train",
    ]
    assert all(getattr(omnial, name) is not None for name in omnial.__all__)
    with pytest.raises(AttributeError, match="no attribute 'inspect'"):
        omnial.inspect  # noqa: B018


def test_importing_the_package_imports_no_pytorch() -> None:
    code = "import sys, omnial; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
