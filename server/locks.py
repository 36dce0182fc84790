"""Locks on paths, held against every other writer: threads, worker processes, receivers on other hosts.

A path is locked whether there is a file or not, so that what was found there still holds when it is changed; the folders
above it are locked shared, so that whoever deletes one of them waits for all who are at work below it. The locks are byte
ranges of one file, ``.ml-logger/locks``, at an offset that follows from the path (equal ones for two paths cost a wait, nothing
else); they end with the process. All that one caller needs are taken in one order, so no two wait in a circle.
"""

from __future__ import annotations

import fcntl
import os
import struct
import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from ..layout import RECEIVER_DIR
from .tree import Tree

_NAME = "locks"
_RANGE_LOCK = "hhqqi4x"  # struct flock of 64-bit Linux: type, whence, start, length, pid
_HAS_RANGES = hasattr(fcntl, "F_OFD_SETLKW") and sys.maxsize > 1 << 32


class PathLocks:
    """Locks for the paths of one tree."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._folder_fd = tree.open_folder(RECEIVER_DIR, create=True)

    def close(self) -> None:
        """Let go of the folder; call it when nothing is locked."""
        os.close(self._folder_fd)

    @contextmanager
    def hold(self, paths: Iterable[str], *, shared: bool = False) -> Iterator[None]:
        """Lock all `paths` within the block, whatever is below them too; `shared` lets others that say so hold them too."""
        fd = self._tree.disk.open_file(_NAME, os.O_RDWR | os.O_CREAT, self._folder_fd)
        try:
            self._tree.inherit(fd, self._folder_fd)
            if _HAS_RANGES:
                _lock_ranges(fd, _kinds(paths, fcntl.F_RDLCK if shared else fcntl.F_WRLCK))
            else:  # one lock for all: right, and as slow as the disk
                fcntl.flock(fd, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


def _kinds(paths: Iterable[str], kind: int) -> dict[int, int]:
    """Return how to lock which offsets: those of `paths` by `kind`, those of the folders above them shared."""
    kinds: dict[int, int] = {}
    above: set[str] = set()
    for path in paths:
        kinds[_offset(path)] = kind
        folder = path.rpartition("/")[0]
        while folder and folder not in above:
            above.add(folder)
            folder = folder.rpartition("/")[0]
    for folder in above:
        kinds.setdefault(_offset(folder), fcntl.F_RDLCK)  # never weaker than a path's own that fell on the same offset
    return kinds


def _offset(path: str) -> int:
    return zlib.crc32(path.encode())


def _lock_ranges(fd: int, kinds: dict[int, int]) -> None:
    for start, kind in sorted(kinds.items()):
        fcntl.fcntl(fd, fcntl.F_OFD_SETLKW, struct.pack(_RANGE_LOCK, kind, os.SEEK_SET, start, 1, 0))
