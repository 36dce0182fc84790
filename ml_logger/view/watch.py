"""The watch: a thread that keeps the index of runs up to date while somebody looks, and rests when nobody does."""

from __future__ import annotations

import threading
import time

from .index import RunIndex

INTEREST_S = 15.0
"""For so long after somebody asked for the runs they are looked at; a page asks every second."""

_END_S = 2.0
_ROUND_S = 0.05
_BREATH_S = 0.002
"""So long the others have the interpreter for themselves between two rounds that have much to do."""


class Watch:
    """Calls `look` of an index, in a thread that begins with the first one who asks."""

    def __init__(self, index: RunIndex) -> None:
        self._index = index
        self._asked_at = 0.0
        self._bell = threading.Event()
        self._is_over = False
        self._thread: threading.Thread | None = None

    def ask(self) -> None:
        """Say that somebody looks. Called by one thread."""
        is_asleep = time.monotonic() - self._asked_at > INTEREST_S
        self._asked_at = time.monotonic()
        if self._thread is None or not self._thread.is_alive():  # what nobody foresaw costs the folder it came with
            self._thread = threading.Thread(target=self._run, name="ml-logger-index", daemon=True)
            self._thread.start()
        elif is_asleep:
            self._bell.set()

    def hurry(self, path: str) -> None:
        """Have the folder at `path` looked at now. Any thread may say so."""
        self._index.hurry(path)
        self._bell.set()

    def show(self, path: str) -> None:
        """Have the run at `path`, which a page shows, looked at each second. Any thread may say so."""
        self._index.show(path)

    def close(self) -> None:
        """End the thread; one that reads something long is not waited for."""
        self._is_over = True
        self._bell.set()
        if self._thread is not None:
            self._thread.join(_END_S)

    def _run(self) -> None:
        while not self._is_over:
            is_wanted = time.monotonic() - self._asked_at <= INTEREST_S
            if is_wanted:
                self._bell.wait(max(self._index.look(_ROUND_S), _BREATH_S))
            else:
                self._index.keep()
                self._bell.wait()
            self._bell.clear()
        self._index.keep()
