"""The embedded store: plain files in a data directory, the same tree that the spools have.

How a batch is applied. Its items are cut into rounds, so that one round holds one kind of work a file. A round locks its
paths, judges all items, writes one record to the redo log and waits until that is durable; then it changes the files. What
is large goes straight to its file, which is fsynced before the answer; all else becomes durable in the file some seconds
later, and only then leaves the log.

What a crash leaves: records in the log, which are redone at the start, before anything is answered; a staged copy in
``.ml-logger/stage/``, resumed by the next try. A whole file is never visible in part.

An fsync that failed can't be repeated: the kernel may have dropped the pages. So a round that fails cuts off all it wrote.
"""

from __future__ import annotations

import errno
import heapq
import logging
import math
import os
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

from ..errors import BadPath, NotHeld, StoreBusy, StoreError, StoreFull, UsageError
from ..layout import check_path
from ..wire import Held, Item, Manifest, Outcome, crc32
from .checksums import Checksums
from .clock import Clock
from .descent import sizes
from .disk import Disk
from .fresh_file import TMP_DIR, FreshFile
from .housekeeper import Housekeeper
from .inspection import Inspection
from .lanes import Lanes
from .local_round import PUT_MARK, STAGE_DIR, Round, Task, outcome, staged_path
from .locked_file import Raced
from .locks import PathLocks
from .nul_end import begin_notes
from .recovery import Recovery
from .redo_log import REDO_DIR, RedoLog
from .spelling import keep_apart
from .stamp import Stamp, try_stamp
from .store import Deleted, Entry, Finding, Listing, Store, StoredFile, Vitals
from .tombstones import Tombstones
from .trash import Trash
from .tree import Folders, Identity, Tree, fitting, remove_unlocked
from .turns import Turns
from .version_tag import version_of

STAGE_KEEP_S = 7 * 24 * 3600.0
"""How long an upload that was begun and left is kept for being resumed."""

PUT_KEEP_S = 3600.0
"""How long nothing may come of a file that is put; nobody can resume it, so it was cut when a receiver died."""

TRASH_KEEP_S = 7 * 24 * 3600.0
"""How long what was deleted stays in the trash."""

_SWEEP_S = 3600.0
_LOOK_S = 1.0
_FILES_A_ROUND = 128  # bounds open descriptors; larger rounds do not fsync faster
_MOST_RACES = 20
_log = logging.getLogger(__name__)
_FULL = (errno.ENOSPC, errno.EDQUOT)
_CROWDED = (errno.EMFILE, errno.ENFILE)


