"""Bounding the bandwidth: one bucket of bytes for all connections of an agent."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Throttle:
    """Lets `bytes_per_s` through, in the order of asking; what is `urgent` goes first, and is counted.

    Urgent bytes are waited for only once a whole second's worth is owed, so that streams keep their pace beside a checkpoint
    and the bound still holds for all together. `steady_s` and `sleep` are for tests.
    """

    def __init__(
        self,
        bytes_per_s: int,
        *,
        steady_s: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._bytes_per_s = bytes_per_s
        self._steady_s = steady_s
        self._sleep = sleep
        self._free_at_s = steady_s()  # when all that was let through will have been paid for
        self._lock = threading.Lock()

    def wait(self, size_bytes: int, *, is_urgent: bool = False) -> None:
        """Wait until `size_bytes` may be sent."""
        with self._lock:
            now_s = self._steady_s()
            wait_s = max(0.0, self._free_at_s - now_s - (1.0 if is_urgent else 0.0))
            self._free_at_s = max(self._free_at_s, now_s) + size_bytes / self._bytes_per_s
        if wait_s > 0:
            self._sleep(wait_s)
