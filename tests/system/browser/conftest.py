"""Debian's Chromium, windows that notice what a page complains about, and pages of fake nodes."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    expect,
    sync_playwright,
)

CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

expect.set_options(timeout=20_000)

REPORT_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) =>
  console.error(`policy: ${event.violatedDirective} forbids ${event.blockedURI}`));
"""
"""Makes a violation of the page's content security policy a complaint whatever it was."""

Windows = Callable[[str], BrowserContext]
Screenshot = Callable[[Page, str], None]

VIEWPORTS = {"desktop": (1280, 900), "phone": (390, 844)}


def _fake_sites() -> Any:
    """Return the module that serves fake nodes' pages: tests/web/conftest.py."""
    name = "fake_sites"
    if name not in sys.modules:
        path = Path(__file__).parents[2] / "web" / "conftest.py"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """A running Chromium: the system's, found by its name."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    assert path is not None, "the browser tests need Debian's package chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(params=list(VIEWPORTS))
def viewport(request: pytest.FixtureRequest) -> str:
    """A desktop's and a phone's window, one after the other."""
    name: str = request.param
    return name


@pytest.fixture
def windows(chromium: Browser) -> Iterator[Windows]:
    """Open windows of a size by name. Anything that a page in one complains about fails the test.

    A node that does not run makes the browser say that it cannot be reached; the pages say so
    as well, in their own words, and the tests look for those.
    """
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and "net::ERR_" not in message.text:
            complaints.append(f"{message.location.get('url')}: {message.text}")

    def open_window(viewport: str) -> BrowserContext:
        width, height = VIEWPORTS[viewport]
        context = chromium.new_context(viewport={"width": width, "height": height})
        context.set_default_timeout(20_000)
        context.add_init_script(REPORT_VIOLATIONS)
        context.on("console", heard)
        context.on("weberror", lambda error: complaints.append(str(error.error)))
        contexts.append(context)
        return context

    yield open_window
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def tab(windows: Windows, viewport: str) -> Page:
    """A tab in a window of that size."""
    return windows(viewport).new_page()


@pytest.fixture
def screenshot(tmp_path: Path) -> Screenshot:
    """Save a picture of a page in the folder PAXOS_SCREENSHOTS, or the test's own."""
    folder = Path(os.environ.get("PAXOS_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)

    def save(page: Page, name: str) -> None:
        file = folder / f"{name}.png"
        page.screenshot(path=file, full_page=True)
        assert file.stat().st_size > 10_000

    return save


@pytest.fixture
def open_site() -> Iterator[Callable[[str], Any]]:
    """Open the pages of a fake node by name."""
    module = _fake_sites()
    sites: list[Any] = []

    def open_one(node: str) -> Any:
        sites.append(module.Site(module.FakeView(node)))
        return sites[-1]

    yield open_one
    for site in sites:
        site.close()
