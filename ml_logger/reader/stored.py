"""Stored: one stretch as files, whose numbers stay there until they are asked for, if they are many.

``NAME.npy`` has all its numbers as float64, one column behind the other; ``NAME.rows.npy`` as int64 which records have a
key, where not all do (keys of the same records share them); ``NAME.json`` says what is where, and is written last. Files
appear by rename, and are not synced.

Nothing in them is believed unseen: the JSON and all but large files are compared with their CRC, rows must be such as
records have. Of large files the first, middle and last page of each column is compared, and all of them if they were written
before the machine last started, since a power cut may have taken what was.
"""

from __future__ import annotations

import io
import json
import math
import time
import zlib
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..errors import StoreBusy
from ..spool import write_whole
from .block import Block, Column, Span
from .follow import Place
from .held import HeldFile, HeldNumbers, may_hold
from .stretch import Stretch

HELD_BYTES = 1 << 20
"""Smaller files are read at once: a process may have some thousand open, and runs are many."""

WHOLE_BYTES = 4 << 20
"""Larger files are compared in places only."""

_FORMAT = 2
_Numbers = NDArray[Any] | HeldNumbers
_PAGE = 512  # numbers, of 8 bytes


class NotStored(Exception):
    """A stretch that can't be had from its files, whatever the reason."""


def name_of(stretch: Stretch) -> str:
    """Return the name of a stretch's files, without what is behind the dot."""
    return f"{stretch.start}-{stretch.place.offset}-{stretch.place.tail:08x}"


def write_stretch(folder: Path, stretch: Stretch) -> None:
    """Write the files of a stretch; raises `OSError`."""
    block, stem = stretch.block, folder / name_of(stretch)
    supports = list({id(c.rows): c.rows for c in block.columns.values() if c.rows is not None}.values())
    numbers = [block.steps, block.times, *(column.values for column in block.columns.values())]
    checks = [_write_arrays(stem.with_name(f"{stem.name}.npy"), numbers, "<f8")]
    if supports:
        checks.append(_write_arrays(stem.with_name(f"{stem.name}.rows.npy"), supports, "<i8"))
    number_of = {id(rows): number for number, rows in enumerate(supports)}
    columns = [[key, len(c.values), number_of.get(id(c.rows))] for key, c in block.columns.items()]
    said = {
        "format": _FORMAT,
        "start": stretch.start,
        "place": astuple(stretch.place),
        "identity": stretch.identity,
        "count": block.count,
        "bad_lines": block.bad_lines,
        "span": [None if math.isnan(number) else number for number in astuple(block.span)],
        "last": block.last,
        "supports": [len(rows) for rows in supports],
        "columns": columns,
        "checks": checks,
    }
    said["check"] = _check_of(said)
    write_whole(str(stem.with_name(f"{stem.name}.json")), json.dumps(said).encode("utf-8", "surrogatepass"))


def _check_of(said: dict[str, Any]) -> int:
    """Return the CRC-32 of what a JSON says, but for the check itself."""
    facts = {key: value for key, value in said.items() if key != "check"}
    return zlib.crc32(json.dumps(facts).encode("utf-8", "surrogatepass"))


def _write_arrays(path: Path, arrays: Sequence[_Numbers], kind: str) -> tuple[int, int]:
    """Write `arrays` as one, and return the CRC-32 of all their bytes, and of some pages of each."""
    check = 0

    def fill(file: BinaryIO) -> None:
        nonlocal check
        file.write(_header(kind, sum(map(len, arrays))))
        for array in arrays:
            data = np.ascontiguousarray(array, dtype=kind).data
            check = zlib.crc32(data, check)
            file.write(data)

    write_whole(str(path), fill)
    return check, _check_in_places(arrays, kind)


