"""Times that only go forward, for what is put into an order by them and outlives the process.

The system's clock may be set back, also between two processes. So each time is later than all that were given out before, and
than all that were met: in the redo log, and in the tombstones.
"""

from __future__ import annotations

import threading
import time


class Clock:
    """Gives times in ns since the epoch. Thread-safe."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._last_ns = 0

    def next_ns(self) -> int:
        """Return the time, or what is just later than all that were given out or met."""
        with self._guard:
            self._last_ns = max(self._last_ns + 1, time.time_ns())
            return self._last_ns

    def meet(self, time_ns: int) -> None:
        """Give out only later times than this one from now on."""
        with self._guard:
            self._last_ns = max(self._last_ns, time_ns)
