"""Growing: one part of a stream as columns, from where the last look ended.

What was read is kept in stretches whose sizes fall, so that a record that comes alone costs no copy of those before it.
Those of some size go to the cache and are read from there when they are asked for: what a long run holds takes the memory that
the system can spare, and no other process reads its lines again.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

from ..files import OpenFile
from .block import Block, join
from .cache import ColumnCache
from .columns import PartColumns
from .follow import CHECKED_BYTES, Place, lines_behind
from .parts import Part
from .stretch import Stretch, joined_stretch

WORTH_BYTES = 512 << 10
"""Less of a stream is read sooner than found in a cache."""

MOST_BYTES = 64 << 20
"""A stretch of so many bytes is complete. It is how long a client lets one part become."""

Decode = Callable[[bytes, int], Block]
"""Makes a block of whole lines, which begin at an offset."""


class GrowingPart:
    """The part at `path` as far as it was read; `seen` is how it was listed then, `place` is that of the files it is in."""

    def __init__(self, place: str, path: str, decode: Decode, cache: ColumnCache | None) -> None:
        self.seen: Part | None = None
        self._path = path
        self._name = f"{place.rstrip('/')}/{path}"
        self._decode = decode
        self._cache = cache
        self._begin([])

    def _begin(self, stretches: list[Stretch]) -> None:
        self._stretches = stretches
        self._place = stretches[-1].place if stretches else Place()
        self._identity = stretches[-1].identity if stretches else 0
        self._fresh: list[Block] = []  # what is behind the stretches

    def columns(self) -> PartColumns | None:
        """Return what was read, or None if that is nothing."""
        blocks = (*(stretch.block for stretch in self._stretches), *self._fresh)
        return PartColumns(self._path, self._identity, blocks) if blocks else None

    def is_whole(self) -> bool:
        """Return whether what was read is still there; if somebody has changed it in the cache, the next look reads it anew."""
        if all(stretch.is_whole() for stretch in self._stretches):
            return True
        self._begin([])
        self.seen = None
        return False

    def catch_up(self, file: OpenFile) -> None:
        """Read what is new, or everything if the file was written anew."""
        if not self._place.is_in(file):
            self._begin([])
        if self._cache is not None and self._place.offset == 0 and file.size >= WORTH_BYTES:
            self._begin(self._cache.load(self._name, file))
        for lines, end in lines_behind(file, self._place):
            if self._place.offset == 0:
                self._identity = _identity(self._name, lines)
            # First the place, and at once: any read may fail, and then the next look goes on from here.
            place = self._place.moved(file, end)
            self._add(self._decode(lines, self._place.offset))
            self._place = place
            self._complete_from(MOST_BYTES)
        self._complete_from(WORTH_BYTES)

    @property
    def _covered(self) -> int:
        """How many bytes the stretches cover."""
        return self._stretches[-1].place.offset if self._stretches else 0

    def _add(self, block: Block) -> None:
        self._fresh.append(block)
        while len(self._fresh) > 1 and self._fresh[-2].count <= 2 * self._fresh[-1].count:
            self._fresh[-2:] = [join(self._fresh[-2:])]

    def _complete_from(self, size_bytes: int) -> None:
        """Make a stretch of what is fresh, if that is as much, and one of it and those before it that are no longer."""
        if self._place.offset - self._covered < size_bytes:
            return
        fresh, self._fresh = self._fresh, []
        self._keep(Stretch(self._covered, self._place, self._identity, join(fresh)), [])
        while len(self._stretches) > 1 and _is_to_be_joined(*self._stretches[-2:]):
            pair = self._stretches[-2:]
            self._keep(joined_stretch(pair), pair)

    def _keep(self, stretch: Stretch, instead_of: list[Stretch]) -> None:
        kept = None if self._cache is None else self._cache.save(self._name, stretch, instead_of)
        self._stretches[len(self._stretches) - len(instead_of) :] = [kept or stretch]


def _is_to_be_joined(one: Stretch, behind: Stretch) -> bool:
    return one.size <= 2 * behind.size and one.size + behind.size <= MOST_BYTES


def _identity(name: str, lines: bytes) -> int:
    """Return a number for a part that stays the same while it grows: of its name and its first line."""
    first_line = lines[: lines.find(b"\n")][:CHECKED_BYTES]
    return zlib.crc32(first_line, zlib.crc32(name.rpartition("/")[2].encode()))
