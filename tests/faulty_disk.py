"""Disks that fail on purpose: one call with an error, all calls from a moment on, and a power cut that keeps only what was
fsynced."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ml_logger.server.disk import Disk

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


class Died(BaseException):
    """The process is gone: nothing after the call runs, no handler of an error either."""


class FaultyDisk(Disk):
    """Counts calls and asks `fault(call, number)` before each; a torn write happens by half before its error is raised.

    `log` holds what happened to which inode, in order.
    """

    def __init__(self, fault: Callable[[str, int], BaseException | None] = lambda _call, _number: None) -> None:
        super().__init__()
        self.fault = fault
        self.log: list[tuple[str, int]] = []
        self.calls = 0

    def _meet(self, call: str, number: int = 0) -> BaseException | None:
        self.calls += 1
        error = self.fault(call, self.calls)
        if error is None:
            self.log.append((call, number))
        return error

    def _pass(self, call: str, number: int = 0) -> None:
        error = self._meet(call, number)
        if error is not None:
            raise error

    def open_file(self, name: str, flags: int, folder_fd: int) -> int:
        self._pass("open_file")
        return super().open_file(name, flags, folder_fd)

    def make_unnamed(self, folder_fd: int) -> int:
        self._pass("make_unnamed")
        return super().make_unnamed(folder_fd)

    def open_folder(self, name: str, folder_fd: int) -> int:
        self._pass("open_folder")
        return super().open_folder(name, folder_fd)

    def make_folder(self, name: str, folder_fd: int) -> None:
        self._pass("make_folder", inode(folder_fd))
        super().make_folder(name, folder_fd)

    def give(self, fd: int, *, like_fd: int) -> None:
        self._pass("give", inode(fd))
        super().give(fd, like_fd=like_fd)

    def write(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        error = self._meet("write", inode(fd))
        if error is not None:
            super().write(fd, data[: len(data) // 2], offset)
            raise error
        return super().write(fd, data, offset)

    def truncate(self, fd: int, size_bytes: int) -> None:
        self._pass("truncate", inode(fd))
        super().truncate(fd, size_bytes)

    def sync_data(self, fd: int) -> None:
        self._pass("sync_data", inode(fd))
        super().sync_data(fd)

    def sync(self, fd: int) -> None:
        self._pass("sync", inode(fd))
        super().sync(fd)

    def sync_all(self, fd: int) -> None:
        self._pass("sync_all")
        super().sync_all(fd)

    def link_unnamed(self, fd: int, new_name: str, new_folder_fd: int) -> None:
        self._pass("link_unnamed", inode(new_folder_fd))
        super().link_unnamed(fd, new_name, new_folder_fd)

    def link(self, name: str, folder_fd: int, new_name: str, new_folder_fd: int) -> None:
        self._pass("link", inode(new_folder_fd))
        super().link(name, folder_fd, new_name, new_folder_fd)

    def rename(self, name: str, folder_fd: int, new_name: str, new_folder_fd: int) -> None:
        self._pass("rename", inode(new_folder_fd))
        super().rename(name, folder_fd, new_name, new_folder_fd)

    def unlink(self, name: str, folder_fd: int) -> None:
        self._pass("unlink", inode(folder_fd))
        super().unlink(name, folder_fd)

    def remove_folder(self, name: str, folder_fd: int) -> None:
        self._pass("remove_folder", inode(folder_fd))
        super().remove_folder(name, folder_fd)


def inode(fd: int) -> int:
    return os.fstat(fd).st_ino


def fails(call: str, code: int = errno.EIO) -> Callable[[str, int], BaseException | None]:
    """Every `call` fails with the error number `code`."""
    return lambda met, _number: OSError(code, os.strerror(code)) if met == call else None


def fails_at(number: int, code: int = errno.EIO) -> Callable[[str, int], BaseException | None]:
    """The call with this number fails, once."""
    return lambda _met, met_number: OSError(code, os.strerror(code)) if met_number == number else None


def dies_at(number: int) -> Callable[[str, int], BaseException | None]:
    """From the call with this number on, nothing happens any more."""
    return lambda _met, met_number: Died() if met_number >= number else None


def let_go(data_dir: Path) -> None:
    """Close what is open below `data_dir`, as the end of a process does: its locks end with that."""
    for fd in [int(name) for name in os.listdir("/proc/self/fd")]:
        with suppress(OSError):
            if os.readlink(f"/proc/self/fd/{fd}").startswith(str(data_dir)):
                os.close(fd)


class PowerCutDisk(FaultyDisk):
    """Remembers what is durable by the letter: a file's bytes as of its last fsync, a folder's entries as of its own.

    Whatever was opened once is held open, so that no inode number is used for a second file.
    """

    def __init__(self, fault: Callable[[str, int], BaseException | None] = lambda _call, _number: None) -> None:
        super().__init__(fault)
        self._bytes: dict[int, bytes] = {}
        self._entries: dict[int, dict[str, int]] = {}
        self._held: dict[int, int] = {}

    def _hold(self, fd: int) -> int:
        if inode(fd) not in self._held:
            self._held[inode(fd)] = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY)  # a dup would keep its locks too
        return fd

    def open_file(self, name: str, flags: int, folder_fd: int) -> int:
        return self._hold(super().open_file(name, flags, folder_fd))

    def make_unnamed(self, folder_fd: int) -> int:
        return self._hold(super().make_unnamed(folder_fd))

    def open_folder(self, name: str, folder_fd: int) -> int:
        return self._hold(super().open_folder(name, folder_fd))

    def sync_data(self, fd: int) -> None:
        super().sync_data(fd)
        self._keep(fd)

    def sync(self, fd: int) -> None:
        super().sync(fd)
        self._keep(fd)

    def sync_all(self, fd: int) -> None:
        super().sync_all(fd)
        for held in (fd, *self._held.values()):
            self._keep(held)

    def _keep(self, fd: int) -> None:
        if os.path.isdir(fd):
            self._entries[inode(fd)] = entries(fd)
        else:
            self._bytes[inode(fd)] = whole(fd)

    def restore(self, data_dir: Path, target: Path, left: str) -> None:
        """Make `target` what a machine may find of `data_dir` after the power cut.

        What is `left` but was not fsynced: "nothing"; the "names" of all files; or their "sizes" too, with zeros for bytes.
        """
        fd = os.open(data_dir, os.O_RDONLY)
        self._restore(fd, target, left)
        os.close(fd)
        let_go(data_dir)

    def _restore(self, folder_fd: int, target: Path, left: str) -> None:
        target.mkdir(exist_ok=True)
        _copy_attributes(folder_fd, target)
        durable = self._entries.get(inode(folder_fd), {})
        for name, number in (durable if left == "nothing" else entries(folder_fd)).items():
            fd = self._held.get(number, -1)
            if fd < 0:
                (target / name).mkdir()  # made, and not yet opened
            elif os.path.isdir(fd):
                self._restore(fd, target / name, left)
            else:
                (target / name).write_bytes(self._bytes_left(fd, left))
                _copy_attributes(fd, target / name)

    def _bytes_left(self, fd: int, left: str) -> bytes:
        durable, size = self._bytes.get(inode(fd), b""), os.fstat(fd).st_size
        return durable[:size].ljust(size, b"\0") if left == "sizes" else durable


def _copy_attributes(fd: int, target: Path) -> None:
    for attribute in os.listxattr(fd):
        os.setxattr(target, attribute, os.getxattr(fd, attribute))


def entries(folder_fd: int) -> dict[str, int]:
    return {name: os.stat(name, dir_fd=folder_fd).st_ino for name in os.listdir(folder_fd)}


def whole(fd: int) -> bytes:
    return os.pread(fd, os.fstat(fd).st_size, 0)
