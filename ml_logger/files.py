"""The seam between those who look at runs and wherever the files are: list a folder, open a file.

Paths are relative to the top, with ``/`` between components, and never lead out of it: a link that does is not there. What
can't be had raises `NotHeld`, whatever the reason, so that a run which is deleted while it is looked at is no special case.
"""

from __future__ import annotations

import os
import stat
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .errors import NotHeld
from .spool import is_being_written


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a folder; size in bytes and time of the last change in ns since the epoch (of a folder both may be 0).

    What `is_link` is what it leads to, which has a path of its own too. Who walks a tree must not follow one to a folder: that
    may be one above, and the walk goes round and round.
    """

    name: str
    kind: Literal["file", "dir"]
    size: int
    mtime_ns: int
    is_link: bool = False


class OpenFile(ABC):
    """One file open for reading: `size` in bytes and `mtime_ns` when it was opened; `version` changes when the file does.

    `contextlib.closing` lets go of it behind a block.
    """

    size: int
    mtime_ns: int
    version: str

    @abstractmethod
    def read(self, offset: int, length: int) -> bytes:
        """Return up to `length` bytes from `offset`; fewer only at the end of the file. Raises `NotHeld`."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the file."""


class Files(ABC):
    """A tree of files to look at. Thread-safe; every method may block.

    `place` names it for people, and for whoever keeps what was computed from it. `is_of_this_machine` where processes that run
    here write it, and nobody elsewhere does unseen.
    """

    place: str
    is_of_this_machine = False

    @abstractmethod
    def list(self, folder: str) -> list[Entry]:
        """Return the entries of a folder (empty: the top) sorted by name; raises `NotHeld`."""

    @abstractmethod
    def open(self, path: str) -> OpenFile:
        """Open a file for reading; raises `NotHeld`."""

    def is_being_written(self, path: str) -> bool | None:  # noqa: ARG002 (where nobody can know, it doesn't matter of what)
        """Return True where the writer of a stream is seen alive, False where it is known to be gone, else None."""
        return None


class LocalFiles(Files):
    """The files below a directory of this machine."""

    is_of_this_machine = True

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root)
        self.place = str(self.root.absolute())
        self._real_root = os.path.realpath(self.root)

    def list(self, folder: str) -> list[Entry]:
        """Return the entries of a folder sorted by name; links are what they lead to, special files are left out."""
        where = self._inside(folder)
        try:
            with os.scandir(where) as found:
                entries = [entry for one in found if (entry := self._maybe_entry(folder, one)) is not None]
        except OSError as error:
            raise _not_held(folder, error) from None
        return sorted(entries, key=lambda entry: entry.name)

    def _maybe_entry(self, folder: str, found: os.DirEntry[str]) -> Entry | None:
        try:
            is_link = found.is_symlink()
            if is_link:
                self._inside(f"{folder}/{found.name}" if folder else found.name)
            status = found.stat()
        except (OSError, NotHeld):  # it is gone, or a link to nowhere or outside
            return None
        if stat.S_ISDIR(status.st_mode):
            return Entry(found.name, "dir", 0, status.st_mtime_ns, is_link)
        if stat.S_ISREG(status.st_mode):
            return Entry(found.name, "file", status.st_size, status.st_mtime_ns, is_link)
        return None

    def open(self, path: str) -> OpenFile:
        """Open a regular file for reading; raises `NotHeld`."""
        try:
            return _LocalFile(self._inside(path))
        except OSError as error:
            raise _not_held(path, error) from None

    def is_being_written(self, path: str) -> bool | None:
        """Return True if somebody holds the lease of a stream: its writer lives, on this machine. Of a copy nobody does."""
        return is_being_written(self._inside(path)) or None

    def _inside(self, path: str) -> str:
        """Return where `path` is on this machine; raises `NotHeld` if that is not below the root."""
        components = path.split("/") if path else []
        if any(component in ("", ".", "..") or "\0" in component for component in components):
            raise NotHeld(f"{path[:80]!a} is no path in {self.place}")
        where = self._real_root
        for component in components:
            where = f"{where}/{component}"
            if os.path.islink(where):  # noqa: PTH114 - a `Path` costs more, and this is asked for each folder and file
                return self._followed(path)
        return where

    def _followed(self, path: str) -> str:
        real = os.path.realpath(f"{self._real_root}/{path}")
        if real != self._real_root and not real.startswith(self._real_root.rstrip("/") + "/"):
            raise NotHeld(f"{path[:80]!a} leads out of {self.place}")
        return real


class _LocalFile(OpenFile):
    def __init__(self, where: str) -> None:
        self._where = where
        # Without O_NONBLOCK a FIFO would be waited for.
        self._fd = os.open(where, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
        status = os.fstat(self._fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(self._fd)
            raise IsADirectoryError(where)
        self.size, self.mtime_ns = status.st_size, status.st_mtime_ns
        self.version = f"{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}"

    def read(self, offset: int, length: int) -> bytes:
        """Return up to `length` bytes from `offset`; raises `NotHeld` if the disk can't."""
        try:
            return os.pread(self._fd, length, offset)
        except OSError as error:
            raise _not_held(self._where, error) from None

    def close(self) -> None:
        """Let go of the file; again does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _not_held(path: str, error: OSError) -> NotHeld:
    return NotHeld(f"{path[:80]!a}: {error.strerror or 'not a file'}")
