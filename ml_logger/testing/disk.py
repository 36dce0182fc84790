"""The receiver's disk: one that fails when it is told to, and one that remembers what a power cut would leave.

Give it to a store: ``LocalStore(data_dir, disk=PowerCutDisk())``.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Literal, TypeAlias

from ..server.disk import Disk
from .faults import Fault, Faults

CALLS = (
    "open_file",
    "make_unnamed",
    "open_folder",
    "make_folder",
    "give",
    "write",
    "truncate",
    "sync_data",
    "sync",
    "sync_all",
    "link",
    "link_unnamed",
    "rename",
    "unlink",
    "remove_folder",
)
"""All calls that can fail, by the names of `Disk`."""

NEEDS_ROOM = ("write", "make_unnamed", "make_folder", "link", "link_unnamed")
"""The calls that fail where the disk is full."""

Left: TypeAlias = Literal["nothing", "names", "sizes"]
"""What a power cut leaves of what was not fsynced: nothing; the names of files; or their sizes too, with zeros for bytes."""


class FaultyDisk(Disk, Faults):
    """Counts calls and asks `fault(call, number)` before each; a torn write happens by half before its error is raised.

    `log` holds what happened to which inode, in order.
    """

    def __init__(self, fault: Fault | None = None) -> None:
        Disk.__init__(self)
        Faults.__init__(self, fault)
        self.log: list[tuple[str, int]] = []

    def _meet(self, call: str, number: int = 0) -> BaseException | None:
        error = self.maybe_error(call)
        if error is None:
            self.log.append((call, number))
        return error

    def _pass(self, call: str, number: int = 0) -> None:
        error = self._meet(call, number)
        if error is not None:
            raise error

    def open_file(self, name: str, flags: int, folder_fd: int) -> int:
        """Open a file."""
        self._pass("open_file")
        return super().open_file(name, flags, folder_fd)

    def make_unnamed(self, folder_fd: int) -> int:
        """Make a file without a name."""
        self._pass("make_unnamed")
        return super().make_unnamed(folder_fd)

    def open_folder(self, name: str, folder_fd: int) -> int:
        """Open a folder."""
        self._pass("open_folder")
        return super().open_folder(name, folder_fd)

    def make_folder(self, name: str, folder_fd: int) -> None:
        """Make a folder."""
        self._pass("make_folder", _inode(folder_fd))
        super().make_folder(name, folder_fd)

    def give(self, fd: int, *, like_fd: int) -> None:
        """Give away a file."""
        self._pass("give", _inode(fd))
        super().give(fd, like_fd=like_fd)

    def write(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        """Write some bytes, half of them where it fails."""
        error = self._meet("write", _inode(fd))
        if error is not None:
            super().write(fd, data[: len(data) // 2], offset)
            raise error
        return super().write(fd, data, offset)

    def truncate(self, fd: int, size_bytes: int) -> None:
        """Cut a file back."""
        self._pass("truncate", _inode(fd))
        super().truncate(fd, size_bytes)

    def sync_data(self, fd: int) -> None:
        """Wait for a file's bytes."""
        self._pass("sync_data", _inode(fd))
        super().sync_data(fd)

    def sync(self, fd: int) -> None:
        """Wait for a file or folder."""
        self._pass("sync", _inode(fd))
        super().sync(fd)

    def sync_all(self, fd: int) -> None:
        """Wait for everything."""
        self._pass("sync_all")
        super().sync_all(fd)

    def link_unnamed(self, fd: int, new_name: str, new_folder_fd: int) -> None:
        """Give a file its name."""
        self._pass("link_unnamed", _inode(new_folder_fd))
        super().link_unnamed(fd, new_name, new_folder_fd)

    def link(self, name: str, folder_fd: int, new_name: str, new_folder_fd: int) -> None:
        """Give a file a second name."""
        self._pass("link", _inode(new_folder_fd))
        super().link(name, folder_fd, new_name, new_folder_fd)

    def rename(self, name: str, folder_fd: int, new_name: str, new_folder_fd: int) -> None:
        """Move a file."""
        self._pass("rename", _inode(new_folder_fd))
        super().rename(name, folder_fd, new_name, new_folder_fd)

    def unlink(self, name: str, folder_fd: int) -> None:
        """Remove a name."""
        self._pass("unlink", _inode(folder_fd))
        super().unlink(name, folder_fd)

    def remove_folder(self, name: str, folder_fd: int) -> None:
        """Remove a folder."""
        self._pass("remove_folder", _inode(folder_fd))
        super().remove_folder(name, folder_fd)


def let_go(folder: Path, keep: Collection[int] = ()) -> None:
    """Close what this process has open below `folder`, as its end does: its locks end with that. On Linux alone."""
    for fd in {int(name) for name in os.listdir("/proc/self/fd")} - set(keep):  # noqa: PTH208 - names are all there is
        with suppress(OSError):
            if os.readlink(f"/proc/self/fd/{fd}").startswith(str(folder)):  # noqa: PTH115
                os.close(fd)