class LocalStore(Store):
    """Files below `data_dir`; raises `UsageError` if that can't be made or written, `StoreFull` without room for a start.

    Nothing is written that would leave less than `min_free_bytes` on the file system. What is acknowledged may be durable in
    the redo log alone for `settle_s`, while there is room in it. A run (what is in one folder at the top) has at most
    `most_a_run` requests under way and `most_reads_a_run` reads; once none of these has ended for `patience_s`, others raise
    `StoreBusy`. Unless it `keeps_house`, by a thread of its own, somebody has to call `keep_house` now and then.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        min_free_bytes: int = 0,
        settle_s: float = 5.0,
        most_a_run: int = 4,
        most_reads_a_run: int = 4,
        patience_s: float = 3.0,
        disk: Disk | None = None,
        keeps_house: bool = True,
        trash_keep_s: float = TRASH_KEEP_S,
        must_be: Identity | None = None,
    ) -> None:
        self._tree = Tree(data_dir, disk or Disk(), must_be)
        self.identity = self._tree.identity
        self._checksums = Checksums()
        self._min_free_bytes, self._settle_s = min_free_bytes, settle_s
        self._turns = Turns()
        self._lanes = Lanes(most_a_run, patience_s)
        self._read_lanes = Lanes(most_reads_a_run, patience_s)
        self._trash_keep_s = trash_keep_s
        self._swept_at = time.monotonic()
        self._emptied_at = -math.inf  # soon after the start: a receiver that is restarted often would never come to it
        self._house_works = (
            self._take_over,
            self._settle,
            self._finish_deletions,
            self._empty_trash,
            self._sweep_stage,
        )
        self._housekeeper = Housekeeper(self._house_works, _LOOK_S) if keeps_house else None
        self._locks: PathLocks | None = None
        self._tombstones: Tombstones | None = None
        self._redo_log: RedoLog | None = None
        try:
            self._start()
        except (OSError, BadPath, StoreError) as error:
            self.close()
            if isinstance(error, OSError) and error.errno in _FULL:
                raise StoreFull(f"data directory {data_dir} has no room for what a start writes") from None
            raise UsageError(
                f"data directory {data_dir} can't be written: {error}", hint="check its permissions"
            ) from None

    def close(self) -> None:
        """Make everything durable in the files and let go of them; call it when no method is running."""
        if self._housekeeper is not None:
            self._housekeeper.stop()
        if self._redo_log is not None:
            with _logged_errors():
                self._redo_log.close(self._recovery.redo)
        if self._tombstones is not None:
            self._tombstones.close()
        if self._locks is not None:
            self._locks.close()
        self._tree.close()

    # --- starting

    def _start(self) -> None:
        # Its log is made last: whoever died before that has stored nothing, and is begun again.
        is_new = not os.access(REDO_DIR, os.F_OK, dir_fd=self._tree.root_fd)
        for folder in (STAGE_DIR, TMP_DIR):
            os.close(self._tree.open_folder(folder, create=True))
        self._probe(is_new=is_new)
        self._locks = PathLocks(self._tree)
        clock = Clock()
        self._tombstones = Tombstones(self._tree, clock)
        self._trash = Trash(self._tree, self._locks, self._tombstones)
        self._recovery = Recovery(self._tree, self._locks, self._tombstones)
        self._redo_log = RedoLog(self._tree, clock, wake=self._housekeeper.wake if self._housekeeper else _nothing)
        # What is in the trash already must not be redone; what is on its way there must, or it would be restored without that.
        self._trash.finish(only_moved=True)
        self._redo_log.open(self._recovery.redo)
        self._trash.finish()
        if self._housekeeper is not None and self._trash.ids():
            self._housekeeper.wake()
        remove_unlocked(self._tree, TMP_DIR, lambda _name, _mtime_s: True)
        self._sweep()

    def _probe(self, *, is_new: bool) -> None:
        """Write, so that a data directory that can't be written is noticed at the start; look what the file system can."""
        folder_fd = self._tree.open_folder(TMP_DIR)
        try:
            name = f"probe-{os.getpid()}-{os.urandom(4).hex()}"
            fd = self._tree.disk.open_file(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, folder_fd)
            self._tree.has_attributes = try_stamp(fd, Stamp("probe", ""))
            os.close(fd)
            self._tree.is_case_blind = self._is_there(name.upper(), folder_fd)
            with suppress(FileNotFoundError):  # swept by another receiver or worker that starts at this moment
                self._tree.disk.unlink(name, folder_fd)
            self._tree.notes_nuls = begin_notes(folder_fd, is_new=is_new)
            if is_new:
                self._tree.disk.sync(folder_fd)
        finally:
            os.close(folder_fd)

    def _is_there(self, name: str, folder_fd: int) -> bool:
        try:
            os.close(self._tree.disk.open_file(name, os.O_RDONLY, folder_fd))
        except FileNotFoundError:
            return False
        return True

    # --- keeping house

    def keep_house(self) -> None:
        """Do what is due: settle what is old in the redo log, redo and finish what dead receivers left, sweep what is old."""
        for work in self._house_works:
            work()

    def _take_over(self) -> None:
        if self._redo_log is not None:
            with _logged_errors():
                self._trash.finish(only_moved=True)
                self._redo_log.adopt(self._recovery.redo)

    def _settle(self) -> None:
        if self._redo_log is not None:
            with _logged_errors():
                self._redo_log.settle(self._recovery.redo, older_than_s=self._settle_s)

    def _finish_deletions(self) -> None:
        if self._redo_log is not None:
            with _logged_errors():
                self._trash.finish()

    def _empty_trash(self) -> None:
        if self._redo_log is not None and time.monotonic() - self._emptied_at >= min(_SWEEP_S, self._trash_keep_s / 10):
            with _logged_errors():
                self._emptied_at = time.monotonic()
                self._trash.empty(self._trash.old_ids(self._trash_keep_s))

    def _sweep_stage(self) -> None:
        if self._redo_log is not None and time.monotonic() - self._swept_at >= _SWEEP_S:
            with _logged_errors():
                self._swept_at = time.monotonic()
                self._sweep()

    def _sweep(self) -> None:
        """Remove staged copies that nobody has gone on with for a week: younger ones are resumed, but for those of a PUT."""
        now_s = time.time()
        remove_unlocked(
            self._tree,
            STAGE_DIR,
            lambda name, mtime_s: now_s - mtime_s > (PUT_KEEP_S if name.startswith(PUT_MARK) else STAGE_KEEP_S),
        )

    # --- what is held

    def stat(self, paths: Sequence[str]) -> list[Held | None]:
        """See `Store.stat`."""
        found: dict[str, Held | None] = {}
        nobody = Manifest(source="", items=())
        stones = self._fresh_tombstones()
        asked = sorted({path for path in paths if _is_storable(path) and stones.maybe_covering(path) is None})
        with _translated(), self._lanes.enter(asked):
            for some in _portions(asked):
                with self._round(nobody, some, shared=True) as round_:
                    found.update({path: _maybe_held(round_, path) for path in some})
                    round_.sync()
                    round_.remember()
        return [found.get(path) for path in paths]

    def _fresh_tombstones(self) -> Tombstones:
        if self._tombstones is None:
            raise StoreError("the store is not open")
        with _translated():
            self._tombstones.refresh()
        return self._tombstones

    @contextmanager
    def _round(self, manifest: Manifest, paths: Iterable[str], *, shared: bool = False) -> Iterator[Round]:
        """A round whose paths are locked within the block."""
        if self._locks is None or self._redo_log is None:
            raise StoreError("the store is not open")
        with self._locks.hold(paths, shared=shared):
            round_ = Round(self._tree, self._checksums, self._redo_log, self._turns, manifest, self._min_free_bytes)
            try:
                yield round_
            finally:
                round_.close()

    # --- batches

    def apply(self, manifest: Manifest, payloads: Sequence[bytes | memoryview]) -> list[Outcome]:
        """See `Store.apply`."""
        outcomes: dict[int, Outcome] = {}
        tasks = []
        stones = (
            self._fresh_tombstones()
        )  # before any lock: who deletes a folder need not wait for those who come later
        with self._turns.take():
            for index, (item, payload) in enumerate(zip(manifest.items, payloads, strict=True)):
                refusal = _maybe_refusal(item, payload, stones)
                if refusal is None:
                    tasks.append(Task(index, item, memoryview(payload)))
                else:
                    outcomes[index] = refusal
        with _translated(), self._lanes.enter(task.item.path for task in tasks):
            for works in _cut_into_rounds(tasks):
                for some in self._portions(works):
                    outcomes.update(self._run_round(manifest, {path: works[path] for path in some}))
        return [outcomes[index] for index in range(len(manifest.items))]

    def _portions(self, works: Iterable[str]) -> Iterator[Sequence[str]]:
        for paths in keep_apart(sorted(works)) if self._tree.is_case_blind else [sorted(works)]:
            yield from _portions(paths)

    def _run_round(self, manifest: Manifest, works: dict[str, list[Task]]) -> dict[int, Outcome]:
        refused: dict[int, Outcome] = {}
        for _ in range(_MOST_RACES + len(works)):
            try:
                with self._round(manifest, works) as round_:
                    refused.update(self._take_out_gone(works))
                    round_.run(works.values())
                    return {**refused, **round_.outcomes}
            except (Raced, NotHeld):  # noqa: PERF203  # what was stored is found again as `already`
                continue
            except BadPath as error:  # the file system took the name until it was to be made
                if error.path not in works:
                    raise
                tasks = works.pop(error.path)
                refused.update({t.index: outcome(t.item, "rejected", reason=str(error)) for t in tasks})
        raise StoreError("other programs were quicker again and again", hint="who else writes to the data directory?")

    def _take_out_gone(self, works: dict[str, list[Task]]) -> dict[int, Outcome]:
        """Take out what was deleted before its path was locked; the outcomes say so."""
        stones = self._fresh_tombstones()
        gone = [path for path in works if stones.maybe_covering(path) is not None]
        return {task.index: _gone(task.item) for path in gone for task in works.pop(path)}

    # --- deleting

    def delete(self, path: str, by: str, *, version: str | None = None) -> Deleted:
        """See `Store.delete`."""
        check_path(path)
        with _translated(), self._lanes.enter([path]):
            stone = self._trash.take(path, by, version)
        if self._housekeeper is not None:
            self._housekeeper.wake()
        return Deleted(stone.id, stone.files, stone.size_bytes)

    # --- how it is

    def probe(self) -> None:
        """See `Store.probe`."""
        with _translated():
            free_bytes = self.free_bytes()
            if free_bytes < self._min_free_bytes:
                raise StoreFull(f"{free_bytes} bytes free, the floor is {self._min_free_bytes}")
            folders = Folders(self._tree)
            try:
                fresh = FreshFile(self._tree.disk, folders, folders.find(TMP_DIR), "probe")
                try:
                    fresh.write(memoryview(b"?"))
                finally:
                    fresh.close()
            finally:
                folders.close()

    def free_bytes(self) -> int:
        """See `Store.free_bytes`."""
        with _translated():
            return self._tree.disk.free_bytes(self._tree.root_fd)

    def vitals(self) -> Vitals:
        """See `Store.vitals`."""
        unsettled_bytes = 0 if self._redo_log is None else self._redo_log.unsettled_bytes
        failures = 0 if self._housekeeper is None else self._housekeeper.failures
        return Vitals(self._tree.disk.waits.count, unsettled_bytes, failures)

    # --- reading back

    def open(self, path: str) -> StoredFile:
        """See `Store.open`."""
        folder, _, name = check_path(path).rpartition("/")
        self._fresh_tombstones().require_there(path)
        with _translated(), self._read_lanes.enter([path]), _reading(path):
            folder_fd = self._tree.open_folder(folder)
            try:
                with fitting(path):
                    fd = self._tree.open_file(path, name, os.O_RDONLY, folder_fd)
            finally:
                os.close(folder_fd)
            return _LocalFile(path, fd, self._read_lanes)

    def list(self, folder: str, *, after: str = "", limit: int = 1000) -> Listing:
        """See `Store.list`."""
        if folder:
            check_path(folder)
        stones = self._fresh_tombstones()
        stones.require_there(folder)
        with _translated(), self._read_lanes.enter([folder]), _reading(folder):
            fd = self._tree.open_folder(folder)
            try:
                page = list(islice(_entries_past(after, folder, fd, stones), limit + 1))
            finally:
                os.close(fd)
        return Listing(tuple(page[:limit]), page[limit - 1].name if len(page) > limit else None)

    def check(self, *, repair: bool = False) -> Iterator[Finding]:
        """See `Store.check`."""
        with _translated():
            yield from Inspection(self._tree, repair=repair, upload_keep_s=STAGE_KEEP_S).findings()

    def usage(self, folder: str) -> int:
        """See `Store.usage`."""
        check_path(folder)
        with _translated():
            # before the tree: what is restored meanwhile is counted twice, not never
            trashed_bytes = self._trash.size_bytes(folder)
            try:
                fd = self._tree.open_folder(folder)
            except (BadPath, NotHeld):
                return trashed_bytes
            try:
                return trashed_bytes + sum(sizes(self._tree.disk, fd))
            finally:
                os.close(fd)

    def staged_bytes(self, path: str, source: str, upload: str) -> int:
        """See `Store.staged_bytes`."""
        with _translated():
            folder, _, name = staged_path(path, source, upload).rpartition("/")
            folder_fd = self._tree.open_folder(folder)
            try:
                return _size(name, folder_fd)
            finally:
                os.close(folder_fd)

    def drop_staged(self, path: str, source: str, upload: str) -> None:
        """See `Store.drop_staged`."""
        if self._locks is None:
            raise StoreError("the store is not open")
        folder, _, name = staged_path(path, source, upload).rpartition("/")
        with _translated(), self._lanes.enter([path]), self._locks.hold([path]):
            folder_fd = self._tree.open_folder(folder)
            try:
                with suppress(FileNotFoundError):
                    self._tree.disk.unlink(name, folder_fd)
            finally:
                os.close(folder_fd)


