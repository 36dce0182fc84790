"""The last good content of a file that is read again and again, known to all processes of one receiver.

It lies in a file without a name, made before the first fork, so that a worker goes back to what any process read well before,
whether that lives or not, and never to what its parent read at the start. A process that is killed while it writes leaves a
content that does not fit its checksum, which is none.
"""

from __future__ import annotations

import fcntl
import os
import struct
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

_HEAD = struct.Struct("<QI")  # the length of the content, and its CRC-32


class LastGood:
    """Holds one content; whoever reads the file and keeps what it found holds `alone` for so long."""

    def __init__(self) -> None:
        self._fd = _unnamed_file()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until no other process is in here: what was read before must not be kept after what was read later."""
        fcntl.lockf(self._fd, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._fd, fcntl.LOCK_UN)

    def keep(self, content: bytes) -> None:
        """Put `content` in the place of what was held."""
        os.pwrite(self._fd, _HEAD.pack(len(content), zlib.crc32(content)) + content, 0)

    def maybe_content(self) -> bytes | None:
        """Return what was kept last, or None if that is not whole."""
        head = os.pread(self._fd, _HEAD.size, 0)
        if len(head) < _HEAD.size:
            return None
        length, crc = _HEAD.unpack(head)
        content = os.pread(self._fd, length, _HEAD.size)
        return content if len(content) == length and zlib.crc32(content) == crc else None


def _unnamed_file() -> int:
    if sys.platform == "linux":
        return os.memfd_create("last-good")  # a container may have no folder that can be written but the data
    with tempfile.TemporaryFile() as made:
        return os.dup(made.fileno())