class PowerCutDisk(FaultyDisk):
    """Remembers what is durable by the letter: a file's bytes as of its last fsync, a folder's entries as of its own.

    It waits for no real disk. Whatever was opened once is held open, so that no inode number is used for a second file. What
    other programs put there counts as durable.
    """

    def __init__(self, fault: Fault | None = None) -> None:
        super().__init__(fault)
        self._bytes: dict[int, bytes] = {}
        self._entries: dict[int, dict[str, int]] = {}
        self._held: dict[int, int] = {}

    # --- remembering

    def _hold(self, fd: int) -> int:
        if _inode(fd) not in self._held:
            self._held[_inode(fd)] = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY)  # a dup would keep its locks too
        return fd

    def open_file(self, name: str, flags: int, folder_fd: int) -> int:
        """Open a file, and hold it."""
        return self._hold(super().open_file(name, flags, folder_fd))

    def make_unnamed(self, folder_fd: int) -> int:
        """Make a file without a name, and hold it."""
        return self._hold(super().make_unnamed(folder_fd))

    def open_folder(self, name: str, folder_fd: int) -> int:
        """Open a folder, and hold it."""
        return self._hold(super().open_folder(name, folder_fd))

    def sync_data(self, fd: int) -> None:
        """Note a file's bytes as durable."""
        self._wait("sync_data", fd)
        self._keep(fd)

    def sync(self, fd: int) -> None:
        """Note a file's bytes, or a folder's entries, as durable."""
        self._wait("sync", fd)
        self._keep(fd)

    def sync_all(self, fd: int) -> None:
        """Note all there is as durable."""
        self._wait("sync_all", fd)
        for held in (fd, *self._held.values()):
            self._keep(held)

    def _wait(self, call: str, fd: int) -> None:
        self._pass(call, _inode(fd))
        self.waits.add()

    def _keep(self, fd: int) -> None:
        if _is_folder(fd):
            self._entries[_inode(fd)] = _entries(fd)
        else:
            self._bytes[_inode(fd)] = os.pread(fd, os.fstat(fd).st_size, 0)

    def trust(self, data_dir: Path) -> None:
        """Take all that is below `data_dir` now as durable: it is what a power cut or a copy left there."""
        for folder, _, names in os.walk(data_dir):
            for path in (folder, *(f"{folder}/{name}" for name in names)):
                with suppress(OSError):  # a link
                    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
                    self._keep(self._hold(fd))
                    os.close(fd)

    # --- the end of a process, and of the power

    def let_go(self, data_dir: Path) -> None:
        """Close what the process has open below `data_dir`, as its death does; what is durable is remembered on."""
        let_go(data_dir, keep=self._held.values())

    def close(self) -> None:
        """Close what is held, of which nothing is remembered any more."""
        for fd in self._held.values():
            os.close(fd)
        self._held.clear()

    def restore(self, data_dir: Path, target: Path, left: Left) -> None:
        """Make `target` what a machine may find of `data_dir` after the power cut, and close all of it."""
        fd = os.open(data_dir, os.O_RDONLY)
        self._restore(fd, target, left)
        os.close(fd)
        let_go(data_dir)
        self._held.clear()

    def _restore(self, folder_fd: int, target: Path, left: Left) -> None:
        target.mkdir(exist_ok=True)
        _copy_attributes(folder_fd, target)
        for name, number in self._entries_left(folder_fd, left).items():
            fd = self._held.get(number, -1)
            if fd < 0:
                _copy_foreign(name, folder_fd, target / name)
            elif _is_folder(fd):
                self._restore(fd, target / name, left)
            else:
                (target / name).write_bytes(self._bytes_left(fd, left))
                _copy_attributes(fd, target / name)

    def _entries_left(self, folder_fd: int, left: Left) -> dict[str, int]:
        now = _entries(folder_fd)
        if left != "nothing":
            return now
        strange = {name: number for name, number in now.items() if number not in self._held}
        foreign = {name: number for name, number in strange.items() if not stat.S_ISDIR(_mode(name, folder_fd))}
        return {**self._entries.get(_inode(folder_fd), {}), **foreign}

    def _bytes_left(self, fd: int, left: Left) -> bytes:
        durable, size = self._bytes.get(_inode(fd), b""), os.fstat(fd).st_size
        return durable[:size].ljust(size, b"\0") if left == "sizes" else durable


def _copy_foreign(name: str, folder_fd: int, target: Path) -> None:
    """Copy what was never opened through the disk: another program's file or link, or a folder that was made and not opened."""
    mode = _mode(name, folder_fd)
    if stat.S_ISLNK(mode):
        target.symlink_to(os.readlink(name, dir_fd=folder_fd))
    elif stat.S_ISREG(mode):
        fd = os.open(name, os.O_RDONLY, dir_fd=folder_fd)
        target.write_bytes(os.pread(fd, os.fstat(fd).st_size, 0))
        os.close(fd)
    else:
        target.mkdir()


def _copy_attributes(fd: int, target: Path) -> None:
    for attribute in os.listxattr(fd):
        os.setxattr(target, attribute, os.getxattr(fd, attribute))


def _entries(folder_fd: int) -> dict[str, int]:
    names = os.listdir(folder_fd)
    return {name: os.stat(name, dir_fd=folder_fd, follow_symlinks=False).st_ino for name in names}


def _mode(name: str, folder_fd: int) -> int:
    """Return what stands at `name`, a folder's mode if nothing does any more."""
    try:
        return os.stat(name, dir_fd=folder_fd, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return stat.S_IFDIR


def _inode(fd: int) -> int:
    return os.fstat(fd).st_ino


def _is_folder(fd: int) -> bool:
    return stat.S_ISDIR(os.fstat(fd).st_mode)
