"""The data directory, entered component by component.

No symbolic link is ever followed, so no path leads out of the tree whatever a person or another program put there. A
folder is durable once the entry in its parent is fsynced; that is done once for each folder and process, and remembered.
Folders made by a process that died before its fsync are unknown to the next one, which fsyncs them again.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..errors import BadPath, NotHeld, UsageError
from .disk import Disk
from .spelling import require_own_name

Identity = tuple[int, int]
"""Device and inode of a folder."""

Unsynced = dict[str, set[Identity]]
"""Folders (paths in the tree) with entries that are not yet durable, and which child folders that would settle."""

_MISFITS = {
    errno.EACCES: "the receiver may not write or read there",
    errno.ENOTDIR: "a file or link stands where a folder should be",
    errno.ELOOP: "a symbolic link stands there",
    errno.EISDIR: "a folder stands there",
    errno.ENXIO: "something that is no plain file stands there",
    errno.ENAMETOOLONG: "the receiver's file system refuses so long a name",
    errno.EINVAL: "the receiver's file system refuses such a name",
    errno.EILSEQ: "the receiver's file system refuses such a name",
}
_MOST_REMEMBERED = 100_000


class fitting:  # used as a function; a class costs a quarter of a generator here
    """Turn the errors that say that `path` can't ever be stored here into `BadPath`, and a missing one into `NotHeld`."""

    __slots__ = ("_path",)

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, FileNotFoundError):
            raise NotHeld(f"{self._path[:200]!a} is not held", path=self._path) from None
        if isinstance(error, OSError) and error.errno in _MISFITS:
            raise BadPath(f"path {self._path[:80]!a}: {_MISFITS[error.errno]}", path=self._path) from None


@dataclass(slots=True)
class Folder:
    """An open folder: its path, descriptor and device, and what has to be durable for its own entry to be.

    `news` are pairs of a parent's path and the identity of the folder below it, from the root down.
    """

    path: str
    fd: int
    device: int
    news: tuple[tuple[str, Identity], ...]
    may_write: bool | None = None


class Tree:
    """Opens folders and files below `root`; raises `UsageError` if `root` can't be made or written.

    With `must_be` it is neither made nor another folder than that one, such as what lies below a mount that is gone.

    `identity` and `device` are those of the root. Once that is known, `has_attributes` says whether its file system keeps
    extended attributes, `is_case_blind` whether it takes names that differ only in case for one (`spelling`), and `notes_nuls`
    whether a stream's NULs that were acknowledged are noted (`nul_end`). With `inherits_owner` what is made gets the owner of
    the folder it is in, for root who works in the place of the receiver's user.
    """

    def __init__(self, root: Path, disk: Disk, must_be: Identity | None = None) -> None:
        self.root = root
        self.disk = disk
        self.has_attributes = self.is_case_blind = self.notes_nuls = self.inherits_owner = False
        self._durable: set[Identity] = set()
        self._guard = threading.Lock()
        try:
            if must_be is None:
                root.mkdir(parents=True, exist_ok=True)
            self.root_fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self.identity = _identity(self.root_fd)
            self.device = self.identity[0]
        except OSError as error:
            raise UsageError(
                f"data directory {root} can't be used: {error.strerror}",
                hint="give --data-dir a folder you may write to",
            ) from None
        if must_be not in (None, self.identity):
            os.close(self.root_fd)
            raise UsageError(
                f"data directory {root} is another one than at the receiver's start",
                hint="put that back, or restart the receiver to go on with this one",
            )

    def close(self) -> None:
        """Close the root."""
        os.close(self.root_fd)

    def open_folder(self, path: str, *, create: bool = False) -> int:
        """Return a descriptor of the folder `path` (empty: the root), made with its parents if `create`.

        Raises `NotHeld` if it is missing, `BadPath` if something else stands in the way.
        """
        return self._walk(path, create=create, met=[])

    def enter(self, path: str, *, create: bool = False) -> Folder:
        """Do the same as `open_folder`, and note the folders on the way whose entry is not known to be durable."""
        met: list[tuple[str, Identity]] = []
        fd = self._walk(path, create=create, met=met)
        with self._guard:
            news = tuple((parent, identity) for parent, identity in met if identity not in self._durable)
        return Folder(path, fd, met[-1][1][0] if met else self.device, news)

    def _walk(self, path: str, *, create: bool, met: list[tuple[str, Identity]]) -> int:
        # Opened anew: copies of one descriptor share how far a listing is, and two threads would take names from each other.
        fd, walked = self.disk.open_folder(".", self.root_fd), ""
        for name in path.split("/") if path else ():
            try:
                with fitting(path):
                    below = self._enter(name, fd, create=create)
                self._require_own_name(path, name, fd, below)
            finally:
                os.close(fd)
            fd = below
            met.append((walked, _identity(fd)))
            walked = f"{walked}/{name}" if walked else name
        return fd

    def _enter(self, name: str, fd: int, *, create: bool) -> int:
        try:
            return self.disk.open_folder(name, fd)
        except FileNotFoundError:
            if not create:
                raise
        try:
            self.disk.make_folder(name, fd)
        except FileExistsError:
            return self.disk.open_folder(name, fd)
        below = self.disk.open_folder(name, fd)
        self.inherit(below, fd)
        with self._guard:
            self._durable.discard(_identity(below))  # a number used again after a folder was removed
        return below

    def inherit(self, fd: int, above_fd: int) -> None:
        """Give a file or folder that was made now the owner of another one, if they are to be inherited."""
        if self.inherits_owner:
            with suppress(OSError):  # not root, or a file system without owners
                self.disk.give(fd, like_fd=above_fd)

    def _require_own_name(self, path: str, name: str, folder_fd: int, fd: int) -> None:
        """Close `fd` and raise `BadPath` if the file or folder that was opened as `name` has another name."""
        if self.is_case_blind:
            try:
                require_own_name(path, name, folder_fd)
            except BaseException:
                os.close(fd)
                raise

    def open_file(self, path: str, name: str, flags: int, folder_fd: int) -> int:
        """Return a descriptor of the file `name` in a folder, which is at `path`; raises `BadPath` if it has another name."""
        fd = self.disk.open_file(name, flags, folder_fd)
        self._require_own_name(path, name, folder_fd, fd)
        return fd

    def sync_folder(self, path: str, settled: set[Identity]) -> None:
        """Make the entries of the folder `path` durable, and remember that the folders `settled` now are."""
        fd = self.open_folder(path)
        try:
            self.disk.sync(fd)
        finally:
            os.close(fd)
        with self._guard:
            if len(self._durable) > _MOST_REMEMBERED:
                self._durable.clear()
            self._durable |= settled


