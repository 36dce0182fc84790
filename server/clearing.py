"""Removes what is in a folder for good, and nothing that is not: no symbolic link is followed and no mount is entered.

A device does not tell mounts apart: a folder of the same disk may be bind-mounted within. What can't be removed stays, with the
folders that lead to it, and stops nothing else.
"""

from __future__ import annotations

import errno
import os

from .disk import Disk, Mount, mount_of


def clear(disk: Disk, folder_fd: int, mount: Mount, above: str = "") -> str | None:
    """Remove all that is in an open folder, on `mount` alone; return what could not be first, and why, None if all went."""
    with os.scandir(folder_fd) as found:
        entries = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in found]
    left: str | None = None
    for name, is_folder in entries:
        path = f"{above}{name}"
        try:
            complaint = (_remove_folder if is_folder else _remove_file)(disk, name, folder_fd, mount, path)
        except FileNotFoundError:
            continue
        except OSError as error:
            complaint = f"{path!a}: {error.strerror}"
        left = left or complaint
    return left


def _remove_file(disk: Disk, name: str, folder_fd: int, _mount: Mount, _path: str) -> None:
    disk.unlink(name, folder_fd)


def _remove_folder(disk: Disk, name: str, folder_fd: int, mount: Mount, path: str) -> str | None:
    below_fd = disk.open_folder(name, folder_fd)
    try:
        if mount_of(below_fd) != mount:
            raise OSError(errno.EXDEV, "something else is mounted there, which is left alone")
        left = clear(disk, below_fd, mount, f"{path}/")
    finally:
        os.close(below_fd)
    if left is None:
        disk.remove_folder(name, folder_fd)
    return left
