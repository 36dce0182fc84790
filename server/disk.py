"""The system calls that change or judge the disk, in one place, so that tests can make each of them fail.

Every name is opened relative to a folder's descriptor and without following a symbolic link. Nothing here retries,
logs or knows what the bytes mean; errors are plain `OSError`.
"""

from __future__ import annotations

import os

_ALWAYS = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # without NONBLOCK a pipe in the tree would hang the open
_FOLDER = os.O_RDONLY | os.O_DIRECTORY

_sync_data = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync


class Disk:
    """The real disk."""

    def open_file(self, name: str, flags: int, folder_fd: int) -> int:
        """Open `name` in a folder; new files get the mode the umask leaves of 0666."""
        return os.open(name.encode(), flags | _ALWAYS, 0o666, dir_fd=folder_fd)

    def open_folder(self, name: str, folder_fd: int) -> int:
        """Open the folder `name` in a folder."""
        return os.open(name.encode(), _FOLDER | _ALWAYS, dir_fd=folder_fd)

    def make_folder(self, name: str, folder_fd: int) -> None:
        """Make the folder `name` in a folder; `FileExistsError` if the name is taken."""
        os.mkdir(name.encode(), 0o777, dir_fd=folder_fd)

    def write(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        """Write some of `data` at `offset` and return how many bytes that were."""
        return os.pwrite(fd, data, offset)

    def truncate(self, fd: int, size_bytes: int) -> None:
        """Cut a file back to `size_bytes`."""
        os.ftruncate(fd, size_bytes)

    def sync_data(self, fd: int) -> None:
        """Wait until a file's bytes and size are durable."""
        _sync_data(fd)

    def sync(self, fd: int) -> None:
        """Wait until a file's bytes and attributes, or a folder's entries, are durable."""
        os.fsync(fd)

    def link(self, name: str, folder_fd: int, new_name: str, new_folder_fd: int) -> None:
        """Give a file a second name; `FileExistsError` if that one is taken."""
        os.link(name.encode(), new_name.encode(), src_dir_fd=folder_fd, dst_dir_fd=new_folder_fd, follow_symlinks=False)

    def rename(self, name: str, folder_fd: int, new_name: str, new_folder_fd: int) -> None:
        """Move a file to another name, in place of what is there."""
        os.rename(name.encode(), new_name.encode(), src_dir_fd=folder_fd, dst_dir_fd=new_folder_fd)

    def unlink(self, name: str, folder_fd: int) -> None:
        """Remove a file's name."""
        os.unlink(name.encode(), dir_fd=folder_fd)

    def free_bytes(self, fd: int) -> int:
        """Return how many bytes an ordinary user may still write to the file system that `fd` is on."""
        figures = os.fstatvfs(fd)
        return figures.f_bavail * figures.f_frsize
