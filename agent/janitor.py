"""The janitor: one spool's retention at work. What goes is decided on the shipper's thread, and done in a thread of its own.

An errand asks the receiver, waits, and unlinks large files: seconds, in which no metric line may have to wait.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import MLLoggerError
from .deletion import Broom, Errand, Swept
from .retention import Retention

CLOSE_S = 3.0


@dataclass(slots=True)
class _Outcome:
    swept: Swept | None = None
    error: Exception | None = None


class Janitor:
    """Carries out what `retention` selects, one errand at a time; `ring` is called when one is done.

    `turn` and `close` are called by one thread.
    """

    def __init__(self, retention: Retention, broom: Broom, ring: Callable[[], None]) -> None:
        self._retention = retention
        self._broom = broom
        self._ring = ring
        self._errands: queue.SimpleQueue[Errand | None] = queue.SimpleQueue()
        self._outcomes: queue.SimpleQueue[_Outcome] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def turn(self) -> list[str]:
        """Take note of what was done, and begin what is due; costs nothing where nothing is.

        Returns the paths of files whose bytes were found to be others than those that the receiver holds.

        A receiver that can't be asked is no news to whoever ships: it is asked again later. What is unexpected is raised here.
        """
        unlike: list[str] = []
        while not self._outcomes.empty():
            unlike += self._take_in(self._outcomes.get())
        self._begin()
        return unlike

    def _begin(self) -> None:
        errand = None if self._is_closed else self._retention.select()
        if errand is None:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="ml-logger-janitor", daemon=True)
            self._thread.start()
        self._errands.put(errand)

    def close(self) -> None:
        """Begin nothing more, and let the errand under way come to its end, for at most `CLOSE_S` seconds.

        One that takes longer leaves hidden files, which the next agent gives their names back.
        """
        self._is_closed = True
        if self._thread is not None:
            self._errands.put(None)
            self._thread.join(CLOSE_S)

    def _take_in(self, outcome: _Outcome) -> list[str]:
        if outcome.swept is not None:
            self._retention.note(outcome.swept)
            return [kept.path for kept in outcome.swept.kept if kept.is_unlike]
        self._retention.put_back()
        if outcome.error is not None and not isinstance(outcome.error, MLLoggerError):
            raise outcome.error
        return []

    def _serve(self) -> None:
        while (errand := self._errands.get()) is not None:
            outcome = _Outcome()
            try:
                outcome.swept = self._broom.sweep(errand)
            except Exception as error:  # noqa: BLE001 - handed to the thread that decides, which would else wait for ever
                outcome.error = error
            self._outcomes.put(outcome)
            if not self._is_closed:
                self._ring()
