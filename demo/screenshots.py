"""Each view of the page as a picture, in build/screenshots/: at a desk in light and dark, and on a phone.

    make screenshots
    python demo/screenshots.py --readme        and those of the README anew, in docs/images/

The runs are those of `lively`, one of them going on. Needs chromium; an error on the page's console makes it fail.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from lively import make_runs, run_that_goes_on
from PIL import Image
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

from ml_logger.view.local import Site

OUT = Path(__file__).parent.parent / "build" / "screenshots"
LOOKS = {"desk": (1280, 800, "light"), "desk-dark": (1280, 800, "dark"), "phone": (390, 844, "light")}
STEP_S = 0.3
SETTLE_MS = 2500  # charts draw themselves over several frames

EXTRA = {
    "runs-grouped": "#runs?g=p%3Aoptim.lr&s=m%3Aeval/loss&q=digits",
    "runs-differences": "#runs?q=digits&d=1",
}
"""Views that are no tab of their own, by name."""

README = {"runs": "runs-grouped-desk", "curves": "curves-desk-dark"}
IMAGES = Path(__file__).parent.parent / "docs" / "images"
README_HEIGHT, README_COLOURS = 640, 256


@contextmanager
def going_on(root: Path) -> Iterator[None]:
    """Let one run go on until the block ends."""
    is_over = threading.Event()

    def log() -> None:
        with run_that_goes_on(root) as steps:
            for _ in steps:
                if is_over.wait(STEP_S):
                    return

    thread = threading.Thread(target=log)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def open_chromium(playwright: Playwright) -> Browser:
    """Start the chromium of this machine; SystemExit where there is none."""
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        sys.exit("chromium is not installed: apt-get install chromium")
    as_root = ["--no-sandbox"] if os.geteuid() == 0 else []
    return playwright.chromium.launch(executable_path=path, args=as_root)


def shoot(page: Page, url: str, name: str, look: str) -> None:
    """Write one picture."""
    page.goto(url)
    page.locator(".loading").first.wait_for(state="detached")  # the policy forbids to wait for a function
    page.wait_for_timeout(SETTLE_MS)
    page.screenshot(path=OUT / f"{name}-{look}.png")


def shoot_all(browser: Browser, url: str) -> list[str]:
    """Write all pictures, and return what was said on the console."""
    said: list[str] = []
    for look, (width, height, scheme) in LOOKS.items():
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme="dark" if scheme == "dark" else "light"
        )
        page = context.new_page()
        page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: said.append(f"error: {error}"))
        page.goto(url)
        page.wait_for_selector(".run")
        tabs = page.locator(".tab").evaluate_all("tabs => tabs.map(tab => tab.id.slice('tab-'.length))")
        for name, where in [*((tab, f"#{tab}") for tab in tabs), *EXTRA.items()]:
            shoot(page, url + where, name, look)
        context.close()
    return said


def write_readme_pictures() -> None:
    """Put the pictures of the README beside the docs, with few colours, since every clone carries them."""
    IMAGES.mkdir(exist_ok=True)
    for name, shot in README.items():
        with Image.open(OUT / f"{shot}.png") as picture:
            cut = picture.convert("RGB").crop((0, 0, picture.width, README_HEIGHT))
            few = cut.quantize(README_COLOURS, dither=Image.Dither.NONE)
            few.save(IMAGES / f"{name}.png", optimize=True)


def main() -> int:
    """Make runs, look at them, and return 1 if the page complained."""
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="ml-logs-") as folder:
        root = Path(folder) / "ml-logs"
        make_runs(root)
        with ExitStack() as stack:
            stack.enter_context(going_on(root))
            site = stack.enter_context(closing(Site(root)))
            browser = stack.enter_context(closing(open_chromium(stack.enter_context(sync_playwright()))))
            said = shoot_all(browser, site.url)
    print(f"{len(list(OUT.iterdir()))} pictures in {OUT}")
    print(*said, sep="\n", file=sys.stderr)
    if "--readme" in sys.argv:
        write_readme_pictures()
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main())
