"""Values of a run as text for a terminal: short, and without control characters. Pure."""

from __future__ import annotations

from typing import Any

_SHOWN_CHARACTERS = 24


def text_of(value: Any) -> str:
    """Return a logged value as text; numbers with six digits."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def short(text: str) -> str:
    """Return `text`, or its beginning and an ellipsis."""
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"
