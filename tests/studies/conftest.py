"""What the studies are run on."""

from pathlib import Path

import pytest

from tests.studies.small_runs import make_products


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_products(tmp_path_factory.mktemp("studies") / "line")
