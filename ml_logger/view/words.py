"""Special floats as words: JSON has no others for them. Pure."""

from __future__ import annotations

import math
from typing import Any


def word_of(value: Any) -> Any:
    """Return NaN and the infinities, within lists and dicts too, as the words that records have for them."""
    if isinstance(value, float):
        return value if math.isfinite(value) else "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {key: word_of(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [word_of(inner) for inner in value]
    return value
