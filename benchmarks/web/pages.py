"""Time until the table of runs can be used, in a real browser with an empty cache."""

from __future__ import annotations

import shutil
import statistics
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser

REPEATS = 5
_TIMEOUT_MS = 120_000
_VIEW = {"width": 1500, "height": 900}


def runs_page_ms(url: str, experiment_id: str, run_name: str) -> float:
    """Median time from the first request until the newest run is in the table and the page answers, milliseconds.

    Args:
        url: of the server.
        experiment_id: whose runs are shown.
        run_name: of the run that the table begins with.

    Raises:
        RuntimeError: no Chromium is installed.
    """
    # Only this measurement needs a browser.
    from playwright.sync_api import sync_playwright  # noqa: PLC0415

    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        raise RuntimeError("`chromium` is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--disable-dev-shm-usage"])
        try:
            page = f"{url}/#/experiments/{experiment_id}/runs"
            return statistics.median(_load_ms(browser, page, run_name) for _ in range(REPEATS))
        finally:
            browser.close()


def _load_ms(browser: Browser, page_url: str, run_name: str) -> float:
    context = browser.new_context(viewport=_VIEW)  # nothing is cached in it
    try:
        page = context.new_page()
        page.set_default_timeout(_TIMEOUT_MS)
        started = time.perf_counter()
        page.goto(page_url, wait_until="commit")
        page.get_by_text(run_name, exact=True).first.wait_for(state="visible")
        # The main thread is free again: a click would be answered.
        page.evaluate("new Promise(done => requestIdleCallback(() => done()))")
        return (time.perf_counter() - started) * 1000
    finally:
        context.close()
