"""Disks that fail on purpose: one call with an error, all calls from a moment on, and a power cut that keeps only what was
fsynced."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

from ml_logger.server.disk import Disk

CALLS = (
    "open_file",
    "open_folder",
    "make_folder",
    "write",
    "truncate",
    "sync_data",
    "sync",
    "link",
    "rename",
    "unlink",
)


class Died(BaseException):
    """The process is gone: nothing after the call runs, no handler of an error either."""


class FaultyDisk(Disk):
    """Counts calls and asks `fault(call, number)` before each; a torn write happens by half before its error is raised.

    `log` holds what happened to which inode, in order.
    """

    def __init__(self, fault: Callable[[str, int], BaseException | None] = lambda _call, _number: None) -> None:
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

    def open_folder(self, name: str, folder_fd: int) -> int:
        self._pass("open_folder")
        return super().open_folder(name, folder_fd)

    def make_folder(self, name: str, folder_fd: int) -> None:
        self._pass("make_folder", inode(folder_fd))
        super().make_folder(name, folder_fd)

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

    def link(self, name: str, folder_fd: int, new_name: str, new_folder_fd: int) -> None:
        self._pass("link", inode(new_folder_fd))
        super().link(name, folder_fd, new_name, new_folder_fd)

    def rename(self, name: str, folder_fd: int, new_name: str, new_folder_fd: int) -> None:
        self._pass("rename", inode(new_folder_fd))
        super().rename(name, folder_fd, new_name, new_folder_fd)

    def unlink(self, name: str, folder_fd: int) -> None:
        self._pass("unlink", inode(folder_fd))
        super().unlink(name, folder_fd)


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


class PowerCutDisk(FaultyDisk):
    """Remembers what is durable by the letter: a file's bytes as of its last fsync, a folder's entries as of its own."""

    def __init__(self, fault: Callable[[str, int], BaseException | None] = lambda _call, _number: None) -> None:
        super().__init__(fault)
        self._bytes: dict[int, bytes] = {}
        self._entries: dict[int, dict[str, int]] = {}

    def open_file(self, name: str, flags: int, folder_fd: int) -> int:
        fd = super().open_file(name, flags, folder_fd)
        if flags & os.O_EXCL:
            self._bytes.pop(inode(fd), None)  # the number may have been another file's
        return fd

    def make_folder(self, name: str, folder_fd: int) -> None:
        super().make_folder(name, folder_fd)
        self._entries.pop(os.stat(name, dir_fd=folder_fd).st_ino, None)

    def sync_data(self, fd: int) -> None:
        super().sync_data(fd)
        self._keep(fd)

    def sync(self, fd: int) -> None:
        super().sync(fd)
        self._keep(fd)

    def _keep(self, fd: int) -> None:
        if os.path.isdir(fd):
            self._entries[inode(fd)] = {n: os.stat(n, dir_fd=fd).st_ino for n in os.listdir(fd)}
        else:
            self._bytes[inode(fd)] = os.pread(fd, os.fstat(fd).st_size, 0)

    def restore(self, root_inode: int, target: Path) -> None:
        """Make `target` what a machine finds after the power cut where `root_inode` was the data directory."""
        target.mkdir(exist_ok=True)
        for name, number in self._entries.get(root_inode, {}).items():
            if number in self._bytes:
                (target / name).write_bytes(self._bytes[number])
            else:
                self.restore(number, target / name)
