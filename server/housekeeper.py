"""The thread that keeps a store's house: it waits, or is woken, and calls.

Whatever a work raises, the thread goes on to the next one, and tries it again the next time: without it the redo log would
fill and the trash never empty, and nobody waits for an answer who could be told. So an error that nobody foresaw is logged
with its traceback, once a kind, and counted for the metrics.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

_log = logging.getLogger(__name__)


class Housekeeper:
    """Calls the `works` in their order, at least every `interval_s` seconds from the first `wake` on, in a thread of its own.

    `failures` counts how often one has raised what it should not.
    """

    def __init__(self, works: Sequence[Callable[[], None]], interval_s: float) -> None:
        self._works, self._interval_s = works, interval_s
        self.failures = 0
        self._told: set[tuple[str, str]] = set()
        self._bell, self._guard = threading.Event(), threading.Lock()
        self._is_stopped = False
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        """Call the works soon."""
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
            for work in self._works:
                if not self._is_stopped:
                    self._do(work)

    def _do(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001  # see above: a thread that ended here would be missed by nobody
            self.failures += 1
            kind = (work.__name__, type(error).__name__)
            if kind not in self._told:
                self._told.add(kind)
                _log.exception("keeping house goes on without what failed here; told once")

    def stop(self, timeout_s: float | None = None) -> None:
        """End the thread; what it is at is finished first, for which `timeout_s` seconds are waited, or as long as it takes."""
        self._is_stopped = True
        self._bell.set()
        if self._thread is not None:
            self._thread.join(timeout_s)
