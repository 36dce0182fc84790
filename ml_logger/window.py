"""Window: the last values of a series, for curves that are too rough to be read as they are."""

from __future__ import annotations

import math
from collections import deque
from typing import Any

from .encode import scalar


class Stream:
    """The last `len` values: their `latest`, `mean`, `max` and `min`, which are NaN while there is none."""

    def __init__(self, len: int = 100) -> None:  # noqa: A002 - the name that users of ML_Logger know
        self.values: deque[float] = deque(maxlen=len)

    def append(self, value: Any) -> None:
        """Take `value` (a number, or an array or tensor of one element); the oldest one leaves when the window is full."""
        self.values.append(float(scalar(value)))

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        return f"Stream(len={self.values.maxlen}, latest={self.latest}, mean={self.mean})"

    @property
    def latest(self) -> float:
        """The value that came last."""
        return self.values[-1] if self.values else math.nan

    @property
    def mean(self) -> float:
        """The mean of the values in the window."""
        return sum(self.values) / len(self.values) if self.values else math.nan

    @property
    def max(self) -> float:
        """The largest value in the window."""
        return max(self.values, default=math.nan)

    @property
    def min(self) -> float:
        """The smallest value in the window."""
        return min(self.values, default=math.nan)
