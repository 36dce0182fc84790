"""Progress: how far a command is, on standard error and only if that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TypeVar

from ..color import is_terminal, terminal_width
from .values import text_of

_Item = TypeVar("_Item")


def counted(items: Iterable[_Item], doing: str, unit: str, total: int) -> Iterable[_Item]:
    """Yield `items`, and show how many of `total` were taken."""
    if not is_terminal(sys.stderr):
        return items
    from tqdm import tqdm  # lazily: only a person at a terminal needs it

    bar: Iterable[_Item] = tqdm(items, desc=doing, unit=unit, total=total, leave=False, delay=0.5)
    return bar


class Notice:
    """One line on the terminal that is there for as long as something is so; in a pipe nothing is written."""

    def __init__(self) -> None:
        self._is_shown = False

    def show(self, text: str) -> None:
        """Write the line, or another in its place."""
        width = terminal_width(sys.stderr)
        if width is not None:
            print(f"\r\x1b[K{text_of(text, most=width - 1)}", end="", file=sys.stderr, flush=True)
            self._is_shown = True

    def close(self) -> None:
        """Take the line away for good."""
        self.clear()

    def clear(self) -> None:
        """Take the line away."""
        if self._is_shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self._is_shown = False
