"""Redoing: what the redo log holds is brought back into the files, as far as it is missing there.

After a power cut a file may lack what was acknowledged, or end in bytes that nobody sent. After a mere death of the process it
has all of it, and since then others may have changed it. So a change is made only where what is found is what the change was
made to, or what it left unfinished:

- a stream is written to where the prefix is proven by its CRC. What stands behind it and does not fit is torn and cut off:
  NULs that nobody was told of in any case (`nul_end`), other bytes unless the file is longer than anything in the log, which
  some later writer made it; nor is anything cut off while other receivers use the same folder, since it may be theirs;
- what has been deleted since it was logged is passed over, so that it does not come back (`tombstones`);
- a whole file takes its place where nothing is, or the version it replaced, or a torn one of its own (told by its stamp).

Bytes that are there already are written once more: an fsync that failed may have dropped them on the way to the disk.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from contextlib import ExitStack, suppress

from ..errors import BadPath, NotHeld
from .checksums import Checksums
from .fresh_file import FreshFile
from .locked_file import LockedFile, Raced
from .locks import PathLocks
from .redo_record import Change
from .tombstones import Tombstones
from .tree import Folders, Tree, Unsynced

_log = logging.getLogger(__name__)


class Recovery:
    """Redoes changes in one tree; raises `OSError` where the disk fails."""

    def __init__(self, tree: Tree, locks: PathLocks, tombstones: Tombstones) -> None:
        self._tree, self._disk, self._locks, self._tombstones = tree, tree.disk, locks, tombstones

    def redo(self, changes: Sequence[Change], *, is_alone: bool) -> None:
        """Make `changes` in their order, and make them durable; `is_alone` says that no receiver has written since."""
        by_path: dict[str, list[Change]] = {}
        for change in changes:
            by_path.setdefault(change.path, []).append(change)
        for path, some in by_path.items():
            try:
                with self._locks.hold([path]):
                    self._tombstones.refresh()
                    left = [change for change in some if not self._tombstones.is_over(path, change.written_ns)]
                    if left:
                        self._redo_file(path, left, is_alone=is_alone)
            except (BadPath, NotHeld, Raced) as error:  # noqa: PERF203  # somebody has put something in its way since then
                _log.warning("%s can't be stored again: %s", ascii(path), error)
        if self._disk.syncs_all:
            self._disk.sync_all(self._tree.root_fd)

    def _redo_file(self, path: str, changes: list[Change], *, is_alone: bool) -> None:
        end = max(change.end for change in changes)
        seen: set[str | None] = set()
        for change in changes:
            with ExitStack() as stack:
                folders = Folders(self._tree)
                stack.callback(folders.close)
                file = LockedFile(self._disk, folders, Checksums(0), path)
                stack.callback(file.close)
                if change.stamp is None:
                    if is_alone and self._tree.notes_nuls:
                        file.pass_over_torn_end()
                    _redo_append(file, change, end, is_alone=is_alone)
                else:
                    self._redo_commit(folders, file, change, seen | {change.before})
                    seen |= {change.before, change.stamp.commit}
        if not self._disk.syncs_all:
            self._sync_file(path)

    def _redo_commit(self, folders: Folders, file: LockedFile, change: Change, earlier: set[str | None]) -> None:
        payload, stamp = change.payload, change.stamp
        if payload is None or stamp is None:
            return
        found = file.maybe_stamp() if file.exists else None
        is_own = found == stamp
        if is_own and _has(file, change):
            file.rewrite(payload, change.offset)
            _set_mtime(file, change)
        elif is_own or not file.exists or (found is not None and found.commit in earlier):
            self._place(folders, file, change)
        else:
            _log.info("%s is of a later writer", ascii(change.path))

    def _place(self, folders: Folders, file: LockedFile, change: Change) -> None:
        if change.payload is None or change.stamp is None:
            return
        fresh = FreshFile(self._disk, folders, file.folder, file.name)
        try:
            fresh.write(change.payload)
            fresh.dress(change.stamp, change.mtime_ns)
            fresh.publish(replaces=file.exists)
        finally:
            fresh.close()

    def _sync_file(self, path: str) -> None:
        """Make one file and all entries that lead to it durable."""
        folders, unsynced = Folders(self._tree), Unsynced()
        try:
            folder = folders.find(path.rpartition("/")[0])
            with suppress(FileNotFoundError):
                fd = self._disk.open_file(path.rpartition("/")[2], os.O_RDONLY, folder.fd)
                try:
                    self._disk.sync(fd)
                finally:
                    os.close(fd)
            for parent, identity in folder.news:
                unsynced.setdefault(parent, set()).add(identity)
            unsynced.setdefault(folder.path, set())
        finally:
            folders.close()
        for parent, settled in unsynced.items():
            self._tree.sync_folder(parent, settled)


def _redo_append(file: LockedFile, change: Change, end: int, *, is_alone: bool) -> None:
    """Make one append; `end` is the size of the file after all that the log has of it."""
    if change.offset > file.size or file.crc_at(change.offset) != change.crc_before:
        return
    if file.is_torn:
        _log.info("%s: torn behind %d bytes", ascii(change.path), file.size)
        file.cut(file.size)
    if not _has(file, change):
        there = file.size - change.offset
        if there and not _is_begun(file, change):
            if file.size > end or not is_alone:
                return
            _log.info("%s: torn behind %d bytes", ascii(change.path), change.offset)
            file.cut(change.offset)
            there = 0
        if change.payload is not None:
            file.append(change.payload[there:], change.crc)
            file.flush()
    elif change.payload:
        file.rewrite(change.payload, change.offset)
    _set_mtime(file, change)


def _is_begun(file: LockedFile, change: Change) -> bool:
    """Whether what the file holds behind the offset is the beginning of what the change brings."""
    there = file.size - change.offset
    return change.payload is not None and there <= change.length and file.equals(change.offset, change.payload[:there])


def _has(file: LockedFile, change: Change) -> bool:
    """Whether the file holds the very bytes of a change, and maybe more behind them."""
    return file.exists and file.size >= change.end and file.crc_at(change.end) == change.crc


def _set_mtime(file: LockedFile, change: Change) -> None:
    if change.mtime_ns is not None and change.payload is not None:
        file.set_mtime(change.mtime_ns)
