"""Retries: a call that may fail for a while is made again, later and later, for as long as something comes now and then."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from .errors import TryAgain

_T = TypeVar("_T")

FIRST_S, MOST_S = 0.25, 15.0
"""The first pause and the longest one; each is drawn from the upper half, so that many who wait do not come back at once."""


class Retries:
    """Shared by all threads of one piece of work: whoever gets something says so by `progress`.

    `patience_s` without any progress ends it with the error that stands. `tell` is called with that error before each pause,
    and with None when it is over. `stop` ends a pause at once, and then the call is not made again.
    """

    def __init__(
        self, patience_s: float, tell: Callable[[TryAgain | None], object], stop: threading.Event | None = None
    ) -> None:
        self._patience_s = patience_s
        self._tell = tell
        self._stop = stop or threading.Event()
        self._last_progress = time.monotonic()

    def progress(self) -> None:
        """Take note that something came."""
        self._last_progress = time.monotonic()

    def insist(self, call: Callable[[], _T]) -> _T:
        """Return what `call` returns, once it does not raise `TryAgain`; raises that where patience ends."""
        begun, pause_s = time.monotonic(), 0.0
        while True:
            asked_at = time.monotonic()
            try:
                result = call()
            except TryAgain as error:
                if self._stop.is_set() or time.monotonic() - max(self._last_progress, begun) > self._patience_s:
                    raise
                has_brought = self._last_progress > asked_at
                pause_s = FIRST_S if has_brought or not pause_s else min(2 * pause_s, MOST_S)
                self._tell(error)
                self._stop.wait((error.retry_after_s or pause_s) * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
            else:
                self.progress()
                if pause_s:
                    self._tell(None)
                return result
