"""The client's file calls, each of which can fail or be the last one.

`ml_logger.spool` alone writes files, by functions of `os` and `open`. Within `faulty_calls` its names of these lead here, so it
needs no seam of its own, which would cost something at every record.
"""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .. import spool
from .faults import Faults

NEEDS_ROOM = ("open", "write", "makedirs")
"""The calls that fail where the disk is full."""


@contextmanager
def faulty_calls(faults: Faults) -> Iterator[None]:
    """Let what the client does with files within the block, in any thread, ask `faults` first."""
    calls = _Calls(faults)
    vars(spool).update(os=calls, open=calls.open_file)
    try:
        yield
    finally:
        vars(spool).update(os=os)
        del vars(spool)["open"]  # the built-in one shows again


class _Calls:
    """Stands where `os` stands. A write that meets a full disk takes half of its bytes, the next one none."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._has_room = True

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def open(self, *arguments: Any) -> int:
        self._faults.meet("open")
        return os.open(*arguments)

    def open_file(self, path: str, mode: str) -> io.FileIO:
        self._faults.meet("open")
        return _File(self, path, mode)

    def write(self, fd: int, data: bytes) -> int:
        error = self._faults.maybe_error("write")
        if error is None:
            self._has_room = True
            return os.write(fd, data)
        is_short = isinstance(error, OSError) and error.errno == errno.ENOSPC and len(data) > 1
        if is_short and not self._has_room:
            raise error
        self._has_room = not is_short
        written = os.write(fd, data[: len(data) // 2])
        if is_short:
            return written
        raise error

    def makedirs(self, path: str, *, exist_ok: bool) -> None:
        if not os.path.isdir(path):  # noqa: PTH112 - as the module it stands in for
            self._faults.meet("makedirs")
        os.makedirs(path, exist_ok=exist_ok)  # noqa: PTH103

    def ftruncate(self, fd: int, size_bytes: int) -> None:
        self._faults.meet("ftruncate")
        os.ftruncate(fd, size_bytes)

    def replace(self, path: str, new_path: str) -> None:
        self._faults.meet("replace")
        os.replace(path, new_path)  # noqa: PTH105

    def unlink(self, path: str) -> None:
        self._faults.meet("unlink")
        os.unlink(path)  # noqa: PTH108


class _File(io.FileIO):
    """A file without a buffer, whose writes are counted."""

    def __init__(self, calls: _Calls, path: str, mode: str) -> None:
        super().__init__(path, mode)
        self._calls = calls

    def write(self, data: Any) -> int:
        left = bytes(data)
        while left:
            left = left[self._calls.write(self.fileno(), left) :]
        return len(data)
