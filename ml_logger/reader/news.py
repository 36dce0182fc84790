"""News: what came behind a cursor, or that what was there before is not what it was."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property

from .columns import Columns, points
from .series import Series


class News:
    """What `columns` hold and did not at the time of a cursor.

    `is_everything`: the cursor is of something else (a file is gone or was written anew, parts turned out to have run beside
    each other); nothing that was known counts any more.
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
        """Return whether points of `key` that were known are none any more, so that `series` is all of them."""
        if self.is_everything:
            return True
        until = self.columns.replaced_from(key)
        is_cut = [not math.isinf(step) for step in until]
        return any(is_cut[part] and part in self._starts for part in range(len(is_cut))) and not self._was_replaced(key)

    def _was_replaced(self, key: str) -> bool:
        """Whether every attempt that has `key` now had it at the cursor, so that no further one replaces anything."""
        for attempt in self.columns.attempts:
            have = [part for part in attempt.parts if key in self.columns.parts[part].keys]
            if have and not any(self._knew(part, key) for part in have):
                return False
        return True

    def _knew(self, part: int, key: str) -> bool:
        """Whether any record of a part that was known then has `key`."""
        left = self._starts.get(part, 0)
        for block in self.columns.parts[part].blocks:
            column = block.columns.get(key)
            if left > 0 and column is not None and (column.rows is None or column.rows[0] < left):
                return True
            left -= block.count
        return False

    def _new(self, key: str) -> Series:
        until = self.columns.replaced_from(key)
        parts = enumerate(self.columns.parts)
        return Series([piece for n, part in parts for piece in points(part, key, until[n], self._starts.get(n, 0))])


def news_since(columns: Columns, cursor: str | None) -> News:
    """Return what `columns` hold behind `cursor`, which is the `Columns.cursor` of an earlier look, here or elsewhere."""
    known = _maybe_known(cursor or "")
    present = {part.identity: number for number, part in enumerate(columns.parts)}
    attempts = {part: number for number, attempt in enumerate(columns.attempts) for part in attempt.parts}
    if known is None or not all(identity in present for identity, _, _ in known):
        return News(columns, None)
    starts = {present[identity]: count for identity, count, _ in known}
    is_grown = all(columns.parts[part].count >= count for part, count in starts.items())
    is_same = all(attempts[present[identity]] == attempt for identity, _, attempt in known)
    return News(columns, starts if is_grown and is_same else None)


def _maybe_known(cursor: str) -> list[tuple[int, int, int]] | None:
    """Return identity, number of records and attempt of each part that `cursor` tells of, or None if it is no cursor."""
    try:
        found = [tuple(int(number, 16) for number in part.split("-")) for part in cursor.split(".")]
    except ValueError:
        return None
    return [(part[0], part[1], part[2]) for part in found] if all(len(part) == 3 for part in found) else None