def _header(kind: str, count: int) -> bytes:
    """Return how a ``.npy`` file of one dimension begins."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": kind, "fortran_order": False, "shape": (count,)})
    return header.getvalue()


def _check_in_places(arrays: Sequence[_Numbers], kind: str) -> int:
    """Return the CRC-32 of the first, middle and last page of each of `arrays`."""
    check = 0
    for array in arrays:
        places = {0, len(array) // 2, max(0, len(array) - _PAGE)}
        for start in sorted(places):
            check = zlib.crc32(np.ascontiguousarray(array[start : start + _PAGE], dtype=kind).data, check)
    return check


def read_stretch(folder: Path, name: str) -> Stretch:
    """Return the stretch whose files are called `name`, its numbers still in them if they are many; raises `NotStored`."""
    try:
        said = json.loads((folder / f"{name}.json").read_bytes().decode("utf-8", "surrogatepass"))
        _require(said["format"] == _FORMAT and said["check"] == _check_of(said), "says something else now")
        stretch = _stretch(folder, name, said)
        _require(name_of(stretch) == name, "has the name of another")
    except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError, StoreBusy) as error:
        raise NotStored(f"{name}: {error}") from error
    return stretch


def _require(is_so: bool, trouble: str) -> None:
    if not is_so:
        raise NotStored(trouble)


def _stretch(folder: Path, name: str, said: dict[str, Any]) -> Stretch:
    checks, count, supports = said["checks"], said["count"], said["supports"]
    lengths = [count, count, *(length for _, length, _ in said["columns"])]
    (steps, times, *values), file = _arrays(folder / f"{name}.npy", "<f8", lengths, checks[0])
    rows, rows_file = _arrays(folder / f"{name}.rows.npy", "<i8", supports, checks[1]) if supports else ([], None)
    _require(all(_are_rows(some, count) for some in rows), "has rows that no record has")
    columns = {
        key: Column(None if support is None else _of_length(rows[support], length), found)
        for (key, length, support), found in zip(said["columns"], values, strict=True)
    }
    span = Span(*(math.nan if number is None else float(number) for number in said["span"]))
    block = Block(count, steps, times, columns, span, said["last"], said["bad_lines"])
    files = tuple(one for one in (file, rows_file) if one is not None)
    return Stretch(said["start"], Place(*said["place"]), said["identity"], block, files)


def _of_length(rows: _Numbers, length: int) -> _Numbers:
    _require(len(rows) == length, "a key has not as many rows as values")
    return rows


def _are_rows(rows: _Numbers, count: int) -> bool:
    """Whether these can be the numbers of some of `count` records: they ascend, and none is beyond."""
    return not len(rows) or bool(rows[0] >= 0 and rows[-1] < count and (rows[1:] > rows[:-1]).all())


def _arrays(
    path: Path, kind: str, lengths: Sequence[int], checks: tuple[int, int]
) -> tuple[Sequence[_Numbers], HeldFile | None]:
    """Return arrays of these lengths that lie one behind the other in a file, if it holds what was written.

    Of a large one the file is returned too, and they are still in it.
    """
    file, count = HeldFile(path), sum(lengths)
    header = _header(kind, count)
    is_right = file.size == len(header) + 8 * count and file.read(0, len(header)) == header
    _require(is_right, f"{path.name} has another shape")
    ends = len(header) + 8 * np.cumsum(lengths)
    held = [
        HeldNumbers(file, kind, end - 8 * length, length) for end, length in zip(ends.tolist(), lengths, strict=True)
    ]
    is_compared_whole = 8 * count <= WHOLE_BYTES or _may_be_torn(path)
    is_right = _check_of_all(held) == checks[0] if is_compared_whole else _check_in_places(held, kind) == checks[1]
    _require(is_right, f"{path.name} holds something else now")
    if file.size >= HELD_BYTES and may_hold():
        return held, file
    return [numbers[:] for numbers in held], None


def _check_of_all(arrays: Sequence[HeldNumbers]) -> int:
    check = 0
    for array in arrays:
        check = zlib.crc32(array[:].data, check)
    return check


def _may_be_torn(path: Path) -> bool:
    """Whether a file was written before the machine started, or nobody can know."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return clock is None or path.stat().st_mtime < time.time() - time.clock_gettime(clock) + 1
