"""Metrics: the columns of one run's metrics, kept up to date.

Each look reads what came behind the last one and nothing else. What was read is kept in blocks whose sizes fall, so that a
record that comes alone costs no copy of those before it.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from contextlib import closing

from ..errors import NotHeld
from ..files import Files, OpenFile
from .block import Block, join
from .columns import Columns, PartColumns
from .decode import decode
from .follow import CHECKED_BYTES, Place, lines_behind, place_in
from .parts import Part

MOST_RECORDS = 1 << 20
"""Blocks of more than half as many records are not joined any more."""


class Metrics:
    """The columns of the parts of one stream, as far as they were read."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._parts: dict[str, GrowingPart] = {}
        self._seen: tuple[Part, ...] | None = None
        self._columns = Columns([])

    def look(self, parts: Sequence[Part]) -> Columns:
        """Return the columns of `parts`, as they were listed just now, having read what is new in them."""
        if tuple(parts) == self._seen:
            return self._columns
        self._parts = {part.path: self._parts.get(part.path) or GrowingPart(part.name) for part in parts}
        read = [columns for part in parts if (columns := self._maybe_columns(part)) is not None]
        self._columns = Columns(in_order(read))
        self._seen = tuple(parts)
        return self._columns

    def _maybe_columns(self, part: Part) -> PartColumns | None:
        growing = self._parts[part.path]
        if growing.seen != part:
            try:
                with closing(self._files.open(part.path)) as file:
                    growing.catch_up(file)
            except NotHeld:  # deleted since it was listed
                return None
            growing.seen = part
        return growing.columns()


def in_order(parts: Sequence[PartColumns]) -> list[PartColumns]:
    """Return `parts` in the order in which they began; one without a time stays behind the one before it."""
    begins, before = [], -math.inf
    for part in parts:
        before = before if math.isnan(part.span.first_time) else part.span.first_time
        begins.append(before)
    return [parts[number] for number in sorted(range(len(parts)), key=begins.__getitem__)]


class GrowingPart:
    """One part, as far as it was read; `seen` is how it was listed then."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.seen: Part | None = None
        self._begin()

    def _begin(self) -> None:
        self._place = Place()
        self._identity = 0
        self._blocks: list[Block] = []

    def columns(self) -> PartColumns | None:
        """Return what was read, or None if that is nothing."""
        return PartColumns(self._identity, tuple(self._blocks)) if self._place.offset else None

    def catch_up(self, file: OpenFile) -> None:
        """Read what is new, or everything if the file was written anew."""
        if not self._place.is_in(file):
            self._begin()
        offset = self._place.offset
        for lines, end in lines_behind(file, self._place):
            if offset == 0:
                self._identity = zlib.crc32(lines[: lines.find(b"\n")][:CHECKED_BYTES], zlib.crc32(self.name.encode()))
            self._add(decode(lines))
            offset = end
        if offset != self._place.offset:
            self._place = place_in(file, offset)

    def _add(self, block: Block) -> None:
        self._blocks.append(block)
        while len(self._blocks) > 1 and is_to_be_joined(*self._blocks[-2:]):
            self._blocks[-2:] = [join(self._blocks[-2:])]


def is_to_be_joined(block: Block, behind: Block) -> bool:
    """Whether two blocks are better one: sizes that at least halve keep both their number and the copying small."""
    return block.count <= 2 * behind.count and block.count + behind.count <= MOST_RECORDS
