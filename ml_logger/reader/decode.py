"""Decoding: whole lines of records as a block of columns.

Many lines are parsed by one call: they are joined to one list, with a number that nobody can foresee between every two of
them. If that number is found in all places where it belongs, each line was a JSON value of its own; if not, or if the list is
none, there is a bad line, which is looked for in the halves. Records with equal keys become columns together: `struct` takes
what is a number and nothing else, in a third of the time that numpy needs to be told the same.
"""

from __future__ import annotations

import io
import secrets
import struct
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import starmap
from operator import itemgetter
from typing import Any

import numpy as np
import orjson

from .block import Block, Column, Floats, Rows, bounded, join, span_of
from .records import OWN_KEYS, Record, as_numbers, may_be_deep, parsed, shallow

_TOGETHER_BYTES = 256 << 10  # the values of more lines don't stay in the processor's cache until they are numbers
_FEW_BYTES = 4096
_LARGE = 2.0**63
_BETWEEN = secrets.randbits(53)
_SEPARATOR = b",%d," % _BETWEEN


def decode(lines: bytes, _offset: int = 0) -> Block:
    """Return the block of whole `lines`; what is no record is counted as a bad line, never an error."""
    return join([_decoded(piece) for piece in pieces_of(lines, _TOGETHER_BYTES)])


def pieces_of(lines: bytes, most_bytes: int) -> Iterator[bytes]:
    """Yield whole `lines` in pieces of whole lines, of at most so many bytes unless one line is longer."""
    start = 0
    while start < len(lines):
        end = lines.rfind(b"\n", start, start + most_bytes) + 1 or lines.find(b"\n", start + most_bytes) + 1
        yield lines[start:end]
        start = end


def _decoded(lines: bytes) -> Block:
    block = _block_of_values(values_in(lines))
    if any(type(value) is float and abs(value) >= _LARGE for value in block.last.values()):
        block = _block_of_values(_one_by_one(lines))  # it may be an integer, of which every digit counts
    if any(type(value) in (list, dict) for value in block.last.values()) and may_be_deep(lines):
        block = replace(block, last=shallow(block.last))
    return block


def _block_of_values(values: Sequence[Any]) -> Block:
    records = [value for value in values if type(value) is dict]
    return block_of(records, len(values) - len(records))


def _one_by_one(lines: bytes) -> list[Any]:
    return [parsed(line) for line in io.BytesIO(lines)]


