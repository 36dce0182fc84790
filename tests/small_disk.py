"""A small real file system that can be filled to the last byte: a tmpfs or a formatted file, mounted for one machine alone."""

from __future__ import annotations

import contextlib
import os
import shlex
from pathlib import Path

from machine import Machine

_MOUNTS = {
    "tmpfs": "mount -t tmpfs -o size={size} none {folder}",
    "vfat": "truncate -s 40M {folder}.img; mkfs.vfat {folder}.img; mount -o loop {folder}.img {folder}",
    "ext4-casefold": "truncate -s 40M {folder}.img; mkfs.ext4 -q -O casefold {folder}.img; "
    "mount -o loop {folder}.img {folder}; chattr +F {folder}",
    "ntfs-case-blind": "truncate -s 40M {folder}.img; mkfs.ntfs -q -F -Q {folder}.img; "
    "lowntfs-3g -o ignore_case {folder}.img {folder}",
    "ext4": "truncate -s {size} {folder}.img; mkfs.ext4 -q -O ^has_journal {folder}.img; mount -o loop {folder}.img {folder}",
}
_SIZES = {"tmpfs": "1M", "ext4": "2M"}


class SmallDisk:
    """A disk of one or two MB, some more where its kind takes no less, on `folder` on a machine of its own until `end`.

    The folder is made if it is missing. A tmpfs and ext4 may have another `size`, such as ``64M``.

    Who has not entered `machine` sees an empty folder there, and the disk's content under `seen`.
    """

    def __init__(self, folder: Path, kind: str = "tmpfs", size: str | None = None) -> None:
        folder.mkdir(exist_ok=True)
        script = _MOUNTS[kind].format(folder=shlex.quote(str(folder)), size=size or _SIZES.get(kind))
        self.machine = Machine("mount", script=script)
        self.seen = self.machine.see(folder)

    def fill(self) -> None:
        """Write to a file of our own, outside of what is looked at, until not one byte more is taken."""
        with (self.seen / ".ballast").open("ab", buffering=0) as ballast:
            with contextlib.suppress(OSError):  # most of it at once, and what is left byte by byte
                disk = os.statvfs(self.seen)
                os.posix_fallocate(ballast.fileno(), 0, disk.f_bavail * disk.f_frsize)
                ballast.seek(0, os.SEEK_END)
            for size in (1 << 16, 4096, 512, 1):
                with contextlib.suppress(OSError):
                    while ballast.write(b"x" * size) == size:
                        pass

    def free(self) -> None:
        """Give the room back that `fill` took."""
        (self.seen / ".ballast").unlink()

    def end(self) -> None:
        """Let the machine go, and the disk with it."""
        self.machine.end()
