"""Aligned: rows of cells as lines whose columns stand under each other, in the width there is. Pure.

The first columns are always shown; of the others as many as fit, and whether some were left out is said in the last one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..color import paint
from ..table import Cell, columns, cut

_GAP = "  "
_MORE = "…"
_LEAST_FIRST = 16
"""The first column, of names, is cut before another is left out, but not below this."""


@dataclass(frozen=True)
class Column:
    """A title and a cell for each row; `is_right` lets them end under each other, as numbers do."""

    title: str
    cells: Sequence[Cell]
    is_right: bool = False

    @property
    def width(self) -> int:
        """The columns of a terminal that it needs."""
        return max(columns(text) for text in (self.title, *(cell.text for cell in self.cells)))


def aligned(found: Sequence[Column], *, always: int, width: int | None, is_colored: bool) -> list[str]:
    """Return a heading and a line for each row; the first `always` columns are shown in any case.

    `width` is that of the terminal; None leaves out nothing and cuts nothing.
    """
    widths = [column.width for column in found]
    shown = len(found) if width is None else _that_fit(widths, always, width)
    more = _GAP + _MORE if shown < len(found) else ""
    if width is not None:
        rest = sum(widths[1:shown]) + len(_GAP) * (shown - 1) + len(more)
        widths[0] = max(min(_LEAST_FIRST, widths[0]), min(widths[0], width - rest))
    heading = _line([Cell(column.title, "gray") for column in found[:shown]], found, widths, is_colored)
    rows = zip(*(column.cells for column in found[:shown]), strict=True)
    return [heading + more, *(_line(row, found, widths, is_colored) for row in rows)]


def _that_fit(widths: Sequence[int], always: int, width: int) -> int:
    first = min(widths[0], max(_LEAST_FIRST, width // 3))
    used, shown = first + sum(len(_GAP) + size for size in widths[1:always]), always
    while shown < len(widths):
        used += len(_GAP) + widths[shown]
        is_last = shown == len(widths) - 1
        if used + (0 if is_last else len(_GAP + _MORE)) > width:
            break
        shown += 1
    return shown


def _line(cells: Sequence[Cell], found: Sequence[Column], widths: Sequence[int], is_colored: bool) -> str:
    pieces = []
    for cell, column, width in zip(cells, found, widths, strict=False):
        text = cell.text if columns(cell.text) <= width else cut(cell.text, width)
        space = " " * (width - columns(text))
        shown = paint(text, cell.color) if is_colored else text
        pieces.append(space + shown if column.is_right else shown + space)
    return _GAP.join(pieces).rstrip()
