"""Followed streams: the records of a run's smaller streams, each line of them read once.

What a record is worth keeping as is the caller's to say. A part that was written anew is read anew.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from typing import Any, Generic, TypeVar

from ..errors import NotHeld
from ..files import Files, OpenFile
from ..reader.follow import Place, place_in
from ..reader.parts import Part
from ..reader.records import parsed, whole_lines

Kept = TypeVar("Kept")


class Followed(Generic[Kept]):
    """The records of the parts of one stream, each as `kept` returns them (nothing, one thing or many)."""

    def __init__(self, files: Files, kept: Callable[[dict[str, Any]], Iterable[Kept]]) -> None:
        self._files, self._kept = files, kept
        self._parts: dict[str, _FollowedPart[Kept]] = {}
        self._lock = threading.Lock()

    def look(self, parts: Sequence[Part]) -> list[list[Kept]]:
        """Return what is kept of each of `parts`, as they were listed just now, having read what is new in them."""
        with self._lock:
            self._parts = {part.path: self._parts.get(part.path) or _FollowedPart(self._kept) for part in parts}
            return [self._caught_up(part) for part in parts]

    def _caught_up(self, part: Part) -> list[Kept]:
        followed = self._parts[part.path]
        if followed.seen != part:
            try:
                with closing(self._files.open(part.path)) as file:
                    followed.catch_up(file)
            except NotHeld:  # deleted since it was listed
                return []
            followed.seen = part
        return list(followed.found)


class _FollowedPart(Generic[Kept]):
    def __init__(self, kept: Callable[[dict[str, Any]], Iterable[Kept]]) -> None:
        self._kept = kept
        self.seen: Part | None = None
        self._place = Place()
        self.found: list[Kept] = []

    def catch_up(self, file: OpenFile) -> None:
        if not self._place.is_in(file):
            self._place, self.found = Place(), []
        offset = self._place.offset
        for lines, end in whole_lines(file, offset):
            records = (parsed(line) for line in io.BytesIO(lines))
            self.found += [one for record in records if isinstance(record, dict) for one in self._kept(record)]
            offset = end
        if offset != self._place.offset:
            self._place = place_in(file, offset)
