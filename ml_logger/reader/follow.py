"""Following: what of a stream file was not read yet, so that no line is read twice.

A stream only grows. One that has become shorter, or whose last bytes before the place where reading stopped are others now, was
written anew, and is read from its beginning.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from ..files import OpenFile
from .records import whole_lines

CHECKED_BYTES = 1024
"""So much at the begin of a file, and before the place where reading stopped, is compared."""


@dataclass(frozen=True, slots=True)
class Place:
    """How far a file was read, and what was there: CRC-32 of its first bytes, and of those before `offset`."""

    offset: int = 0
    head: int = 0
    tail: int = 0

    def is_in(self, file: OpenFile) -> bool:
        """Whether `file` holds what it held up to here."""
        return file.size >= self.offset and place_in(file, self.offset) == self

    def moved(self, file: OpenFile, offset: int) -> Place:
        """Return the place `offset` further on in the same file."""
        if self.offset < CHECKED_BYTES:
            return place_in(file, offset)
        return Place(offset, self.head, zlib.crc32(file.read(offset - CHECKED_BYTES, CHECKED_BYTES)))


def place_in(file: OpenFile, offset: int) -> Place:
    """Return the place `offset` of a file."""
    head = file.read(0, min(offset, CHECKED_BYTES))
    start = max(0, offset - CHECKED_BYTES)
    tail = head if start == 0 else file.read(start, offset - start)
    return Place(offset, zlib.crc32(head), zlib.crc32(tail))


def lines_behind(file: OpenFile, place: Place) -> Iterator[tuple[bytes, int]]:
    """Yield pieces of whole lines behind `place`, each with the offset behind it."""
    return whole_lines(file, place.offset)