class Folders:
    """The folders that one piece of work has open, each walked to once."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._open: dict[str, Folder] = {}

    def find(self, path: str) -> Folder:
        """Return the folder `path`; raises `NotHeld` or `BadPath`."""
        found = self._open.get(path)
        return found if found is not None else self._keep(self._tree.enter(path))

    def maybe_open_file(self, path: str, flags: int) -> int | None:
        """Return a descriptor of the file at `path`, None if it or its folder is missing; raises `BadPath`.

        One call, where the system has it, instead of a walk: of a stream that gets a line the folder itself is not needed.
        """
        disk, (folder, _, name) = self._tree.disk, path.rpartition("/")
        with fitting(path):
            try:
                if disk.opens_paths and not self._tree.is_case_blind and folder not in self._open:
                    return disk.open_file(path, flags, self._tree.root_fd)
                return self._tree.open_file(path, name, flags, self.find(folder).fd)
            except (FileNotFoundError, NotHeld):
                return None

    def inherit(self, fd: int, above_fd: int) -> None:
        """See `Tree.inherit`."""
        self._tree.inherit(fd, above_fd)

    def make(self, path: str) -> Folder:
        """Return the folder `path`, made if it is missing; raises `BadPath` where no file can be made in it."""
        found = self._open.get(path)
        if found is None:
            found = self._keep(self._tree.enter(path, create=True))
        if found.may_write is None:
            found.may_write = self._tree.disk.may_write(found.fd)
        if not found.may_write:
            raise BadPath(f"path {path[:80]!a}: {_MISFITS[errno.EACCES]}", path=path)
        return found

    def _keep(self, folder: Folder) -> Folder:
        self._open[folder.path] = folder
        return folder

    def close(self) -> None:
        """Close all of them."""
        for folder in self._open.values():
            os.close(folder.fd)
        self._open.clear()


def _identity(fd: int) -> Identity:
    found = os.fstat(fd)
    return found.st_dev, found.st_ino


def remove_unlocked(tree: Tree, folder: str, is_wanted: Callable[[str, float], bool]) -> None:
    """Remove the files of a folder for which `is_wanted(name, mtime_s)`, except those that somebody has locked."""
    folder_fd = tree.open_folder(folder)
    try:
        for name in os.listdir(folder_fd):  # noqa: PTH208  # a descriptor, which pathlib can't list
            with suppress(OSError):  # taken by another receiver, or gone: not ours to remove
                if is_wanted(name, os.stat(name, dir_fd=folder_fd, follow_symlinks=False).st_mtime):
                    _remove_unlocked_file(tree, name, folder_fd)
    finally:
        os.close(folder_fd)


def _remove_unlocked_file(tree: Tree, name: str, folder_fd: int) -> None:
    fd = tree.disk.open_file(name, os.O_RDWR, folder_fd)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        tree.disk.unlink(name, folder_fd)
    finally:
        os.close(fd)
