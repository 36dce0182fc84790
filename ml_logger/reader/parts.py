"""Parts: the files that make up one stream of a run, in order.

``metrics.jsonl``, ``metrics.1.jsonl``, … by their numbers; behind them those that a mirror keeps beside another's
(``metrics~1f2e3d4c.jsonl``), the one that began first first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import NotHeld
from ..files import Entry, Files
from ..layout import part_of, undiverged
from .records import records_of


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a stream, as it was listed; `path` is from the top of the files, `size` in bytes."""

    path: str
    size: int
    mtime_ns: int

    @property
    def name(self) -> str:
        """The last component of its path."""
        return self.path.rpartition("/")[2]


def parts_of(files: Files, folder: str, stream: str) -> list[Part]:
    """Return the parts of `stream` (a path relative to `folder`) in order; none where there is no such folder."""
    inside, _, name = stream.rpartition("/")
    where = joined(folder, inside)
    try:
        entries = files.list(where)
    except NotHeld:  # nothing was written yet
        return []
    return parts_among(files, where, entries, name)


def parts_among(files: Files, folder: str, entries: Iterable[Entry], name: str) -> list[Part]:
    """Return the parts of the stream `name` among the `entries` of its `folder`, in order."""
    found = [entry for entry in entries if entry.kind == "file" and part_number(entry.name, name) is not None]
    parts = [Part(joined(folder, entry.name), entry.size, entry.mtime_ns) for entry in found]
    return sorted(parts, key=lambda part: _order(files, part, name))


def part_number(name: str, stream: str) -> int | None:
    """Return which part of `stream` the file `name` is, whether it has its plain name or was kept beside another's."""
    number = part_of(name, stream)
    return part_of(undiverged(name), stream) if number is None else number


def joined(folder: str, name: str) -> str:
    """Return the path of `name` in `folder`; both may be empty."""
    return f"{folder}/{name}" if folder and name else folder or name


def _order(files: Files, part: Part, stream: str) -> tuple[bool, float, int, str]:
    number = part_of(part.name, stream)
    if number is not None:
        return False, 0.0, number, part.name
    return True, _first_time_s(files, part), part_number(part.name, stream) or 0, part.name


def _first_time_s(files: Files, part: Part) -> float:
    try:
        first = next(records_of(files, part.path), {})
    except NotHeld:
        return 0.0
    time_s = first.get("_timestamp")
    return time_s if isinstance(time_s, float) else 0.0
