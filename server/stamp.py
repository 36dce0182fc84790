"""Stamps: who committed a whole file, and by which of its commits, kept in an extended attribute of the stored file.

The value is the source, a NUL and 12 hex digits; short enough to stand in an ext4 inode of 256 bytes, where it costs no block
of its own. Files of earlier versions have the source alone.
"""

from __future__ import annotations

import errno
import os
import re
from typing import NamedTuple

_ATTRIBUTE = "user.ml_logger.source"
_STAMPED = re.compile(r"(.*)\0([0-9a-f]{12})\Z", re.DOTALL)
_NONE = (errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM, errno.ENOSYS, errno.ENODATA)


class Stamp(NamedTuple):
    """The source that committed a file, and the commit: empty where that is not known."""

    source: str
    commit: str


class Stamps:
    """The stamps of one source's commits, each unlike any other."""

    def __init__(self, source: str) -> None:
        self._source, self._first, self._count = source, os.urandom(4).hex(), 0

    def new(self) -> Stamp:
        """Return the next one."""
        self._count += 1
        return Stamp(self._source, f"{self._first}{self._count & 0xFFFF:04x}")


def maybe_stamp(fd: int) -> Stamp | None:
    """Return the stamp of an open file, or None if it has none."""
    try:
        value = os.getxattr(fd, _ATTRIBUTE).decode("utf-8", "replace")
    except OSError as error:
        if error.errno in _NONE:
            return None
        raise
    found = _STAMPED.match(value)
    return Stamp(found[1], found[2]) if found else Stamp(value, "")


def is_stamp_torn(fd: int) -> bool:
    """Whether an open file has a stamp that no version has written."""
    try:
        value = os.getxattr(fd, _ATTRIBUTE)
        text = value.decode()
    except UnicodeDecodeError:
        return True
    except OSError as error:
        if error.errno in _NONE:
            return False
        raise
    return not text or ("\0" in text and _STAMPED.match(text) is None)


def try_stamp(fd: int, stamp: Stamp) -> bool:
    """Stamp an open file; False where the file system has no such attributes."""
    try:
        os.setxattr(fd, _ATTRIBUTE, f"{stamp.source}\0{stamp.commit}".encode())
    except OSError as error:
        if error.errno not in _NONE:
            raise
        return False
    return True
