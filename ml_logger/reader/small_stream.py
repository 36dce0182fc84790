"""Small streams: all records of a stream that has few (parameters, events), kept so that no line is read twice."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ..files import Files, OpenFile
from .follow import Place, lines_behind
from .parts import Part, try_catch_up
from .records import Record, parsed


@dataclass
class _Kept:
    seen: Part | None = None
    place: Place = field(default_factory=Place)
    records: list[Record] = field(default_factory=list)
    bad_lines: int = 0

    def catch_up(self, file: OpenFile) -> None:
        """Read what is new, or everything if the file was written anew."""
        if not self.place.is_in(file):
            self.place, self.records, self.bad_lines = Place(), [], 0
        for lines, end in lines_behind(file, self.place):
            place = self.place.moved(file, end)  # first: any read may fail, and the next look goes on from here
            values = [parsed(line) for line in io.BytesIO(lines)]
            new = [value for value in values if isinstance(value, dict)]
            self.records = self.records + new
            self.bad_lines += len(values) - len(new)
            self.place = place


class SmallStream:
    """The records of one stream, part by part; not thread-safe."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._kept: dict[str, _Kept] = {}

    @property
    def bad_lines(self) -> int:
        """How many lines of it were no records."""
        return sum(kept.bad_lines for kept in self._kept.values())

    def look(self, parts: Sequence[Part]) -> list[tuple[Part, list[Record]]]:
        """Return the records of each of `parts`, as they were listed just now; nobody may change the lists."""
        self._kept = {part.path: self._kept.get(part.path) or _Kept() for part in parts}
        return list(self._read(parts))

    def _read(self, parts: Sequence[Part]) -> Iterator[tuple[Part, list[Record]]]:
        for part in parts:
            kept = self._kept[part.path]
            if try_catch_up(self._files, part, kept):
                yield part, kept.records
