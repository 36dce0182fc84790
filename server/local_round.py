"""One round of a batch: files locked together, written, made durable together, then published.

The order is the guarantee: nothing is fsynced before all is written (so that fsyncs overlap), nothing is renamed before its
bytes are durable, nothing is answered before the entry is. Until `settle` a failure cuts off all that the round wrote.
"""

from __future__ import annotations

import errno
import hashlib
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial

from ..errors import BadPath, StoreFull
from ..layout import RECEIVER_DIR
from ..wire import Held, Item, Manifest, Outcome, Result
from .checksums import Checksums
from .locked_file import LockedFile, Raced
from .tree import Tree, Unsynced, remove_unlocked

STAGE_DIR = f"{RECEIVER_DIR}/stage"
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Task:
    """One item, its place in the batch, and its bytes."""

    index: int
    item: Item
    payload: memoryview


@dataclass(frozen=True, slots=True)
class _Commit:
    """A staged copy that is to take the place of `target`."""

    task: Task
    staged: LockedFile
    target: LockedFile


def outcome(item: Item, result: Result, held: Held | None = None, reason: str | None = None) -> Outcome:
    """Return the outcome of `item`."""
    return Outcome(item.path, item.op, result, item.offset, item.length, item.crc, held, reason)


def staged_path(path: str, source: str, upload: str) -> str:
    """Return where in the tree the copy of one version of a whole file is built.

    The name begins alike for all versions that one source sends of one path.
    """
    return f"{STAGE_DIR}/{_digest(path, source)}-{_digest(upload)}"


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]


