"""Values of a run as text for a terminal: short, and without control characters. Pure."""

from __future__ import annotations

import datetime
from typing import Any

from ..table import columns, cut, printable

_TURNS_AROUND = {
    ord(c): f"\\u{ord(c):04x}" for c in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f"
}
"""What makes a terminal write from right to left: a name could pass for another."""

_AGES = ((60.0, 1.0, "s"), (3600.0, 60.0, "min"), (48 * 3600.0, 3600.0, "h"))


def text_of(value: Any, *, most: int | None = None) -> str:
    """Return a logged value as text in at most so many columns of a terminal; a number has six digits."""
    text = escaped(f"{value:.6g}" if isinstance(value, float) else str(value))
    return text if most is None or columns(text) <= most else cut(text, most)


def escaped(text: str) -> str:
    """Return `text` with everything in it that would steer a terminal as escapes."""
    return printable(text).translate(_TURNS_AROUND)


def age_text(seconds: float) -> str:
    """Return a span of time in one unit: ``12 s``, ``5 min``, ``3 h``, ``12 d``."""
    size, unit = next(((size, unit) for most, size, unit in _AGES if seconds < most), (86_400.0, "d"))
    return f"{max(0.0, seconds) / size:.0f} {unit}"


def time_text(time_s: float) -> str:
    """Return a moment in local time to the second; of one outside of the calendar its number."""
    try:
        moment = datetime.datetime.fromtimestamp(time_s, datetime.timezone.utc).astimezone()
    except (OverflowError, ValueError, OSError):
        return f"{time_s:.6g}"
    return f"{moment:%Y-%m-%d %H:%M:%S}"
