"""Colour: how a value looks on a terminal; never what is stored.

`Color` carries a value, the colour of its cell and how to write it. Only the value reaches the files. Whether ANSI codes
are written at all is decided at each print, in this order: ``NO_COLOR`` (https://no-color.org) forbids them,
``FORCE_COLOR`` demands them, else they go to terminals only. A consumer that aligns text pads first and colours then, so
codes never count as width.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

CODES = {
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
    "white": "37",
    "gray": "90",
    "grey": "90",
    "brown": "38;5;130",
}
"""SGR parameters by colour name (ECMA-48); a name that is not here, like ``default``, means no colour."""

_RESET = "\x1b[0m"


class Color:
    """A value with the colour of its cell and an optional formatter (a function from the value to its text).

    ``str()`` and f-strings give the text, coloured if standard output takes colours, so ``print(red("late"))`` works too.
    """

    __slots__ = ("color", "formatter", "value")

    def __init__(self, value: Any, color: str | None = None, formatter: Callable[[Any], Any] | None = None) -> None:
        self.value = value
        self.color = color
        self.formatter = formatter

    def __repr__(self) -> str:
        return f"Color({self.value!r}, {self.color!r})"

    def __str__(self) -> str:
        return self._painted(self.text())

    def __format__(self, spec: str) -> str:
        return self._painted(format(self.text(), spec))

    def __float__(self) -> float:
        return float(self.value)

    def text(self) -> str:
        """Return the value as text without colour; a formatter that fails costs the format, not the value."""
        text = None if self.formatter is None else try_format(self.formatter, self.value)
        return str(self.value) if text is None else text

    def _painted(self, text: str) -> str:
        return paint(text, self.color) if is_wanted(sys.stdout) else text


def try_format(formatter: Callable[[Any], Any], value: Any) -> str | None:
    """Return what a user's `formatter` makes of `value`, or None if it fails."""
    try:
        return str(formatter(value))
    except Exception:  # noqa: BLE001 - a user's function may raise anything, and what it costs is shown: the value as it is
        return None


def paint(text: str, color: str | None) -> str:
    """Return `text` between the ANSI codes of `color`, or as it is if that names no colour."""
    code = CODES.get(color) if color else None
    return text if code is None else f"\x1b[{code}m{text}{_RESET}"


def is_wanted(stream: Any) -> bool:
    """Whether ANSI codes may be written to `stream`, by ``NO_COLOR``, ``FORCE_COLOR`` and whether it is a terminal."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR", "0") not in ("", "0"):
        return True
    return is_terminal(stream)


def is_terminal(stream: Any) -> bool:
    """Whether `stream` (which may be None or closed) is a terminal; a Windows console is made to understand ANSI codes."""
    try:
        answer = bool(stream.isatty())
    except (AttributeError, ValueError, OSError):
        return False
    if answer and sys.platform == "win32":
        import colorama  # only Windows needs it, and importing it costs every other start-up

        colorama.just_fix_windows_console()
    return answer


def terminal_width(stream: Any) -> int | None:
    """Return the columns of the terminal `stream` (``COLUMNS``, if set, beats it), or None if it is a file or a pipe."""
    if not is_terminal(stream):
        return None
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns):
        return int(columns)
    try:
        return os.get_terminal_size(stream.fileno()).columns or None
    except (OSError, ValueError, AttributeError):
        return None


def percent(value: Any) -> str:
    """Return a fraction as a percentage with one decimal: ``percent(0.85)`` is ``85.0%``."""
    return f"{value * 100:.1f}%"


def ms(value: Any) -> str:
    """Return a time in seconds as milliseconds with one decimal: ``ms(0.0123)`` is ``12.3ms``."""
    return f"{value * 1000:.1f}ms"


def sec(value: Any) -> str:
    """Return a time in seconds with three decimals: ``sec(1.5)`` is ``1.500s``."""
    return f"{value:.3f}s"


def red(value: Any, formatter: Callable[[Any], Any] | None = None) -> Color:
    """Return `value` shown in red."""
    return Color(value, "red", formatter)


def green(value: Any, formatter: Callable[[Any], Any] | None = None) -> Color:
    """Return `value` shown in green."""
    return Color(value, "green", formatter)


def yellow(value: Any, formatter: Callable[[Any], Any] | None = None) -> Color:
    """Return `value` shown in yellow."""
    return Color(value, "yellow", formatter)


def blue(value: Any, formatter: Callable[[Any], Any] | None = None) -> Color:
    """Return `value` shown in blue."""
    return Color(value, "blue", formatter)


def cyan(value: Any, formatter: Callable[[Any], Any] | None = None) -> Color:
    """Return `value` shown in cyan."""
    return Color(value, "cyan", formatter)


def magenta(value: Any, formatter: Callable[[Any], Any] | None = None) -> Color:
    """Return `value` shown in magenta."""
    return Color(value, "magenta", formatter)


def gray(value: Any, formatter: Callable[[Any], Any] | None = None) -> Color:
    """Return `value` shown in gray."""
    return Color(value, "gray", formatter)


def grey(value: Any, formatter: Callable[[Any], Any] | None = None) -> Color:
    """Return `value` shown in grey, the other spelling of gray."""
    return Color(value, "grey", formatter)


def brown(value: Any, formatter: Callable[[Any], Any] | None = None) -> Color:
    """Return `value` shown in brown (from the 256-colour palette)."""
    return Color(value, "brown", formatter)


def white(value: Any, formatter: Callable[[Any], Any] | None = None) -> Color:
    """Return `value` shown in white."""
    return Color(value, "white", formatter)


def default(value: Any, formatter: Callable[[Any], Any] | None = None) -> Color:
    """Return `value` shown in the terminal's own colour."""
    return Color(value, "default", formatter)