@dataclass
class Round:
    """The state of one round; `outcomes` fills as it goes, by place in the batch."""

    tree: Tree
    checksums: Checksums
    pool: Executor
    manifest: Manifest
    min_free_bytes: int
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    _unsynced: Unsynced = field(default_factory=dict)
    _files: list[LockedFile] = field(default_factory=list)
    _commits: list[_Commit] = field(default_factory=list)

    def run(self, works: Iterable[list[Task]]) -> None:
        """Do the works, each all of one path and kind, sorted by path; afterwards `outcomes` has all of theirs."""
        try:
            for tasks in works:
                self._work(tasks)
            self.sync()
            self._publish()
        except BaseException:
            self._cut_back()
            raise
        finally:
            self.close()

    def _work(self, tasks: list[Task]) -> None:
        first = tasks[0].item
        try:
            if first.op == "append":
                self._append_all(self.lock(first.path), tasks)
            else:
                self._stage_all(tasks)
        except BadPath as error:
            for task in tasks:
                self.outcomes.setdefault(task.index, outcome(task.item, "rejected", reason=str(error)))

    # --- locks

    def lock(self, path: str, *, shared: bool = False, private: bool = False) -> LockedFile:
        """Open and lock one more file (see `LockedFile`); always in the order of the names."""
        file = LockedFile(self.tree, self.checksums, path, self._unsynced, shared=shared, private=private)
        self._files.append(file)
        return file

    def close(self) -> None:
        """Unlock all files."""
        for file in self._files:
            file.close()
        self._files.clear()

    # --- writing

    def _append_all(self, file: LockedFile, tasks: list[Task]) -> None:
        for task in tasks:
            self.outcomes[task.index] = self._append(file, task)

    def _append(self, file: LockedFile, task: Task) -> Outcome:
        item = task.item
        result, there = file.place(item, task.payload)
        if result == "stored":
            self._write(file, task.payload[there:], item)
            if item.mtime_ns is not None:
                file.set_mtime(item.mtime_ns)
        return outcome(item, result, file.held())

    def _write(self, file: LockedFile, data: memoryview, item: Item) -> None:
        free_bytes = self.tree.disk.free_bytes(self.tree.root_fd)
        if free_bytes - len(data) < self.min_free_bytes:
            raise StoreFull(f"{free_bytes} bytes free, the floor is {self.min_free_bytes}", path=item.path)
        file.append(data, item.crc)

    def _stage_all(self, tasks: list[Task]) -> None:
        last = tasks[-1]
        if last.item.op == "commit":
            target = self.lock(last.item.path)
            verdict = self._maybe_verdict(target, last.item) if target.exists else None
            if verdict is None:
                self._commit(self._stage_each(tasks), last, target)
                return
            self.outcomes[last.index] = verdict
            self._drop_staged(last.item)
            tasks = tasks[:-1]
        if tasks:
            self._stage_each(tasks)

    def _maybe_verdict(self, target: LockedFile, item: Item) -> Outcome | None:
        """Return the outcome where what stands at `target` decides it, None where it may be replaced."""
        if target.size == item.end and target.held().crc == item.crc:
            return outcome(item, "already", target.held())
        if item.replaces is not None and target.size == item.replaces.size and target.held() == item.replaces:
            return None
        if self.manifest.source and target.maybe_owner() == self.manifest.source:
            return None
        return outcome(item, "diverged", target.held())

    def _lock_staged(self, item: Item) -> LockedFile:
        return self.lock(staged_path(item.path, self.manifest.source, item.upload or ""), private=True)

    def _drop_staged(self, item: Item) -> None:
        self._lock_staged(item).remove()

    def _stage_each(self, tasks: list[Task]) -> LockedFile:
        staged = self._lock_staged(tasks[0].item)
        for task in tasks:
            self.outcomes[task.index] = self._stage(staged, task)
        return staged

    def _stage(self, staged: LockedFile, task: Task) -> Outcome:
        item = task.item
        result, there = staged.place(item, task.payload)
        if result == "diverged" or (result == "ahead" and item.op == "commit"):
            # Nobody but this sender writes this copy and nobody reads it: it is of bytes that the file no longer has.
            staged.start_again()
            result, there = ("behind", 0) if item.offset else ("stored", 0)
        if result == "stored":
            self._write(staged, task.payload[there:], item)
        return outcome(item, result, staged.held())

    def _commit(self, staged: LockedFile, task: Task, target: LockedFile) -> None:
        if self.outcomes[task.index].result not in ("stored", "already"):
            return
        try:
            target.make_folder()
        except BadPath as error:
            self.outcomes[task.index] = outcome(task.item, "rejected", reason=str(error))
            return
        staged.set_owner(self.manifest.source)
        if task.item.mtime_ns is not None:
            staged.set_mtime(task.item.mtime_ns)
        self.outcomes[task.index] = outcome(task.item, "stored", staged.held())
        self._commits.append(_Commit(task, staged, target))

    # --- making it last

    def sync(self) -> None:
        """Make all files and their entries durable; from here on nothing is cut back."""
        news = [file for file in self._files if file.needs_sync]
        for file in news:
            file.note_entry()
        self._do_all([file.sync for file in news])
        self._sync_folders()
        for file in self._files:
            if file.exists:
                file.settle()
                file.remember()

    def _sync_folders(self) -> None:
        self._do_all([partial(self.tree.sync_folder, path, settled) for path, settled in self._unsynced.items()])
        self._unsynced.clear()

    def _do_all(self, jobs: list[Callable[[], None]]) -> None:
        """Do the jobs side by side; all have ended when the first error, if any, is raised."""
        running = [self.pool.submit(job) for job in jobs]
        errors = [error for error in [future.exception() for future in running] if error is not None]
        if errors:
            raise errors[0]

    def _publish(self) -> None:
        for commit in self._commits:
            self._move(commit)
            self._unsynced.setdefault(commit.target.folder, set())
        self._sync_folders()
        for commit in self._commits:
            commit.staged.remember(commit.target.path)
            if commit.task.item.offset > 0:  # built of several parts: earlier versions may have been begun and left
                self._drop_earlier_versions(commit.staged)

    def _drop_earlier_versions(self, staged: LockedFile) -> None:
        prefix = staged.name.partition("-")[0] + "-"
        remove_unlocked(self.tree, STAGE_DIR, lambda name, _: name.startswith(prefix) and name != staged.name)

    def _move(self, commit: _Commit) -> None:
        staged, target = commit.staged, commit.target
        if target.exists:
            self._rename(staged, target)
            return
        try:
            # A link fails where another writer was quicker; a rename would silently take its place.
            self.tree.disk.link(staged.name, staged.folder_fd, target.name, target.folder_fd)
        except FileExistsError:
            raise Raced(f"{target.path[:200]!a} was made by another writer", path=target.path) from None
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            self._rename(staged, target)
        else:
            staged.remove()

    def _rename(self, staged: LockedFile, target: LockedFile) -> None:
        self.tree.disk.rename(staged.name, staged.folder_fd, target.name, target.folder_fd)

    def _cut_back(self) -> None:
        for file in self._files:
            if not file.try_cut_back():
                _log.error("%s: bytes that were not acknowledged can't be cut off", file.path)
