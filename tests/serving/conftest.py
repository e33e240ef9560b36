"""Services for the tests, see `running_service.py`."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.serving.running_service import RedFinder, Running, model_of, running


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service with a history and the limits as they come, for tests that change no setting."""
    history = tmp_path_factory.mktemp("history") / "history.sqlite"
    with running(model_of(RedFinder()), history=history) as service:
        yield service


@pytest.fixture
def serve() -> Iterator[Callable[..., Running]]:
    """Start services with settings of the test's own."""
    with ExitStack() as stack:
        yield lambda **given: stack.enter_context(
            running(given.pop("model", None) or model_of(RedFinder()), **given)
        )
