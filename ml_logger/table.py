"""Tables: from cells to text, pure.

Two shapes, both fixed byte for byte because people diff their logs: the framed table of one step (`step_table`) and the
ruled sections of parameters (`params_table`). Cells are padded first and coloured then, so colour never moves a border.
Width is counted in terminal columns: East Asian wide characters and emoji take two, combining ones none. Control characters are
shown as escapes, since a newline or an escape code in a cell would break the frame.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from .color import paint

_CELL_WIDTH = 20
_KEY_WIDTH = 30
_TITLE_COLOR = "yellow"
_ELLIPSIS = "…"
_SOFT_HYPHEN = "\xad"  # shown by terminals, which break no lines
_BEFORE_EMOJI_SELECTOR = re.compile(
    "([#*0-9\xa9\xae\u203c-\u24ff\u25a0-\u3299])\ufe0f"
)  # a narrow symbol gets wide by it
_MOST_CHARACTERS = (
    1000  # of a key or value in a table of one step: a text of megabytes is no cell; the record holds all of it
)


NEVER_CUT_COLUMNS = 2 * _CELL_WIDTH + 3
"""No terminal is narrow enough to change a table of one step that takes this many columns."""


class Cell(NamedTuple):
    """The text of one value and the colour it is shown in."""

    text: str
    color: str | None = None


def step_table(
    cells: Mapping[str, tuple[str, str | None]], *, width: int | None = None, is_colored: bool = False
) -> str:
    """Return the table of one step, ending in a newline, or the empty string if there are no cells (`Cell`s).

    `width` is that of the terminal in columns: values that would pass it are cut with ``…`` (but never below 20 columns);
    None cuts nothing but keys and values of more than 1,000 characters.
    """
    if not cells:
        return ""
    keys, texts = tuple(cells), [text for text, _ in cells.values()]
    if max(map(len, keys)) > _MOST_CHARACTERS or max(map(len, texts)) > _MOST_CHARACTERS:
        keys, texts = tuple(map(_shortened, keys)), list(map(_shortened, texts))
    together = "".join(texts)
    is_plain = together.isascii() and together.isprintable()  # asked once for all: most tables are numbers
    if not is_plain:
        texts = [printable(text) for text in texts]
    value_width = max(_CELL_WIDTH, max(map(len if is_plain else columns, texts)))
    if width is not None and value_width > _CELL_WIDTH:
        value_width = min(value_width, max(_CELL_WIDTH, width - _key_width(map(_label, keys)) - 3))
        texts = [text if columns(text) <= value_width else cut(text, value_width) for text in texts]
        is_plain = False
    if is_plain and not is_colored:
        return _frame(keys, value_width, f"^{value_width}").format(*texts)
    values = [_center(text, value_width) for text in texts]
    if is_colored:
        values = [paint(value, color) for value, (_, color) in zip(values, cells.values(), strict=True)]
    return _frame(keys, value_width, "").format(*values)


@functools.lru_cache(maxsize=64)  # a run shows the same keys at every step
def _frame(keys: tuple[str, ...], value_width: int, spec: str) -> str:
    """Return a table with a place for each value, to be filled by ``str.format`` as `spec` says."""
    labels = [_label(key) for key in keys]
    key_width = _key_width(labels)
    between = f"├{'─' * key_width}┼{'─' * value_width}┤\n"
    cells = [_center(label, key_width).replace("{", "{{").replace("}", "}}") for label in labels]
    rows = between.join([f"│{cell}│{{:{spec}}}│\n" for cell in cells])
    return f"╒{'═' * key_width}╤{'═' * value_width}╕\n{rows}╘{'═' * key_width}╧{'═' * value_width}╛\n"


def _shortened(text: str) -> str:
    return text if len(text) <= _MOST_CHARACTERS else text[:_MOST_CHARACTERS] + _ELLIPSIS


def _label(key: str) -> str:
    return printable(key.replace("_", " "))


def _key_width(labels: Iterable[str]) -> int:
    return max(_CELL_WIDTH, max(map(columns, labels)))


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
    if text.isascii():
        return len(text)
    total = sum(_character_columns(character) * count for character, count in Counter(text).items())
    return total + sum(_character_columns(before) == 1 for before in _BEFORE_EMOJI_SELECTOR.findall(text))


def _character_columns(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 1 if character == _SOFT_HYPHEN else 0
    if "\u1160" <= character <= "\u11ff" or "\ud7b0" <= character <= "\ud7ff":
        return 0  # the vowels and final consonants of Hangul in pieces (macOS names files so) join the first one, of width 2
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1


def printable(text: str) -> str:
    """Return `text` with its control characters and lone surrogates written as escapes."""
    if text.isprintable():
        return text
    for character in set(text):  # few are different, even in a text of megabytes
        if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp"):
            text = text.replace(character, ascii(character)[1:-1])
    return text


def _title(title: str, is_colored: bool) -> str:
    text = _center(printable(title), _KEY_WIDTH)
    return (paint(text, _TITLE_COLOR) if is_colored else text) + "\n"


def _center(text: str, width: int) -> str:
    missing = _missing(text, width)
    left = missing // 2
    return " " * left + text + " " * (missing - left)


def _pad_right(text: str, width: int) -> str:
    return text + " " * _missing(text, width)


def _missing(text: str, width: int) -> int:
    """Return how many columns `text` lacks to `width`; most long texts show at their beginning that it is none."""
    if len(text) > width and columns(text[: 2 * width]) >= width:
        return 0
    return max(0, width - columns(text))


def cut(text: str, width: int) -> str:
    """Return `text`, which is wider than `width`, with an ellipsis at its end and in at most `width` columns."""
    kept, used, before = [], 0, ""
    for character in text:
        used += columns(before + character) - columns(before)
        before = character
        if used > width - 1:
            break
        kept.append(character)
    return "".join(kept) + _ELLIPSIS
