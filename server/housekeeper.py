"""The thread that keeps a store's house: it waits, or is woken, and calls."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Housekeeper:
    """Calls `work` at least every `interval_s` seconds from the first `wake` on, in a thread of its own."""

    def __init__(self, work: Callable[[], None], interval_s: float) -> None:
        self._work, self._interval_s = work, interval_s
        self._bell, self._guard = threading.Event(), threading.Lock()
        self._is_stopped = False
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        """Call `work` soon."""
        with self._guard:
            if self._thread is None and not self._is_stopped:
                # Not waited for at the end of the interpreter: a disk may stand still.
                self._thread = threading.Thread(target=self._run, name="ml-logger-housekeeper", daemon=True)
                self._thread.start()
        self._bell.set()

    def _run(self) -> None:
        while not self._is_stopped:
            self._bell.wait(self._interval_s)
            self._bell.clear()
            if not self._is_stopped:
                self._work()

    def stop(self, timeout_s: float | None = None) -> None:
        """End the thread; what it is at is finished first, for which `timeout_s` seconds are waited, or as long as it takes."""
        self._is_stopped = True
        self._bell.set()
        if self._thread is not None:
            self._thread.join(timeout_s)
