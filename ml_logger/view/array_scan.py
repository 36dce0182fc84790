"""Statistics and the heat map of an array in one pass over pieces of it. Memory is bounded whatever its type and size. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .words import word_of

MOST_CELLS = 256
"""A heat map has at most so many rows and columns; in each cell is the mean of what falls into it."""

PIECE = 128 << 10
"""So many elements are looked at at a time."""

Array = NDArray[Any]


def summary_of(
    read: Callable[[int], bytes], dtype: np.dtype[Any], shape: tuple[int, ...], *, is_fortran: bool
) -> dict[str, Any]:
    """Return `stats` and `heat` of the array whose bytes `read` gives in order; raises ValueError where they end early."""
    laid = shape[::-1] if is_fortran else shape  # as it lies in the file, the last axis without gaps
    rows, columns = (laid[0], laid[1]) if len(laid) == 2 else (1, math.prod(laid))
    stats, heat = _Stats(), _Heat(rows, columns) if len(laid) == 2 else None
    for row, column, block in _blocks(read, dtype, rows, columns):
        stats.add(block)
        if heat is not None:
            heat.add(row, column, block)
    return {"stats": stats.told(), "heat": heat and heat.told(is_turned=is_fortran)}


def _blocks(
    read: Callable[[int], bytes], dtype: np.dtype[Any], rows: int, columns: int
) -> Iterator[tuple[int, int, Array]]:
    """Yield blocks of float64 with their first row and column: whole rows, or of long rows a part of one."""
    high, wide = max(1, PIECE // columns), min(columns, PIECE)
    for row in range(0, rows, high):
        for column in range(0, columns, wide):
            extent = min(high, rows - row), min(wide, columns - column)
            block = np.frombuffer(_whole(read, math.prod(extent) * dtype.itemsize), dtype)
            with np.errstate(over="ignore", invalid="ignore"):  # a longer type than float64
                yield row, column, block.reshape(extent).astype(np.float64)


def _whole(read: Callable[[int], bytes], length: int) -> bytes:
    data = read(length)
    if len(data) != length:
        raise ValueError("its end is missing")
    return data


class _Stats:
    """Statistics of finite numbers that come in pieces; mean and variance are merged by weights, so that nothing adds up."""

    def __init__(self) -> None:
        self.count = self.nan = self.inf = 0
        self.low, self.high = math.inf, -math.inf
        self.mean = self.variance = 0.0

    def add(self, block: Array) -> None:
        nan, inf = int(np.isnan(block).sum()), int(np.isinf(block).sum())
        self.nan, self.inf = self.nan + nan, self.inf + inf
        finite = block[np.isfinite(block)] if nan or inf else block
        if not finite.size:
            return
        self.low, self.high = min(self.low, float(finite.min())), max(self.high, float(finite.max()))
        with np.errstate(over="ignore", invalid="ignore"):
            mean = float(finite.mean())
            mean = mean if math.isfinite(mean) else float((finite / finite.size).sum())
            self._merge(finite.size, mean, float(np.square(finite - mean).mean()))

    def _merge(self, count: int, mean: float, variance: float) -> None:
        whole = self.count + count
        old, new = self.count / whole, count / whole
        apart = mean - self.mean if self.count else 0.0
        self.variance = self.variance * old + variance * new + old * new * apart * apart
        self.mean, self.count = self.mean * old + mean * new, whole

    def told(self) -> dict[str, Any]:
        floats = [self.low, self.high, self.mean, math.sqrt(self.variance)] if self.count else [math.nan] * 4
        words = zip(("min", "max", "mean", "std"), map(word_of, floats), strict=True)
        return {**dict(words), "nan": self.nan, "inf": self.inf}


class _Heat:
    """Means of at most `MOST_CELLS` times as many cells of a table that comes in blocks."""

    def __init__(self, rows: int, columns: int) -> None:
        self.rows, self.columns = _cuts(rows), _cuts(columns)
        self.sums = np.zeros((len(self.rows) - 1, len(self.columns) - 1))

    def add(self, row: int, column: int, block: Array) -> None:
        top, rows = _inner(self.rows, row, block.shape[0])
        left, columns = _inner(self.columns, column, block.shape[1])
        with np.errstate(over="ignore", invalid="ignore"):
            small = np.add.reduceat(np.add.reduceat(block, columns, axis=1), rows, axis=0)
            self.sums[top : top + len(rows), left : left + len(columns)] += small

    def told(self, *, is_turned: bool) -> dict[str, Any]:
        means = self.sums / np.diff(self.rows)[:, None] / np.diff(self.columns)
        means = means.T if is_turned else means
        values = [[*map(word_of, row)] for row in means.tolist()]
        return {"rows": means.shape[0], "columns": means.shape[1], "values": values}


def _cuts(length: int) -> NDArray[np.int64]:
    """Return where each cell begins, and where the last one ends."""
    cells = min(length, MOST_CELLS)
    return np.arange(cells + 1, dtype=np.int64) * length // cells


def _inner(cuts: NDArray[np.int64], first: int, length: int) -> tuple[int, NDArray[np.int64]]:
    """Return the first cell that `length` rows from `first` on fall into, and where in these rows each of the cells begins."""
    cell = int(np.searchsorted(cuts, first, "right")) - 1
    end = int(np.searchsorted(cuts, first + length, "left"))
    return cell, np.maximum(cuts[cell:end] - first, 0)
