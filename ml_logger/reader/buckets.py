"""Buckets: a curve of any length as about one bucket a pixel, without losing a spike.

Bucket i covers [origin + i·width, origin + (i+1)·width). Widths are powers of two, and origins multiples of them, so that
curves of several runs lie on one grid, and one that grows stays on it.

Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from .block import Floats

_MOST_INDEX = (1 << 31) - 1
_MOST_RUNS = 64
_WIDEST, _NARROWEST = 2.0**1023, 2.0**-1022
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True)
class Buckets:
    """The buckets of a curve that are not empty, ascending; all arrays have one length.

    `index` says which they are, `at` where in its bucket the last point is (0 to 1). `count` is the number of points, of which
    `nan`, `above` and `below` are NaN, +Inf and -Inf. `min`, `max` and `mean` are of the finite ones, NaN where there are none;
    `last` is the last value in the order of the records.
    """

    index: NDArray[np.int32]
    at: Floats
    count: Floats
    nan: Floats
    above: Floats
    below: Floats
    min: Floats
    max: Floats
    mean: Floats
    last: Floats

    def __len__(self) -> int:
        return len(self.index)

    def packed(self) -> bytes:
        """Return all arrays one behind the other, little-endian: `index` as int32, the others as float32.

        Finite numbers past the range of float32 become the largest of them, so that the infinities stay what was logged.
        """
        first, *others = (getattr(self, field.name) for field in fields(self))
        return b"".join([first.astype("<i4").tobytes(), *(_float32(array).tobytes() for array in others)])


def _float32(array: Floats) -> NDArray[np.float32]:
    kept = np.where(np.isinf(array), array, np.clip(array, -_LARGEST, _LARGEST))
    return kept.astype("<f4")


def grid(low: float, high: float, buckets: int) -> tuple[float, float]:
    """Return origin and width of the grid on which about `buckets` cover low..high: at most so many and one, at least half."""
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low or buckets < 1:
        width = _power_above(max(1.0, _finest(low))) if math.isfinite(low) else 1.0
    else:
        width = _power_above(max(_finest(low), _finest(high), high / buckets - low / buckets, _NARROWEST))
    return (_multiple_below(low, width) if math.isfinite(low) else 0.0), width


def _finest(number: float) -> float:
    """Return a width at `number` below which the ends of a bucket can't be told apart."""
    return 4 * math.ulp(number)


def _multiple_below(number: float, width: float) -> float:
    """Return the multiple of `width` at or below `number`, above where that is no float any more."""
    below = math.floor(number / width)
    return below * width if math.isfinite(below * width) else (below + 1) * width


def _power_above(number: float) -> float:
    """Return the smallest power of two that is at least `number`, the largest there is for one past it."""
    fraction, exponent = math.frexp(min(number, _WIDEST))
    return math.ldexp(1.0, exponent - 1 if fraction == 0.5 else exponent)


def bucketed(x: Floats, values: Floats, origin: float, width: float) -> Buckets:
    """Return the buckets of the points (x, value), float64 arrays of one length in the order of their records.

    Points whose x is not finite, or more than 2^31 buckets from `origin`, are left out. An ascending x, or a few that are one
    behind the other, takes the least time.
    """
    ends = np.flatnonzero(~(x[1:] >= x[:-1])) + 1  # where x falls; behind and before each NaN too
    if len(ends) > _MOST_RUNS:
        return _of_sorted(*_gathered(x, values, origin, width), origin, width)
    runs = zip(np.split(x, ends), np.split(values, ends), strict=True)
    return merged([_of_run(*run, origin, width) for run in runs])


def bucketed_pieces(pieces: Iterable[tuple[Floats, Floats]], origin: float, width: float) -> Buckets:
    """Return the buckets of points that come in `pieces` of x and values, each as for `bucketed`, which are not joined."""
    return merged([bucketed(x, values, origin, width) for x, values in pieces])


def merged(found: Sequence[Buckets]) -> Buckets:
    """Return the buckets of all points of which `found` are those of some, of one grid, the later points behind."""
    found = [buckets for buckets in found if len(buckets)] or list(found[:1])
    if len(found) == 1:
        return found[0]
    if not found:
        return Buckets(np.empty(0, np.int32), *np.empty((9, 0)))
    order = np.argsort(np.concatenate([buckets.index for buckets in found]), kind="stable")
    index, at, count, nan, above, below, low, high, mean, last = (
        np.concatenate([getattr(buckets, field.name) for buckets in found])[order] for field in fields(Buckets)
    )
    starts = np.flatnonzero(np.diff(index, prepend=index[0] - 1))
    ends = np.append(starts[1:], len(index)) - 1
    finite = count - nan - above - below
    sums = np.add.reduceat(np.where(finite > 0, mean * finite, 0.0), starts)
    count, nan, above, below, finite = (np.add.reduceat(part, starts) for part in (count, nan, above, below, finite))
    mean = np.divide(sums, finite, out=np.full(len(starts), np.nan), where=finite > 0)
    low, high = np.fmin.reduceat(low, starts), np.fmax.reduceat(high, starts)
    return Buckets(index[starts], at[ends], count, nan, above, below, low, high, mean, last[ends])


