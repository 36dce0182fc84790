"""A whole file that is written before anybody can see it, and then takes its name at once.

Where the file system can (Linux: ``O_TMPFILE``) it has no name until then, so a crash leaves nothing. Elsewhere, and for the
moment in which it takes the place of another, it has one in ``.ml-logger/tmp/``, which is swept at the start.
"""

from __future__ import annotations

import errno
import fcntl
import os

from ..layout import RECEIVER_DIR, temporary_name
from .disk import Disk
from .locked_file import Raced, write_all
from .stamp import Stamp, try_stamp
from .tree import Folder, Folders

TMP_DIR = f"{RECEIVER_DIR}/tmp"  # noqa: S108  # not the system's /tmp

NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
"""What file systems answer that can't give a file a second name."""

_NO_UNNAMED = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL)
_COPY_BYTES = 1 << 20


class FreshFile:
    """A file on its way to the name `name` in `folder`. Close it; without `publish` nothing is left of it."""

    def __init__(self, disk: Disk, folders: Folders, folder: Folder, name: str) -> None:
        self.folder, self.name = folder, name
        self.size = 0
        self._disk, self._folders = disk, folders
        self._aside_name = ""
        try:
            self.fd = disk.make_unnamed(folder.fd)
        except OSError as error:
            if error.errno not in _NO_UNNAMED:
                raise
            self._aside_name = f"fresh-{os.urandom(8).hex()}"
            self.fd = disk.open_file(self._aside_name, os.O_RDWR | os.O_CREAT | os.O_EXCL, self._aside_fd)
            fcntl.flock(self.fd, fcntl.LOCK_EX)
        folders.inherit(self.fd, folder.fd)

    @property
    def _aside_fd(self) -> int:
        return self._folders.find(TMP_DIR).fd

    def write(self, data: memoryview) -> None:
        """Add `data` at the end."""
        write_all(self._disk, self.fd, data, self.size)
        self.size += len(data)

    def copy(self, fd: int, size: int) -> None:
        """Add the first `size` bytes of another file."""
        for start in range(0, size, _COPY_BYTES):
            self.write(memoryview(os.pread(fd, min(_COPY_BYTES, size - start), start)))

    def dress(self, stamp: Stamp, mtime_ns: int | None) -> None:
        """Set its stamp, and its time of the last change if that is given."""
        try_stamp(self.fd, stamp)
        if mtime_ns is not None:
            os.utime(self.fd, ns=(mtime_ns, mtime_ns))

    def sync(self) -> None:
        """Make bytes and attributes durable."""
        self._disk.sync(self.fd)

    def publish(self, *, replaces: bool) -> None:
        """Give it its name, in the place of what is there if it `replaces` that; else raises `Raced` if something is."""
        try:
            if replaces:
                self._take_place()
            elif self._aside_name:
                self._link_aside()
            else:
                self._disk.link_unnamed(self.fd, self.name, self.folder.fd)
        except FileExistsError:
            raise Raced(f"{self.name!a} was made by another program", path=self.name) from None

    def _link_aside(self) -> None:
        try:
            # A link fails where another program was quicker; a rename would silently take its place.
            self._disk.link(self._aside_name, self._aside_fd, self.name, self.folder.fd)
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            self._disk.rename(self._aside_name, self._aside_fd, self.name, self.folder.fd)
            self._aside_name = ""

    def _take_place(self) -> None:
        from_fd = self._aside_fd
        if not self._aside_name:
            name = f"fresh-{os.urandom(8).hex()}"
            fcntl.flock(self.fd, fcntl.LOCK_EX)
            try:
                self._disk.link_unnamed(self.fd, name, from_fd)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                # Another file system is mounted here: the only place on it that is known is the file's own folder.
                name, from_fd = temporary_name(self.name, os.urandom(8).hex()), self.folder.fd
                self._disk.link_unnamed(self.fd, name, from_fd)
            self._aside_name = name
        try:
            self._disk.rename(self._aside_name, from_fd, self.name, self.folder.fd)
        except BaseException:
            self._disk.unlink(self._aside_name, from_fd)
            raise
        finally:
            self._aside_name = ""

    def close(self) -> None:
        """Let go of it, and of the name it had aside."""
        try:
            if self._aside_name:
                self._disk.unlink(self._aside_name, self._aside_fd)
        finally:
            self._aside_name = ""
            os.close(self.fd)
