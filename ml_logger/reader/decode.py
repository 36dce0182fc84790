"""Decoding: whole lines of records as a block of columns.

Many lines are parsed by one call: they are joined to one list, with a number that nobody can foresee between every two of
them. If that number is found in all places where it belongs, each line was a JSON value of its own; if not, or if the list is
none, there is a bad line, which is looked for in the halves. Records with equal keys become columns together.
"""

from __future__ import annotations

import io
import secrets
from collections import defaultdict
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import orjson

from .block import Block, Column, Floats, Rows, span_of
from .records import Record, as_numbers, parsed

MOST_KEYS = 10_000
"""Columns a block has at most; what a run logs under more names than that is in its records only."""

_BETWEEN = secrets.randbits(53)
_SEPARATOR = b",%d," % _BETWEEN
_FEW_BYTES = 4096
_NUMBERS = frozenset((float, int, bool))


def decode(lines: bytes) -> Block:
    """Return the block of whole `lines`; what is no record is counted as a bad line, never an error."""
    values = _values(lines)
    records = [value for value in values if type(value) is dict]
    return block_of(records, len(values) - len(records))


def _values(lines: bytes) -> list[Any]:
    """Return the value of each line, or `BAD`."""
    values = _maybe_values(lines)
    if values is not None:
        return values
    if len(lines) <= _FEW_BYTES:
        return [parsed(line) for line in io.BytesIO(lines)]
    half = lines.find(b"\n", len(lines) // 2) + 1
    if half == len(lines):  # the second half is one line
        half = lines.rfind(b"\n", 0, half - 1) + 1
    if half == 0:
        return [parsed(lines)]
    return _values(lines[:half]) + _values(lines[half:])


def _maybe_values(lines: bytes) -> list[Any] | None:
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
    layouts: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    for number, keys in enumerate(map(tuple, records)):
        layouts[keys].append(number)
    found: dict[str, list[tuple[Rows, Floats]]] = {}
    for keys, numbers in layouts.items():
        rows = np.array(numbers)
        chosen = records if len(layouts) == 1 else [records[number] for number in numbers]
        for key, (its_rows, values) in _columns(keys, rows, chosen).items():
            found.setdefault(key, []).append((its_rows, values))
    count = len(records)
    steps, times = (_dense(found.pop(key, []), count) for key in ("_step", "_timestamp"))
    return Block(count, steps, times, _joined(found, count), span_of(steps, times), _last(records, layouts), bad_lines)


def _columns(keys: tuple[str, ...], rows: Rows, records: Sequence[Record]) -> dict[str, tuple[Rows, Floats]]:
    """Return for each of `keys`, which all `records` have in this order, the rows where it is a number, and the numbers."""
    if not keys:
        return {}
    flat = list(chain.from_iterable(map(dict.values, records)))
    if _NUMBERS.issuperset(map(type, flat)) and (matrix := _maybe_floats(flat)) is not None:
        columns = np.ascontiguousarray(matrix.reshape(-1, len(keys)).T)
        return {key: (rows, columns[number]) for number, key in enumerate(keys)}
    found = {}
    for number, key in enumerate(keys):
        which, values = _numbers_among(flat[number :: len(keys)])
        if len(values):
            found[key] = (rows if which is None else rows[which], values)
    return found


def _numbers_among(values: list[Any]) -> tuple[Rows | None, Floats]:
    """Return which of `values` are numbers (None: all), and the numbers; NaN and the infinities may be words."""
    if _NUMBERS.issuperset(map(type, values)) and (floats := _maybe_floats(values)) is not None:
        return None, floats
    numbers = [maybe_number(value) for value in values]
    which = [index for index, number in enumerate(numbers) if number is not None]
    found = np.array([numbers[index] for index in which], dtype=np.float64)
    return (None if len(which) == len(values) else np.array(which, dtype=np.int64)), found


def _maybe_floats(values: list[Any]) -> Floats | None:
    try:
        return np.array(values, dtype=np.float64)
    except OverflowError:  # an integer past the largest float
        return None


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
        if len(columns) == MOST_KEYS:
            break
    return columns


def _support(pieces: list[Rows], count: int) -> tuple[Rows | None, Rows | None]:
    """Return which records have a key (None: all), and how to bring its values into their order (None: they are)."""
    if len(pieces) == 1:
        return (None if len(pieces[0]) == count else pieces[0]), None
    rows = np.concatenate(pieces)
    order = np.argsort(rows, kind="stable")
    return (None if len(rows) == count else rows[order]), order


def _last(records: Sequence[Record], layouts: dict[tuple[str, ...], list[int]]) -> Record:
    """Return the last value of every key, special floats as floats."""
    last: Record = {}
    for numbers in sorted(layouts.values(), key=lambda numbers: numbers[-1]):
        last.update(records[numbers[-1]])
    return {key: as_numbers(value) for key, value in last.items()}
