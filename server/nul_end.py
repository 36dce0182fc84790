"""NULs at a stream's end: meant, or left by a power cut?

A file system may keep a file's new size and lose its bytes, which read as NULs from then on. But a spool may hold such an end
too, and then it is shipped and acknowledged like all else. So before NULs at a stream's end are acknowledged, an extended
attribute says up to where; it is as durable as they are. Those behind it are torn: nobody was ever told of them.

That holds in a tree that had such notes from its first day and kept them. One that is older, or was copied without its
attributes, lacks the sign of that (`begin_notes`), and nothing in it is called torn.
"""

from __future__ import annotations

import errno
import os

from .stamp import maybe_stamp

_NOTE = "user.ml_logger.nuls_to"
_SIGN = "user.ml_logger.notes_nuls"
_CHUNK_BYTES = 1 << 20
_NO_ATTRIBUTES = (errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM, errno.ENOSYS)


def begin_notes(folder_fd: int, *, is_new: bool) -> bool:
    """Return whether this tree has had notes from its first day; `folder_fd` keeps the sign of that, made if it `is_new`."""
    return (is_new and _try_set(folder_fd, _SIGN, 1)) or _maybe_get(folder_fd, _SIGN) == 1


def note_end(fd: int, size: int) -> None:
    """Note that NULs at the end of an open file, of `size` bytes, are to be acknowledged; they and this need an fsync first."""
    _try_set(fd, _NOTE, size)


def torn_from(fd: int, size: int) -> int:
    """Return where an open stream of `size` bytes is torn, `size` if it is not. A whole file (it has a stamp) never is."""
    if size == 0 or os.pread(fd, 1, size - 1) != b"\0" or maybe_stamp(fd) is not None:
        return size
    noted = _maybe_get(fd, _NOTE)
    return size if noted is None or noted >= size else _nuls_from(fd, noted, size)


def _nuls_from(fd: int, least: int, size: int) -> int:
    """Return where the NULs at the end begin, `least` at the earliest."""
    while size > least:
        start = max(least, size - _CHUNK_BYTES)
        kept = os.pread(fd, size - start, start).rstrip(b"\0")
        if kept:
            return start + len(kept)
        size = start
    return least


def _maybe_get(fd: int, name: str) -> int | None:
    """Return the number in an attribute, 0 if it is not there, None where there can be none, or is something else."""
    try:
        return int(os.getxattr(fd, name))
    except ValueError:  # of somebody else: nothing is called torn by it
        return None
    except OSError as error:
        if error.errno == errno.ENODATA:
            return 0
        if error.errno in _NO_ATTRIBUTES:
            return None
        raise


def _try_set(fd: int, name: str, number: int) -> bool:
    try:
        os.setxattr(fd, name, str(number).encode())
    except OSError as error:
        if error.errno not in _NO_ATTRIBUTES:
            raise
        return False
    return True
