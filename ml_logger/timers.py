"""Timers: how long something took, and whether it is time to do something again.

Every key has one mark on a monotonic clock. `start` sets it, `since` reads it, `split` reads it and sets it again, like the lap
button of a stopwatch. Seconds are floats.
"""

from __future__ import annotations

import time
from typing import Any

_KEY = "default"


class Timers:
    """Stopwatches and counters by key; a process's own, they are not stored."""

    def __init__(self) -> None:
        self._marks: dict[Any, float] = {}
        self._calls: dict[Any, int] = {}

    def start(self, *keys: Any) -> None:
        """Start the stopwatches of `keys` (one called ``"default"`` if none is named) together."""
        now = time.perf_counter()
        self._marks.update(dict.fromkeys(keys or (_KEY,), now))

    def since(self, *keys: Any) -> Any:
        """Return the seconds since `start` or the last `split` of a key, whichever was later; asking changes nothing.

        The first call for a key starts it and returns 0.0. For several keys a list is returned, all read at one moment.
        """
        return self._read(keys, is_split=False)

    def split(self, *keys: Any) -> Any:
        """Return the seconds since the last `split` or `start` of a key, and start it anew: the time of one lap.

        The first call for a key starts it and returns 0.0. For several keys a list is returned, all read at one moment.
        """
        return self._read(keys, is_split=True)

    def _read(self, keys: tuple[Any, ...], *, is_split: bool) -> Any:
        now = time.perf_counter()
        asked = keys or (_KEY,)
        seconds = [now - self._marks.setdefault(key, now) for key in asked]
        if is_split:
            self._marks.update(dict.fromkeys(asked, now))
        return seconds[0] if len(asked) == 1 else seconds

    def every(self, n: int = 1, key: Any = _KEY, start_on: int = 0) -> bool:
        """Count a call of `key`, and return True on every `n`-th: the calls n, 2n, 3n, …

        With `start_on` the calls start_on, start_on + n, …: ``start_on=1`` is True on the very first. Two places that count
        need a key each. With an `n` below 1 never.
        """
        self._calls[key] = count = self._calls.get(key, 0) + 1
        return n > 0 and count >= start_on and (count - start_on) % n == 0
