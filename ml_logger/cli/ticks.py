"""Ticks: the numbers beside the axes of a chart, at round places, and as text. Pure."""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence

LEAST_SPAN = 1e-300
"""What lies nearer to each other is one number here: no float could tell the steps between apart."""

_TIME_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)


def ticks(low: float, high: float, most: int) -> tuple[list[float], float]:
    """Return at most `most` round numbers in low..high, and the step between them: 1, 2 or 5 times a power of ten."""
    span = high - low
    if most < 1 or not LEAST_SPAN < span < math.inf:
        return [low], 0.0
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next((f * power for f in (1, 2, 5, 10, 20) if _count(low, high, f * power) <= most), span)
    return _multiples(low, high, step), step


def time_ticks(low: float, high: float, most: int) -> list[float]:
    """Return at most `most` round times in low..high, in seconds."""
    days = (86400 * 2**n for n in range(1, 40))
    step = next((s for s in (*_TIME_STEPS_S, *days) if _count(low, high, s) <= most), high - low)
    return _multiples(low, high, step) if high - low >= 2 else [low]


def log_ticks(low: float, high: float, most: int) -> list[float]:
    """Return at most `most` powers of ten in low..high (of which one is shown at least), all of positive numbers."""
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    step = max(1, math.ceil((last - first + 1) / max(1, most)))
    found = [10.0**power for power in range(first, last + 1, step)]
    return found if len(found) > 1 else sorted({low, high, *found})


def _count(low: float, high: float, step: float) -> int:
    return math.floor(high / step + 1e-9) - math.ceil(low / step - 1e-9) + 1


def _multiples(low: float, high: float, step: float) -> list[float]:
    first = math.ceil(low / step - 1e-9)
    return [(first + n) * step for n in range(_count(low, high, step))]


def number_texts(numbers: Sequence[float], step: float) -> list[str]:
    """Return the numbers with as many digits as tell two `step` apart, no more."""
    largest = max(map(abs, numbers), default=0.0)
    if step <= 0 or largest >= 1e6 or (largest < 1e-3 and largest > 0):
        digits = 3 if step <= 0 else max(1, math.ceil(math.log10(max(largest, step) / step) + 1e-9) + 1)
        return [f"{number + 0.0:.{min(digits, 15)}g}" for number in numbers]
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return [f"{number + 0.0:.{decimals}f}" for number in numbers]


def duration_text(seconds: float) -> str:
    """Return a span of time as hours, minutes and seconds: ``1:30:00``."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole % 3600 // 60:02}:{whole % 60:02}"


def clock_texts(times: Sequence[float]) -> list[str]:
    """Return moments in local time: of one day without the date, of many days without the seconds."""
    try:
        moments = [datetime.datetime.fromtimestamp(t, datetime.timezone.utc).astimezone() for t in times]
    except (OverflowError, ValueError, OSError):  # no time of this calendar
        return number_texts(times, 0.0)
    is_one_day = len({moment.date() for moment in moments}) <= 1
    return [f"{moment:%H:%M:%S}" if is_one_day else f"{moment:%m-%d %H:%M}" for moment in moments]
