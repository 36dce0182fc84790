"""Removes what is in a folder for good, and nothing that is not: no symbolic link is followed and no mount is entered.

A device does not tell mounts apart: a folder of the same disk may be bind-mounted within. What can't be removed stays, with the
folders that lead to it, and stops nothing else.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from .descent import Level, descend
from .disk import Disk, Mount, mount_of


def clear(disk: Disk, folder_fd: int, mount: Mount) -> str | None:
    """Remove all that is in an open folder, on `mount` alone; return what could not be first, and why, None if all went."""
    complaints: list[str] = []

    def pass_over(path: str, error: OSError) -> None:
        if not complaints and not isinstance(error, FileNotFoundError):
            complaints.append(f"{path!a}: {error.strerror}")

    def admit(fd: int) -> None:
        if mount_of(fd) != mount:
            raise OSError(errno.EXDEV, "something else is mounted there, which is left alone")

    for here, is_end in descend(disk, folder_fd, admit=admit, pass_over=pass_over):
        if not is_end:
            _remove_files(disk, here, pass_over)
        elif here.above is not None:
            try:
                disk.remove_folder(here.name, here.above.fd)
            except OSError as error:  # also for what is left in it, which was told of before
                pass_over(here.above.path_of(here.name), error)
    return complaints[0] if complaints else None


def _remove_files(disk: Disk, here: Level, pass_over: Callable[[str, OSError], None]) -> None:
    for name in here.names:
        try:
            disk.unlink(name, here.fd)
        except OSError as error:  # noqa: PERF203  # the others are to go all the same
            pass_over(here.path_of(name), error)
