"""The folders of a spool in which something is deleted: reached without following a symlink, and what is known of their runs.

A path is opened component by component, so that nobody who replaces a folder by a symlink leads a deletion elsewhere.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..layout import RUN, STREAM_PATTERNS, matches_any, numbered, part_of
from . import local_file

FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
"""With which one folder is opened below another."""

_PART = re.compile(r"^(.+)\.([1-9][0-9]{0,17})(\.[^.]*)?\Z", re.DOTALL)
_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Folders:
    """The folders of one errand: opened component by component, and what is known of the runs in them."""

    def __init__(self, spool: Path) -> None:
        self._root_fd = os.open(spool, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._last: tuple[str, int] | None = None
        self._alive: dict[str, bool] = {}
        self._names: dict[str, set[str]] = {}

    def close(self) -> None:
        """Close what is open."""
        self._forget_last()
        os.close(self._root_fd)

    def open(self, folder: str) -> int:
        """Return a descriptor of `folder` that is good until the next call; raises OSError."""
        if self._last is None or self._last[0] != folder:
            self._forget_last()
            self._last = (folder, self._open(folder))
        return self._last[1]

    def _open(self, folder: str) -> int:
        fd = os.dup(self._root_fd)
        for name in folder.split("/") if folder else []:
            try:
                inner = os.open(name, FOLDER_FLAGS, dir_fd=fd)
            finally:
                os.close(fd)
            fd = inner
        return fd

    def _forget_last(self) -> None:
        if self._last is not None:
            os.close(self._last[1])
            self._last = None

    def note_deleted(self, folder: str, name: str) -> None:
        """Remember that `name` is no longer in `folder`."""
        self._names.get(folder, set()).discard(name)

    def is_last_of_living_run(self, folder: str, name: str) -> bool:
        """Whether `name` has the highest number of a stream in `folder` whose run has a living process."""
        if not matches_any(name, STREAM_PATTERNS) or not self.is_run_alive(folder):
            return False
        stream, number = _stream_of(name)
        numbers = (part_of(other, stream) for other in self._names_in(folder))
        return max((n for n in numbers if n is not None), default=0) <= number

    def is_run_alive(self, folder: str) -> bool:
        """Whether in `folder` or one above it a process holds its ``run.jsonl``."""
        if folder not in self._alive:
            above = folder.rpartition("/")[0]
            self._alive[folder] = self._has_living_process(folder) or (bool(folder) and self.is_run_alive(above))
        return self._alive[folder]

    def _has_living_process(self, folder: str) -> bool:
        parts = [name for name in self._names_in(folder) if part_of(name, RUN) is not None]
        return any(self._is_held(folder, name) for name in parts)

    def _is_held(self, folder: str, name: str) -> bool:
        fd = self._open(folder)
        try:
            with suppress(FileNotFoundError), open_file(fd, name) as file_fd:
                return not local_file.is_writer_gone(file_fd)
        except OSError:
            return True  # can't be told
        finally:
            os.close(fd)
        return False

    def _names_in(self, folder: str) -> set[str]:
        if folder not in self._names:
            fd = self._open(folder)
            try:
                self._names[folder] = set(os.listdir(fd))  # noqa: PTH208 - of a descriptor, and names are all that is needed
            finally:
                os.close(fd)
        return self._names[folder]


@contextmanager
def open_file(folder_fd: int, name: str) -> Iterator[int]:
    """Open the regular file `name` in a folder for reading; raises OSError, of `ELOOP` for anything but a regular file."""
    if not stat.S_ISREG(os.stat(name, dir_fd=folder_fd, follow_symlinks=False).st_mode):
        raise OSError(errno.ELOOP, "no longer a regular file")  # to open a device may have an effect
    fd = os.open(name, _FILE_FLAGS, dir_fd=folder_fd)
    try:
        yield fd
    finally:
        os.close(fd)


def _stream_of(name: str) -> tuple[str, int]:
    """Return which stream the file `name` is a part of, and its number; the client's own names are never ambiguous."""
    match = _PART.match(name)
    if match is None:
        return name, 0
    stream, number = match[1] + (match[3] or ""), int(match[2])
    return (stream, number) if numbered(stream, number) == name else (name, 0)