class _LocalFile(StoredFile):
    def __init__(self, path: str, fd: int, lanes: Lanes) -> None:
        self._path, self._fd, self._lanes = path, fd, lanes
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            os.close(fd)
            raise NotHeld(f"{path[:200]!a} is not a file", path=path)
        self.size = found.st_size
        self.mtime_ns = found.st_mtime_ns
        self.version = version_of(found)

    def read(self, offset: int, length: int) -> bytes:
        with _translated(), self._lanes.enter([self._path]):
            return os.pread(self._fd, length, offset)

    def close(self) -> None:
        os.close(self._fd)


# --- values


def _is_storable(path: str) -> bool:
    try:
        check_path(path)
    except BadPath:
        return False
    return True


def _maybe_held(round_: Round, path: str) -> Held | None:
    try:
        file = round_.open(path, shared=True)
    except BadPath:
        return None
    if round_.tree.notes_nuls:
        file.pass_over_torn_end()
    return file.maybe_vouched()


def _gone(item: Item) -> Outcome:
    return outcome(item, "rejected", reason="it was deleted on the receiver")._replace(is_gone=True)


def _maybe_refusal(item: Item, payload: bytes | memoryview, stones: Tombstones) -> Outcome | None:
    try:
        check_path(item.path)
    except BadPath as error:
        return outcome(item, "rejected", reason=str(error))
    if stones.maybe_covering(item.path) is not None:
        return _gone(item)
    if item.op != "append" and item.offset == 0 and item.crc_before != 0:
        return outcome(item, "rejected", reason="crc_before of no bytes must be 0")
    if len(payload) != item.length or crc32(payload, item.crc_before) != item.crc:
        return outcome(item, "rejected", reason="payload corrupt: its bytes do not have the CRC that was promised")
    return None


