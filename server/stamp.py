"""Stamps: who committed a whole file, and by which of its commits, kept in an extended attribute of the stored file.

The value is the source, a NUL and 12 hex digits; short enough to stand in an ext4 inode of 256 bytes, where it costs no block
of its own. Files of earlier versions have the source alone.
"""

from __future__ import annotations

import errno
import os
import re
from dataclasses import dataclass

_ATTRIBUTE = "user.ml_logger.source"
_STAMPED = re.compile(r"(.*)\0([0-9a-f]{12})\Z", re.DOTALL)
_NONE = (errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM, errno.ENOSYS, errno.ENODATA)


@dataclass(frozen=True, slots=True)
class Stamp:
    """The source that committed a file, and the commit: empty where that is not known."""

    source: str
    commit: str


def new_stamp(source: str) -> Stamp:
    """Return the stamp of a new commit by `source`."""
    return Stamp(source, os.urandom(6).hex())


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


def try_stamp(fd: int, stamp: Stamp) -> bool:
    """Stamp an open file; False where the file system has no such attributes."""
    try:
        os.setxattr(fd, _ATTRIBUTE, f"{stamp.source}\0{stamp.commit}".encode())
    except OSError as error:
        if error.errno not in _NONE:
            raise
        return False
    return True
