"""Take the README's screenshots of the page and of the report, from the demonstration's folders.

Needs Playwright and Chromium (`apt install chromium`). Nothing but the loopback address is asked.

    omnial demo
    python tools/screenshots.py runs/demo docs/images
"""

import shutil
import socket
import tempfile
import threading
from pathlib import Path
from typing import Annotated, Any

import typer
import uvicorn
from playwright.sync_api import Browser, FilePayload, Page, sync_playwright

from omnial.data.layouts import discover
from omnial.inference.inspector import Inspector
from omnial.serving.app import build_app
from omnial.serving.service import Service, model_name
from omnial.serving.service_settings import ServiceSettings

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_QUIET = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
_DESK, _PHONE = {"width": 1400, "height": 900}, {"width": 390, "height": 844}
_PICTURE: dict[str, Any] = {"type": "jpeg", "quality": 80}


def pictures(data: Path) -> list[FilePayload]:
    """The first defective test image of each product, whatever the model makes of it.

    Of every fourth product, it is the first good one.
    """
    found = []
    for index, product in enumerate(discover([data], need="test").classes):
        record = next(r for r in product.test if r.anomalous is (index % 4 != 3))
        name = f"{product.name}-{record.kind}-{record.path.name}"
        content = record.path.read_bytes()
        found.append(FilePayload(name=name, mimeType="image/png", buffer=content))
    return found


def open_page(browser: Browser, address: str, size: dict[str, int], scheme: str) -> Page:
    """A page in a window of its own, at one and a half times the resolution."""
    context = browser.new_context(
        viewport=size,  # type: ignore[arg-type]  # a dictionary of these two keys
        color_scheme=scheme,  # type: ignore[arg-type]  # `light` or `dark`
        device_scale_factor=1.5,
        reduced_motion="reduce",
    )
    page = context.new_page()
    page.goto(address)
    # It would lie over the pictures of parts of the page.
    page.evaluate(
        "document.querySelectorAll('header, nav').forEach(e => { e.style.position = 'static'; })"
    )
    return page


def shoot_service(browser: Browser, url: str, files: list[FilePayload], out: Path) -> None:
    """The page with results: a desk in light, a phone in dark."""
    page = open_page(browser, url, _DESK, "light")
    page.wait_for_selector("html[data-ready]")
    page.set_input_files("#files", files)
    page.wait_for_function(
        "n => document.querySelectorAll('.tile:not([disabled])').length === n", arg=len(files)
    )
    worst = page.locator(".tile", has=page.locator(".badge.bad"))
    (worst if worst.count() else page.locator(".tile")).first.click()
    page.wait_for_timeout(500)
    page.evaluate("scrollTo(0, 0)")
    page.screenshot(path=out / "page.jpg", **_PICTURE)
    page.locator("#work").screenshot(path=out / "page_result.jpg", **_PICTURE)
    page.locator("#history").screenshot(path=out / "page_history.jpg", **_PICTURE)
    phone = open_page(browser, url, _PHONE, "dark")
    phone.wait_for_selector("html[data-ready]")
    phone.set_input_files("#files", files[:1])
    phone.wait_for_selector(".tile:not([disabled])")
    phone.wait_for_timeout(500)
    phone.screenshot(path=out / "page_phone.jpg", **_PICTURE)


def shoot_report(browser: Browser, report: Path, out: Path) -> None:
    """The top of the report."""
    page = open_page(browser, (report / "index.html").absolute().as_uri(), _DESK, "light")
    page.wait_for_timeout(500)
    page.screenshot(path=out / "report.jpg", **_PICTURE)


def main(
    demo: Annotated[Path, typer.Argument(help="Folder with data/, model/ and report/.")],
    out: Annotated[Path, typer.Argument(help="Folder for the pictures.")],
) -> None:
    """Start the service on the demonstration's model, and take the pictures."""
    path = next((found for name in _BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        raise typer.BadParameter("no Chromium on this machine: apt install chromium")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        settings = ServiceSettings(port=0, history=Path(scratch) / "history.sqlite")
        inspector = Inspector(demo / "model")
        inspector.warm_up()
        service = Service(inspector, model_name(demo / "model"), settings)
        server = uvicorn.Server(uvicorn.Config(build_app(service), log_config=None))
        with socket.create_server(("127.0.0.1", 0)) as listening, sync_playwright() as playwright:
            given: dict[str, Any] = {"sockets": [listening]}
            thread = threading.Thread(target=server.run, kwargs=given)
            thread.start()
            try:
                browser = playwright.chromium.launch(executable_path=path, args=list(_QUIET))
                url = f"http://127.0.0.1:{listening.getsockname()[1]}"
                shoot_service(browser, url, pictures(demo / "data"), out)
                if (demo / "report" / "index.html").exists():
                    shoot_report(browser, demo / "report", out)
                browser.close()
            finally:
                server.should_exit = True
                thread.join()


if __name__ == "__main__":
    typer.run(main)
