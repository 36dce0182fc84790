"""The trash: where what is deleted goes, and stays for a while.

To delete is to set a tombstone (`tombstones`): from then on nobody sees the path. Then it is moved, by one rename, to
``.ml-logger/trash/<id>/<name>``, behind all who were at work below it, and once its bytes are durable in the files: what the
redo log alone has would not be redone in the trash. A crash before the tombstone leaves everything, one after it is finished
by `finish`, at the next start or by the next housekeeper.

To restore is to rename it back and then to lift the tombstone; after a crash in between it is still deleted, and is restored by
the same call. No symbolic link is followed, and nothing crosses to another file system or mount.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

from ..errors import BadPath, Changed, NotHeld, StoreError, Undeletable, UsageError
from ..layout import RECEIVER_DIR
from .clearing import clear
from .descent import descend, sizes
from .disk import Mount, mount_of
from .locks import PathLocks
from .tombstones import Tombstone, Tombstones
from .tree import Tree
from .version_tag import version_of

TRASH_DIR = f"{RECEIVER_DIR}/trash"

_TRANSIENT = {
    *(errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EINTR, errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE),
    *(errno.ESTALE, errno.ETIMEDOUT, errno.ENOENT),
}
"""What may be otherwise the next time; every other error of a rename is the file system's last word."""

_MOUNTED = "it is on another file system or mount, or has one in it"
_WHY = {
    errno.EXDEV: _MOUNTED,
    errno.EBUSY: _MOUNTED,
    errno.EACCES: "the receiver may not write there",
    errno.EPERM: "its attributes (chattr), or its folder's owner, forbid it",
}
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Place:
    """A name in an open folder."""

    name: str
    folder_fd: int


