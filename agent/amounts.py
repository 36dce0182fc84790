"""Amounts, times and names as people read them. Pure."""

from __future__ import annotations

import os
from datetime import datetime, timezone

_BYTE_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_TIME_UNITS = ((86400, "d"), (3600, "h"), (60, "min"))


def bytes_text(size_bytes: float) -> str:
    """Return `size_bytes` in the unit that fits: ``312 B``, ``4.0 MiB``."""
    size, unit = float(size_bytes), 0
    while size >= 1024 and unit < len(_BYTE_UNITS) - 1:
        size, unit = size / 1024, unit + 1
    return f"{size:.0f} B" if unit == 0 else f"{size:.1f} {_BYTE_UNITS[unit]}"


def count_text(count: int, noun: str) -> str:
    """Return ``1 file``, ``2 files``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def duration_text(duration_s: float) -> str:
    """Return `duration_s` in the unit that fits: ``0.4 s``, ``12 s``, ``3.5 min``, ``2.0 d``."""
    for span_s, unit in _TIME_UNITS:
        if duration_s >= span_s:
            return f"{duration_s / span_s:.1f} {unit}"
    return f"{duration_s:.0f} s" if duration_s >= 10 else f"{max(duration_s, 0):.1f} s"


def time_text(at: float) -> str:
    """Return a time, in seconds since the epoch, as UTC in ISO 8601, to the second."""
    try:
        return datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return f"{at:.0f} s since 1970"


def plain_text(text: str) -> str:
    """Return `text` in one line that any terminal and any JSON can carry: what can't be shown is escaped."""
    clean = os.fsencode(text).decode("utf-8", "backslashreplace") if _has_surrogates(text) else text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in clean)


def _has_surrogates(text: str) -> bool:
    return any("\ud800" <= c <= "\udfff" for c in text)
