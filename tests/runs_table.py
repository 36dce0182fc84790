"""The table of runs as a test sees it in the page, and runs written by hand to fill it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, Page
from processes import wait_until

GONE = r"ERR_CONNECTION_REFUSED|ERR_EMPTY_RESPONSE|ERR_CONNECTION_RESET"
"""What the browser says of a server that is not there."""


def write_run(folder: Path, number: int) -> None:
    """Write a finished run as the client does, without its time."""
    begin = 1_795_000_000 + 100 * number
    records = [
        ("run", {"event": "start", "_timestamp": begin, "host": f"gpu{number % 3}", "pid": number}),
        ("run", {"event": "end", "_timestamp": begin + 60, "state": "finished", "pid": number}),
        ("parameters", {"_timestamp": begin, "seed": number, "model": {"depth": number % 5, "kind": "mlp"}}),
        ("metrics", {"_step": 7, "_timestamp": begin + 30, "loss": number / 1000}),
    ]
    folder.mkdir(parents=True)
    for name, record in records:
        with (folder / f"{name}.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


def row(page: Page, path: str) -> Locator:
    """Return the row of a run."""
    return page.locator(f'.run[data-path="{path}"]')


def paths(page: Page) -> list[str]:
    """Return the runs that are shown, from the top."""
    read = "rows => rows.sort((a, b) => a.dataset.index - b.dataset.index).map(row => row.dataset.path)"
    return page.locator(".grid-body .run").evaluate_all(read)


def columns(page: Page) -> list[str]:
    return page.get_by_role("columnheader").evaluate_all("heads => heads.map(head => head.dataset.column)")


def picked(page: Page) -> set[str]:
    return set(page.locator(".run.picked").evaluate_all("rows => rows.map(row => row.dataset.path)"))


def expect_paths(page: Page, wanted: list[str]) -> None:
    wait_for(lambda: paths(page), wanted)


def wait_for(look: Callable[[], Any], wanted: Any) -> None:
    """Wait until `look` returns `wanted`; says what it returned last."""
    last: list[Any] = [None]

    def is_so() -> bool:
        last[0] = look()
        return bool(last[0] == wanted)

    try:
        wait_until(is_so, 20)
    except TimeoutError:
        assert last[0] == wanted


def type_filter(page: Page, text: str) -> None:
    page.get_by_label("Filter the runs").fill(text)


def colour(page: Page, path: str) -> str:
    """Return the colour that is drawn for a picked run."""
    swatch = row(page, path).locator(".swatch")
    return str(swatch.evaluate("swatch => getComputedStyle(swatch).borderTopColor"))
