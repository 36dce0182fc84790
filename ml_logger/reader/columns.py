"""Columns: all that `log` stored in a run, as numbers, at one moment."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..layout import undiverged
from .attempts import Attempt, attempts_among, by_end, replaced_from
from .block import NO_FLOATS, Block, Column, Floats, Span
from .records import as_numbers
from .series import Points, Series


@dataclass(frozen=True, slots=True)
class KeySummary:
    """How many points a key has, and the first and last step of them (None: it has no steps)."""

    points: int
    first_step: float | None
    last_step: float | None


@dataclass(frozen=True)
class PartColumns:
    """What one part of the stream holds; `path` is from the top of the files, `identity` of its name and its first line."""

    path: str
    identity: int
    blocks: tuple[Block, ...]

    @cached_property
    def span(self) -> Span:
        """From when to when it was logged, and its steps."""
        span = Span()
        for block in self.blocks:
            span = span.then(block.span)
        return span

    @cached_property
    def count(self) -> int:
        """How many records it has."""
        return sum(block.count for block in self.blocks)

    @cached_property
    def keys(self) -> Mapping[str, int]:
        """The numeric keys in it, with their points."""
        points: dict[str, int] = {}
        for block in self.blocks:
            for key, column in block.columns.items():
                points[key] = points.get(key, 0) + len(column.values)
        return points

    def support_of(self, key: str) -> tuple[int, ...]:
        """Return what is the same for all keys that the same records have, while this part is there."""
        columns = [block.columns.get(key) for block in self.blocks]
        return tuple([0 if column is None else id(column.rows) for column in columns])

    def span_of(self, key: str) -> Span:
        """Return how long it lasted for `key`, from its first record to the last one with that key, and the steps of these."""
        span = Span()
        for block in self.blocks:
            span = span.then(block.span_of(key))
        return replace(span, first_time=self.span.first_time)


def in_order(parts: Sequence[PartColumns]) -> list[PartColumns]:
    """Return `parts`, which are in the order of their names, in the one that counts.

    Numbers say for sure which of one machine's parts began first, whatever its clock was set to. One that a mirror keeps
    beside another's is put between them by the time of its first record, or behind the one before it if it has none.
    """
    begins, before, latest = [], -math.inf, -math.inf
    parts = sorted(parts, key=_is_kept_beside)
    for part in parts:
        before = before if math.isnan(part.span.first_time) else part.span.first_time
        if not _is_kept_beside(part):
            before = latest = max(latest, before)
        begins.append(before)
    return [parts[number] for number in sorted(range(len(parts)), key=begins.__getitem__)]


def _is_kept_beside(part: PartColumns) -> bool:
    name = part.path.rpartition("/")[2]
    return undiverged(name) != name


class Columns:
    """What `log` stored, as it was at one moment; nothing in it changes any more, so threads may share it.

    `parts` are in the order of `in_order`, attempts name them by number (docs/SPOOL_FORMAT.md says what an attempt is).
    """

    def __init__(self, parts: Sequence[PartColumns]) -> None:
        self.parts = tuple(parts)
        self._attempts: dict[str, tuple[Attempt, ...]] = {}
        self._alike: dict[tuple[tuple[int, tuple[int, ...]], ...], tuple[Attempt, ...]] = {}

    @property
    def count(self) -> int:
        """How many records there are, those of older attempts too."""
        return sum(part.count for part in self.parts)

    @property
    def bad_lines(self) -> int:
        """How many lines were no records."""
        return sum(block.bad_lines for part in self.parts for block in part.blocks)

    @property
    def first_time(self) -> float:
        """When the first record was logged, of whatever attempt; NaN where there is no time."""
        return self.parts[0].span.first_time if self.parts else math.nan

    @cached_property
    def attempts(self) -> tuple[Attempt, ...]:
        """The attempts at the key that has most of them."""
        names = dict.fromkeys(key for part in self.parts for key in part.keys)
        return max(map(self.attempts_at, names), key=len, default=())

    @cached_property
    def cursor(self) -> str:
        """A word for how far this goes, short enough for a URL; `news_since` takes it."""
        return ".".join(f"{part.identity:x}-{part.count:x}" for part in self.parts)

    def keys(self, *, attempts: bool = False) -> dict[str, KeySummary]:
        """Return the numeric keys in the order in which they came, each with its points, first and last step."""
        names = dict.fromkeys(key for part in self.parts for key in part.keys)
        found = {key: self._summary(key, attempts) for key in names}
        return {key: summary for key, summary in found.items() if summary.points}

    def series(self, key: str, *, attempts: bool = False) -> Series:
        """Return the points of `key`, part after part: those of the newest attempt that has them, or of all `attempts`."""
        until = self.replaced_from(key, attempts=attempts)
        return Series(
            [piece for part, step in zip(self.parts, until, strict=True) for piece in points(part, key, step)]
        )

    def table(self, *, attempts: bool = False) -> dict[str, Floats]:
        """Return ``step``, ``timestamp`` and one column a key, float64, a row for each record; what is missing is NaN.

        Of older attempts the records are left of which any value is, unless all `attempts` are wanted. A key that is called
        like one of the first two columns is left out.
        """
        names, pieces = self._table(attempts)
        whole = [np.concatenate([piece[column] for piece, _ in pieces]) for column in range(len(names) + 2) if pieces]
        return dict(zip(["step", "timestamp", *names], whole or [NO_FLOATS, NO_FLOATS], strict=True))

    def rows(self, *, attempts: bool = False) -> list[NDArray[np.bool_]]:
        """Return for each part which of its records are rows of `table`."""
        return [is_left for _, is_left in self._table(attempts)[1]]

    def _table(self, attempts: bool) -> tuple[list[str], list[tuple[list[Floats], NDArray[np.bool_]]]]:
        """Return the keys that have columns, and for each part its rows."""
        names = [name for name in self.keys(attempts=attempts) if name not in ("step", "timestamp")]
        until = {name: self.replaced_from(name, attempts=attempts) for name in names}
        return names, [_rows(part, {name: until[name][n] for name in names}) for n, part in enumerate(self.parts)]

    def last_values(self) -> dict[str, Any]:
        """Return the last value of every key, text and all, ``_step`` and ``_timestamp`` among them."""
        last: dict[str, Any] = {}
        for number in by_end([part.span for part in self.parts]):
            for block in self.parts[number].blocks:
                last.update(block.last)
        return {key: as_numbers(value) for key, value in last.items()}

    def replaced_from(self, key: str, *, attempts: bool = False) -> list[float]:
        """Return for each part the step from which a newer attempt has replaced its values of `key`; else infinity."""
        return replaced_from([] if attempts else self.attempts_at(key), len(self.parts))

    def attempts_at(self, key: str) -> tuple[Attempt, ...]:
        """Return the attempts of which `key` has values, the newest last."""
        found = self._attempts.get(key)
        if found is None:
            found = self._attempts[key] = self._attempts_of_those_like(key)
        return found

    def _attempts_of_those_like(self, key: str) -> tuple[Attempt, ...]:
        """Return the attempts at all keys that the same records have, worked out once: of many keys most are alike."""
        having = [number for number, part in enumerate(self.parts) if key in part.keys]
        if len(having) < 2:  # the steps of a single part replace nothing, and need not be looked at
            return attempts_among(dict.fromkeys(having, Span()))
        alike = tuple((number, self.parts[number].support_of(key)) for number in having)
        found = self._alike.get(alike)
        if found is None:
            found = self._alike[alike] = attempts_among({number: self.parts[number].span_of(key) for number in having})
        return found

    def _summary(self, key: str, attempts: bool) -> KeySummary:
        total, first, last = 0, math.nan, math.nan
        for part, until in zip(self.parts, self.replaced_from(key, attempts=attempts), strict=True):
            for count, begin, end in _ends(part, key, until):
                total += count
                first = begin if math.isnan(first) else first
                last = last if math.isnan(end) else end
        return KeySummary(total, *(None if math.isnan(step) else float(step) for step in (first, last)))


def _ends(part: PartColumns, key: str, until: float) -> Iterator[tuple[int, float, float]]:
    """Yield of each block of a part how many points of `key` it has, at steps before `until`, and its first and last step."""
    if not math.isinf(until):
        yield from ((len(piece), piece.steps[0], piece.steps[-1]) for piece in points(part, key, until))
        return
    for block in part.blocks:
        column = block.columns.get(key)
        if column is not None and len(column.values):
            first, last = (0, -1) if column.rows is None else (column.rows[0], column.rows[-1])
            yield len(column.values), block.steps[first], block.steps[last]


def points(part: PartColumns, key: str, until: float = math.inf, start: int = 0) -> list[Points]:
    """Return the points of `key` in a part, from its record `start` on, at steps before `until` or without one."""
    found = []
    for block in part.blocks:
        column = block.columns.get(key)
        if column is not None and start < block.count:
            found.append(_points(block, column, until, max(0, start)))
        start -= block.count
    return [piece for piece in found if len(piece)]


def _points(block: Block, column: Column, until: float, start: int) -> Points:
    if column.rows is None:
        parts = (block.steps, block.times, column.values)
        piece = Points(*parts) if start == 0 else Points(*(numbers[start:] for numbers in parts))
    else:
        first = int(np.searchsorted(column.rows, start)) if start else 0
        rows = column.rows[first:]
        piece = Points(block.steps[rows], block.times[rows], column.values[first:] if first else column.values)
    if math.isinf(until) or not (block.span.most_step >= until):
        return piece
    steps = piece.steps
    kept = ~(steps >= until)  # a point without a step stays
    return Points(steps[kept], piece.times[kept], piece.values[kept])


def _rows(part: PartColumns, until: Mapping[str, float]) -> tuple[list[Floats], NDArray[np.bool_]]:
    """Return steps, times and one column for each key of `until`, of those records of which anything is left, and which are."""
    steps, times = (
        np.concatenate([NO_FLOATS, *(getattr(b, name) for b in part.blocks)]) for name in ("steps", "times")
    )
    columns = [np.full(part.count, np.nan) for _ in until]
    had, has = np.zeros(part.count, bool), np.zeros(part.count, bool)
    start = 0
    for block in part.blocks:
        for filled, (key, step) in zip(columns, until.items(), strict=True):
            column = block.columns.get(key)
            if column is not None:
                rows = np.arange(block.count) if column.rows is None else np.asarray(column.rows)
                kept = ~(block.steps[rows] >= step)
                filled[start + rows[kept]] = column.values[kept]
                had[start + rows], has[start + rows[kept]] = True, True
        start += block.count
    is_left = has | (~had & ~(steps >= min(until.values(), default=math.inf)))
    found = [steps, times, *columns]
    return (found if is_left.all() else [column[is_left] for column in found]), is_left