def _cut_into_rounds(tasks: Iterable[Task]) -> list[dict[str, list[Task]]]:
    """Return the tasks by round and path: within a round all of a path go to one stream, or one upload up to its commit."""
    rounds: list[dict[str, list[Task]]] = []
    at: dict[str, int] = {}
    for task in tasks:
        path = task.item.path
        number = at.get(path, 0)
        while number < len(rounds) and not _continues(rounds[number].get(path), task.item):
            number += 1
        if number == len(rounds):
            rounds.append({})
        rounds[number].setdefault(path, []).append(task)
        at[path] = number
    return rounds


def _continues(earlier: list[Task] | None, item: Item) -> bool:
    if earlier is None:
        return True
    last = earlier[-1].item
    return last.op != "commit" and (last.op == "append") == (item.op == "append") and last.upload == item.upload


def _portions(paths: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(paths), _FILES_A_ROUND):
        yield paths[start : start + _FILES_A_ROUND]


def _entries_past(after: str, folder: str, folder_fd: int, stones: Tombstones) -> Iterator[Entry]:
    """Yield the plain files and folders with names past `after`, in their order; only what is taken is looked at.

    Left out are names that the wire can't carry, the receiver's own, and those that are deleted.
    """
    with os.scandir(folder_fd) as found:
        names = [entry.name for entry in found if entry.name > after]
    heapq.heapify(names)
    while names:
        name = heapq.heappop(names)
        path = f"{folder}/{name}" if folder else name
        if _is_storable(path) and stones.maybe_covering(path) is None:
            entry = _maybe_entry(name, folder_fd)
            if entry is not None:
                yield entry


