"""A headless chromium for the tests of the page: one a module, a fresh context a test, and no error in it is tolerated.

Where no chromium is installed the tests skip and say so; with ``CI`` set they fail. `Opened.tolerate` names what a test
means to provoke. Nothing here sleeps: playwright's locators and `expect` wait for a condition.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, expect, sync_playwright

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
DESK, PHONE = (1280, 800), (390, 844)
"""Width and height in px."""

_DEADLINE_MS = 20_000
_MISSING = "no chromium is installed (on a Debian: apt-get install chromium)"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Return a browser for the tests of one module."""
    if CHROMIUM is None:
        (pytest.fail if "CI" in os.environ else pytest.skip)(_MISSING)
    expect.set_options(timeout=_DEADLINE_MS)
    as_root = ["--no-sandbox"] if os.geteuid() == 0 else []
    with ExitStack() as stack:
        chromium = stack.enter_context(sync_playwright()).chromium
        yield stack.enter_context(closing(chromium.launch(executable_path=CHROMIUM, args=as_root)))


@dataclass
class Opened:
    """The pages of one test, and everything that went wrong in them."""

    browser: Browser
    contexts: list[BrowserContext] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    tolerated: list[str] = field(default_factory=list)

    def __call__(self, url: str, *, size: tuple[int, int] = DESK, is_dark: bool = False) -> Page:
        """Open `url` in a context of its own: other cookies, another cache."""
        context = self.browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            has_touch=size == PHONE,
            color_scheme="dark" if is_dark else "light",
            reduced_motion="reduce",
        )
        context.set_default_timeout(_DEADLINE_MS)
        self.contexts.append(context)
        page = context.new_page()
        self._watch(page)
        page.goto(url)
        return page

    def tolerate(self, pattern: str) -> None:
        """Let errors pass whose line matches `pattern`, from before as well."""
        self.tolerated.append(pattern)

    def left(self) -> list[str]:
        """Return the errors that nobody meant to provoke."""
        return [error for error in self.errors if not any(re.search(pattern, error) for pattern in self.tolerated)]

    def close(self) -> None:
        """Close all contexts."""
        for context in self.contexts:
            context.close()

    def _watch(self, page: Page) -> None:
        page.on("console", self._take_message)
        page.on("pageerror", lambda error: self.errors.append(f"page error: {error}\n{error.stack or ''}"))
        page.on("requestfailed", self._take_failure)
        page.on("dialog", lambda dialog: (self.errors.append(f"dialog: {dialog.message}"), dialog.dismiss()))

    def _take_message(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(f"console {message.type}: {message.text} ({message.location.get('url')})")

    def _take_failure(self, request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # the page itself no longer wanted it
            self.errors.append(f"request failed: {request.failure} ({request.url})")


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Opened]:
    """Open pages; the test fails if anything but what it tolerates went wrong in one of them."""
    with ExitStack() as stack:
        opened = stack.enter_context(closing(Opened(browser)))
        yield opened
        assert not opened.left(), "\n".join(opened.left())
