"""What holds for all tests."""

from collections.abc import Iterator

import pytest

from omnial.data.cache import LOCATION


@pytest.fixture(scope="session", autouse=True)
def _cache_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the tests, and the processes that they start, off the user's own cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(LOCATION, str(tmp_path_factory.mktemp("cache")))
        yield
