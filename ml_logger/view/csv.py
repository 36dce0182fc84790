"""CSV: the raw data of some keys of a run, a row for each record that has any of them.

What a record doesn't have is empty; NaN and the infinities that were logged stand as ``NaN`` and ``Infinity``, as in the files
and in what ``ml-logger export`` writes. Of steps that a newer attempt replaced the older values are left out.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

import numpy as np

from ..reader import Columns
from ..reader.block import Block, Floats
from ..reader.records import as_word

ROWS_A_PIECE = 20_000


def pieces(columns: Columns, keys: Sequence[str]) -> Iterator[bytes]:
    """Yield the text, some thousand rows at a time."""
    yield _text([["step", "timestamp", *keys]])
    until = [columns.replaced_from(key) for key in keys]
    for number, part in enumerate(columns.parts):
        for block in part.blocks:
            for start in range(0, block.count, ROWS_A_PIECE):
                rows = _rows(block, start, keys, [steps[number] for steps in until])
                if rows:
                    yield _text(rows)


def _text(rows: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode("utf-8", "replace")


def _rows(block: Block, start: int, keys: Sequence[str], until: Sequence[float]) -> list[list[str]]:
    end = min(start + ROWS_A_PIECE, block.count)
    cells = [[""] * (end - start) for _ in keys]
    for column, key, step in zip(cells, keys, until, strict=True):
        for row, value in _values(block, key, start, end, step):
            column[row - start] = value
    steps, times = (_numbers(numbers[start:end]) for numbers in (block.steps, block.times))
    return [[step, time, *row] for step, time, *row in zip(steps, times, *cells, strict=True) if any(row)]


def _values(block: Block, key: str, start: int, end: int, until: float) -> Iterator[tuple[int, str]]:
    column = block.columns.get(key)
    if column is None:
        return
    rows = np.arange(block.count) if column.rows is None else column.rows
    low, high = np.searchsorted(rows, (start, end))
    chosen = rows[low:high]
    kept = ~(block.steps[start:end][chosen - start] >= until)
    yield from zip(chosen[kept].tolist(), map(_number, column.values[low:high][kept].tolist()), strict=True)


def _numbers(numbers: Floats) -> list[str]:
    return ["" if number != number else _number(number) for number in numbers.tolist()]


def _number(number: float) -> str:
    return str(int(number)) if number.is_integer() and abs(number) < 2**53 else as_word(number)
