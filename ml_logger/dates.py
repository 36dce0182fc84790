"""Dates: numpy's points and spans of time as the JSON values that are stored for them. Pure.

orjson knows points in time of numpy as well, but it takes NaT for a date, cuts nanoseconds, and **ends the process** (an
illegal instruction, which nobody can catch) at a unit that is a multiple of another, ``np.datetime64(5, "25s")``. So none of
them may reach it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

_NOT_A_TIME = "NaT"
_TICKS_OF_NONE = -(1 << 63)  # how numpy writes NaT into 64 bits
_EMPTY_FRACTION = re.compile(r"(\.\d*?)(000)+\Z")  # milli, micro, nano: what all of these say is nothing

_SECONDS_OF_UNIT = {"W": (604_800, 1), "D": (86_400, 1), "h": (3_600, 1), "m": (60, 1), "s": (1, 1)}
_SECONDS_OF_UNIT |= {name: (1, 1000**power) for power, name in enumerate(("ms", "us", "ns", "ps", "fs", "as"), start=1)}
"""Seconds in one of a unit of numpy as numerator and denominator; months and years have no fixed number of them."""


def is_time(value: object) -> bool:
    """Whether `value` is a scalar or array of numpy's points (``M``) or spans of time (``m``), of any unit."""
    return getattr(getattr(value, "dtype", None), "kind", None) in ("M", "m") and not hasattr(value, "mask")


def plain_times(value: Any) -> Any:
    """Return the text or number of a scalar or 0-d array, of a larger one nested lists of them.

    A point in time is ISO 8601 text as numpy writes it, to its unit (``2026``, ``2026-01``, ``2026-01-02T03``), a fraction of a
    second with 3, 6, 9, … digits if there is one. A span is a number of seconds, of months or years numpy's text, and the bare
    number if it has no unit. What is no time is ``"NaT"``.
    """
    import numpy as np  # lazily: importing ml_logger must not cost an import of numpy

    array = np.asarray(value)
    array = array.astype(array.dtype.newbyteorder("="))  # numpy writes dates of the other byte order wrong
    if array.dtype.kind == "M":
        return _nested(np.datetime_as_string(array).tolist(), _shortest)
    if array.dtype.kind != "m":  # times with a zone, of pandas: their array holds Python objects
        return array.tolist()
    unit, count = np.datetime_data(array.dtype)
    return _nested(array.astype(np.int64).tolist(), lambda ticks: _span(ticks, unit, count))


def _nested(value: Any, change: Callable[[Any], Any]) -> Any:
    return [_nested(element, change) for element in value] if isinstance(value, list) else change(value)


def _shortest(text: str) -> str:
    return _EMPTY_FRACTION.sub(r"\1", text).removesuffix(".")


def _span(ticks: int, unit: str, count: int) -> float | int | str:
    if ticks == _TICKS_OF_NONE:
        return _NOT_A_TIME
    if unit in _SECONDS_OF_UNIT:
        numerator, denominator = _SECONDS_OF_UNIT[unit]
        return ticks * count * numerator / denominator
    return ticks * count if unit == "generic" else f"{ticks * count} {'months' if unit == 'M' else 'years'}"
