"""Files: the only place where the client touches the disk.

Two shapes. A **stream** (`StreamWriter`) is append-only with one writer for its whole life; a **whole** file (`write_whole`)
appears by rename. Nothing here waits for anyone: the lock is shared and never waited for, and there is **no fsync**. One
record is one ``os.write`` at the call, so it is in the kernel's page cache when the call returns: that outlives the process
(``kill -9``, a crash of the interpreter), which is what training needs, at a microsecond instead of milliseconds. Only a
crash of the whole machine can take the last seconds, and those belong to the agent, which ships them within one.

What stands before each write is a seek, not a stat (`_undisturbed_fd`). ``lseek`` tells in 0.25 µs, without leaving the
machine, that the descriptor is still ours: code that closes all descriptors and opens its own (daemons, database drivers)
would else find our lines in its file, whose position is ours only by chance. A stat costs four times that, and on NFS it
first sends what was written to the server: a network round trip a record. It alone tells that the file was deleted, so it
is asked every `LOOK_EVERY_S`; what is logged in between goes with the file, as if that had been deleted so much later.

What a crash in the middle leaves: for a stream, nothing or (a full disk) a torn last line that no agent ships while the
writer lives and every reader skips; for a whole file, a temporary name that every scanner ignores.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
import weakref
from collections.abc import Callable
from time import monotonic
from typing import Any, BinaryIO

from . import sidecar
from .layout import numbered, part_of, temporary_name

if sys.platform != "win32":
    import fcntl
    import resource

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | getattr(os, "O_BINARY", 0)  # RDWR: flock over NFS wants it
_LOCK_TRIES = 3
_STALE = (errno.ESTALE, errno.EBADF, errno.ENOENT, errno.ENODEV)

SEGMENT_BYTES = 64 << 20
"""A stream that would pass this size goes on in the next number."""

LOOK_EVERY_S = 0.1
"""How often, at most, a stream that is written to is looked at: a deleted file is noticed after at most this many seconds."""

_writers: weakref.WeakSet[StreamWriter] = weakref.WeakSet()


class StreamWriter:
    """Appends records to one stream in a directory; safe for threads, after a fork and after pickling.

    The first append creates the file: `name`, or the next number where that exists. `dropped` counts the records that could
    not be written, and `last_error` says why the last of them was not.
    """

    def __init__(self, directory: str, name: str, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        self.directory = directory
        self.name = name
        self.segment_bytes = segment_bytes
        self._begin()

    def _begin(self) -> None:
        self.dropped = 0
        self.last_error: OSError | None = None
        self._lock = threading.RLock()  # re-entrant: a user's signal handler may log in the middle of a call
        self._fd: int | None = None
        self._identity = (0, 0)
        self._size = 0
        self._look_at_s = 0.0
        self._next_number = 0
        self._is_locked = False
        self._is_agent_looked_for = False
        self.is_begun_anew = False  # its file was deleted, and it goes on in another
        self._in_flight: tuple[int, bytes] | None = None  # where a record begins whose write has not returned, and it
        _writers.add(self)

    def append(self, record: bytes) -> bool:
        """Write `record`, which ends in its newline, with one write; return whether it is in the file."""
        with self._lock:
            try:
                self._write(record)
            except OSError as error:
                self.dropped += 1
                self.last_error = error
                return False
        if self._is_agent_looked_for:  # outside of the lock: who gets the warning may log into this very stream
            self._is_agent_looked_for = False
            sidecar.maybe_look(self.directory, monotonic())
        return True

    def path(self) -> str | None:
        """Return the path of the file that is open for writing, or None."""
        fd = self._fd
        return None if fd is None else os.path.join(self.directory, numbered(self.name, self._next_number - 1))  # noqa: PTH118

    def is_deleted(self) -> bool:
        """Whether a file is open that has no name any more."""
        fd = self._fd
        try:
            return fd is not None and os.fstat(fd).st_nlink == 0
        except OSError:
            return False

    def close(self) -> None:
        """Close the file, which gives up its lock and so makes it final; a later append starts the next number."""
        with self._lock:
            self._forget()

    def _write(self, record: bytes) -> None:
        fd = self._undisturbed_fd(len(record))
        if fd is None:
            fd = self._ready_fd(len(record))
        try:
            self._put(fd, record)
        except OSError as error:
            is_at_limit = (
                error.errno == errno.EFBIG and self._size > 0
            )  # of the process or the file system: the next has room
            if error.errno not in _STALE and not is_at_limit:
                raise
            self._forget()
            self._put(self._open(), record)

    def _undisturbed_fd(self, size_bytes: int) -> int | None:
        """Return the descriptor if a seek finds all as the last record left it, and room; None if not, or if a look is due."""
        fd = self._fd
        if fd is None or self._in_flight is not None or monotonic() >= self._look_at_s:
            return None
        try:
            position = os.lseek(fd, 0, os.SEEK_CUR)
        except OSError:  # somebody closed it, or the number is a socket of theirs now
            return None
        return fd if position == self._size and 0 < position <= self.segment_bytes - size_bytes else None

    def _put(self, fd: int, record: bytes) -> None:
        """Write `record` whole or, as far as it can be cut back, not at all; Ctrl-C may come between any two lines."""
        if self._in_flight is not None and not self._try_mend(fd):
            record = b"\n" + record
        self._in_flight = (self._size, record)
        written = os.write(fd, record)
        if written != len(record):
            self._finish(fd, record[written:])
        self._size += len(record)
        self._in_flight = None

    def _finish(self, fd: int, rest: bytes) -> None:
        """Write the `rest` of a record of which a part went in; if that fails, cut it back and raise."""
        try:
            while rest:
                count = os.write(fd, rest)
                if count == 0:
                    raise OSError(errno.EIO, "a write took nothing")
                rest = rest[count:]
        except OSError:
            self._try_mend(fd)
            raise

    def _try_mend(self, fd: int) -> bool:
        """Cut off a torn record, and return whether the file ends where a record may begin.

        Whole lines of it (of a table in ``text.log``) stay: an agent ships whole lines of a living writer, so they may be gone.
        """
        if self._in_flight is None:
            return True
        start, record = self._in_flight
        try:
            size = os.fstat(fd).st_size
            written = record[: max(0, size - start)]
            end = start + (written.rfind(b"\n") + 1 if len(written) < len(record) else size - start)
            if end < size:
                os.ftruncate(fd, end)
            self._size = min(size, end)
        except OSError:
            return False
        self._in_flight = None
        return True

    def _ready_fd(self, size_bytes: int) -> int:
        """Return a descriptor of a file that is ours, still has a name, and has room in its segment."""
        if self._fd is None:
            return self._open()
        try:
            status = os.fstat(self._fd)
        except OSError:
            self._fd = None  # somebody closed it
            return self._open()
        if (status.st_dev, status.st_ino) != self._identity:
            self._fd = None  # somebody closed it, and the number is a file of theirs now: not ours to close
            return self._open()
        self._size = status.st_size
        if status.st_nlink == 0:
            self._forget()
            self.is_begun_anew = True
            return self._open()
        if not self._is_locked:
            self._is_locked = _try_lock(self._fd)
        self._look_at_s = monotonic() + LOOK_EVERY_S if self._is_locked else 0.0
        self._is_agent_looked_for = True
        is_full = self._size and self._size + size_bytes > self.segment_bytes
        return self._open_next(self._fd) if is_full else self._fd

    def _open_next(self, fd: int) -> int:
        """Return a descriptor of the next part, or `fd` again where none can be made (no descriptors left, read-only)."""
        try:
            return self._open()
        except OSError:
            return fd

    def _open(self) -> int:
        os.makedirs(self.directory, exist_ok=True)  # noqa: PTH103 - this module works on descriptors and plain strings
        number = max(self._next_number, _first_free(self.directory, self.name))
        while True:
            try:
                fd = os.open(os.path.join(self.directory, numbered(self.name, number)), _FLAGS, 0o666)  # noqa: PTH118
            except FileExistsError:
                number += 1
                continue
            break
        fd = _above_standard(fd)
        status = os.fstat(fd)
        self._forget()  # the full one before it
        self._fd, self._identity, self._next_number = fd, (status.st_dev, status.st_ino), number + 1
        self._size, self._look_at_s, self._in_flight = 0, 0.0, None
        self._is_locked = any(_try_lock(fd) for _ in range(_LOCK_TRIES))
        return fd

    def _forget(self) -> None:
        """Close our file, unless somebody did and the number is a file of theirs now."""
        fd, self._fd = self._fd, None
        if fd is None:
            return
        try:
            status = os.fstat(fd)
            if (status.st_dev, status.st_ino) == self._identity:
                os.close(fd)
        except OSError as error:
            self.last_error = error

    def _after_fork(self) -> None:
        """In the child: let go of the parent's file; the next append opens one of the child's own."""
        self._lock = threading.RLock()  # another thread of the parent may have held the old one
        self.dropped = 0
        self._next_number = 0
        self._forget()

    def __getstate__(self) -> dict[str, Any]:
        return {"directory": self.directory, "name": self.name, "segment_bytes": self.segment_bytes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin()

    def __del__(self) -> None:
        if getattr(self, "_fd", None) is not None:
            self._forget()


def write_whole(path: str, fill: bytes | Callable[[BinaryIO], object]) -> None:
    """Make the file at `path`, folders included, so that it appears whole or not at all; raise `OSError` if it can't.

    `fill` is its bytes, or a function that writes them to the open file it is called with; what that raises passes.
    """
    directory, name = os.path.split(path)
    os.makedirs(directory, exist_ok=True)  # noqa: PTH103 - as above
    name = os.fsencode(name)[:200].decode("utf-8", "ignore")  # what is put around it has to fit into 255 bytes too
    temporary = os.path.join(directory, temporary_name(name, os.urandom(6).hex()))  # noqa: PTH118
    try:
        with open(temporary, "xb") as file:
            if isinstance(fill, bytes):
                file.write(fill)
            else:
                fill(file)
        os.replace(temporary, path)  # noqa: PTH105
    except BaseException:
        _try_unlink(temporary)
        raise


def most_streams() -> int:
    """Return how many streams of a user may be open at once: an eighth of the descriptors this process may have, 8 to 1024."""
    if sys.platform == "win32":
        return 128
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 1024 if limit == resource.RLIM_INFINITY else min(max(limit // 8, 8), 1024)


def check_writable(directory: str) -> None:
    """Create `directory` if need be, and a file in it that is gone again at once; raise `OSError` if either fails."""
    os.makedirs(directory, exist_ok=True)  # noqa: PTH103 - as above
    probe = os.path.join(directory, temporary_name("probe", os.urandom(6).hex()))  # noqa: PTH118
    os.close(os.open(probe, _FLAGS, 0o600))
    _try_unlink(probe)


def is_being_written(path: str) -> bool:
    """Whether a living process holds the stream at `path` open (its lock dies with it, also after ``kill -9``)."""
    if sys.platform == "win32":
        return False
    fd = _try_open(path, os.O_RDWR) or _try_open(
        path, os.O_RDONLY
    )  # NFS wants the first, other people's runs the second
    if fd is None:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(fd)
    return False


def _try_open(path: str, flags: int) -> int | None:
    try:
        return os.open(path, flags)
    except OSError:
        return None


def _first_free(directory: str, name: str) -> int:
    """Return one past the highest number of the stream in `directory`, so that a gap is never filled again."""
    parts = [part_of(entry, name) for entry in os.listdir(directory)]  # noqa: PTH208 - names are all that is needed
    return max((number + 1 for number in parts if number is not None), default=0)


def _try_lock(fd: int) -> bool:
    """Take the shared lock without waiting; where the file system has no locks there is nothing to try again."""
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _above_standard(fd: int) -> int:
    """Return `fd`, or a duplicate above 2: where standard output is closed, a ``printf`` must not end up in a stream."""
    if fd > 2 or sys.platform == "win32":
        return fd
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(fd)


def _try_unlink(path: str) -> None:
    try:
        os.unlink(path)  # noqa: PTH108
    except OSError:
        return


def _after_fork() -> None:
    for writer in list(_writers):
        writer._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