class Trash:
    """The trash of one tree; raises `OSError` where the disk fails."""

    def __init__(self, tree: Tree, locks: PathLocks, tombstones: Tombstones) -> None:
        self._tree, self._disk = tree, tree.disk
        self._locks, self._tombstones = locks, tombstones
        self._told: set[str] = set()
        os.close(self._make_folder(TRASH_DIR))

    # --- deleting

    def take(self, path: str, by: str, version: str | None = None) -> Tombstone:
        """Delete the file or folder at `path` for `by`, or only the file of that `version`.

        Raises `NotHeld`, `Gone`, `Changed` or `Undeletable`.
        """
        self._tombstones.refresh()
        covering = self._tombstones.maybe_covering(path)
        if covering is None or covering.path != path or covering.trashed_ns is not None:
            self._tombstones.require_there(path)
            self._require_movable(path)
            covering = self._tombstones.add(path, by) if version is None else self._add_if(path, by, version)
        return self._finish(covering)

    def _add_if(self, path: str, by: str, version: str) -> Tombstone:
        """Set a tombstone for the file at `path` while it surely has that version: who writes to it is waited for."""
        with self._locks.hold([path]):
            try:
                with self._place_of(path) as place:
                    found = _maybe_stat(place)
            except (NotHeld, BadPath):
                found = None
            if found is None or version_of(found) != version:
                raise Changed(f"{path[:200]!a} is another version by now", path=path, hint="look again")
            return self._tombstones.add(path, by)

    def finish(self, *, only_moved: bool = False) -> None:
        """Move what has a tombstone and was left in its place; `only_moved`: only note what a crash kept from being noted."""
        self._tombstones.refresh()
        for stone in self._tombstones.on_their_way():
            with self._telling_once("not deleted", stone.path):
                if not only_moved or self.has(stone):
                    self._finish(stone)

    @contextmanager
    def _telling_once(self, what: str, subject: str) -> Iterator[None]:
        """Log what fails within the block instead of raising it: it is tried again and again, and must stop nothing else."""
        try:
            yield
        except (OSError, BadPath, StoreError) as error:
            words = f"{what}: {subject!a}: {error}"
            if words not in self._told:
                self._told.add(words)
                _log.error("%s", words)

    def _require_movable(self, path: str) -> None:
        try:
            with self._place_of(path) as place, _refusing(path):
                found = _maybe_stat(place)
                if found is None or not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
                    raise _not_held(path)
                mount = mount_of(self._tree.root_fd)
                if found.st_dev != self._tree.device or any(other != mount for other in self._mounts(place, found)):
                    raise _undeletable(path, _MOUNTED)
                self._require_writable(place, is_folder=stat.S_ISDIR(found.st_mode))
        except BadPath:
            raise _not_held(path) from None

    def _mounts(self, place: _Place, found: os.stat_result) -> Iterator[Mount]:
        """Yield the mounts that a file or folder is on, and all folders below it."""
        yield mount_of(place.folder_fd)
        if stat.S_ISDIR(found.st_mode):
            fd = self._disk.open_folder(place.name, place.folder_fd)
            try:
                yield from (mount_of(here.fd) for here, is_end in descend(self._disk, fd) if not is_end)
            finally:
                os.close(fd)

    def _require_writable(self, place: _Place, *, is_folder: bool) -> None:
        """Raise `OSError` where it is plain beforehand: between tombstone and refusal agents would take it for deleted."""
        fds = [os.dup(place.folder_fd)]
        try:
            if is_folder:  # moved elsewhere, it is itself written to
                fds.append(self._disk.open_folder(place.name, place.folder_fd))
            if not all(self._disk.may_write(fd) for fd in fds):
                raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        finally:
            for fd in fds:
                os.close(fd)

    def _finish(self, stone: Tombstone) -> Tombstone:
        with self._locks.hold([stone.path]):
            self._tombstones.refresh()
            stone = self._tombstones.get(stone.id)
            if not _is_on_its_way(stone):
                return stone  # somebody else was quicker
            try:
                self._move(stone)
            except Undeletable:
                self._tombstones.lift(stone)
                with suppress(OSError, BadPath):
                    self._drop_folder(stone.id)
                raise
            stone = self._tombstones.note_trashed(stone, *self._count(stone))
        _log.info(
            "deleted %s for %s: %d files, %d bytes", ascii(stone.path), ascii(stone.by), stone.files, stone.size_bytes
        )
        return stone

    def _move(self, stone: Tombstone) -> None:
        if self._disk.syncs_all:
            self._disk.sync_all(self._tree.root_fd)
        with _refusing(stone.path):
            trash_fd = self._tree.open_folder(_folder_of(stone), create=True)
        try:
            with ExitStack() as stack:
                with _refusing(stone.path):
                    place = stack.enter_context(self._place_of(stone.path))
                    if _maybe_stat(place) is not None:
                        self._disk.rename(place.name, place.folder_fd, _free_name(place.name, trash_fd), trash_fd)
                # What fails from here on is no refusal: it has moved.
                self._sync_trash(trash_fd)  # first: what is in both is still there, what is in neither is not
                self._disk.sync(place.folder_fd)
        except NotHeld:  # the folder above it has gone
            self._sync_trash(trash_fd)
        finally:
            os.close(trash_fd)

    def _sync_trash(self, folder_fd: int) -> None:
        self._disk.sync(folder_fd)
        for path in (TRASH_DIR, RECEIVER_DIR, ""):
            self._tree.sync_folder(path, set())

    def _count(self, stone: Tombstone) -> tuple[int, int]:
        """Return how many plain files are in the trash for it, and their bytes."""
        root_fd = self._tree.open_folder(_folder_of(stone))
        try:
            found = list(sizes(self._disk, root_fd))
        finally:
            os.close(root_fd)
        return len(found), sum(found)

    # --- what is in it

    def has(self, stone: Tombstone) -> bool:
        """Whether something of it is in the trash."""
        return any(True for _ in self._names(_folder_of(stone)))

    def ids(self) -> list[str]:
        """Return the ids of all that is in the trash."""
        return sorted(self._names(TRASH_DIR))

    def size_bytes(self, folder: str) -> int:
        """Return how many bytes in the trash were at `folder` or below it."""
        self._tombstones.refresh()
        stones = [stone for stone_id in self.ids() if (stone := self._tombstones.maybe(stone_id)) is not None]
        return sum(stone.size_bytes for stone in stones if f"{stone.path}/".startswith(f"{folder}/"))

    def _names(self, folder: str) -> Iterator[str]:
        try:
            fd = self._tree.open_folder(folder)
        except NotHeld:
            return
        try:
            yield from os.listdir(fd)  # noqa: PTH208  # a descriptor, which pathlib can't list
        finally:
            os.close(fd)

    # --- restoring

    def restore(self, stone: Tombstone) -> int:
        """Put back what it deleted, and lift it; raises `UsageError` where that can't be.

        Returns how many of its files were not in the trash any more, where it was emptied in part.
        """
        folder, _, name = stone.path.rpartition("/")
        with self._locks.hold([stone.path]), self._holding(stone.id) as trash_fd:
            self._require_free_way(stone, folder)
            left = self._count(stone)[0] if _maybe_stat(_Place(name, trash_fd)) is not None else stone.files
            folder_fd = self._make_folder(folder)
            try:
                self._put_back(stone, _Place(name, trash_fd), _Place(name, folder_fd))
                self._disk.sync(folder_fd)
                for above in _folders_above(folder):
                    self._tree.sync_folder(above, set())
            finally:
                os.close(folder_fd)
            self._disk.sync(trash_fd)
            if not stone.is_lifted:
                self._tombstones.lift(stone)
        self._drop_folder(stone.id)
        return max(0, stone.files - left)

    def _require_free_way(self, stone: Tombstone, folder: str) -> None:
        self._tombstones.refresh()
        covering = self._tombstones.maybe_covering(folder)
        if covering is not None:
            raise UsageError(f"{covering.path!a} above it was deleted too", hint=f"restore {covering.id} first")
        if _is_on_its_way(self._tombstones.get(stone.id)):
            raise UsageError(f"{stone.id} is being deleted", hint="try again in a moment")

    def _put_back(self, stone: Tombstone, aside: _Place, place: _Place) -> None:
        is_aside, is_back = _maybe_stat(aside) is not None, _maybe_stat(place) is not None
        if is_aside and is_back:
            raise UsageError(f"something new is at {stone.path!a}", hint="move it away first")
        if is_aside:
            self._disk.rename(aside.name, aside.folder_fd, place.name, place.folder_fd)
        elif not is_back:
            raise UsageError(
                f"nothing of {stone.path!a} is in the trash any more", hint="'trash forget' frees the name"
            )

    def forget(self, stone: Tombstone) -> None:
        """Let the name be used again without putting anything back; raises `UsageError` while it is on its way to the trash."""
        with self._locks.hold([stone.path]):
            self._tombstones.refresh()
            stone = self._tombstones.get(stone.id)
            if _is_on_its_way(stone):
                raise UsageError(f"{stone.id} is being deleted", hint="try again in a moment")
            if not stone.is_lifted:
                self._tombstones.lift(stone)

    # --- emptying

    def empty(self, ids: Iterable[str]) -> None:
        """Remove for good what these deletions took; their tombstones stand. What is being restored or can't go stays."""
        for stone_id in ids:
            with self._telling_once("not emptied", stone_id):
                with suppress(UsageError, FileNotFoundError), self._holding(stone_id) as folder_fd:
                    left = clear(self._disk, folder_fd, mount_of(self._tree.root_fd))
                    if left is not None:
                        raise StoreError(left)
                self._drop_folder(stone_id)

    def old_ids(self, keep_s: float) -> list[str]:
        """Return the ids of what has been in the trash for longer than `keep_s` seconds."""
        self._tombstones.refresh()
        now = time.time()
        return [stone_id for stone_id in self.ids() if now - self._went_at(stone_id) >= keep_s]

    def _went_at(self, stone_id: str) -> float:
        """Return when something came into the trash, in seconds since the epoch: the latest time that speaks for it.

        The clock may have been wrong at the deletion. What is kept for too long can be removed still, the other way is a loss.
        """
        stone = self._tombstones.maybe(stone_id)
        if stone is None:
            return 0.0
        if _is_on_its_way(stone):
            return float("inf")  # it needs its folder
        return max(stone.at, (stone.trashed_ns or 0) / 1e9, self._changed_at(stone))

    def _changed_at(self, stone: Tombstone) -> float:
        with suppress(NotHeld):
            fd = self._tree.open_folder(_folder_of(stone))
            try:
                return os.fstat(fd).st_ctime
            finally:
                os.close(fd)
        return 0.0

    def _drop_folder(self, stone_id: str) -> None:
        trash_fd = self._tree.open_folder(TRASH_DIR)
        try:
            with suppress(FileNotFoundError):
                self._disk.remove_folder(stone_id, trash_fd)
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise
        finally:
            os.close(trash_fd)

    # --- places

    def _make_folder(self, path: str) -> int:
        """Open a folder, made where it is missing, with the owner of the one above: root may be who runs the command."""
        try:
            return self._tree.open_folder(path)
        except NotHeld:
            above_fd = self._make_folder(path.rpartition("/")[0])
        try:
            fd = self._tree.open_folder(path, create=True)
            if os.geteuid() == 0:
                with suppress(OSError):  # some file systems have no owners
                    self._disk.give(fd, like_fd=above_fd)
            return fd
        finally:
            os.close(above_fd)

    @contextmanager
    def _holding(self, stone_id: str) -> Iterator[int]:
        """Give the open folder of one deletion in the trash, which nobody restores or empties meanwhile."""
        try:
            fd = self._tree.open_folder(f"{TRASH_DIR}/{stone_id}")
        except NotHeld:
            raise UsageError(f"nothing of {stone_id} is in the trash any more", hint="see 'trash list'") from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield fd
        except BlockingIOError:
            raise UsageError(f"{stone_id} is being restored or emptied", hint="try again in a moment") from None
        finally:
            os.close(fd)

    @contextmanager
    def _place_of(self, path: str) -> Iterator[_Place]:
        """Give the open folder that `path` is in; raises `NotHeld` or `BadPath`."""
        folder, _, name = path.rpartition("/")
        fd = self._tree.open_folder(folder)
        try:
            yield _Place(name, fd)
        finally:
            os.close(fd)


