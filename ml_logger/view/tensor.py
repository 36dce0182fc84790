"""Tensors: what an array of a run is, without its numbers: shape, type, statistics, a small heat map of one with two axes.

Files are read piece by piece, so an array of any type and size takes a few MiB of memory.
"""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from ..files import Files, OpenFile
from .answers import Refused, Reply, json_reply
from .array_scan import summary_of

MOST_BYTES = 256 << 20
"""A larger array, or file of arrays, is not read: it is downloaded."""

_MOST_READ = 4 << 20
_MOST_HEADER = 64 << 10
_PACKED_BOUNDEDLY = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_TROUBLES = (ValueError, EOFError, OSError, KeyError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error)


def tensor(files: Files, path: str, name: str | None) -> Reply:
    """Describe the array in a file, of one with several the one that is called `name`, or the first."""
    with closing(files.open(path)) as file:
        if file.size > MOST_BYTES:
            raise Refused(413, f"the file has {file.size >> 20} MiB; download it")
        try:
            found = _of_archive(file, name) if path.endswith(".npz") else _described(_Seekable(file), file.size)
        except _TROUBLES as error:
            raise Refused(400, f"the file is no array of numpy: {str(error)[:200]}") from None
    return json_reply(found)


class _Seekable(io.RawIOBase):
    """A file as numpy and zipfile read one; what wants much of it at once is refused."""

    def __init__(self, file: OpenFile) -> None:
        self._file, self._at = file, 0

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = (0, self._at, self._file.size)[whence]
        if base + offset < 0:
            raise OSError("that is before the file")
        self._at = base + offset
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        wanted = max(0, self._file.size - self._at) if size is None or size < 0 else size
        if wanted > _MOST_READ:
            raise ValueError(f"a part of it has {wanted} bytes")
        data = self._file.read(self._at, wanted)
        self._at += len(data)
        return data


def _of_archive(file: OpenFile, name: str | None) -> dict[str, Any]:
    with zipfile.ZipFile(_Seekable(file)) as archive:
        members = {one.filename.removesuffix(".npy"): one for one in archive.infolist()}
        if not members:
            raise ValueError("it holds none")
        chosen = next(iter(members)) if name is None else name
        if chosen not in members:
            raise Refused(404, f"the file has no array {chosen[:100]!a}")
        member = members[chosen]
        if member.file_size > MOST_BYTES:
            raise Refused(413, f"the array has {member.file_size >> 20} MiB; download the file")
        if member.compress_type not in _PACKED_BOUNDEDLY:
            raise ValueError("it is packed in a way that numpy never packs")
        with archive.open(member) as opened:
            return {"names": list(members), "name": chosen, **_described(opened, member.file_size)}


@dataclass(frozen=True, slots=True)
class _Header:
    shape: tuple[int, ...]
    is_fortran: bool
    dtype: np.dtype[Any]
    length: int


def _described(file: IO[bytes] | _Seekable, size: int) -> dict[str, Any]:
    """Return what is told of an array of `size` bytes with its header; only of real numbers there are statistics."""
    head = file.read(min(size, _MOST_HEADER)) or b""
    header = _header(io.BytesIO(head))
    _require_whole(header, size)
    told = {"dtype": str(header.dtype), "shape": header.shape, "stats": None, "heat": None}
    if header.dtype.kind not in "biuf" or 0 in header.shape:
        return told
    read = _after(head[header.length :], file)
    return {**told, **summary_of(read, header.dtype, header.shape, is_fortran=header.is_fortran)}


def _header(file: io.BytesIO) -> _Header:
    version = npy.read_magic(file)
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise ValueError(f"version {version} is not known")
    # The third is the second with UTF-8 in the names of fields.
    found = (npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0)(file)
    return _Header(*found, length=file.tell())


def _require_whole(header: _Header, size: int) -> None:
    if header.dtype.hasobject:
        raise ValueError("it holds objects of Python")
    if not all(0 <= length < 2**62 for length in header.shape):
        raise ValueError("its shape is none")
    if math.prod(header.shape) * header.dtype.itemsize > size - header.length:
        raise ValueError("its end is missing")


def _after(begun: bytes, file: IO[bytes] | _Seekable) -> Callable[[int], bytes]:
    """Return what reads so many bytes, first those of `begun`, then those of `file`."""
    rest = io.BytesIO(begun)

    def read(length: int) -> bytes:
        data = rest.read(length)
        return data + (file.read(length - len(data)) or b"") if len(data) < length else data

    return read
