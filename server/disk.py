"""The system calls that change or judge the disk, in one place, so that tests can make each of them fail.

Every name is opened relative to a folder's descriptor and without following a symbolic link, on the way neither. Nothing here
retries, logs or knows what the bytes mean; errors are plain `OSError`.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import struct
import sys
import threading

_ALWAYS = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # without NONBLOCK a pipe in the tree would hang the open
_FOLDER = os.O_RDONLY | os.O_DIRECTORY

_UNNAMED = getattr(os, "O_TMPFILE", None)  # Linux alone

_sync_data = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync
_libc = ctypes.CDLL(None, use_errno=True)
_TELLS_ERRORS = (5, 8)  # before this version of Linux syncfs said nothing of bytes that could not be written


def _can_sync_all() -> bool:
    version = re.match(r"(\d+)\.(\d+)", os.uname().release)
    is_linux = os.uname().sysname == "Linux" and hasattr(_libc, "syncfs")
    return is_linux and version is not None and (int(version[1]), int(version[2])) >= _TELLS_ERRORS


_OPENAT2 = 437  # the same on every kind of machine; glibc has no function for it
_NO_SYMLINKS = 4
_openat2 = ctypes.CDLL(None, use_errno=True).syscall
_openat2.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t]
_openat2.restype = ctypes.c_long


def _open_path(path: str, flags: int, folder_fd: int) -> int:
    how = struct.pack("QQQ", flags, 0, _NO_SYMLINKS)
    fd: int = _openat2(_OPENAT2, folder_fd, path.encode(), how, len(how))
    if fd < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return fd


def _can_open_paths() -> bool:
    """Try it: Linux before 5.6 has no such call, and some sandboxes refuse it."""
    if sys.platform != "linux" or sys.maxsize <= 1 << 32:
        return False
    root_fd = os.open("/", _FOLDER | _ALWAYS)
    try:
        os.close(_open_path(".", _FOLDER | _ALWAYS, root_fd))
    except OSError:
        return False
    finally:
        os.close(root_fd)
    return True


_MOUNT_ID = re.compile(rb"^mnt_id:\s*(\d+)$", re.MULTILINE)

Mount = tuple[int, int]
"""A device, and which of its mounts: a folder that is bind-mounted elsewhere has the same device there."""


def mount_of(fd: int) -> Mount:
    """Return the mount that `fd` was opened on; `EOPNOTSUPP` where the system does not tell."""
    device = os.fstat(fd).st_dev
    if sys.platform != "linux":  # nothing else has bind mounts
        return device, 0
    found = _MOUNT_ID.search(_about(fd))
    if found is None:
        raise OSError(errno.EOPNOTSUPP, "the system does not tell mounts apart")
    return device, int(found[1])


def _about(fd: int) -> bytes:
    """Return what the system tells of a descriptor, nothing where there is no ``/proc``."""
    try:
        info_fd = os.open(f"/proc/self/fdinfo/{fd}", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return b""
    try:
        return os.read(info_fd, 1 << 12)
    finally:
        os.close(info_fd)


def _bytes(name: str) -> bytes:
    """Return a name that a listing may have given: others than ours need not be UTF-8."""
    return name.encode(errors="surrogateescape")


class Tally:
    """A number that threads count up."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self.count = 0

    def add(self) -> None:
        """Count one more."""
        with self._guard:
            self.count += 1


