"""Chart: curves as text, each cell of the terminal eight dots (Braille patterns, Unicode U+2800). Pure.

Of the points of one dot column the lowest and the highest are drawn, and all between: every spike stays. What is not finite
breaks the line and is marked on the axis below. Where there is neither colour nor Braille each curve has a letter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..color import paint
from ..reader import Buckets, bucketed
from ..reader.block import Floats
from ..table import columns
from .ticks import LEAST_SPAN, clock_texts, duration_text, log_ticks, number_texts, ticks, time_ticks

XKind = Literal["step", "time", "relative"]
Dots = NDArray[np.bool_]

COLORS = ("cyan", "yellow", "magenta", "green", "red", "blue", "white", "brown")
_RAW_COLOR = "gray"
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_DOT_BITS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]], np.int64)
_LARGEST = 8e307
_SHORT_S = 10.0
"""Times of so short a run are numbers of seconds."""

_BRAILLE = 0x2800


@dataclass(frozen=True)
class Curve:
    """Points to draw, in the order of their records: float64 arrays of one length."""

    label: str
    x: Floats
    y: Floats


@dataclass(frozen=True)
class Style:
    """How a chart is drawn: `width` in cells, axis included, `height` of its field, `smooth` the weight of what was before."""

    width: int
    height: int
    x: XKind = "step"
    is_log: bool = False
    smooth: float = 0.0
    is_colored: bool = False
    has_braille: bool = True


@dataclass(frozen=True)
class _Frame:
    """What lies where: the ranges (of y as it is drawn: the logarithm), the field's width in cells, a label for each row."""

    low_x: float
    high_x: float
    low_y: float
    high_y: float
    width: int
    labels: tuple[str, ...]


@dataclass(frozen=True)
class _Stroke:
    """One line: the dot columns that have something, and the lowest, highest and last value there; NaN breaks it."""

    number: int
    color: str
    index: NDArray[np.int32]
    low: Floats
    high: Floats
    last: Floats


def chart(curves: Sequence[Curve], style: Style) -> list[str]:
    """Return the lines of a chart of `curves` with numbered axes; of none that has a finite point the line that says so."""
    frame = _maybe_frame(curves, style)
    if frame is None:
        return ["no finite points to draw"]
    buckets = [_bucketed(curve, frame, style) for curve in curves]
    strokes = [stroke for number, one in enumerate(buckets) for stroke in _strokes(number, one, style)]
    field = _field(strokes, frame, style)
    lines = [f"{label}{line}".rstrip() for label, line in zip(frame.labels, field, strict=True)]
    return [*lines, *_x_axis(buckets, frame, style)]


def _maybe_frame(curves: Sequence[Curve], style: Style) -> _Frame | None:
    xs = [x for curve in curves if len(x := curve.x[np.isfinite(curve.x)])]
    ys = [y for curve in curves if len(y := _y(curve, style)[np.isfinite(curve.x) & np.isfinite(_y(curve, style))])]
    if not ys:
        return None
    low_x, high_x = _widened(min(x.min() for x in xs), max(x.max() for x in xs))
    low_y, high_y = _widened(min(y.min() for y in ys), max(y.max() for y in ys))
    labels = _y_labels(low_y, high_y, style)
    return _Frame(low_x, high_x, low_y, high_y, max(10, style.width - columns(labels[0])), labels)


def _y(curve: Curve, style: Style) -> Floats:
    if not style.is_log:
        return curve.y
    with np.errstate(divide="ignore", invalid="ignore"):
        logs: Floats = np.log10(curve.y)
    return logs


def _widened(low: float, high: float) -> tuple[float, float]:
    """Return a range that has a length, and one that is a float."""
    low, high = max(float(low), -_LARGEST), min(float(high), _LARGEST)
    return (
        (low, high) if high - low > LEAST_SPAN else (low - (abs(low) * 0.05 or 0.5), high + (abs(high) * 0.05 or 0.5))
    )


