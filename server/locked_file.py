"""One file of the store, opened and locked against every other writer: threads, processes, receivers on other hosts.

The lock is a ``flock`` on the file itself, checked afterwards to be still the one linked at the path. A file that does not
exist is not locked; whoever makes it first wins and the other starts again (`Raced`). What was written since the file was
opened can be cut off again (`try_cut_back`) until the caller says that it is durable (`remember`).
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
from .tree import Tree, Unsynced, fitting

_CHUNK_BYTES = 1 << 20
_OWNER = "user.ml_logger.source"
_NO_XATTR = (errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM, errno.ENOSYS, errno.ENODATA)


class Raced(StoreError):
    """Another writer made or replaced the file in between; the same work can be done again."""

    can_retry = True


class LockedFile:
    """The file at `path` in `tree`, which may not exist yet. Close it to unlock it.

    `shared` locks it for reading only. `private` says that no other name may lead to the same bytes: a second one (what a
    crash in the middle of publishing leaves) means that this one is done with, and it is removed. Folders and entries that
    are not known to be durable are noted in `unsynced`. Raises `BadPath` if something that is no plain file stands there or
    on the way.
    """

    def __init__(
        self,
        tree: Tree,
        checksums: Checksums,
        path: str,
        unsynced: Unsynced,
        *,
        shared: bool = False,
        private: bool = False,
    ) -> None:
        self.path = path
        self.folder, _, self.name = path.rpartition("/")
        self.size = 0
        self._tree, self._disk, self._checksums, self._unsynced = tree, tree.disk, checksums, unsynced
        self._fd: int | None = None
        self._folder_fd: int | None = None
        self._points: dict[int, Crc] = {}
        self._size_before = 0
        self._is_written = self._is_durable = self._has_new_attributes = False
        try:
            self._open(shared=shared, private=private)
        except BaseException:
            self.close()
            raise

    # --- opening

    @property
    def exists(self) -> bool:
        """Whether there is a file, found or made."""
        return self._fd is not None

    @property
    def fd(self) -> int:
        """The open file's descriptor; there must be one."""
        if self._fd is None:
            raise NotHeld(f"{self.path[:200]!a} is not held", path=self.path)
        return self._fd

    @property
    def folder_fd(self) -> int:
        """The descriptor of its folder, which is made if it is missing."""
        if self._folder_fd is None:
            self._folder_fd = self._tree.open_folder(self.folder, create=True, unsynced=self._unsynced)
        return self._folder_fd

    def make_folder(self) -> None:
        """Make the folder it is to stand in, with all parents; raises `BadPath` if something is in the way."""
        with fitting(self.path):
            _ = self.folder_fd

    def _open(self, *, shared: bool, private: bool) -> None:
        try:
            self._folder_fd = self._tree.open_folder(self.folder, unsynced=self._unsynced)
            while not self._try_lock(shared=shared, private=private):
                pass
        except NotHeld:
            return
        found = os.fstat(self.fd)
        self.size = self._size_before = found.st_size
        points = self._checksums.maybe_points(self.path, Signature.of(found))
        self._is_durable = points is not None
        self._points = points or {}

    def _try_lock(self, *, shared: bool, private: bool) -> bool:
        with fitting(self.path):
            fd = self._disk.open_file(self.name, os.O_RDONLY if shared else os.O_RDWR, self.folder_fd)
        try:
            self._require_plain(fd)
            # Looked at before the lock too: the second name may be one that this very round has locked.
            if private and self._drop_published(fd):
                return False
            fcntl.flock(fd, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
            if self._is_linked(fd) and not (private and self._drop_published(fd)):
                self._fd = fd
        finally:
            if self._fd is None:
                os.close(fd)
        return self._fd is not None

    def _drop_published(self, fd: int) -> bool:
        if os.fstat(fd).st_nlink < 2:
            return False
        self.remove()
        return True

    def _require_plain(self, fd: int) -> None:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise BadPath(f"path {self.path[:80]!a}: something that is no plain file stands there", path=self.path)

    def _is_linked(self, fd: int) -> bool:
        try:
            linked = os.stat(self.name.encode(), dir_fd=self.folder_fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return os.path.samestat(linked, os.fstat(fd))

    def create(self) -> None:
        """Make the file, empty, if there is none; raises `Raced` if another writer is quicker."""
        if self._fd is not None:
            return
        try:
            with fitting(self.path):
                fd = self._disk.open_file(self.name, os.O_RDWR | os.O_CREAT | os.O_EXCL, self.folder_fd)
        except FileExistsError:
            raise Raced(f"{self.path[:200]!a} was made by another writer", path=self.path) from None
        self._fd, self._is_written = fd, True
        fcntl.flock(fd, fcntl.LOCK_EX)
        if os.fstat(fd).st_size or not self._is_linked(fd):
            self._is_written = False  # the quicker one's bytes are not ours to cut
            raise Raced(f"{self.path[:200]!a} was taken by another writer", path=self.path)

    def close(self) -> None:
        """Unlock and close."""
        for fd in (self._fd, self._folder_fd):
            if fd is not None:
                os.close(fd)
        self._fd = self._folder_fd = None

    # --- what it holds

    def held(self) -> Held:
        """Return size and CRC of all of it; reads what is not remembered."""
        return Held(Offset(self.size), self.crc_at(self.size))

    def crc_at(self, offset: int) -> Crc:
        """Return the CRC of the bytes [0, offset)."""
        start = max((known for known in self._points if known <= offset), default=0)
        crc = self._points.get(start, Crc(0))
        while start < offset:
            chunk = os.pread(self.fd, min(_CHUNK_BYTES, offset - start), start)
            if not chunk:
                raise OSError(errno.EIO, "the file ended while it was read")
            crc, start = crc32(chunk, crc), start + len(chunk)
        self._points[offset] = crc
        return crc

    def equals(self, offset: int, data: memoryview) -> bool:
        """Whether the stored bytes from `offset` are `data`."""
        return all(
            os.pread(self.fd, min(_CHUNK_BYTES, len(data) - start), offset + start)
            == data[start : start + _CHUNK_BYTES]
            for start in range(0, len(data), _CHUNK_BYTES)
        )

    def place(self, item: Item, payload: memoryview) -> tuple[Result, int]:
        """Return what becomes of `item` here, and how many bytes of `payload` the file holds already. Writes nothing."""
        if item.offset > self.size:
            return "behind", 0
        there = min(self.size, item.end) - item.offset
        if self.crc_at(item.offset) != item.crc_before or not self.equals(item.offset, payload[:there]):
            return "diverged", 0
        if self.size > item.end:
            return "ahead", there
        if self.size == item.end and self.exists:
            return "already", there
        return "stored", there

    # --- changing it

    def append(self, data: memoryview, crc: Crc) -> None:
        """Write `data` at the end, making the file if need be; `crc` is that of the whole file afterwards."""
        self.create()
        self._is_written = True
        start, done = self.size, 0
        while done < len(data):
            done += self._disk.write(self.fd, data[done:], start + done)
        self.size = start + done
        self._points[self.size] = crc

    def start_again(self) -> None:
        """Throw away what the file holds."""
        if self.exists:
            self._disk.truncate(self.fd, 0)
        self.size = self._size_before = 0
        self._points = {}
        self._is_written = self.exists

    def set_mtime(self, mtime_ns: int) -> None:
        """Set the time of the last change, in ns since the epoch."""
        os.utime(self.fd, ns=(mtime_ns, mtime_ns))
        self._has_new_attributes = True

    def maybe_owner(self) -> str | None:
        """Return the source that committed the file, or None if that is not known."""
        try:
            return os.getxattr(self.fd, _OWNER).decode("utf-8", "replace")
        except OSError as error:
            if error.errno in _NO_XATTR:
                return None
            raise

    def set_owner(self, source: str) -> None:
        """Note which source the file is from, where the file system has attributes for that."""
        self._has_new_attributes = True
        try:
            os.setxattr(self.fd, _OWNER, source.encode())
        except OSError as error:
            if error.errno not in _NO_XATTR:
                raise

    def remove(self) -> None:
        """Remove the name; the descriptor stays."""
        with suppress(FileNotFoundError):
            self._disk.unlink(self.name, self.folder_fd)

    # --- making it last

    @property
    def needs_sync(self) -> bool:
        """Whether there is a file that is not known to be durable as it is."""
        return self.exists and (self._is_written or self._has_new_attributes or not self._is_durable)

    def note_entry(self) -> None:
        """Note the file's folder as unsynced unless its entry there is known to be durable."""
        if not self._is_durable:
            self._unsynced.setdefault(self.folder, set())

    def sync(self) -> None:
        """Make its bytes durable; the attributes too where they may be news."""
        if self._is_durable and not self._has_new_attributes:
            self._disk.sync_data(self.fd)
        else:
            self._disk.sync(self.fd)

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