class Disk:
    """The real disk.

    `syncs_all` says whether `sync_all` works here and reports what went wrong, `opens_paths` whether `open_file` takes paths;
    `waits` counts the calls that waited for the disk.
    """

    syncs_all: bool = _can_sync_all()
    opens_paths: bool = _can_open_paths()

    def __init__(self) -> None:
        self.waits = Tally()

    def open_file(self, name: str, flags: int, folder_fd: int) -> int:
        """Open `name` in a folder; new files get the mode the umask leaves of 0666.

        Where `opens_paths`, an existing file may be named by a whole path below the folder, which saves the walk.
        """
        if "/" in name:
            return _open_path(name, flags | _ALWAYS, folder_fd)
        return os.open(name.encode(), flags | _ALWAYS, 0o666, dir_fd=folder_fd)

    def make_unnamed(self, folder_fd: int) -> int:
        """Make a file that no name leads to, on the file system of a folder; `EOPNOTSUPP` where there is no such thing."""
        if _UNNAMED is None:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return os.open(".", os.O_RDWR | os.O_CLOEXEC | _UNNAMED, 0o666, dir_fd=folder_fd)

    def open_folder(self, name: str, folder_fd: int) -> int:
        """Open the folder `name` in a folder."""
        return os.open(_bytes(name), _FOLDER | _ALWAYS, dir_fd=folder_fd)

    def make_folder(self, name: str, folder_fd: int) -> None:
        """Make the folder `name` in a folder; `FileExistsError` if the name is taken."""
        os.mkdir(name.encode(), 0o777, dir_fd=folder_fd)

    def give(self, fd: int, *, like_fd: int) -> None:
        """Give a file or folder the owner and group of another one."""
        like = os.fstat(like_fd)
        os.fchown(fd, like.st_uid, like.st_gid)

    def write(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        """Write some of `data` at `offset` and return how many bytes that were."""
        return os.pwrite(fd, data, offset)

    def truncate(self, fd: int, size_bytes: int) -> None:
        """Cut a file back to `size_bytes`."""
        os.ftruncate(fd, size_bytes)

    def sync_data(self, fd: int) -> None:
        """Wait until a file's bytes and size are durable."""
        self.waits.add()
        _sync_data(fd)

    def sync(self, fd: int) -> None:
        """Wait until a file's bytes and attributes, or a folder's entries, are durable."""
        self.waits.add()
        os.fsync(fd)

    def sync_all(self, fd: int) -> None:
        """Wait until all that was written to the file system of `fd` before now is durable; see `syncs_all`."""
        self.waits.add()
        if _libc.syncfs(fd) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))

    def link(self, name: str, folder_fd: int, new_name: str, new_folder_fd: int) -> None:
        """Give a file a second name; `FileExistsError` if that one is taken."""
        os.link(name.encode(), new_name.encode(), src_dir_fd=folder_fd, dst_dir_fd=new_folder_fd, follow_symlinks=False)

    def link_unnamed(self, fd: int, new_name: str, new_folder_fd: int) -> None:
        """Give a file from `make_unnamed` its name; `FileExistsError` if that one is taken."""
        os.link(f"/proc/self/fd/{fd}", new_name.encode(), dst_dir_fd=new_folder_fd)

    def rename(self, name: str, folder_fd: int, new_name: str, new_folder_fd: int) -> None:
        """Move a file to another name, in place of what is there."""
        os.rename(name.encode(), new_name.encode(), src_dir_fd=folder_fd, dst_dir_fd=new_folder_fd)

    def unlink(self, name: str, folder_fd: int) -> None:
        """Remove a file's name."""
        os.unlink(_bytes(name), dir_fd=folder_fd)

    def remove_folder(self, name: str, folder_fd: int) -> None:
        """Remove an empty folder."""
        os.rmdir(_bytes(name), dir_fd=folder_fd)

    def may_write(self, folder_fd: int) -> bool:
        """Whether this process may make names in a folder."""
        return os.access(".", os.W_OK | os.X_OK, dir_fd=folder_fd, effective_ids=os.access in os.supports_effective_ids)

    def free_bytes(self, fd: int) -> int:
        """Return how many bytes an ordinary user may still write to the file system that `fd` is on."""
        figures = os.fstatvfs(fd)
        return figures.f_bavail * figures.f_frsize

    def free_files(self, fd: int) -> int | None:
        """Return how many more files (inodes) there may be on the file system that `fd` is on, None where it has no bound."""
        figures = os.fstatvfs(fd)
        return figures.f_favail if figures.f_files else None
