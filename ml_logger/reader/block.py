"""Blocks: what a stretch of records says as columns of numbers.

A column holds the values of one key, and where not every record has it, which records do. So a key that every record has
costs 8 bytes a value, and one that few have costs nothing for the others; a NaN that was logged is a value, a missing one is
none. Columns that the same records have share the array that says which. Blocks never change once they are made.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from .held import HeldNumbers

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
_Value = TypeVar("_Value")

MOST_KEYS = 10_000
"""Columns a block has at most; what a run logs under more names than that is in its records only."""

NO_FLOATS: Floats = np.empty(0)
NO_ROWS: Rows = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Column:
    """The values of one key, float64, and the numbers of the records that have it, ascending (None: all of them)."""

    rows: Rows | HeldNumbers | None
    values: Floats | HeldNumbers


@dataclass(frozen=True, slots=True)
class Span:
    """From when to when a stretch of records was logged, and its steps; seconds since the epoch, NaN where there is none."""

    first_time: float = np.nan
    last_time: float = np.nan
    first_step: float = np.nan
    last_step: float = np.nan
    most_step: float = np.nan

    def then(self, other: Span) -> Span:
        """Return the span of both, `other` behind."""
        return Span(
            _first(self.first_time, other.first_time),
            _most(self.last_time, other.last_time),
            _first(self.first_step, other.first_step),
            _first(other.last_step, self.last_step),
            _most(self.most_step, other.most_step),
        )


@dataclass(frozen=True, slots=True)
class Block:
    """`count` records in columns: their steps and times (NaN where there is none), and one column a key.

    `last` is the last value of every key as it was read, also of those that are no numbers; `bad_lines` were passed over.
    """

    count: int
    steps: Floats | HeldNumbers
    times: Floats | HeldNumbers
    columns: Mapping[str, Column]
    span: Span
    last: Mapping[str, Any]
    bad_lines: int = 0
    _spans: dict[int, Span] = field(default_factory=dict, init=False, repr=False, compare=False)

    def span_of(self, key: str) -> Span:
        """Return the span of those records that have `key`; worked out once for all keys that the same records have."""
        column = self.columns.get(key)
        rows = NO_ROWS if column is None else column.rows
        if rows is None:
            return self.span
        found = self._spans.get(id(rows))
        if found is None:
            found = self._spans[id(rows)] = span_of(self.steps[rows], self.times[rows])
        return found


EMPTY = Block(0, NO_FLOATS, NO_FLOATS, {}, Span(), {})


def span_of(steps: Floats, times: Floats) -> Span:
    """Return the span of records with these steps and times."""
    timed, stepped = times[np.isfinite(times)], steps[np.isfinite(steps)]
    first_time, last_time = (timed[0], timed.max()) if len(timed) else (np.nan, np.nan)
    if not len(stepped):
        return Span(float(first_time), float(last_time))
    return Span(*map(float, (first_time, last_time, stepped[0], stepped[-1], stepped.max())))


def join(blocks: Sequence[Block]) -> Block:
    """Return one block that holds what `blocks` hold, in their order."""
    blocks = [block for block in blocks if block.count or block.bad_lines]
    if len(blocks) < 2:
        return blocks[0] if blocks else EMPTY
    span, last = Span(), dict[str, Any]()
    for block in blocks:
        span = span.then(block.span)
        last.update(block.last)
    return Block(
        count=sum(block.count for block in blocks),
        steps=np.concatenate([block.steps for block in blocks]),
        times=np.concatenate([block.times for block in blocks]),
        columns=bounded(_joined_columns(blocks)),
        span=span,
        last=bounded(last),
        bad_lines=sum(block.bad_lines for block in blocks),
    )


def bounded(of_keys: dict[str, _Value]) -> dict[str, _Value]:
    """Return what belongs to the first `MOST_KEYS` keys."""
    return of_keys if len(of_keys) <= MOST_KEYS else dict(itertools.islice(of_keys.items(), MOST_KEYS))


def _joined_columns(blocks: Sequence[Block]) -> dict[str, Column]:
    starts = np.cumsum([0, *(block.count for block in blocks)])
    supports: dict[tuple[int | None, ...], Rows | None] = {}
    columns = {}
    for key in dict.fromkeys(key for block in blocks for key in block.columns):
        found = [block.columns.get(key) for block in blocks]
        which = tuple(None if column is None else id(column.rows) for column in found)
        if which not in supports:
            supports[which] = _joined_rows(blocks, found, starts)
        values = np.concatenate([column.values for column in found if column is not None])
        columns[key] = Column(supports[which], values)
    return columns


def _joined_rows(blocks: Sequence[Block], found: Sequence[Column | None], starts: NDArray[Any]) -> Rows | None:
    if all(column is not None and column.rows is None for column in found):
        return None
    rows = []
    for block, column, start in zip(blocks, found, starts, strict=False):
        if column is not None:
            rows.append((np.arange(block.count) if column.rows is None else np.asarray(column.rows)) + start)
    return np.concatenate(rows)


def _first(one: float, other: float) -> float:
    return other if math.isnan(one) else one


def _most(one: float, other: float) -> float:
    return one if one >= other or math.isnan(other) else other
