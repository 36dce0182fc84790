"""Files: the only place where the client touches the disk.

Two shapes. A **stream** (`StreamWriter`) is append-only with one writer for its whole life; a **whole** file (`write_whole`)
appears by rename. Nothing here waits for anyone: the lock is shared and never waited for, and there is **no fsync**. One
record is one ``os.write`` at the call, so it is in the kernel's page cache when the call returns: that outlives the process
(``kill -9``, a crash of the interpreter), which is what training needs, at a microsecond instead of milliseconds. Only a
crash of the whole machine can take the last seconds, and those belong to the agent, which ships them within one.

What a crash in the middle leaves: for a stream, nothing or (a full disk) a torn last line that no agent ships while the
writer lives and every reader skips; for a whole file, a temporary name that every scanner ignores.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import threading
import weakref
from typing import Any

from .layout import numbered, part_of, temporary_name

if sys.platform != "win32":
    import fcntl

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | getattr(os, "O_BINARY", 0)  # RDWR: flock over NFS wants it
_LOCK_TRIES = 3
_STALE = (errno.ESTALE, errno.EBADF, errno.ENOENT, errno.ENODEV)

SEGMENT_BYTES = 64 << 20
"""A stream that would pass this size goes on in the next number."""

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
        self._lock = threading.Lock()
        self._fd: int | None = None
        self._identity = (0, 0)
        self._next_number = 0
        self._is_locked = False
        self._is_torn = False
        _writers.add(self)

    def append(self, record: bytes) -> bool:
        """Write `record`, which ends in its newline, with one write; return whether it is in the file."""
        try:
            with self._lock:
                self._write(record)
        except OSError as error:
            self.dropped += 1
            self.last_error = error
            return False
        return True

    def path(self) -> str | None:
        """Return the path of the file that is open for writing, or None."""
        fd = self._fd
        return None if fd is None else os.path.join(self.directory, numbered(self.name, self._next_number - 1))  # noqa: PTH118

    def close(self) -> None:
        """Close the file, which gives up its lock and so makes it final; a later append starts the next number."""
        with self._lock:
            self._close()

    def _write(self, record: bytes) -> None:
        fd = self._ready_fd(len(record))
        if self._is_torn:
            record = b"\n" + record
        try:
            written = os.write(fd, record)
        except OSError as error:
            if error.errno not in _STALE:
                raise
            self._forget()
            fd, record = self._open(), record.removeprefix(b"\n")
            written = os.write(fd, record)
        if written != len(record):
            self._finish(fd, record[written:], written)
        self._is_torn = False

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
        is_full = status.st_size and status.st_size + size_bytes > self.segment_bytes
        if status.st_nlink == 0 or is_full:
            self._close()
            return self._open()
        if not self._is_locked:
            self._is_locked = _try_lock(self._fd)
        return self._fd

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
        status = os.fstat(fd)
        self._fd, self._identity, self._next_number = fd, (status.st_dev, status.st_ino), number + 1
        self._is_torn = False
        self._is_locked = any(_try_lock(fd) for _ in range(_LOCK_TRIES))
        return fd

    def _finish(self, fd: int, rest: bytes, written: int) -> None:
        """Write the `rest` of a record of which only `written` bytes went in; if that fails, cut it back and raise."""
        try:
            while rest:
                count = os.write(fd, rest)
                rest, written = rest[count:], written + count
        except OSError:
            self._is_torn = not _try_cut(fd, written) or self._is_torn
            raise

    def _close(self) -> None:
        if self._fd is not None:
            self._forget()

    def _forget(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            try:
                os.close(fd)
            except OSError as error:
                self.last_error = error

    def _after_fork(self) -> None:
        """In the child: let go of the parent's file; the next append opens one of the child's own."""
        self._lock = threading.Lock()  # another thread of the parent may have held the old one
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


def write_whole(path: str, data: bytes) -> None:
    """Write `data` to `path` so that it appears whole or not at all, folders included; raise `OSError` if it can't."""
    directory, name = os.path.split(path)
    os.makedirs(directory, exist_ok=True)  # noqa: PTH103 - as above
    temporary = os.path.join(directory, temporary_name(name, os.urandom(6).hex()))  # noqa: PTH118
    try:
        with open(temporary, "xb", buffering=0) as file:
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]
        os.replace(temporary, path)  # noqa: PTH105
    except BaseException:
        _try_unlink(temporary)
        raise


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


def _try_cut(fd: int, size_bytes: int) -> bool:
    """Cut the last `size_bytes` off the file; never shipped so far, since agents ship only whole lines of a living writer."""
    try:
        status = os.fstat(fd)
        if stat.S_ISREG(status.st_mode):
            os.ftruncate(fd, max(0, status.st_size - size_bytes))
    except OSError:
        return False
    return True


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
