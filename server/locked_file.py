"""One file of the store, opened, judged, and only then changed.

Its path is locked by the caller (`locks`); a copy that is built aside also carries a ``flock``, by which the sweep of old ones
knows that it is in use. What is appended stays in memory until `flush`, and reads as if it were there: so a batch can be
judged whole before one byte of it is written. What was flushed can be cut off again (`try_cut_back`) until the caller says
that it is durable (`settle`).
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from contextlib import suppress

from ..errors import BadPath, NotHeld, StoreError
from ..wire import Crc, Held, Item, Offset, Result, crc32
from .checksums import Checksums, Signature
from .disk import Disk
from .nul_end import note_end, torn_from
from .stamp import Stamp, maybe_stamp, try_stamp
from .tree import Folder, Folders, fitting

_CHUNK_BYTES = 1 << 20
_WRITE_BYTES = 256 << 10
"""Written at once. For a call with more the kernel takes its pages in blocks of up to 2 MiB, which are seldom those that
were let go a moment ago: 4 MiB at once take up to five times the CPU. Below 64 KiB the calls themselves count."""


class Raced(StoreError):
    """Another program made or replaced the file in between; the same work can be done again."""

    can_retry = True


def write_all(disk: Disk, fd: int, data: memoryview, offset: int) -> None:
    """Write all of `data` at `offset`, piece by piece."""
    done = 0
    while done < len(data):
        done += disk.write(fd, data[done : done + _WRITE_BYTES], offset + done)


class LockedFile:
    """The file at `path`, which may not exist yet. Close it to let go of it.

    `shared` opens it for reading only. `private` says that no other name may lead to the same bytes: a second one (what a
    crash in the middle of publishing leaves) means that this one is done with, and it is removed. Raises `BadPath` if
    something that is no plain file stands there or on the way.
    """

    def __init__(
        self,
        disk: Disk,
        folders: Folders,
        checksums: Checksums,
        path: str,
        *,
        shared: bool = False,
        private: bool = False,
    ) -> None:
        self.path = path
        self.folder_path, _, self.name = path.rpartition("/")
        self.size = 0
        self.is_known = self.is_torn = False
        self._disk, self._folders, self._checksums = disk, folders, checksums
        self._fd: int | None = None
        self._device = 0
        self._points: dict[int, Crc] = {}
        self._tail: list[memoryview] = []
        self._size_on_disk = self._size_before = 0
        self._is_planned = self._is_written = self._has_new_attributes = False
        try:
            self._open(shared=shared, private=private)
        except BaseException:
            self.close()
            raise

    # --- opening

    @property
    def exists(self) -> bool:
        """Whether there is a file, or will be after `flush`."""
        return self._fd is not None or self._is_planned

    @property
    def is_new(self) -> bool:
        """Whether `flush` has to make the file."""
        return self._fd is None

    @property
    def fd(self) -> int:
        """The open file's descriptor; there must be one."""
        if self._fd is None:
            raise NotHeld(f"{self.path[:200]!a} is not held", path=self.path)
        return self._fd

    @property
    def folder(self) -> Folder:
        """The folder it is to stand in, made if it is missing; raises `BadPath` where that can't be or can't be written."""
        return self._folders.make(self.folder_path)

    @property
    def device(self) -> int:
        """The device it is on, or will be made on."""
        return self.folder.device if self._fd is None else self._device

    def _open(self, *, shared: bool, private: bool) -> None:
        while (fd := self._folders.maybe_open_file(self.path, os.O_RDONLY if shared else os.O_RDWR)) is not None:
            self._fd = fd
            if not private or self._is_ours(fd):
                found = os.fstat(fd)
                if found.st_nlink or self._is_linked(fd):  # some file systems count no names
                    self._take(found)
                    return
            self.close()  # it was replaced or removed by another program, or is done with

    def _take(self, found: os.stat_result) -> None:
        if not stat.S_ISREG(found.st_mode):
            raise BadPath(f"path {self.path[:80]!a}: something that is no plain file stands there", path=self.path)
        self._device = found.st_dev
        self.size = self._size_before = self._size_on_disk = found.st_size
        points = self._checksums.maybe_points(self.path, Signature.of(found))
        self.is_known = points is not None
        self._points = points or {}

    def _is_ours(self, fd: int) -> bool:
        """Lock the open file; whether it is the one at the path then, and has no other name."""
        # Looked at before the lock too: the second name may be one that this very round has locked.
        if self._drop_published(fd):
            return False
        fcntl.flock(fd, fcntl.LOCK_EX)
        return self._is_linked(fd) and not self._drop_published(fd)

    def _drop_published(self, fd: int) -> bool:
        if os.fstat(fd).st_nlink < 2:
            return False
        self.remove()
        return True

    def _is_linked(self, fd: int) -> bool:
        try:
            folder_fd = self._folders.find(self.folder_path).fd
            linked = os.stat(self.name.encode(), dir_fd=folder_fd, follow_symlinks=False)
        except (FileNotFoundError, NotHeld):
            return False
        return os.path.samestat(linked, os.fstat(fd))

    def close(self) -> None:
        """Let go of the file."""
        if self._fd is not None:
            os.close(self._fd)
        self._fd = None

    # --- what it holds

    def pass_over_torn_end(self) -> None:
        """Leave out of a stream the NULs at its end that nobody was told of; the next `flush` of anything cuts them off."""
        if self._fd is None or self.is_known:
            return
        end = torn_from(self._fd, self.size)
        self.is_torn = end < self.size
        self.size = self._size_before = self._size_on_disk = end

    def maybe_vouched(self) -> Held | None:
        """Return what is surely held, None for nothing.

        Of a torn stream that lacks its last byte: who asks then sends it, which proves the rest, and the end is cut off.
        """
        size = self.size - 1 if self.is_torn else self.size
        return Held(Offset(size), self.crc_at(size)) if self.exists and size >= 0 else None

    def held(self) -> Held:
        """Return size and CRC of all of it; reads what is not remembered."""
        return Held(Offset(self.size), self.crc_at(self.size))

    def crc_at(self, offset: int) -> Crc:
        """Return the CRC of the bytes [0, offset)."""
        found = self._points.get(offset)
        if found is not None:
            return found
        start = max((known for known in self._points if known <= offset), default=0)
        crc = self._points.get(start, Crc(0))
        while start < offset:
            chunk = self._read(min(_CHUNK_BYTES, offset - start), start)
            crc, start = crc32(chunk, crc), start + len(chunk)
        self._points[offset] = crc
        return crc

    def _read(self, length: int, offset: int) -> bytes:
        """Return some of the bytes from `offset`, those still in memory included."""
        if offset < self._size_on_disk:
            chunk = os.pread(self.fd, min(length, self._size_on_disk - offset), offset)
        else:
            chunk = b"".join(self._tail)[offset - self._size_on_disk :][:length]
        if not chunk:
            raise OSError(errno.EIO, "the file ended while it was read")
        return chunk

    def equals(self, offset: int, data: memoryview) -> bool:
        """Whether the bytes held from `offset` are `data`."""
        done = 0
        while done < len(data):
            chunk = self._read(min(_CHUNK_BYTES, len(data) - done), offset + done)
            if chunk != data[done : done + len(chunk)]:
                return False
            done += len(chunk)
        return True

    def place(self, item: Item, payload: memoryview) -> tuple[Result, int]:
        """Return what becomes of `item` here, and how many bytes of `payload` the file holds already. Writes nothing."""
        if item.offset > self.size:
            return "behind", 0
        end = item.end
        there = min(self.size, end) - item.offset
        if self.crc_at(item.offset) != item.crc_before or (there and not self.equals(item.offset, payload[:there])):
            return "diverged", 0
        if self.size > end:
            return "ahead", there
        if self.size == end and self.exists:
            return "already", there
        return "stored", there

    # --- changing it

    def append(self, data: memoryview, crc: Crc) -> None:
        """Note that `data`, or none, is to be written at the end; `crc` is that of the whole file afterwards."""
        self._is_planned = True
        self._tail.append(data)
        self.size += len(data)
        self._points[self.size] = crc

    def flush(self) -> None:
        """Write what was appended, making the file if need be; raises `Raced` if another program made it meanwhile."""
        if not self._is_planned:
            return
        if self._fd is None:
            self._fd, self._device = self._make(), self.folder.device
        self._is_written = True
        if self.is_torn:
            self._disk.truncate(self._fd, self._size_on_disk)
            self.is_torn = False
        for data in self._tail:
            write_all(self._disk, self._fd, data, self._size_on_disk)
            self._size_on_disk += len(data)
        self._tail, self._is_planned = [], False

    def _make(self) -> int:
        try:
            with fitting(self.path):
                fd = self._disk.open_file(self.name, os.O_RDWR | os.O_CREAT | os.O_EXCL, self.folder.fd)
        except FileExistsError:
            raise Raced(f"{self.path[:200]!a} was made by another program", path=self.path) from None
        self._folders.inherit(fd, self.folder.fd)
        return fd

    def cut(self, size: int) -> None:
        """Cut the file back to `size` bytes now; all that is known of what is behind is forgotten."""
        if self._fd is not None:
            self._disk.truncate(self._fd, size)
        self.size = self._size_before = self._size_on_disk = size
        self._points = {known: crc for known, crc in self._points.items() if known <= size}
        self._tail, self._is_planned, self._is_written = [], False, self._fd is not None
        self.is_torn = False

    def rewrite(self, data: memoryview, offset: int) -> None:
        """Write bytes over the same bytes, so that they are on their way to the disk again."""
        write_all(self._disk, self.fd, data, offset)
        self._is_written = True

    def note_end(self) -> None:
        """Note that the NULs at the end are meant (`nul_end`)."""
        self._has_new_attributes = True
        note_end(self.fd, self.size)

    def set_mtime(self, mtime_ns: int) -> None:
        """Set the time of the last change, in ns since the epoch."""
        os.utime(self.fd, ns=(mtime_ns, mtime_ns))
        self._has_new_attributes = True

    def maybe_stamp(self) -> Stamp | None:
        """Return which source committed the file by which commit, or None if that is not known."""
        return maybe_stamp(self.fd)

    def set_stamp(self, stamp: Stamp) -> None:
        """Note where the file is from, where the file system has attributes for that."""
        self._has_new_attributes = True
        try_stamp(self.fd, stamp)

    def remove(self) -> None:
        """Remove the name; the descriptor stays."""
        with suppress(FileNotFoundError, NotHeld):
            self._disk.unlink(self.name, self._folders.find(self.folder_path).fd)

    # --- making it last

    @property
    def needs_sync(self) -> bool:
        """Whether there is a file that is not known to be durable as it is."""
        return self._fd is not None and (self._is_written or self._has_new_attributes or not self.is_known)

    def sync(self, *, is_all_news: bool) -> None:
        """Make its bytes durable; the attributes too where they are, or may be, news."""
        if is_all_news or self._has_new_attributes:
            self._disk.sync(self.fd)
        else:
            self._disk.sync_data(self.fd)

    def try_cut_back(self) -> bool:
        """Cut off what was written since it was opened or last settled; whether that worked."""
        if self._is_written and self._fd is not None:
            self._is_written = False
            try:
                self._disk.truncate(self._fd, self._size_before)
            except OSError:
                return False
        return True

    def settle(self) -> None:
        """Say that the bytes are durable, so that they are never cut back."""
        self._is_written, self._size_before = False, self.size

    def remember(self, path: str | None = None) -> None:
        """Keep the CRCs for the next time, under `path` if it was renamed; file and entry must be durable."""
        found = os.fstat(self.fd)
        if found.st_size == self.size:
            self._checksums.remember(path or self.path, Signature.of(found), self._points)
