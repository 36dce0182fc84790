"""News: what came behind a cursor, or that what was there before is not what it was."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np

from .block import Block, Column, Rows, span_of
from .columns import Columns, PartColumns, in_order, points
from .series import Series


class News:
    """What `columns` hold and did not at the time of a cursor.

    `is_everything`: the cursor is of something else (a file is gone or was written anew); nothing that was known counts any
    more.
    """

    def __init__(self, columns: Columns, starts: Mapping[int, int] | None) -> None:
        self.columns = columns
        self.is_everything = starts is None
        self._starts = starts or {}  # by number of a part that was known: how many records of it

    @cached_property
    def keys(self) -> list[str]:
        """The keys with news, in the order of `Columns.keys`."""
        return [key for key in self.columns.keys() if self.replaces(key) or len(self._new(key))]  # noqa: SIM118 - a method

    def series(self, key: str) -> Series:
        """Return the new points of `key`, or all of them if it `replaces` what was known."""
        return self.columns.series(key) if self.replaces(key) else self._new(key)

    def replaces(self, key: str) -> bool:
        """Return whether points of `key` that were known are none any more or some are again, so that `series` is all."""
        if self.is_everything or len(self.columns.parts) < 2:
            return self.is_everything
        now = dict(zip((part.path for part in self.columns.parts), self.columns.replaced_from(key), strict=True))
        known = zip(self._known.parts, self._known.replaced_from(key), strict=True)
        return any(until != now[part.path] for part, until in known if key in part.keys)

    @cached_property
    def _known(self) -> Columns:
        """What was known at the cursor."""
        return Columns(in_order([_first(self.columns.parts[part], count) for part, count in self._starts.items()]))

    def _new(self, key: str) -> Series:
        until = self.columns.replaced_from(key)
        parts = enumerate(self.columns.parts)
        return Series([piece for n, part in parts for piece in points(part, key, until[n], self._starts.get(n, 0))])


def news_since(columns: Columns, cursor: str | None) -> News:
    """Return what `columns` hold behind `cursor`, which is the `Columns.cursor` of an earlier look, here or elsewhere."""
    known = _maybe_known(cursor or "")
    present = {part.identity: number for number, part in enumerate(columns.parts)}
    if known is None or not all(identity in present for identity, _ in known):
        return News(columns, None)
    starts = {present[identity]: count for identity, count in known}
    is_grown = all(columns.parts[part].count >= count for part, count in starts.items())
    return News(columns, starts if is_grown else None)


def _maybe_known(cursor: str) -> list[tuple[int, int]] | None:
    """Return identity and number of records of each part that `cursor` tells of, or None if it is no cursor."""
    try:
        found = [tuple(int(number, 16) for number in part.split("-")) for part in cursor.split(".")]
    except ValueError:
        return None
    return [(part[0], part[1]) for part in found] if all(len(part) == 2 for part in found) else None


def _first(part: PartColumns, count: int) -> PartColumns:
    """Return the numbers of the first `count` records of a part."""
    blocks, left = [], count
    for block in part.blocks:
        if left > 0:
            blocks.append(block if block.count <= left else _cut(block, left))
        left -= block.count
    return PartColumns(part.path, part.identity, tuple(blocks))


def _cut(block: Block, count: int) -> Block:
    """Return the numbers of the first `count` records of a block."""
    supports: dict[int, Rows] = {}
    columns = {}
    for key, column in block.columns.items():
        rows = column.rows
        if rows is not None:
            if id(rows) not in supports:
                supports[id(rows)] = rows[: np.searchsorted(rows, count)]
            rows = supports[id(rows)]
        columns[key] = Column(rows, column.values[: count if rows is None else len(rows)])
    steps, times = block.steps[:count], block.times[:count]
    found = {key: column for key, column in columns.items() if len(column.values)}
    return Block(count, steps, times, found, span_of(steps, times), {})