def values_in(lines: bytes) -> list[Any]:
    """Return the value of each line, or `BAD`."""
    values = _maybevalues_in(lines)
    if values is not None:
        return values
    if len(lines) <= _FEW_BYTES:
        return _one_by_one(lines)
    half = lines.find(b"\n", len(lines) // 2) + 1
    if half == len(lines):  # the second half is one line
        half = lines.rfind(b"\n", 0, half - 1) + 1
    if half == 0:
        return [parsed(lines)]
    return values_in(lines[:half]) + values_in(lines[half:])


def _maybevalues_in(lines: bytes) -> list[Any] | None:
    """Return the value of each line, or None if one of them is no JSON value."""
    try:
        found = orjson.loads(b"[" + lines[:-1].replace(b"\n", _SEPARATOR) + b"]")
    except ValueError:
        return None
    values: list[Any] = found[::2]
    is_right = len(found) == 2 * lines.count(b"\n") - 1 and found[1::2] == [_BETWEEN] * (len(values) - 1)
    return values if is_right else None


def block_of(records: Sequence[Record], bad_lines: int = 0) -> Block:
    """Return `records` as a block."""
    count, layouts = len(records), _layouts(records)
    found: defaultdict[str, list[tuple[Rows, Floats]]] = defaultdict(list)
    for numbers, keys, matrix in layouts:
        chosen = records if len(numbers) == count else [records[number] for number in numbers]
        for key, rows, values in _columns(keys, np.array(numbers, dtype=np.int64), chosen, matrix):
            found[key].append((rows, values))
    last: Record = {}
    for number in sorted(numbers[-1] for numbers, _, _ in layouts):
        last.update(records[number])
    steps, times = (_dense(found.pop(key, []), count) for key in OWN_KEYS)
    return Block(count, steps, times, bounded(_joined(found, count)), span_of(steps, times), bounded(last), bad_lines)


def _layouts(records: Sequence[Record]) -> list[tuple[Sequence[int], tuple[str, ...], Floats | None]]:
    """Return for each list of keys, as they came, which records have it, and their values if all of them are numbers."""
    keys = tuple(records[0]) if records else ()
    if len(keys) > 1 and len(set(map(len, records))) == 1:
        matrix = _maybe_matrix(keys, records)
        if matrix is not None:  # as it nearly always is
            return [(range(len(records)), keys, matrix)]
    found: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    for number, keys in enumerate(map(tuple, records)):
        found[keys].append(number)
    return [(numbers, keys, _maybe_matrix(keys, [records[n] for n in numbers])) for keys, numbers in found.items()]


def _columns(
    keys: tuple[str, ...], rows: Rows, records: Sequence[Record], matrix: Floats | None
) -> Iterator[tuple[str, Rows, Floats]]:
    """Yield each of `keys`, which all `records` have, with the rows where it is a number, and the numbers."""
    if matrix is not None:
        yield from ((key, rows, column) for key, column in zip(keys, matrix, strict=True))
        return
    for key in keys:
        which, values = _numbers_among([record[key] for record in records])
        if len(values):
            yield key, rows if which is None else rows[which], values


def _maybe_matrix(keys: tuple[str, ...], records: Sequence[Record]) -> Floats | None:
    """Return one row a key, one column a record, or None if a record lacks a key or has a value that is no number."""
    if not keys:
        return np.empty((0, len(records)))
    values = itemgetter(*keys) if len(keys) > 1 else dict.values
    try:
        packed = b"".join(starmap(struct.Struct(f"{len(keys)}d").pack, map(values, records)))
    except (KeyError, struct.error, OverflowError):  # text, a list, None; an integer past the largest float
        return None
    return np.ascontiguousarray(np.frombuffer(packed).reshape(-1, len(keys)).T)


def _numbers_among(values: list[Any]) -> tuple[Rows | None, Floats]:
    """Return which of `values` are numbers (None: all), and the numbers; NaN and the infinities may be words."""
    try:
        return None, np.frombuffer(struct.pack(f"{len(values)}d", *values))
    except (struct.error, OverflowError):
        numbers = [maybe_number(value) for value in values]
    which = [index for index, number in enumerate(numbers) if number is not None]
    found = np.array([numbers[index] for index in which], dtype=np.float64)
    return (None if len(which) == len(values) else np.array(which, dtype=np.int64)), found


def maybe_number(value: Any) -> float | None:
    """Return a JSON value as a float if it is a number, a bool, or the word for NaN or an infinity; else None."""
    if isinstance(value, str):
        special = as_numbers(value)
        return special if isinstance(special, float) else None
    if not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:
        return np.inf if value > 0 else -np.inf


def _dense(found: list[tuple[Rows, Floats]], count: int) -> Floats:
    """Return one value a record, NaN where there is none."""
    if len(found) == 1 and len(found[0][0]) == count:
        return found[0][1]
    dense = np.full(count, np.nan)
    for rows, values in found:
        dense[rows] = values
    return dense


def _joined(found: dict[str, list[tuple[Rows, Floats]]], count: int) -> dict[str, Column]:
    """Return the columns of keys that were found in several layouts, values in the order of the records."""
    supports: dict[tuple[int, ...], tuple[Rows | None, Rows | None]] = {}
    columns = {}
    for key, pieces in found.items():
        which = tuple(id(rows) for rows, _ in pieces)
        if which not in supports:
            supports[which] = _support([rows for rows, _ in pieces], count)
        rows, order = supports[which]
        values = pieces[0][1] if len(pieces) == 1 else np.concatenate([values for _, values in pieces])
        columns[key] = Column(rows, values if order is None else values[order])
    return columns


def _support(pieces: list[Rows], count: int) -> tuple[Rows | None, Rows | None]:
    """Return which records have a key (None: all), and how to bring its values into their order (None: they are)."""
    if len(pieces) == 1:
        return (None if len(pieces[0]) == count else pieces[0]), None
    rows = np.concatenate(pieces)
    order = np.argsort(rows, kind="stable")
    return (None if len(rows) == count else rows[order]), order