def _size(name: str, folder_fd: int) -> int:
    """Return the size of a plain file, 0 of what is none or has gone."""
    try:
        found = os.stat(name, dir_fd=folder_fd, follow_symlinks=False)
    except FileNotFoundError:
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


def _maybe_entry(name: str, folder_fd: int) -> Entry | None:
    try:
        found = os.stat(name, dir_fd=folder_fd, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(found.st_mode):
        return Entry(name, "dir", 0, found.st_mtime_ns)
    return Entry(name, "file", found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None


# --- errors


def _nothing() -> None:
    """Wake nobody."""


@contextmanager
def _logged_errors() -> Iterator[None]:
    """Where nobody waits for an answer, what the disk says is logged; the redo log keeps what is not durable yet."""
    try:
        yield
    except (OSError, StoreError) as error:
        _log.error("keeping house: %s", error)


@contextmanager
def _translated() -> Iterator[None]:
    """Turn the errors of the operating system into those of the store."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StoreFull(f"the disk is full: {error.strerror}") from error
        if error.errno in _CROWDED:
            raise StoreBusy(f"no more files can be opened just now: {error.strerror}") from error
        raise StoreError(f"the disk failed: {error.strerror}") from error


@contextmanager
def _reading(path: str) -> Iterator[None]:
    """Whoever reads a path that has something in its way is told that it is not held."""
    try:
        yield
    except BadPath:
        raise NotHeld(f"{path[:200]!a} is not held", path=path) from None
