"""The place that is looked at: its files, and what else is known there. A receiver gives another than a directory of this
machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..files import Files
from ..reader.cache import ColumnCache, user_cache
from .keeping import LocalShelf, NoShelf, Shelf
from .visitor import Visitor


@dataclass(frozen=True, slots=True)
class Place:
    """Where runs are: `title` names it to people, `shelf_of` a visitor is where their notes are put.

    `agents_for` a visitor are the agents that were heard of, as ``GET /v1/agents`` lists them. Columns are kept in `cache`,
    and the lines of runs for later servers of the same place if it `keeps_lines`.
    """

    files: Files
    title: str
    shelf_of: Callable[[Visitor], Shelf]
    agents_for: Callable[[Visitor], list[dict[str, Any]]]
    cache: ColumnCache | None
    is_receiver: bool = False
    keeps_lines: bool = True


def columns_in(folder: Path) -> ColumnCache:
    """Return the cache of columns in a folder, which is made when there is something to keep."""
    return ColumnCache(folder)


def local_place(files: Files, title: str) -> Place:
    """Return the place that a directory of this machine is: everybody's notes are put there, and no agent is heard."""
    shelf = LocalShelf(files)
    return Place(files, title, lambda _visitor: shelf, lambda _visitor: [], user_cache())


def far_place(files: Files, title: str) -> Place:
    """Return the place that a receiver is to somebody who only reads: nothing is put there, and no agent is heard.

    Lines of runs are not kept: another token may see others.
    """
    return Place(files, title, lambda _visitor: NoShelf(), lambda _visitor: [], user_cache(), keeps_lines=False)