def _of_run(x: Floats, values: Floats, origin: float, width: float) -> Buckets:
    """Return the buckets of points of ascending x."""
    if not len(x) or not _is_in_range(x[[0, -1]], origin, width).all():
        return _of_sorted(*_gathered(x, values, origin, width), origin, width)
    return _of_sorted(x, values, *_cut(x, origin, width), origin, width)


def _of_sorted(
    x: Floats, values: Floats, starts: NDArray[np.int64], index: NDArray[np.int64], origin: float, width: float
) -> Buckets:
    """Return the buckets of points that lie bucket by bucket; each begins at one of `starts` and is one of `index`."""
    ends = np.append(starts[1:], len(x))[: len(starts)]
    at = np.clip(_in_widths(x[ends - 1], origin, width) - index, 0.0, 1.0)
    nan, above, below, low, high, mean = _summary(values, starts)
    count = (ends - starts).astype(np.float64)
    return Buckets(index.astype(np.int32), at, count, nan, above, below, low, high, mean, values[ends - 1])


def _is_in_range(x: Floats, origin: float, width: float) -> NDArray[np.bool_]:
    with np.errstate(over="ignore", invalid="ignore"):
        return np.abs(_in_widths(x, origin, width)) < _MOST_INDEX


def _in_widths(x: Floats, origin: float, width: float) -> Floats:
    """Return how many widths `x` is behind `origin`; by halves, since a whole difference may be past the largest float."""
    return (x * 0.5 - origin * 0.5) / (width * 0.5)


def _cut(x: Floats, origin: float, width: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where in an ascending `x` each bucket begins, and which it is."""
    first, last = (int(index) for index in np.floor(_in_widths(x[[0, -1]], origin, width)))
    are_told_apart = width >= _finest(max(abs(x[0]), abs(x[-1]), abs(origin)))
    # where there are few points a bucket, it is cheaper to ask each where it belongs
    if (last - first) * 4 > len(x) or not are_told_apart:
        return _changes(np.floor(_in_widths(x, origin, width)).astype(np.int64))
    buckets = np.arange(first - 1, last + 2)  # one more at either end, as the division above may have been rounded
    with np.errstate(over="ignore"):
        edges = np.searchsorted(x, 2 * (origin * 0.5 + width * 0.5 * np.append(buckets, last + 2)))
    is_filled = edges[1:] > edges[:-1]
    return edges[:-1][is_filled], buckets[is_filled]


def _changes(index: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    starts = np.flatnonzero(np.append(True, index[1:] != index[:-1])[: len(index)])
    return starts, index[starts]


def _gathered(
    x: Floats, values: Floats, origin: float, width: float
) -> tuple[Floats, Floats, NDArray[np.int64], NDArray[np.int64]]:
    """Return the points bucket by bucket, those of one in the order of their records, where each begins, and which it is."""
    kept = _is_in_range(x, origin, width)
    x, values = x[kept], values[kept]
    index = np.floor(_in_widths(x, origin, width)).astype(np.int64)
    if len(index):
        lowest = index.min()
        narrow = index - lowest
        order = np.argsort(narrow.astype(np.uint16) if narrow.max() < 1 << 16 else narrow, kind="stable")
        x, values, index = x[order], values[order], index[order]
    return x, values, *_changes(index)


def _summary(values: Floats, starts: NDArray[np.int64]) -> list[Floats]:
    """Return `nan`, `above`, `below`, `min`, `max` and `mean` of the stretches of `values` that begin at `starts`."""
    is_finite = np.isfinite(values)
    counts = np.diff(starts, append=len(values))
    if is_finite.all():
        return [*np.zeros((3, len(starts))), *_extremes(values, starts, counts)]
    special = values[~is_finite]
    stretch = np.searchsorted(starts, np.flatnonzero(~is_finite), "right") - 1
    kinds = (np.isnan(special), special == np.inf, special == -np.inf)
    found = [np.bincount(stretch[kind], minlength=len(starts)).astype(np.float64) for kind in kinds]
    counts = counts - np.bincount(stretch, minlength=len(starts))
    return [*found, *_extremes(values[is_finite], np.cumsum(counts) - counts, counts)]


def _extremes(values: Floats, starts: NDArray[np.int64], counts: NDArray[np.int64]) -> list[Floats]:
    """Return `min`, `max` and `mean` of stretches of so many values each, NaN of those of none."""
    is_filled = counts > 0
    low, high, mean = np.full((3, len(starts)), np.nan)
    if is_filled.any():
        starts = starts[is_filled]
        low[is_filled], high[is_filled] = np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)
        with np.errstate(over="ignore", invalid="ignore"):  # a sum past the largest float
            mean[is_filled] = np.add.reduceat(values, starts) / counts[is_filled]
    return [low, high, mean]
