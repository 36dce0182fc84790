"""The embedded store: plain files in a data directory, the same tree that the spools have.

How a batch is applied. Its items are cut into rounds, so that one round holds one kind of work a file. A round opens and
locks its files in the order of their names (two batches can't wait for each other in a circle), writes all of them,
fsyncs all of them in a few threads, fsyncs the folders with new entries, and then moves committed copies into their
places. What a crash leaves: a prefix of an item's bytes at the end of a stream (the next try proves and completes it), or
a staged copy in ``.ml-logger/stage/`` (resumed by the next try). A whole file is never visible in part.

An fsync that failed can't be repeated: the kernel may have dropped the pages. So a round that fails cuts off all it wrote.
"""

from __future__ import annotations

import errno
import heapq
import os
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import BadPath, NotHeld, StoreError, StoreFull, UsageError
from ..layout import RECEIVER_DIR, check_path
from ..wire import Held, Item, Manifest, Outcome, crc32
from .checksums import Checksums
from .disk import Disk
from .local_round import STAGE_DIR, Round, Task, outcome
from .locked_file import Raced
from .store import Entry, Listing, Store, StoredFile
from .tree import Tree, fitting, remove_unlocked

STAGE_KEEP_S = 7 * 24 * 3600.0
"""How long an upload that was begun and left is kept for being resumed."""

TMP_DIR = f"{RECEIVER_DIR}/tmp"  # noqa: S108  # not the system's /tmp

_FILES_A_ROUND = 128  # bounds open descriptors; larger rounds do not fsync faster
_SYNC_THREADS = 8
_MOST_RACES = 20
_FULL = (errno.ENOSPC, errno.EDQUOT)


class LocalStore(Store):
    """Files below `data_dir`; raises `UsageError` if that can't be made or written.

    No append or staged byte is written that would leave less than `min_free_bytes` on the file system.
    """

    def __init__(self, data_dir: Path, *, min_free_bytes: int = 0, disk: Disk | None = None) -> None:
        self._tree = Tree(data_dir, disk or Disk())
        self._checksums = Checksums()
        self._pool = ThreadPoolExecutor(_SYNC_THREADS, "ml-logger-fsync")
        self._min_free_bytes = min_free_bytes
        try:
            for folder in (STAGE_DIR, TMP_DIR):
                os.close(self._tree.open_folder(folder, create=True))
            self._probe()
            self._sweep()
        except (OSError, BadPath) as error:
            self.close()
            raise UsageError(
                f"data directory {data_dir} can't be written: {error}", hint="check its permissions"
            ) from None

    def close(self) -> None:
        """Let go of the threads and the directory; call it when no method is running."""
        self._pool.shutdown()
        self._tree.close()

    # --- starting

    def _probe(self) -> None:
        """Write, so that a data directory that can't be written is noticed at the start."""
        folder_fd = self._tree.open_folder(TMP_DIR)
        try:
            name = f"probe-{os.getpid()}-{os.urandom(4).hex()}"
            os.close(self._tree.disk.open_file(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, folder_fd))
            self._tree.disk.unlink(name, folder_fd)
        finally:
            os.close(folder_fd)

    def _sweep(self) -> None:
        """Remove temporary files, and staged copies that nobody has gone on with for a week: younger ones are resumed."""
        oldest_s = time.time() - STAGE_KEEP_S
        remove_unlocked(self._tree, TMP_DIR, lambda _name, _mtime_s: True)
        remove_unlocked(self._tree, STAGE_DIR, lambda _name, mtime_s: mtime_s < oldest_s)

    # --- what is held

    def stat(self, paths: Sequence[str]) -> list[Held | None]:
        """See `Store.stat`."""
        found: dict[str, Held | None] = {}
        nobody = Manifest(source="", items=())
        with _translated():
            for some in _portions(sorted({path for path in paths if _is_storable(path)})):
                round_ = self._round(nobody)
                try:
                    found.update({path: _maybe_held(round_, path) for path in some})
                    round_.sync()
                finally:
                    round_.close()
        return [found.get(path) for path in paths]

    def _round(self, manifest: Manifest) -> Round:
        return Round(self._tree, self._checksums, self._pool, manifest, self._min_free_bytes)

    # --- batches

    def apply(self, manifest: Manifest, payloads: Sequence[bytes | memoryview]) -> list[Outcome]:
        """See `Store.apply`."""
        outcomes: dict[int, Outcome] = {}
        tasks = []
        for index, (item, payload) in enumerate(zip(manifest.items, payloads, strict=True)):
            refusal = _maybe_refusal(item, payload)
            if refusal is None:
                tasks.append(Task(index, item, memoryview(payload)))
            else:
                outcomes[index] = refusal
        with _translated():
            for works in _cut_into_rounds(tasks):
                for some in _portions(sorted(works)):
                    outcomes.update(self._run_round(manifest, [works[path] for path in some]))
        return [outcomes[index] for index in range(len(manifest.items))]

    def _run_round(self, manifest: Manifest, works: list[list[Task]]) -> dict[int, Outcome]:
        for _ in range(_MOST_RACES):
            round_ = self._round(manifest)
            with suppress(Raced):  # what was stored is found again as `already`
                round_.run(works)
                return round_.outcomes
        raise StoreError(f"{works[0][0].item.path[:200]!a}: other writers were quicker {_MOST_RACES} times")

    # --- reading back

    def open(self, path: str) -> StoredFile:
        """See `Store.open`."""
        folder, _, name = check_path(path).rpartition("/")
        with _translated(), _reading(path):
            folder_fd = self._tree.open_folder(folder)
            try:
                with fitting(path):
                    fd = self._tree.disk.open_file(name, os.O_RDONLY, folder_fd)
            finally:
                os.close(folder_fd)
            return _LocalFile(path, fd)

    def list(self, folder: str, *, after: str = "", limit: int = 1000) -> Listing:
        """See `Store.list`."""
        if folder:
            check_path(folder)
        with _translated(), _reading(folder):
            fd = self._tree.open_folder(folder)
            try:
                with os.scandir(fd) as found:
                    names = (e.name for e in found if e.name > after and _is_listed(e, folder))
                    page = heapq.nsmallest(limit + 1, names)
                entries = [entry for name in page[:limit] if (entry := _maybe_entry(name, fd)) is not None]
            finally:
                os.close(fd)
        return Listing(tuple(entries), page[limit - 1] if len(page) > limit else None)


