"""Streams that grew: which are to be compared once more as a whole, when nobody writes to them any more.

Before more of a stream is sent only its two ends are looked at; an edit between them that comes with new lines is not seen. So
a stream that was shipped in pieces is compared once it is quiet and its writer gone. One that grows on is left alone, and a
long one has to be quiet for longer: reading streams again takes at most some 1/200 of the time.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from . import local_file
from .agenda import Timers
from .scanner import LocalFile
from .settling import Clock, Settling

QUIET_S = 60.0
"""How long a stream must not have changed, at least."""

BYTES_PER_QUIET_S = 5 << 20
"""How many bytes a second of quiet is good for: 1/200 of what is read in a second."""


class Grown:
    """The streams of one spool of which a piece was shipped since they were compared as a whole."""

    def __init__(self, spool: Path, settling: Settling, clock: Clock) -> None:
        self._spool = spool
        self._settling = settling
        self._paths: set[str] = set()
        self._timers = Timers(clock.steady_s)

    def note(self, path: str) -> None:
        """Take note that a piece of `path` was shipped behind others."""
        if path not in self._paths:  # a timer that is set is not moved: this is called for every line of a live stream
            self._paths.add(path)
            self._timers.set(path, QUIET_S)

    def forget(self, path: str) -> None:
        """Drop `path`: it is gone, or was compared."""
        self._paths.discard(path)
        self._timers.discard(path)

    def take_quiet(self, find: Callable[[str], LocalFile | None]) -> list[str]:
        """Take out and return the paths that are quiet now; `find` tells the state in which a file was last seen."""
        quiet: list[str] = []
        for path in self._timers.take_due():
            file = find(path)
            wait_s = 0.0 if file is None else self._wait_s(file)
            if wait_s > 0:
                self._timers.set(path, wait_s)
                continue
            self._paths.discard(path)
            if file is not None:
                quiet.append(path)
        return quiet

    def _wait_s(self, file: LocalFile) -> float:
        """Return in how many seconds `file` is to be looked at again, 0 if it is quiet."""
        wait_s = max(QUIET_S, file.signature.size / BYTES_PER_QUIET_S) - self._settling.age_s(file)
        return wait_s if wait_s > 0 or not local_file.has_writer(self._spool / file.path) else QUIET_S
