"""Tables: from cells to text, pure.

Two shapes, both fixed byte for byte because people diff their logs: the framed table of one step (`step_table`) and the
ruled sections of parameters (`params_table`). Cells are padded first and coloured then, so colour never moves a border.
Width is counted in terminal columns: East Asian wide characters take two, combining ones none. Control characters are
shown as escapes, since a newline or an escape code in a cell would break the frame.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Mapping
from typing import NamedTuple

from .color import paint

_CELL_WIDTH = 20
_KEY_WIDTH = 30
_TITLE_COLOR = "yellow"
_ELLIPSIS = "…"


class Cell(NamedTuple):
    """The text of one value and the colour it is shown in."""

    text: str
    color: str | None = None


def step_table(cells: Mapping[str, Cell], *, width: int | None = None, is_colored: bool = False) -> str:
    """Return the table of one step, ending in a newline, or the empty string if there are no cells.

    `width` is that of the terminal in columns: values that would pass it are cut with ``…`` (but never below 20 columns);
    None cuts nothing.
    """
    if not cells:
        return ""
    texts = [text for text, _ in cells.values()]
    together = "".join(texts)
    is_plain = together.isascii() and together.isprintable()  # asked once for all: most tables are numbers
    if not is_plain:
        texts = [printable(text) for text in texts]
    key_width = max(_CELL_WIDTH, max(map(_label_columns, cells)))
    value_width = max(_CELL_WIDTH, max(map(len if is_plain else columns, texts)))
    if width is not None and key_width + value_width + 3 > width:
        value_width = min(value_width, max(_CELL_WIDTH, width - key_width - 3))
        is_plain = False
        texts = [text if columns(text) <= value_width else _cut(text, value_width) for text in texts]
    centered = f"^{value_width}"
    values = [format(text, centered) if is_plain else _center(text, value_width) for text in texts]
    if is_colored:
        values = [paint(value, color) for value, (_, color) in zip(values, cells.values(), strict=True)]
    between = f"├{'─' * key_width}┼{'─' * value_width}┤\n"
    rows = between.join([f"│{_key_cell(key, key_width)}│{value}│\n" for key, value in zip(cells, values, strict=True)])
    return f"╒{'═' * key_width}╤{'═' * value_width}╕\n{rows}╘{'═' * key_width}╧{'═' * value_width}╛\n"


# A run shows the same keys at every step; the bounds are for runs that make up new ones.


def _label(key: str) -> str:
    return printable(key.replace("_", " "))


@functools.lru_cache(maxsize=1024)
def _label_columns(key: str) -> int:
    return columns(_label(key))


@functools.lru_cache(maxsize=1024)
def _key_cell(key: str, width: int) -> str:
    return _center(_label(key), width)


def params_table(sections: Mapping[str, Mapping[str, str]], *, is_colored: bool = False) -> str:
    """Return the table of parameters, ending in a newline: section title to key to the text of the value, never cut."""
    if not sections:
        return ""
    left, right = _KEY_WIDTH + 1, _CELL_WIDTH + 1
    closing = f"{'═' * left}╧{'═' * right}\n"
    lines: list[str] = []
    for title, rows in sections.items():
        lines.append(closing if lines else "═" * (left + 1 + right) + "\n")
        lines.append(_title(title, is_colored))
        lines.append(f"{'─' * left}┬{'─' * right}\n")
        lines += [
            f"{_center(printable(k), _KEY_WIDTH)} │ {_pad_right(printable(v), _CELL_WIDTH)}\n" for k, v in rows.items()
        ]
    return "".join([*lines, closing])


def columns(text: str) -> int:
    """Return how many terminal columns `text` takes (Unicode standard annex 11; ambiguous characters count as one)."""
    return len(text) if text.isascii() else sum(map(_character_columns, text))


def _character_columns(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1


def printable(text: str) -> str:
    """Return `text` with its control characters and lone surrogates written as escapes."""
    if text.isprintable():
        return text
    return "".join(ascii(c)[1:-1] if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") else c for c in text)


def _title(title: str, is_colored: bool) -> str:
    text = _center(printable(title), _KEY_WIDTH)
    return (paint(text, _TITLE_COLOR) if is_colored else text) + "\n"


def _center(text: str, width: int) -> str:
    missing = max(0, width - columns(text))
    left = missing // 2
    return " " * left + text + " " * (missing - left)


def _pad_right(text: str, width: int) -> str:
    return text + " " * max(0, width - columns(text))


def _cut(text: str, width: int) -> str:
    """Return `text`, which is wider than `width`, with an ellipsis at its end and in at most `width` columns."""
    kept, used = [], 0
    for character in text:
        used += _character_columns(character)
        if used > width - 1:
            break
        kept.append(character)
    return "".join(kept) + _ELLIPSIS
