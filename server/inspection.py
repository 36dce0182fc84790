"""Looking over a data directory: what a crash, a person or a failing disk left in it, and mending what is safe to mend.

It goes beside running receivers: nothing is judged or changed that somebody has locked, and what looks torn is looked at again
with its path locked. Mended is only what nobody was told of, or what the receiver itself would mend at its next start:

- a redo log that a dead receiver left is redone;
- own temporary files are removed, and uploads that nobody has gone on with for as long as they are kept;
- NULs behind a stream's last acknowledged byte are cut off (`nul_end`).

All else is told and left: it may be bytes that were acknowledged. A crash in the middle of mending leaves what there was.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import BadPath, NotHeld, UsageError
from ..layout import RECEIVER_DIR, STREAM_PATTERNS, check_path, is_line_stream, matches_any
from .checksums import Checksums
from .clock import Clock
from .disk import Disk
from .fresh_file import TMP_DIR
from .local_round import STAGE_DIR
from .locked_file import LockedFile
from .locks import PathLocks
from .nul_end import begin_notes, torn_from
from .recovery import Recovery
from .redo_log import RedoLog, abandoned_records
from .redo_record import Change
from .stamp import is_stamp_torn, maybe_stamp
from .store import Finding
from .tombstones import Tombstones
from .trash import Trash
from .tree import Folders, Tree

STALE_S = 3600.0
"""An upload that nobody has gone on with for so long is told of: agents try again far more often."""

_NEWBORN_S = 60.0  # a temporary file is made a moment before it is locked
_TEMPORARY = re.compile(r"\..+\.tmp-[0-9a-f]{16}\Z", re.DOTALL)

Tell = Callable[[], object]
"""Is called once for each file that was looked at."""


def inspect_directory(data_dir: Path, *, repair: bool, upload_keep_s: float, tell: Tell) -> Iterator[Finding]:
    """Yield what is found in a data directory that need not be served; raises `UsageError` if it is none."""
    if not (data_dir / RECEIVER_DIR).is_dir():
        raise UsageError(f"{data_dir} is no data directory of a receiver", hint=f"it has no {RECEIVER_DIR}/ in it")
    tree = Tree(data_dir, Disk())
    try:
        yield from Inspection(tree, repair=repair, upload_keep_s=upload_keep_s, tell=tell).findings()
    except (OSError, BadPath) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(
            f"the receiver's own files in {data_dir} can't be used: {reason}", hint="run it as the receiver's user"
        ) from None
    finally:
        tree.close()


class Inspection:
    """One look over a tree, mending if it is to `repair`; uploads are kept for `upload_keep_s`. Raises `OSError`."""

    def __init__(self, tree: Tree, *, repair: bool, upload_keep_s: float, tell: Tell = lambda: None) -> None:
        self._tree, self._disk, self._clock = tree, tree.disk, Clock()
        self._repair, self._upload_keep_s, self._tell = repair, upload_keep_s, tell

    def findings(self) -> Iterator[Finding]:
        """Yield what is found: the receiver's own files first, then the tree, folder by folder."""
        self._tree.inherits_owner = self._repair
        self._locks, self._tombstones = PathLocks(self._tree), Tombstones(self._tree, self._clock)
        try:
            self._notes_nuls = self._keeps_notes()
            yield from self._redo_log()
            yield from self._temporary()
            yield from self._staged()
            yield from self._walk()
        finally:
            self._tombstones.close()
            self._locks.close()

    def _keeps_notes(self) -> bool:
        with suppress(NotHeld):
            fd = self._tree.open_folder(TMP_DIR)
            try:
                return begin_notes(fd, is_new=False)
            finally:
                os.close(fd)
        return False

    # --- the redo log

    def _redo_log(self) -> Iterator[Finding]:
        """Tell of the segments that nobody has redone, and of the files that lack what they speak of."""
        abandoned = abandoned_records(self._tree)
        if self._repair and abandoned:
            self._redo()
        for name, records in abandoned.items():
            told = f"{len(records)} changes that no receiver has redone"
            yield Finding("redo", f"{RECEIVER_DIR}/redo/{name}", told, is_mended=self._repair)
        in_order = sorted(
            (record for records in abandoned.values() for record in records), key=lambda record: record[0]
        )
        last = {change.path: change for _, change in in_order if change.payload is not None}
        for path, change in sorted(last.items()):
            if self._tombstones.is_over(path, change.written_ns):
                continue  # deleted since
            lack = self._maybe_lack(change)
            if lack is not None:
                yield Finding("crc", path, lack)

    def _redo(self) -> None:
        recovery = Recovery(self._tree, self._locks, self._tombstones)
        Trash(self._tree, self._locks, self._tombstones).finish(only_moved=True)  # what is there must not be redone
        self._tree.notes_nuls = self._notes_nuls
        log = RedoLog(self._tree, self._clock)
        try:
            log.open(recovery.redo)
        finally:
            log.close(recovery.redo)

    def _maybe_lack(self, change: Change) -> str | None:
        """Return in which way a file is not what the log's last word of it says, None if it is."""
        with self._opened(change.path, shared=True) as file:
            if file is None or not file.exists:
                return f"{change.end} bytes were acknowledged, nothing is held"
            if change.stamp is not None and file.maybe_stamp() != change.stamp:
                return None  # a later commit has its place
            if file.size < change.end:
                return f"{change.end} bytes were acknowledged, {file.size} are held"
            is_same = file.crc_at(change.end) == change.crc
        return None if is_same else f"its first {change.end} bytes are not those that were acknowledged"

    @contextmanager
    def _opened(self, path: str, *, shared: bool) -> Iterator[LockedFile | None]:
        """Give the file at a path that is locked meanwhile, None if no plain file can be there."""
        folders = Folders(self._tree)
        with self._locks.hold([path], shared=shared):
            try:
                file = LockedFile(self._disk, folders, Checksums(0), path, shared=shared)
            except (BadPath, NotHeld):
                yield None
            else:
                try:
                    yield file
                finally:
                    file.close()
            finally:
                folders.close()

    # --- own files

    def _temporary(self) -> list[Finding]:
        found = []
        for name, state, fd in self._unlocked(TMP_DIR):
            if _age_s(state) > _NEWBORN_S:
                told = f"{state.st_size} bytes that were never a file, {_age(state)} old"
                found.append(Finding("temporary", f"{TMP_DIR}/{name}", told, self._maybe_remove(name, TMP_DIR, fd)))
        return found

    def _staged(self) -> list[Finding]:
        found = []
        for name, state, fd in self._unlocked(STAGE_DIR):
            is_published, age_s = state.st_nlink > 1, _age_s(state)
            if is_published or age_s > STALE_S:
                told = f"{state.st_size} bytes of an upload, untouched for {_age(state)}"
                is_done_with = is_published or age_s > self._upload_keep_s
                is_mended = is_done_with and self._maybe_remove(name, STAGE_DIR, fd)
                found.append(Finding("staged", f"{STAGE_DIR}/{name}", told, is_mended))
        return found

    def _unlocked(self, folder: str) -> Iterator[tuple[str, os.stat_result, int]]:
        """Yield the plain files of a folder of our own that nobody uses, each locked until the next."""
        try:
            folder_fd = self._tree.open_folder(folder)
        except NotHeld:
            return
        try:
            for name in sorted(os.listdir(folder_fd)):  # noqa: PTH208  # a descriptor, which pathlib can't list
                self._tell()
                with suppress(OSError):  # taken by a receiver, or gone
                    fd = self._disk.open_file(name, os.O_RDONLY, folder_fd)
                    try:
                        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        yield name, os.fstat(fd), fd
                    finally:
                        os.close(fd)
        finally:
            os.close(folder_fd)

    def _maybe_remove(self, name: str, folder: str, fd: int) -> bool:
        """Remove a file that is locked by `fd`; whether that was wanted and done."""
        if not self._repair:
            return False
        folder_fd = self._tree.open_folder(folder)
        try:
            if not os.path.samestat(os.stat(name, dir_fd=folder_fd, follow_symlinks=False), os.fstat(fd)):
                return False
            self._disk.unlink(name, folder_fd)
        except OSError:
            return False
        finally:
            os.close(folder_fd)
        return True

    # --- the tree

    def _walk(self) -> Iterator[Finding]:
        to_do = [""]
        while to_do:
            folder = to_do.pop()
            try:
                folder_fd = self._tree.open_folder(folder)
            except NotHeld:
                continue
            except (BadPath, OSError) as error:
                yield Finding("unreadable", folder, str(error))
                continue
            try:
                yield from self._look_over(folder, folder_fd, to_do)
            except OSError as error:
                yield Finding("unreadable", folder, f"the disk failed: {error.strerror}")
            finally:
                os.close(folder_fd)

    def _look_over(self, folder: str, folder_fd: int, to_do: list[str]) -> Iterator[Finding]:
        with os.scandir(folder_fd) as found:
            entries = sorted(found, key=lambda entry: entry.name)
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            if path == RECEIVER_DIR:
                continue
            finding = _maybe_misfit(path, entry)
            if finding is not None:
                yield finding
            elif entry.is_dir(follow_symlinks=False):
                to_do.append(path)
            else:
                self._tell()
                yield from self._look_at(path, folder_fd)

    def _look_at(self, path: str, folder_fd: int) -> Iterator[Finding]:
        try:
            fd = self._disk.open_file(path.rpartition("/")[2], os.O_RDONLY, folder_fd)
        except FileNotFoundError:  # gone, or replaced, since it was listed
            return
        except OSError as error:
            yield Finding("unreadable", path, f"it can't be opened: {error.strerror}")
            return
        try:
            yield from self._judge(path, fd)
        except OSError as error:
            yield Finding("unreadable", path, f"it can't be read: {error.strerror}")
        finally:
            os.close(fd)

    def _judge(self, path: str, fd: int) -> Iterator[Finding]:
        size = os.fstat(fd).st_size
        if size and not os.pread(fd, 1, size - 1):
            return  # shortened meanwhile: it is in use
        if _TEMPORARY.match(path.rpartition("/")[2]):
            yield Finding("temporary", path, f"{size} bytes under the name of a file that is being written")
        if is_stamp_torn(fd):
            yield Finding("stamp", path, "what says who committed it is damaged")
        if size and matches_any(path, STREAM_PATTERNS) and maybe_stamp(fd) is None:
            last = os.pread(fd, 1, size - 1)
            is_suspect = last == b"\0" or (is_line_stream(path) and last != b"\n")
            torn = self._maybe_torn(path) if is_suspect else None
            if torn is not None:
                yield torn

    def _maybe_torn(self, path: str) -> Finding | None:
        """Look again with the path locked, since a batch may have been half written; cut off what nobody was told of."""
        with self._opened(path, shared=not self._repair) as file:
            if file is None or not file.exists or not file.size:
                return None
            end = torn_from(file.fd, file.size) if self._notes_nuls else file.size
            if end < file.size:
                told = f"{file.size - end} NULs behind byte {end}, of which nobody was told"
                if self._repair:
                    file.cut(end)
                    file.sync(is_all_news=False)
                return Finding("nul-tail", path, told, is_mended=self._repair)
            if is_line_stream(path) and os.pread(file.fd, 1, file.size - 1) != b"\n":
                return Finding("torn-line", path, f"its last line, of {file.size} bytes in all, has no end")
        return None


def _maybe_misfit(path: str, entry: os.DirEntry[str]) -> Finding | None:
    """Return what is wrong with an entry that no receiver would have made, None for a plain file or folder."""
    if entry.is_symlink():
        return Finding("link", path, "a symbolic link, which is never followed or shown")
    is_folder = entry.is_dir(follow_symlinks=False)
    if not is_folder and not entry.is_file(follow_symlinks=False):
        return Finding("special", path, "neither a file nor a folder")
    try:
        check_path(path)
    except BadPath as error:
        below = ", nor what is below it" if is_folder else ""
        return Finding("name", path, f"not shown to anybody{below}: {error}")
    return None


def _age_s(found: os.stat_result) -> float:
    return max(0.0, time.time() - found.st_mtime)


def _age(found: os.stat_result) -> str:
    hours = _age_s(found) / 3600
    return f"{hours / 24:.1f} days" if hours >= 48 else f"{hours:.1f} hours"
