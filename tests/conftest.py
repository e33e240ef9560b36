"""What holds for all tests."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from omnial.data.cache import LOCATION

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
QUIET = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
    *("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"),
)

# The same examples in every run, however slow the machine, so that a green run means the same
# everywhere. `make fuzz` draws others with --hypothesis-profile=random.
settings.register_profile("fixed", derandomize=True, deadline=None)
# Said in full: where CI is set, hypothesis itself starts from a derandomized profile.
settings.register_profile("random", derandomize=False, deadline=None)
settings.load_profile("fixed")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """`--dist loadfile`, but one worker for all of export/, whose graphs take half a minute."""
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "export" if "tests/export/" in nodeid else super()._split_scope(nodeid)

    return ByFile(config, log) if config.option.dist == "loadfile" else None


@pytest.fixture(scope="session", autouse=True)
def _cache_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the tests, and the processes that they start, off the user's own cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(LOCATION, str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A Chromium, driven by Playwright."""
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("no Chromium on this machine")
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=list(QUIET))
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def check_accessible() -> Callable[[Any], None]:
    """Assert that axe finds nothing serious or critical on a Playwright page.

    axe is looked for where OMNIAL_AXE says, and where npm puts it: `npm install axe-core` in the
    repository or above it, or `npm install -g axe-core`.
    """
    places = [*Path(__file__).resolve().parents, Path("/usr/local/lib"), Path("/usr/lib")]
    found = [place / "node_modules" / "axe-core" / "axe.min.js" for place in places]
    if named := os.environ.get("OMNIAL_AXE"):
        found = [Path(named)]
        assert found[0].is_file(), f"OMNIAL_AXE: there is no file {named}"
    path = next((file for file in found if file.is_file()), None)
    if path is None:
        pytest.skip("no axe-core: npm install axe-core, or set OMNIAL_AXE to its axe.min.js")
    script = path.read_text("utf-8")

    def check(page: Any) -> None:
        page.evaluate(script)
        page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
        result = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
        assert len(result["passes"]) > 10
        wrong = [
            f"{rule['impact']} {rule['id']}: {node['failureSummary']} {node['html']}"
            for rule in result["violations"]
            if rule["impact"] in ("serious", "critical")
            for node in rule["nodes"]
        ]
        assert wrong == []

    return check
