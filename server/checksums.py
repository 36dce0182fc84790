"""What is known of files without reading them: CRCs of their prefixes, and that they are durable.

A memory only, bounded and lost with the process. An entry counts while the file's `Signature` is the one it was made
for; anything that writes to the file, from wherever, changes that, and the file is read and fsynced again.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import NamedTuple

from ..wire import Crc

_POINTS_KEPT = 8  # the last ones: a resend after a lost answer proves a prefix one or two batches back


class Signature(NamedTuple):
    """One state of one file: device, inode, size in bytes, and times of the last change of bytes and attributes in ns."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, found: os.stat_result) -> Signature:
        """Return the signature in a stat result."""
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


class Checksums:
    """CRCs of prefixes (`points`: offset to CRC) of durable files by path; the least recently used are forgotten."""

    def __init__(self, most_files: int = 20_000) -> None:
        self._most_files = most_files
        self._entries: OrderedDict[str, tuple[Signature, tuple[tuple[int, Crc], ...]]] = OrderedDict()
        self._guard = threading.Lock()

    def maybe_points(self, path: str, signature: Signature) -> dict[int, Crc] | None:
        """Return the points known of a file in this state, or None if it is not known to be durable in it."""
        with self._guard:
            entry = self._entries.get(path)
            if entry is None or entry[0] != signature:
                return None
            self._entries.move_to_end(path)
            return dict(entry[1])

    def remember(self, path: str, signature: Signature, points: Mapping[int, Crc]) -> None:
        """Remember points of a file that is durable in this state."""
        kept = tuple(points.items() if len(points) == 1 else sorted(points.items())[-_POINTS_KEPT:])
        with self._guard:
            self._entries[path] = (signature, kept)
            self._entries.move_to_end(path)
            while len(self._entries) > self._most_files:
                self._entries.popitem(last=False)
