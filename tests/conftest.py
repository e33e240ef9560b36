"""What holds for all tests."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

from omnial.data.cache import LOCATION

# The same examples in every run, so that a green run means the same everywhere. `make fuzz` draws
# others with --hypothesis-profile=random.
settings.register_profile("fixed", derandomize=True)
# Said in full: where CI is set, hypothesis itself starts from a derandomized profile.
settings.register_profile("random", derandomize=False)
settings.load_profile("fixed")


@pytest.fixture(scope="session", autouse=True)
def _cache_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the tests, and the processes that they start, off the user's own cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(LOCATION, str(tmp_path_factory.mktemp("cache")))
        yield
