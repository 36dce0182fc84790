"""Stored: one stretch as files, which are mapped when it is read, if they are large.

``NAME.npy`` has all its numbers as float64, one column behind the other; ``NAME.rows.npy`` as int64 which records have a
key, where not all do (keys of the same records share them); ``NAME.json`` says what is where, and is written last. Files
appear by rename, and are not synced: what was written before the machine last started is compared with its CRC, since a
power cut may have taken it.
"""

from __future__ import annotations

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

from ..spool import write_whole
from .block import Block, Column, Rows, Span
from .far import is_far
from .follow import Place
from .stretch import Stretch

MAPPED_BYTES = 1 << 20
"""Smaller files are read: a process may have some ten thousand mappings, and runs are many."""

_FORMAT = 1


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
    write_whole(str(stem.with_name(f"{stem.name}.json")), json.dumps(said).encode("utf-8", "surrogatepass"))


def _write_arrays(path: Path, arrays: Sequence[NDArray[Any]], kind: str) -> int:
    """Write `arrays` as one, and return the CRC-32 of their bytes."""
    check = 0

    def fill(file: BinaryIO) -> None:
        nonlocal check
        shape = (sum(map(len, arrays)),)
        header = {"descr": kind, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for array in arrays:
            data = np.ascontiguousarray(array, dtype=kind).data
            check = zlib.crc32(data, check)
            file.write(data)

    write_whole(str(path), fill)
    return check


def read_stretch(folder: Path, name: str) -> Stretch:
    """Return the stretch whose files are called `name`, its arrays mapped; raises `NotStored`."""
    try:
        said = json.loads((folder / f"{name}.json").read_bytes().decode("utf-8", "surrogatepass"))
        return _stretch(folder, name, said)
    except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise NotStored(f"{name}: {error}") from error


def _stretch(folder: Path, name: str, said: dict[str, Any]) -> Stretch:
    if said["format"] != _FORMAT:
        raise NotStored(f"{name} is of format {said['format']}")
    checks, count = said["checks"], said["count"]
    lengths = [count, count, *(length for _, length, _ in said["columns"])]
    steps, times, *values = _arrays(folder / f"{name}.npy", "<f8", lengths, checks[0])
    rows = _arrays(folder / f"{name}.rows.npy", "<i8", said["supports"], checks[1]) if said["supports"] else []
    columns = {
        key: Column(None if support is None else _of_length(rows[support], length), found)
        for (key, length, support), found in zip(said["columns"], values, strict=True)
    }
    span = Span(*(math.nan if number is None else float(number) for number in said["span"]))
    block = Block(count, steps, times, columns, span, said["last"], said["bad_lines"])
    return Stretch(said["start"], Place(*said["place"]), said["identity"], block)


def _of_length(rows: Rows, length: int) -> Rows:
    if len(rows) != length:
        raise NotStored("a key has not as many rows as values")
    return rows


def _arrays(path: Path, kind: str, lengths: Sequence[int], check: int) -> list[NDArray[Any]]:
    """Return arrays of these lengths that lie one behind the other in a file."""
    is_mapped = path.stat().st_size >= MAPPED_BYTES and not is_far(path)
    whole = np.asarray(np.lib.format.open_memmap(path, mode="r")) if is_mapped else _read_array(path)
    if whole.dtype != np.dtype(kind) or whole.shape != (sum(lengths),):
        raise NotStored(f"{path.name} has another shape")
    if _may_be_torn(path) and zlib.crc32(whole.data) != check:
        raise NotStored(f"{path.name} was torn")
    ends = np.cumsum(lengths)
    return [whole[end - length : end] for end, length in zip(ends, lengths, strict=True)]


def _read_array(path: Path) -> NDArray[Any]:
    with path.open("rb") as file:
        return np.asarray(np.lib.format.read_array(file, allow_pickle=False))


def _may_be_torn(path: Path) -> bool:
    """Whether a file was written before the machine started, or nobody can know."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return clock is None or path.stat().st_mtime < time.time() - time.clock_gettime(clock) + 1