def _folder_of(stone: Tombstone) -> str:
    return f"{TRASH_DIR}/{stone.id}"


def _folders_above(folder: str) -> Iterator[str]:
    while folder:
        folder = folder.rpartition("/")[0]
        yield folder


def _free_name(name: str, folder_fd: int) -> str:
    """Return `name`, or another one where a crash has left something of it there already."""
    is_free = _maybe_stat(_Place(name, folder_fd)) is None
    return name if is_free else f"left-{os.urandom(8).hex()}"


def _maybe_stat(place: _Place) -> os.stat_result | None:
    try:
        return os.stat(place.name.encode(), dir_fd=place.folder_fd, follow_symlinks=False)
    except FileNotFoundError:
        return None


@contextmanager
def _refusing(path: str) -> Iterator[None]:
    """Turn what the file system won't ever do within the block into `Undeletable`."""
    try:
        yield
    except BadPath as error:
        raise _undeletable(path, str(error)) from None
    except OSError as error:
        if error.errno in _TRANSIENT:
            raise
        raise _undeletable(path, _WHY.get(error.errno or 0) or str(error.strerror)) from None


def _undeletable(path: str, why: str) -> Undeletable:
    return Undeletable(
        f"{path[:200]!a} can't be moved to the trash: {why}", path=path, hint="remove it by hand at the host"
    )


def _not_held(path: str) -> NotHeld:
    return NotHeld(f"{path[:200]!a} is not held", path=path)


def _is_on_its_way(stone: Tombstone) -> bool:
    """Whether what it covers is still to be moved."""
    return stone.trashed_ns is None and not stone.is_lifted
