"""The lineage of a data directory: how an agent finds out that a receiver was restored from an older copy, or emptied.

A file of marks, one random name a line: one at each start of the receiver, and one a minute while it stores. An agent
remembers the last mark it was told. A receiver that does not know that mark holds an older copy, or nothing, of what the agent
shipped; one that knows it and was started since may have lost, with the copy it was restored from, what came after the mark,
unless it was stopped in order before that start. Then the agent looks again at what it believed to be stored. A file that a
person deletes changes no mark, and stays deleted.

The file is the truth: several processes add to it, each under its lock, and each reads on where it grew. A receiver of several
workers is one start, made before they are forked; a worker that dies and is started again is none, since the machine has lost
nothing, and what was acknowledged is in the files or in the redo log. A stop of one receiver says nothing of another on
the same folder, which makes a mark of its own before it acknowledges anything more.

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
    """The marks of one data directory. Safe for threads, and for other processes on the same directory.

    A forked process goes on with what it inherits, if nobody was using it then.
    """

    def __init__(self, data_dir: Path, *, steady_s: Callable[[], float] = time.monotonic) -> None:
        self._file = data_dir / RECEIVER_DIR / NAME
        self._steady_s = steady_s
        self._lock = threading.Lock()
        self._marks: dict[str, int] = {}  # how many starts there were before each, itself included
        self._starts = 0
        self._is_in_order = False
        self._owed = 0
        self._current = ""
        self._read_to = self._inode = 0
        self._rolled_s = steady_s()
        self._add(_START)

    def since(self, known: str | None) -> Lineage:
        """Return the current mark, and what happened since the one an agent knows (None: it knows none).

        The last things stored get marks behind them too, so that they are soon beyond doubt: two, as an agent doubts what it
        shipped since the last mark but one.
        """
        with self._lock:
            self._read_news(is_sure=known is None or known in self._marks)
            if self._owed and self._is_due():
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
        """Note that something was stored and not yet acknowledged; makes a new mark if the last one is old, or a stop."""
        with self._lock:
            self._read_news()
            self._owed = 2
            if self._is_due() or self._is_in_order:
                self._add(_ROLL)

    def _is_due(self) -> bool:
        return self._steady_s() - self._rolled_s >= ROLL_S

    def close(self) -> None:
        """Write that the receiver stops in order: nothing that was acknowledged can be missing but by somebody's hand."""
        with self._lock:
            self._add(_STOP)

    # --- the file

    def _add(self, kind: str) -> None:
        """Add a mark; it counts once it is durable. Where another process has just made one, none is needed.

        The first of a start counts even if it can't be written: the next start will not know it, and agents look again.
        """
        self._rolled_s = self._steady_s()
        mark = secrets.token_hex(8)
        try:
            self._write(kind, mark)
        except OSError as error:
            log.warning("%s can't be written: %s", self._file, error.strerror)
            if not self._current:
                self._take(kind, mark)

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
            has_news = self._read_on(fd)
            if kind == _ROLL and has_news and not self._is_in_order:
                return
            if kind == _START:
                self._drop_old(fd)
            size = os.fstat(fd).st_size
            torn = size > 0 and os.pread(fd, 1, size - 1) != b"\n"
            os.write(fd, f"{chr(10) * torn}{kind} {mark}\n".encode())
            os.fsync(fd)
            self._read_to = os.fstat(fd).st_size
        finally:
            os.close(fd)
        self._sync_folder()
        self._take(kind, mark)

    def _sync_folder(self) -> None:
        folder = os.open(self._file.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _read_news(self, *, is_sure: bool = True) -> None:
        """Take in what others wrote. The size decides whether there is any, unless more is asked: a network's may be old."""
        try:
            found = self._file.stat()
            if is_sure and (found.st_ino, found.st_size) == (self._inode, self._read_to):
                return
            fd = os.open(self._file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return  # nothing is known of it; the next mark says why
        try:
            if self._read_on(fd):
                self._rolled_s = self._steady_s()
        finally:
            os.close(fd)

    def _read_on(self, fd: int) -> bool:
        """Take in the whole lines behind those that are known; whether there were any."""
        found = os.fstat(fd)
        if found.st_ino != self._inode or found.st_size < self._read_to:
            self._forget(found.st_ino)
        content = os.pread(fd, found.st_size - self._read_to, self._read_to)
        end = content.rfind(b"\n") + 1
        marks = _marks_in(content[:end])
        for kind, mark in marks:
            self._take(kind, mark)
        self._read_to += end
        self._owed = max(0, self._owed - len(marks))
        return bool(marks)

    def _forget(self, inode: int) -> None:
        """Begin anew: it is another file, or was made shorter."""
        self._inode, self._read_to, self._starts = inode, 0, 0
        self._marks.clear()

    def _drop_old(self, fd: int) -> None:
        """Drop very old marks."""
        marks = _marks_in(os.pread(fd, os.fstat(fd).st_size, 0))
        if len(marks) > MOST_MARKS:
            os.ftruncate(fd, 0)
            os.write(fd, "".join(f"{kind} {mark}\n" for kind, mark in marks[-_KEPT_MARKS:]).encode())


def _marks_in(content: bytes) -> list[tuple[str, str]]:
    lines = [line.split(" ") for line in content.decode("ascii", "replace").splitlines()]
    return [(line[0], line[1]) for line in lines if len(line) == 2 and line[0] in (_START, _ROLL, _STOP)]
