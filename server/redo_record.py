"""Records of the redo log, as values and bytes.

A record is a header, a line of JSON and the bytes of its changes. A change without bytes is an intent: these are written
straight to their file, and what a power cut left of them is to be told from what was there before. A segment's records have one
generation, which the first one says; what stands behind them is of an earlier use. A record that was cut ends the segment:
nothing of it was acknowledged. Changes are checked by their own CRC-32, header and JSON by one in the header.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import orjson

from ..wire import Crc, Offset, crc32
from .stamp import Stamp

_HEADER = struct.Struct("<8s16sQII")  # mark, generation, time in ns, size and CRC-32 of the JSON
_MARK = b"redo-1\r\n"

VOID_MARK = b"void-1\r\n"
"""Written over the first bytes of a record, makes it one that is not to be redone."""

NO_MARK = bytes(8)
"""Written over the first bytes of a segment, empties it."""


class Change(NamedTuple):
    """One change to one file, as in `Item`; without `payload` an intent.

    `stamp` is that of a commit, `before` the one of what it replaces: None where nothing is. `written_ns` is when
    it was logged.
    """

    path: str
    offset: Offset
    length: int
    crc_before: Crc
    crc: Crc
    mtime_ns: int | None = None
    stamp: Stamp | None = None
    before: str | None = None
    payload: memoryview | None = None
    written_ns: int = 0

    @property
    def end(self) -> int:
        """The file's size after it, in bytes."""
        return self.offset + self.length


def new_generation() -> bytes:
    """Return what tells the records of one use of a segment from those of others."""
    return os.urandom(16)


def describe(changes: Sequence[Change]) -> bytes:
    """Return the JSON of a record."""
    return orjson.dumps([_to_json(change) for change in changes])


def size_of_record(described: bytes, changes: Sequence[Change]) -> int:
    """Return how many bytes the record of `changes` has."""
    return _HEADER.size + len(described) + sum(len(c.payload) for c in changes if c.payload is not None)


def encode_record(described: bytes, changes: Sequence[Change], generation: bytes, time_ns: int) -> bytes:
    """Return the record of `changes`, made at `time_ns`, which `describe` has described."""
    header = _HEADER.pack(_MARK, generation, time_ns, len(described), _crc(generation, time_ns, described))
    return b"".join([header, described, *(c.payload for c in changes if c.payload is not None)])


def _crc(generation: bytes, time_ns: int, described: bytes) -> int:
    return zlib.crc32(described, zlib.crc32(time_ns.to_bytes(8, "little"), zlib.crc32(generation)))


def _to_json(change: Change) -> tuple[object, ...]:
    source, commit = (change.stamp.source, change.stamp.commit) if change.stamp else (None, None)
    return (
        *(change.path, change.offset, change.length, change.crc_before, change.crc, change.mtime_ns),
        *(source, commit, change.before, change.payload is not None),
    )


def read_records(fd: int) -> Iterator[tuple[int, Change]]:
    """Yield the changes in an open segment with the times of their records; those of void records are left out."""
    content = memoryview(os.pread(fd, os.fstat(fd).st_size, 0))
    generation, start = bytes(content[8:24]), 0
    while len(content) - start >= _HEADER.size:
        mark, found, time_ns, size, crc = _HEADER.unpack_from(content, start)
        start += _HEADER.size
        described = bytes(content[start : start + size])
        is_sound = mark in (_MARK, VOID_MARK) and found == generation and len(described) == size
        if not is_sound or _crc(generation, time_ns, described) != crc:
            return
        changes, start = _changes(orjson.loads(described), content, start + size)
        if any(c.payload is not None and crc32(c.payload, c.crc_before) != c.crc for c in changes):
            return
        if mark == _MARK:
            yield from ((time_ns, change._replace(written_ns=time_ns)) for change in changes)


def _changes(records: list[list[Any]], content: memoryview, start: int) -> tuple[list[Change], int]:
    """Return the changes that JSON describes, with their bytes from `start` on, and where the next record starts."""
    changes = []
    for record in records:
        length = record[2]
        payload = content[start : start + length] if record[9] else None
        changes.append(_change(record, payload))
        start += length if payload is not None else 0
    return changes, start


def _change(record: list[Any], payload: memoryview | None) -> Change:
    path, offset, length, crc_before, crc, mtime_ns, source, commit, before, _ = record
    stamp = None if source is None else Stamp(source, commit)
    return Change(path, Offset(offset), length, Crc(crc_before), Crc(crc), mtime_ns, stamp, before, payload)