class _LocalFile(StoredFile):
    def __init__(self, path: str, fd: int) -> None:
        self._fd = fd
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            os.close(fd)
            raise NotHeld(f"{path[:200]!a} is not a file", path=path)
        self.size = found.st_size
        self.mtime_ns = found.st_mtime_ns
        self.version = f"{found.st_ino:x}-{found.st_size:x}-{found.st_mtime_ns:x}-{found.st_ctime_ns:x}"

    def read(self, offset: int, length: int) -> bytes:
        with _translated():
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
        file = round_.lock(path, shared=True)
    except BadPath:
        return None
    return file.held() if file.exists else None


def _maybe_refusal(item: Item, payload: bytes | memoryview) -> Outcome | None:
    try:
        check_path(item.path)
    except BadPath as error:
        return outcome(item, "rejected", reason=str(error))
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


def _is_listed(entry: os.DirEntry[str], folder: str) -> bool:
    """Whether an entry is a plain file or a folder with a name that the wire can carry, and not the receiver's own."""
    is_plain = entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False)
    return is_plain and _is_storable(f"{folder}/{entry.name}" if folder else entry.name)


def _maybe_entry(name: str, folder_fd: int) -> Entry | None:
    try:
        found = os.stat(name, dir_fd=folder_fd, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(found.st_mode):
        return Entry(name, "dir", 0, found.st_mtime_ns)
    return Entry(name, "file", found.st_size, found.st_mtime_ns)


# --- errors


@contextmanager
def _translated() -> Iterator[None]:
    """Turn the errors of the operating system into those of the store."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StoreFull(f"the disk is full: {error.strerror}") from error
        raise StoreError(f"the disk failed: {error.strerror}") from error


@contextmanager
def _reading(path: str) -> Iterator[None]:
    """Whoever reads a path that has something in its way is told that it is not held."""
    try:
        yield
    except BadPath:
        raise NotHeld(f"{path[:200]!a} is not held", path=path) from None
