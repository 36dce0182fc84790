"""Parts: the files that make up one stream of a run, in order.

``metrics.jsonl``, ``metrics.1.jsonl``, … by their numbers; behind them those that a mirror keeps beside another's
(``metrics~1f2e3d4c.jsonl``), the one that began first first.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

from ..errors import NotHeld
from ..files import Files, OpenFile
from ..layout import part_of, undiverged
from .records import Record, maybe_time, records_of


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


class Followed(Protocol):
    """What is kept of one part; `seen` is how that was listed when it was read last."""

    seen: Part | None

    def catch_up(self, file: OpenFile) -> None:
        """Read what is new, or everything if the file was written anew."""


def try_catch_up(files: Files, part: Part, kept: Followed) -> bool:
    """Read what came to a part since it was read last; False if it was deleted since it was listed."""
    if kept.seen != part:
        try:
            with closing(files.open(part.path)) as file:
                kept.catch_up(file)
        except NotHeld:
            return False
        kept.seen = part
    return True


def listed(files: Files, folder: str, stream: str) -> list[Part]:
    """Return the parts of `stream` (a path relative to `folder`), in the order of their names; none without such a folder."""
    inside, _, name = stream.rpartition("/")
    where = joined(folder, inside)
    try:
        entries = files.list(where)
    except NotHeld:  # nothing was written yet
        return []
    found = [entry for entry in entries if entry.kind == "file" and part_number(entry.name, name) is not None]
    parts = [Part(joined(where, entry.name), entry.size, entry.mtime_ns) for entry in found]
    return sorted(parts, key=lambda part: order_of(part.name, name, 0.0))


def parts_of(files: Files, folder: str, stream: str) -> list[Part]:
    """Return the parts of `stream` (a path relative to `folder`), in order."""
    name = stream.rpartition("/")[2]
    parts = listed(files, folder, stream)
    return sorted(parts, key=lambda part: order_of(part.name, name, _first_time_s(files, part, name)))


def part_number(name: str, stream: str) -> int | None:
    """Return which part of `stream` the file `name` is, whether it has its plain name or was kept beside another's."""
    number = part_of(name, stream)
    return part_of(undiverged(name), stream) if number is None else number


def order_of(name: str, stream: str, first_time_s: float) -> tuple[bool, float, int, str]:
    """Return what the parts of `stream` are sorted by; the time of its first record counts for one kept beside another."""
    number = part_of(name, stream)
    if number is not None:
        return False, 0.0, number, name
    return True, first_time_s, part_number(name, stream) or 0, name


def time_of(record: Record) -> float:
    """Return when a record was logged, in seconds since the epoch; 0 if it does not say."""
    return maybe_time(record) or 0.0


def joined(folder: str, name: str) -> str:
    """Return the path of `name` in `folder`; both may be empty."""
    return f"{folder}/{name}" if folder and name else folder or name


def _first_time_s(files: Files, part: Part, stream: str) -> float:
    if part_of(part.name, stream) is not None:  # it does not matter
        return 0.0
    try:
        return time_of(next(records_of(files, part.path), {}))
    except NotHeld:
        return 0.0