# --- lines


def _bucketed(curve: Curve, frame: _Frame, style: Style) -> Buckets:
    width = (frame.high_x - frame.low_x) / (frame.width * _dots(style)[0] - 1)
    kept = np.isfinite(curve.x) & (curve.x >= frame.low_x) & (curve.x <= frame.high_x)
    return bucketed(curve.x[kept], _y(curve, style)[kept], frame.low_x - width / 2, width)


def _dots(style: Style) -> tuple[int, int]:
    """Return how many dots a cell has, across and down."""
    return (2, 4) if style.has_braille else (1, 1)


def _strokes(number: int, found: Buckets, style: Style) -> list[_Stroke]:
    color = COLORS[number % len(COLORS)]
    raw = _Stroke(number, color, found.index, found.min, found.max, _last_finite(found))
    if not style.smooth:
        return [raw]
    mean = _smoothed(found.mean, style.smooth)
    smooth = _Stroke(number, color, found.index, mean, mean, mean)
    return [replace(raw, color=_RAW_COLOR), smooth] if style.is_colored else [smooth]


def _last_finite(found: Buckets) -> Floats:
    return np.where(np.isfinite(found.last), found.last, found.mean)


def _smoothed(values: Floats, weight: float) -> Floats:
    """Return the exponential moving average, corrected for its begin (as Adam's); what is not finite is passed over."""
    result, mean, count = np.full(len(values), np.nan), 0.0, 0
    for position, value in enumerate(values.tolist()):
        if math.isfinite(value):
            mean, count = weight * mean + (1 - weight) * value, count + 1
            result[position] = mean / (1 - weight**count)
    return result


def _drawn(stroke: _Stroke, frame: _Frame, style: Style) -> Dots:
    """Return which dots of the field the line covers: row 0 is on top."""
    across, down = _dots(style)
    rows = len(frame.labels) * down
    dots = np.zeros((rows, frame.width * across), bool)
    top, bottom, last = (_rows(values, frame, rows) for values in (stroke.high, stroke.low, stroke.last))
    before: tuple[int, int] | None = None
    for column, first, final, end in zip(stroke.index.tolist(), top, bottom, last, strict=True):
        if first is None or final is None or end is None:
            before = None
            continue
        dots[first : final + 1, column] = True
        if before is not None:
            _connect(dots, before, (column, min(max(before[1], first), final)))
        before = column, end
    return dots


def _rows(values: Floats, frame: _Frame, rows: int) -> list[int | None]:
    with np.errstate(over="ignore"):
        scaled = (frame.high_y - values) / (frame.high_y - frame.low_y) * (rows - 1)
    return [round(min(max(row, 0.0), rows - 1.0)) if math.isfinite(row) else None for row in scaled.tolist()]


def _connect(dots: Dots, start: tuple[int, int], end: tuple[int, int]) -> None:
    count = max(abs(end[0] - start[0]), abs(end[1] - start[1])) + 1
    across = np.rint(np.linspace(start[0], end[0], count)).astype(int)
    down = np.rint(np.linspace(start[1], end[1], count)).astype(int)
    dots[down, across] = True


def _field(strokes: Sequence[_Stroke], frame: _Frame, style: Style) -> list[str]:
    """Return the lines of the field; in a cell that several curves meet in the last one gives the colour."""
    codes = np.zeros((len(frame.labels), frame.width), np.int64)
    owners = np.full(codes.shape, -1)
    for position, stroke in enumerate(strokes):
        found = _codes(_drawn(stroke, frame, style), style)
        codes |= found
        owners[found > 0] = position
    return [_row(row, owner, strokes, style) for row, owner in zip(codes.tolist(), owners.tolist(), strict=True)]


