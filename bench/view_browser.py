"""A headless chromium that looks at a page, and what that costs: seconds until something is there, and memory.

Each look has a browser of its own, so that its caches are cold. The memory of a tab is the proportional set size (PSS) of all
its renderer processes, of a server that of the process and its children: pages that several share count once in sum.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from .processes import Failed, family

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
_SIZE = {"width": 1280, "height": 800}
_DEADLINE_MS = 180_000
_SETTLE_MS = 3_000
# playwright's own wait evaluates text in the page, which our policy forbids
_WAIT = "() => new Promise((done) => { const look = () => (%s ? done() : requestAnimationFrame(look)); look(); })"
# when it was there, by the page's own clock: what waits outside hears of it only when the page has time to tell
_NOTE = (
    "new MutationObserver(() => { if (window.firstSeen === undefined && %s) window.firstSeen = performance.now(); })"
)
_OBSERVE = ".observe(document, { subtree: true, childList: true, attributes: true });"


@dataclass
class Look:
    """One page that is open: `first_s` from the start of its loading until what was waited for was there."""

    page: Page
    browser: Browser
    first_s: float

    def wait_s(self, wanted: str) -> float:
        """Return the seconds from the start of loading until this is true too."""
        self.page.evaluate(_WAIT % wanted)
        return float(self.page.evaluate("performance.now()")) / 1000

    def tab_bytes(self) -> int:
        """Return the memory of the tab, some seconds after all is there."""
        self.page.wait_for_timeout(_SETTLE_MS)
        processes = self.browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
        return sum(pss_bytes(process["id"]) for process in processes if process["type"] == "renderer")


@contextlib.contextmanager
def looking(url: str, wanted: str) -> Iterator[Look]:
    """Open `url` in a new browser and wait until the JavaScript expression `wanted` is true in it."""
    if CHROMIUM is None:
        raise Failed("no chromium is installed")
    flags = ["--disable-features=SpareRendererForSitePerProcess", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        try:
            page = browser.new_page(viewport=_SIZE)
            page.set_default_timeout(_DEADLINE_MS)
            page.add_init_script(_NOTE % wanted + _OBSERVE)
            page.goto(url, wait_until="commit")
            page.evaluate(_WAIT % wanted)
            yield Look(page, browser, page.evaluate("window.firstSeen ?? performance.now()") / 1000)
        finally:
            browser.close()


def pss_bytes(pid: int) -> int:
    """Return the proportional set size of a process; 0 if it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:")), 0)


def server_bytes(pid: int) -> int:
    """Return the proportional set size of a server and its children."""
    return sum(pss_bytes(member) for member in family(pid))
