"""Reading one file of the spool: safely opened, read by position, and checked to be still the file that was scanned."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from .. import wire
from ..wire import Crc, Held, Offset
from .scanner import Signature, signature_of

READ_BYTES = 1 << 20
_MOST_BYTES = 1 << 30  # of one read

MARK_BYTES = 4 << 10
"""How much at either end of what was shipped is read again before more is shipped: a page, as a live stream is read often."""


class Mark(NamedTuple):
    """CRC-32 of the first and of the last `MARK_BYTES` of what was shipped of a stream."""

    head: Crc
    tail: Crc


class Behind(NamedTuple):
    """What follows in a stream those of its bytes that were shipped: all of `data` from `start` on.

    What stands in `data` before that is the end of those bytes, where they have a mark; `head` is that of the mark.
    """

    data: bytes
    start: int = 0
    head: Crc | None = None

    @property
    def chunk(self) -> bytes:
        """The bytes that were not shipped."""
        return self.data[self.start :]

    def mark(self, length: int) -> Mark | None:
        """Return the mark that the stream has once `length` bytes more are shipped, None if it takes another look."""
        if self.head is None:
            return None
        end = self.start + length
        return Mark(self.head, wire.crc32(self.data[end - MARK_BYTES : end]))


@contextmanager
def open_regular(path: str | Path) -> Iterator[tuple[int, Signature]]:
    """Open `path` for reading and yield the descriptor, and the state that the file is in.

    Raises OSError if it can't be opened, is a symlink, or is not a regular file: it may have been replaced since the scan,
    and opening a FIFO or device must neither block nor have an effect.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(f"{path} is no longer a regular file")
        yield fd, signature_of(status)
    finally:
        os.close(fd)


def signature_now(fd: int) -> Signature:
    """Return the signature of the open file as it is now."""
    return signature_of(os.fstat(fd))


def read_range(fd: int, offset: int, length: int) -> bytes:
    """Return up to `length` bytes from `offset`; fewer only where the file ends."""
    first = os.pread(fd, min(length, _MOST_BYTES), offset)
    if len(first) == length or not first:
        return first
    pieces = [first]
    while (length := length - len(pieces[-1])) > 0:
        offset += len(pieces[-1])
        piece = os.pread(fd, min(length, _MOST_BYTES), offset)
        if not piece:
            break
        pieces.append(piece)
    return b"".join(pieces)


def crc_of_prefix(fd: int, size: int) -> Crc | None:
    """Return the CRC-32 of the first `size` bytes, or None if the file is shorter."""
    crc, offset = Crc(0), 0
    while offset < size:
        piece = os.pread(fd, min(READ_BYTES, size - offset), offset)
        if not piece:
            return None
        crc = wire.crc32(piece, crc)
        offset += len(piece)
    return crc


def holds_prefix(fd: int, held: Held) -> bool:
    """Whether the open file begins with exactly the bytes that `held` describes."""
    return crc_of_prefix(fd, held.size) == held.crc


def mark_of(fd: int, size: int) -> Mark | None:
    """Return the mark of the first `size` bytes; None where they are so few that all of them are read again instead."""
    if size <= 2 * MARK_BYTES:
        return None
    head, tail = read_range(fd, 0, MARK_BYTES), read_range(fd, size - MARK_BYTES, MARK_BYTES)
    return Mark(wire.crc32(head), wire.crc32(tail))


def read_behind(fd: int, held: Held, mark: Mark | None, length: int) -> Behind | None:
    """Return up to `length` bytes behind those that `held` describes; None if the file does not begin with those.

    Where they have a `mark`, only their two ends are looked at, the last one with the same read.
    """
    if mark is None:
        return Behind(read_range(fd, held.size, length)) if holds_prefix(fd, held) else None
    head = wire.crc32(read_range(fd, 0, MARK_BYTES))
    data = read_range(fd, held.size - MARK_BYTES, MARK_BYTES + length)
    is_same = (head, wire.crc32(data[:MARK_BYTES])) == mark
    return Behind(data, MARK_BYTES, head) if is_same else None


def has_newline(fd: int, start: int, end: int) -> bool:
    """Whether there is a newline among the bytes [start, end)."""
    while start < end:
        piece = os.pread(fd, min(READ_BYTES, end - start), start)
        if not piece or b"\n" in piece:
            return bool(piece)
        start += len(piece)
    return False


def is_writer_gone(fd: int) -> bool:
    """Whether nobody holds the shared lock that a writer keeps on its open stream; the kernel drops it with the process.

    The lock is let go at once. A file system without locks (ENOLCK, or NFS, where an exclusive lock needs a descriptor open
    for writing) can't tell: then the writer counts as alive.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    fcntl.flock(fd, fcntl.LOCK_UN)
    return True


def has_writer(path: str | Path) -> bool:
    """Whether somebody holds the lock of a writer on the file `path`; one that can't be opened has none."""
    try:
        with open_regular(path) as (fd, _):
            return not is_writer_gone(fd)
    except OSError:
        return False


def whole_lines_end(chunk: bytes, offset: int) -> Offset:
    """Return the position just behind the last newline of `chunk`, which starts at `offset`; `offset` if it has none."""
    return Offset(offset + chunk.rfind(b"\n") + 1)
