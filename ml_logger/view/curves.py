"""Curves: series of many runs cut into buckets of one grid, as binary, whole or only what is new (docs/VIEWER.md)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import orjson
from numpy.typing import NDArray

from ..reader import Buckets, Columns, Series, bucketed, news_since
from ..reader import grid as bucket_grid
from ..reader.block import Floats
from .answers import Refused, Reply

Axis = Literal["step", "time", "relative"]
MOST_SERIES = 2000
MOST_BUCKETS = 10_000
MOST_IN_ALL = 1_000_000
"""So many buckets, of all series together, an answer is cut into: 40 MB. A series has fewer where there are many."""

_WIDEST, _NARROWEST = 2.0**1023, 2.0**-1022


@dataclass(frozen=True, slots=True)
class Grid:
    """Where bucket 0 begins, and how wide each is."""

    origin: float
    width: float


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request for curves asks for; `grid` where the client has one already."""

    x: Axis
    series: tuple[tuple[str, str], ...]
    buckets: int
    first: float | None
    last: float | None
    grid: Grid | None
    seen: dict[str, str]

    @classmethod
    def of(cls, body: dict[str, Any]) -> Asked:
        """Return what the JSON object of a request asks for; raises `Refused` (400)."""
        x = body.get("x", "step")
        if x not in ("step", "time", "relative"):
            raise Refused(400, "x must be step, time or relative")
        buckets = body.get("buckets", 800)
        if type(buckets) is not int or not 1 <= buckets <= MOST_BUCKETS:
            raise Refused(400, f"buckets must be a whole number from 1 to {MOST_BUCKETS}")
        seen = body.get("seen") or {}
        if not isinstance(seen, dict) or not all(isinstance(value, str) for value in seen.values()):
            raise Refused(400, "seen must hold the cursors of runs")
        return cls(
            x, _series(body), buckets, _maybe_float(body, "from"), _maybe_float(body, "to"), _maybe_grid(body), seen
        )


def _series(body: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    series = body.get("series")
    if not isinstance(series, list) or len(series) > MOST_SERIES:
        raise Refused(400, f"series must be a list of up to {MOST_SERIES} pairs of run and key")
    return tuple(dict.fromkeys(_pair(pair) for pair in series))


def _pair(pair: Any) -> tuple[str, str]:
    if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(part, str) for part in pair)):
        raise Refused(400, "each of series must be a pair of run and key")
    return pair[0], pair[1]


def _maybe_float(body: dict[str, Any], name: str) -> float | None:
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Refused(400, f"{name} must be a number")
    return float(value)


def _maybe_grid(body: dict[str, Any]) -> Grid | None:
    origin, width = _maybe_float(body, "origin"), _maybe_float(body, "width")
    if origin is None or width is None:
        return None
    if not _NARROWEST <= width <= _WIDEST or math.frexp(width)[0] != 0.5:
        raise Refused(400, "width must be a power of two that came with an answer")
    return Grid(origin, width)


def answer(columns: Mapping[str, Columns], asked: Asked) -> Reply:
    """Return the curves that are asked for, of those runs that have `columns` and of keys that are there.

    Raises `Refused` (413) where the grid that the client has cuts them into too many buckets.
    """
    paths = list(dict.fromkeys(run for run, _ in asked.series))
    keys = list(dict.fromkeys(key for _, key in asked.series))
    curves = [
        curve for run, key in asked.series if run in columns and (curve := _maybe_curve(columns[run], run, key, asked))
    ]
    first, last = _ends(asked, curves)
    grid = asked.grid or Grid(*bucket_grid(first, last, min(asked.buckets, MOST_IN_ALL // max(1, len(curves)))))
    _require_few(sum(curve.most_buckets(grid, first, last) for curve in curves))
    heads, blocks = [], []
    for curve in curves:
        buckets = curve.buckets(grid, first, last)
        place = {"run": paths.index(curve.run), "key": keys.index(curve.key)}
        heads.append({**place, "buckets": len(buckets), "points": int(buckets.count.sum()), "is_tail": curve.is_tail})
        blocks.append(buckets.packed())
    cursors = {path: found.cursor for path, found in columns.items()}
    head = {"origin": grid.origin, "width": grid.width, "from": first, "to": last, "cursors": cursors}
    line = orjson.dumps({**head, "runs": paths, "keys": keys, "series": heads})
    padding = b" " * (-(len(line) + 1) % 4)
    return Reply(b"".join([line, padding, b"\n", *blocks]), "application/octet-stream", is_asked_once=True)


def _require_few(buckets: float) -> None:
    if buckets > 2 * MOST_IN_ALL:  # twice, as a grid may have a bucket more, and what it was made for may grow
        raise Refused(413, f"more than {2 * MOST_IN_ALL} buckets on this grid; ask without one, or for fewer series")


@dataclass(frozen=True, slots=True)
class _Curve:
    """One series with its positions; of a tail `since` is the first position at which anything is new."""

    run: str
    key: str
    xs: Floats
    values: Floats
    since: float = -math.inf

    @property
    def is_tail(self) -> bool:
        return not math.isinf(self.since)

    def buckets(self, grid: Grid, first: float, last: float) -> Buckets:
        """Return its buckets between `first` and `last`, of a tail those from the first that changed."""
        inside = self._inside(grid, first, last)
        whole = bool(inside.all())
        xs, values = (self.xs, self.values) if whole else (self.xs[inside], self.values[inside])
        return bucketed(xs, values, grid.origin, grid.width)

    def most_buckets(self, grid: Grid, first: float, last: float) -> float:
        """Return a bound of how many those are: a point fills one at most, and the range has so many."""
        across = last / grid.width - self._first(grid, first) / grid.width + 2
        return min(int(self._inside(grid, first, last).sum()), across)

    def _inside(self, grid: Grid, first: float, last: float) -> NDArray[np.bool_]:
        return (self.xs >= self._first(grid, first)) & (self.xs <= last)

    def _first(self, grid: Grid, first: float) -> float:
        """Return where the first bucket begins that is asked for and not the same as before."""
        if not self.is_tail:
            return first
        buckets = (self.since / 2 - grid.origin / 2) / (grid.width / 2)
        return max(first, grid.origin + math.floor(buckets) * grid.width if math.isfinite(buckets) else self.since)


def _maybe_curve(columns: Columns, run: str, key: str, asked: Asked) -> _Curve | None:
    """Return the curve of a key, None where there is nothing new of it."""
    cursor = asked.seen.get(run) if asked.grid is not None else None
    if cursor == columns.cursor:
        return None
    news = news_since(columns, cursor)
    since = -math.inf
    if not news.replaces(key):
        new = _positions(columns, news.series(key), asked.x)
        if not len(new):
            return None
        since = float(np.nanmin(new)) if np.isfinite(new).any() else math.inf
    series = columns.series(key)
    return _Curve(run, key, _positions(columns, series, asked.x), series.values, since)


def _positions(columns: Columns, series: Series, x: Axis) -> Floats:
    if x == "step":
        return series.steps
    return series.times - columns.first_time if x == "relative" else series.times


def _ends(asked: Asked, curves: Sequence[_Curve]) -> tuple[float, float]:
    finite = [xs for curve in curves if len(xs := curve.xs[np.isfinite(curve.xs)])]
    first = min((float(xs.min()) for xs in finite), default=0.0) if asked.first is None else asked.first
    last = max((float(xs.max()) for xs in finite), default=0.0) if asked.last is None else asked.last
    return first, last
