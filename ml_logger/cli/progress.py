"""Progress: how far a command is, on standard error and only if that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TypeVar

from ..color import is_terminal

_Item = TypeVar("_Item")


def counted(items: Sequence[_Item], doing: str, unit: str) -> Iterable[_Item]:
    """Yield `items`, and show how many were taken."""
    if not is_terminal(sys.stderr):
        return items
    from tqdm import tqdm  # lazily: only a person at a terminal needs it

    bar: Iterable[_Item] = tqdm(items, desc=doing, unit=unit, leave=False, delay=0.5)
    return bar
