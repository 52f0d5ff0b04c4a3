"""A real browser for tests: Debian's Chromium driven by Playwright, and what goes wrong on a page while it is used.

Playwright's synchronous interface keeps an event loop of its own running, which coroutine tests of the same process
cannot stand. So the browser lives as long as one test module, and modules that use it have no coroutine tests.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import sync_playwright

from deploy.local.process import LOCAL_DIR, MissingToolError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Response

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")

ACTION_TIMEOUT_MS = 15_000
"""Longest wait for an element on a loaded machine; a passing test never waits that long."""


def chromium_path() -> str:
    """Full path of the installed Chromium. Raises MissingToolError with the advice."""
    for name in CHROMIUM_NAMES:
        path = shutil.which(name)
        if path is not None:
            return path
    raise MissingToolError("`chromium` is not installed: apt-get install chromium")


@contextlib.contextmanager
def running_browser() -> Iterator[Browser]:
    """Run Chromium until the block ends. Without Chromium: skips the test, in CI fails it."""
    try:
        path = chromium_path()
    except MissingToolError as problem:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(problem))
    with sync_playwright() as playwright:
        # Containers seldom have the user namespaces and the large /dev/shm that Chromium would like.
        browser = playwright.chromium.launch(executable_path=path, args=["--disable-dev-shm-usage"])
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Watch:
    """What went wrong on a page: console errors and warnings, uncaught exceptions, requests that failed."""

    problems: list[str] = field(default_factory=list)
    allowed: list[re.Pattern[str]] = field(default_factory=list)

    def allow(self, pattern: str) -> None:
        """Expect problems whose text matches the regular expression, such as the 400 that a test provokes."""
        self.allowed.append(re.compile(pattern))

    def attach(self, page: Page) -> None:
        """Watch a page from now on."""
        page.on("console", self._console)
        page.on("pageerror", lambda error: self._note(f"uncaught: {error}"))
        page.on("requestfailed", self._failed)
        page.on("response", self._answered)

    def check(self) -> None:
        """Fail with every problem so far that was not expected."""
        unexpected = [text for text in self.problems if not any(p.search(text) for p in self.allowed)]
        assert not unexpected, "\n".join(unexpected)

    def _note(self, text: str) -> None:
        self.problems.append(text)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self._note(f"console {message.type}: {message.text} ({message.location.get('url', '')})")

    def _failed(self, request: Request) -> None:
        # A page that is left ends what it still loads, streams above all.
        if request.failure != "net::ERR_ABORTED":
            self._note(f"failed: {request.method} {request.url}: {request.failure}")

    def _answered(self, response: Response) -> None:
        if response.status >= 400:
            self._note(f"status {response.status}: {response.request.method} {response.url}")


@dataclass
class Visit:
    """A page in a browser context of its own, and the watch on it."""

    page: Page
    watch: Watch


@contextlib.contextmanager
def visiting(
    browser: Browser, base_url: str, *, dark: bool = False, java_script: bool = True, width: int = 1280
) -> Iterator[Visit]:
    """A page with fresh cookies, watched until the block ends: an unexpected problem fails the test.

    Args:
        browser: fixture ``browser``.
        base_url: ``page.goto("/path")`` goes from here.
        dark: what the browser tells as the person's preferred colours.
        java_script: False to see a page as it is without scripts.
        width: of the window in CSS pixels.
    """
    context = browser.new_context(
        base_url=base_url,
        color_scheme="dark" if dark else "light",
        java_script_enabled=java_script,
        viewport={"width": width, "height": 800},
        reduced_motion="reduce",
    )
    try:
        context.set_default_timeout(ACTION_TIMEOUT_MS)
        page, watch = context.new_page(), Watch()
        watch.attach(page)
        yield Visit(page, watch)
        watch.check()
    finally:
        context.close()


def screenshot(page: Page, name: str, *, full_page: bool = False) -> Path:
    """Keep a picture of the page as ``<name>.png`` in $RUNSTREAM_TEST_OUTPUT, .local/test-output if that is not set."""
    folder = Path(os.environ.get("RUNSTREAM_TEST_OUTPUT") or LOCAL_DIR / "test-output") / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.png"
    page.screenshot(path=path, full_page=full_page, animations="disabled")
    return path
