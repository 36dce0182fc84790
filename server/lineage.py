"""The lineage of a data directory: how an agent finds out that a receiver was restored from an older copy, or emptied.

A file of marks, one random name a line: one at each start of the receiver, and one a minute while it stores. An agent
remembers the last mark it was told. A receiver that does not know that mark holds an older copy, or nothing, of what the agent
shipped; one that knows it and was started since may have lost, with the copy it was restored from, what came after the mark,
unless it was stopped in order before that start. Then the agent looks again at what it believed to be stored. A file that a
person deletes changes no mark, and stays deleted.

In a copy that is taken while the receiver runs, the marks must be no newer than the files: they lie in ``.ml-logger/``, which
tar, cp and rsync take first.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path

from ..layout import RECEIVER_DIR
from ..wire import Lineage, Since

log = logging.getLogger(__name__)

NAME = "lineage"
ROLL_S = 60.0
"""A new mark is made at most this often."""

MOST_MARKS = 20_000
_KEPT_MARKS = 10_000
_START, _ROLL, _STOP = "start", "roll", "stop"


class Marks:
    """The marks of one data directory. Safe for threads, and for other processes on the same directory."""

    def __init__(self, data_dir: Path, *, steady_s: Callable[[], float] = time.monotonic) -> None:
        self._file = data_dir / RECEIVER_DIR / NAME
        self._steady_s = steady_s
        self._lock = threading.Lock()
        self._marks: dict[str, int] = {}  # how many starts there were before each, itself included
        self._starts = 0
        self._is_in_order = False
        self._owed = 0
        self._current = ""
        self._rolled_s = steady_s()
        self._add(_START)

    def since(self, known: str | None) -> Lineage:
        """Return the current mark, and what happened since the one an agent knows (None: it knows none).

        The last things stored get marks behind them too, so that they are soon beyond doubt: two, as an agent doubts what it
        shipped since the last mark but one.
        """
        with self._lock:
            if self._owed and self._steady_s() - self._rolled_s >= ROLL_S:
                self._owed -= 1
                self._add(_ROLL)
            return Lineage(self._current, self._judge(known))

    def _judge(self, known: str | None) -> Since:
        if known is None:
            return "same"
        starts = self._marks.get(known)
        if starts is None:
            return "unknown"
        return "same" if starts == self._starts else "restarted"

    def note_stored(self) -> None:
        """Note that something was stored; makes a new mark if the last one is old."""
        self._owed = 2
        if self._steady_s() - self._rolled_s >= ROLL_S:
            with self._lock:
                if self._steady_s() - self._rolled_s >= ROLL_S:
                    self._add(_ROLL)

    def _add(self, kind: str) -> None:
        """Add a mark; it counts once it is durable.

        The first of a start counts even if it can't be written: the next start will not know it, and agents look again.
        """
        self._rolled_s = self._steady_s()
        mark = secrets.token_hex(8)
        try:
            self._write(kind, mark)
        except OSError as error:
            log.warning("%s can't be written: %s", self._file, error.strerror)
            if self._current:
                return
        self._take(kind, mark)

    def close(self) -> None:
        """Write that the receiver stops in order: nothing that was acknowledged can be missing but by somebody's hand."""
        with self._lock:
            self._add(_STOP)

    def _take(self, kind: str, mark: str) -> None:
        self._starts += kind == _START and not self._is_in_order
        self._is_in_order = kind == _STOP
        self._marks[mark] = self._starts
        self._current = mark

    def _write(self, kind: str, mark: str) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            if not self._current:
                self._read(fd)
            os.write(fd, f"{kind} {mark}\n".encode())
            os.fsync(fd)
        finally:
            os.close(fd)
        folder = os.open(self._file.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _read(self, fd: int) -> None:
        """Take in what earlier starts wrote; a torn last line is ended, very old marks are dropped."""
        content = os.pread(fd, os.fstat(fd).st_size, 0)
        lines = [line.split(" ") for line in content.decode("ascii", "replace").splitlines()]
        marks = [(line[0], line[1]) for line in lines if len(line) == 2 and line[0] in (_START, _ROLL, _STOP)]
        if len(marks) > MOST_MARKS:
            marks = marks[-_KEPT_MARKS:]
            content = "".join(f"{kind} {mark}\n" for kind, mark in marks).encode()
            os.ftruncate(fd, 0)
            os.write(fd, content)
        elif content and not content.endswith(b"\n"):
            os.write(fd, b"\n")
        for kind, mark in marks:
            self._take(kind, mark)
        self._current = ""