def _codes(dots: Dots, style: Style) -> NDArray[np.int64]:
    across, down = _dots(style)
    cells = dots.reshape(dots.shape[0] // down, down, dots.shape[1] // across, across)
    found: NDArray[np.int64] = np.einsum("rdca,da->rc", cells.astype(np.int64), _DOT_BITS[:down, :across])
    return found


def _row(codes: Sequence[int], owners: Sequence[int], strokes: Sequence[_Stroke], style: Style) -> str:
    pieces = []
    for owner, group in groupby(zip(owners, codes, strict=True), key=lambda cell: cell[0]):
        cells = [code for _, code in group]
        if owner < 0:
            pieces.append(" " * len(cells))
            continue
        text = (
            "".join(chr(_BRAILLE + code) for code in cells)
            if style.has_braille
            else letter_of(strokes[owner].number) * len(cells)
        )
        pieces.append(paint(text, strokes[owner].color) if style.is_colored else text)
    return "".join(pieces).rstrip()


def letter_of(number: int) -> str:
    """Return the letter of a curve where there is neither colour nor Braille."""
    return _LETTERS[number % len(_LETTERS)]


# --- axes


def _y_labels(low: float, high: float, style: Style) -> tuple[str, ...]:
    """Return what stands before each row: a number where a tick is, and the axis."""
    most = max(2, style.height // 3)
    if style.is_log:
        places = [math.log10(tick) for tick in log_ticks(10**low, 10**high, most)]
        texts = [f"{10**place:.3g}" for place in places]
    else:
        places, step = ticks(low, high, most)
        texts = number_texts(places, step)
    rows = [round((high - place) / (high - low) * (style.height - 1)) for place in places]
    by_row = dict(zip(rows, texts, strict=True))
    width = max(map(len, texts))
    return tuple(f"{by_row.get(row, ''):>{width}} {'┤' if row in by_row else '│'}" for row in range(style.height))


def _x_axis(buckets: Sequence[Buckets], frame: _Frame, style: Style) -> list[str]:
    """Return the axis, with a mark where something is not finite, and the numbers below it."""
    places, texts = _x_ticks(frame, style)
    cells = [_cell_of(place, frame) for place in places]
    axis = ["─"] * frame.width
    for cell in cells:
        axis[cell] = "┬"
    for number, found in enumerate(buckets):
        for mark, counts in (("×", found.nan), ("↑", found.above), ("↓", found.below)):
            for column in found.index[counts > 0].tolist() if not style.is_log or mark != "↓" else ():
                axis[min(column // _dots(style)[0], frame.width - 1)] = _marked(mark, number, style)
    indent = " " * (columns(frame.labels[0]) - 1)
    return [f"{indent}└{''.join(axis)}", f"{indent} {_spread(cells, [*texts], style.x, frame.width)}".rstrip()]


def _marked(mark: str, number: int, style: Style) -> str:
    return paint(mark, COLORS[number % len(COLORS)]) if style.is_colored else mark


def _x_ticks(frame: _Frame, style: Style) -> tuple[list[float], list[str]]:
    most = max(1, frame.width // 14)
    if style.x == "step" or (style.x == "relative" and frame.high_x - frame.low_x < _SHORT_S):
        places, step = ticks(frame.low_x, frame.high_x, most)
        return places, number_texts(places, step)
    places = time_ticks(frame.low_x, frame.high_x, most)
    return places, [duration_text(place) for place in places] if style.x == "relative" else clock_texts(places)


def _cell_of(place: float, frame: _Frame) -> int:
    return round((place - frame.low_x) / (frame.high_x - frame.low_x) * (frame.width - 1))


def _spread(cells: Sequence[int], texts: Sequence[str], name: str, width: int) -> str:
    """Return the texts, each below its cell as far as there is room, and the axis' `name` at the end if it has some."""
    line = ""
    for cell, text in zip(cells, texts, strict=True):
        start = min(max(0, cell - len(text) // 2), width - len(text))
        if start >= len(line) + (1 if line else 0):
            line += " " * (start - len(line)) + text
    return f"{line:<{width - len(name)}}{name}" if len(line) + 1 <= width - len(name) else line
