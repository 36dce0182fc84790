"""Held: numbers that stay in their file until somebody asks for them.

They are read and not mapped: a file that is cut short while it is mapped ends the process that touches it, and anybody may cut
what is in a cache. A file that is held stays open, so deleting it takes nothing from who has it; one that was cut or written
into tells so (`HeldFile.is_whole`). At most a quarter of the descriptors that a process may have is taken.
"""

from __future__ import annotations

import operator
import os
import weakref
from typing import Any, SupportsIndex, overload

import numpy as np
from numpy.typing import NDArray

from ..errors import StoreBusy
from ..spool import most_streams

_held: set[int] = set()  # the descriptors of all files; changed by a finalizer, so by single steps that need no lock


class HeldFile:
    """The file at `path`, open for reading as long as this object lives, and as it is now; raises `OSError`."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        _held.add(self._fd)
        weakref.finalize(self, _let_go, self._fd)
        status = os.fstat(self._fd)
        self.size, self._mtime_ns = status.st_size, status.st_mtime_ns

    def is_whole(self) -> bool:
        """Return whether the file is still as it was when it was opened, as far as its size and time tell."""
        try:
            status = os.fstat(self._fd)
        except OSError:  # gone on the other machine that had it
            return False
        return (status.st_size, status.st_mtime_ns) == (self.size, self._mtime_ns)

    def read(self, offset: int, length: int) -> bytes:
        """Return the `length` bytes from `offset` on; raises `StoreBusy` if they are not there any more."""
        try:
            data = os.pread(self._fd, length, offset)
        except OSError as error:
            raise StoreBusy(f"a cached file can't be read: {error.strerror}") from None
        if len(data) < length:
            raise StoreBusy("a cached file was cut while it was read; the next look reads its run anew")
        return data


def _let_go(fd: int) -> None:
    _held.discard(fd)
    os.close(fd)


def may_hold() -> bool:
    """Return whether this process has descriptors left for one file more."""
    return len(_held) < 2 * most_streams()


class HeldNumbers:
    """`count` numbers of one `kind` (as ``<f8``) from `offset` of a file on.

    An index, a slice or an array of indexes gives what it gives of an array, read-only and in memory of its own; numpy takes it
    for an array.
    """

    def __init__(self, file: HeldFile, kind: str, offset: int, count: int) -> None:
        self._file, self._kind, self._offset, self._count = file, np.dtype(kind), offset, count

    def __len__(self) -> int:
        return self._count

    @property
    def nbytes(self) -> int:
        """How many bytes all of them take."""
        return self._count * self._kind.itemsize

    @overload
    def __getitem__(self, key: SupportsIndex) -> Any: ...
    @overload
    def __getitem__(self, key: slice | NDArray[Any] | HeldNumbers) -> NDArray[Any]: ...
    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            start, stop, stride = key.indices(self._count)
            return self._read(start, stop)[::stride] if stride > 0 else np.asarray(self)[key]
        if hasattr(key, "__index__") and not isinstance(key, np.ndarray):
            index = operator.index(key)
            index += self._count if index < 0 else 0
            if not 0 <= index < self._count:
                raise IndexError(f"number {index} of {self._count}")
            return self._read(index, index + 1)[0]
        return np.asarray(self)[np.asarray(key)]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        found = self._read(0, self._count)
        return found if dtype is None else found.astype(dtype, copy=False)

    def _read(self, start: int, stop: int) -> NDArray[Any]:
        size = self._kind.itemsize
        data = self._file.read(self._offset + start * size, max(0, stop - start) * size)
        return np.frombuffer(data, dtype=self._kind)
