"""One round of a batch: files locked and judged together, logged, written, made durable together, then published.

The order is the guarantee. Nothing is written before the redo log has it, or the intent of it; nothing that the log does not
have in full is answered, or gets its name, before its bytes are fsynced, and none of these is fsynced before all are written
(so that fsyncs overlap). Until a file is settled a failure cuts off what the round wrote to it. A whole file that got its
name stays, since what it replaced is gone: it is logged once more, alone, before the round's own record is taken back.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial

from ..errors import BadPath, StoreError, StoreFull
from ..layout import RECEIVER_DIR
from ..wire import Held, Item, Manifest, Outcome, Result
from .checksums import Checksums, Signature
from .fresh_file import NO_LINKS, FreshFile
from .locked_file import LockedFile, Raced
from .redo_log import RedoLog, Ticket
from .redo_record import Change
from .stamp import Stamp, Stamps
from .store import PUT_SOURCE
from .tree import Folder, Folders, Tree, Unsynced, fitting, remove_unlocked
from .turns import Turns

STAGE_DIR = f"{RECEIVER_DIR}/stage"
PUT_MARK = "put."
MAX_LOGGED_BYTES = 256 << 10
"""More than this in one item is written straight to its file: writing it twice costs more than its own fsync."""

MIN_FREE_FILES = 1000
"""So many inodes are left free: the receiver's own files, and streams that go on in a next one, need some."""

_SYNC_THREADS = 8
_PROVEN: tuple[Result, ...] = ("stored", "already", "ahead")  # outcomes of an append whose stream this is

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Task:
    """One item, its place in the batch, and its bytes."""

    index: int
    item: Item
    payload: memoryview


@dataclass(slots=True)
class _Append:
    """A stream that is written to, by these tasks; `is_logged` once the redo log has all of the bytes."""

    file: LockedFile
    tasks: list[Task]
    ends_in_nul: bool
    is_logged: bool = False


@dataclass(slots=True)
class _Fresh:
    """A whole file that came in one item; `before` is the commit of what it replaces."""

    task: Task
    target: LockedFile
    folder: Folder
    stamp: Stamp
    before: str | None
    is_logged: bool = False
    file: FreshFile | None = None
    signature: Signature | None = None


@dataclass(frozen=True, slots=True)
class _Commit:
    """A staged copy that is to take the place of `target`."""

    task: Task
    staged: LockedFile
    target: LockedFile
    stamp: Stamp


def outcome(item: Item, result: Result, held: Held | None = None, reason: str | None = None) -> Outcome:
    """Return the outcome of `item`."""
    return Outcome(item.path, item.op, result, item.offset, item.length, item.crc, held, reason)


def staged_path(path: str, source: str, upload: str) -> str:
    """Return where in the tree the copy of one version of a whole file is built.

    The name begins alike for all versions that one source sends of one path; one that a PUT sends can be told by its mark.
    """
    mark = PUT_MARK if source.startswith(PUT_SOURCE) else ""
    return f"{STAGE_DIR}/{mark}{_digest(path, source)}-{_digest(upload)}"


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]


@dataclass
class Round:
    """The state of one round, whose paths are locked; `outcomes` fills as it goes, by place in the batch."""

    tree: Tree
    checksums: Checksums
    redo_log: RedoLog
    turns: Turns
    manifest: Manifest
    min_free_bytes: int
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    _planned_bytes: int = 0
    _new_files: int = 0
    _free_bytes: int | None = None
    _ticket: Ticket | None = None
    _files: list[LockedFile] = field(default_factory=list)
    _intents: list[Change] = field(default_factory=list)
    _appends: list[_Append] = field(default_factory=list)
    _fresh: list[_Fresh] = field(default_factory=list)
    _commits: list[_Commit] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._folders = Folders(self.tree)
        self._stamps = Stamps(self.manifest.source)

    def run(self, works: Iterable[list[Task]]) -> None:
        """Do the works, each all of one path and kind; afterwards `outcomes` has all of theirs."""
        try:
            with self.turns.take():
                for tasks in works:
                    self._judge(tasks)
            self._write_log()
            with self.turns.take() if self._is_all_logged() else nullcontext():
                self._write()
            self.sync()
            self._publish()
            self._finish()
        except BaseException as error:
            self._cut_back()
            if isinstance(error, Exception):
                self._take_back_record()
            raise
        finally:
            self.close()

    def _judge(self, tasks: list[Task]) -> None:
        first, last = tasks[0].item, tasks[-1].item
        try:
            if first.op == "append":
                self._judge_appends(self.open(first.path), tasks)
            elif last.op == "commit":
                self._judge_commit(tasks)
            else:
                self._stage_each(tasks)
        except BadPath as error:
            for task in tasks:
                self.outcomes.setdefault(task.index, outcome(task.item, "rejected", reason=str(error)))

    # --- files

    def open(self, path: str, *, shared: bool = False, private: bool = False) -> LockedFile:
        """Open one more file (see `LockedFile`)."""
        file = LockedFile(self.tree.disk, self._folders, self.checksums, path, shared=shared, private=private)
        self._files.append(file)
        return file

    def close(self) -> None:
        """Close all files and folders."""
        for fresh in self._fresh:
            if fresh.file is not None:
                fresh.file.close()
                fresh.file = None
        for file in self._files:
            file.close()
        self._files.clear()
        self._folders.close()

    # --- judging: nothing is written

    def _judge_appends(self, file: LockedFile, tasks: list[Task]) -> None:
        if self.tree.notes_nuls:
            file.pass_over_torn_end()
        stored, held_before = [], file.size
        for task in tasks:
            result, there = file.place(task.item, task.payload)
            if result == "stored":
                _ = file.device  # where its folder can't be made, the item is refused now
                self._plan(file, task, there)
                stored.append(task)
            new_bytes = task.item.length - there if result == "stored" else 0
            self.outcomes[task.index] = outcome(task.item, result, file.held())._replace(new_bytes=new_bytes)
        if stored:
            self._appends.append(_Append(file, stored, ends_in_nul=stored[-1].payload[-1:].tobytes() == b"\0"))
        if file.is_torn and any(self.outcomes[task.index].result in _PROVEN for task in tasks):
            _log.info("%s: torn behind %d bytes", ascii(file.path), held_before)
            file.append(memoryview(b""), file.held().crc)

    def _plan(self, file: LockedFile, task: Task, there: int) -> None:
        self._reserve(task.item, task.item.length - there, makes_file=file.is_new)
        file.append(task.payload[there:], task.item.crc)

    def _reserve(self, item: Item, size: int, *, makes_file: bool) -> None:
        if makes_file:
            self._reserve_file(item)
        if self._free_bytes is None:
            self._free_bytes = self.tree.disk.free_bytes(self.tree.root_fd)
        self._planned_bytes += size
        if self._free_bytes - self._planned_bytes < self.min_free_bytes:
            raise StoreFull(
                f"{self._planned_bytes} bytes wanted, {self._free_bytes} free, the floor is {self.min_free_bytes}",
                path=item.path,
            )

    def _reserve_file(self, item: Item) -> None:
        """Refuse a new file where the file system soon has no inode left for it, whatever room it has for bytes."""
        self._new_files += 1
        free_files = self.tree.disk.free_files(self.tree.root_fd)
        if free_files is not None and free_files - self._new_files < MIN_FREE_FILES:
            raise StoreFull(f"{free_files} inodes free, the floor is {MIN_FREE_FILES}", path=item.path)

    def _judge_commit(self, tasks: list[Task]) -> None:
        last = tasks[-1]
        target = self.open(last.item.path)
        before = target.maybe_stamp() if target.exists else None
        verdict = self._maybe_verdict(target, last.item, before)
        if verdict is not None:
            self.outcomes[last.index] = verdict
            if not verdict.is_own:
                self._open_staged(last.item).remove()
            tasks = tasks[:-1]
            if tasks:
                self._stage_each(tasks)
        elif len(tasks) == 1 and last.item.offset == 0:
            self._judge_fresh(last, target, before)
        else:
            self._judge_staged(tasks, target)

    def _maybe_verdict(self, target: LockedFile, item: Item, before: Stamp | None) -> Outcome | None:
        """Return the outcome where what stands at `target` decides it, None where it may be replaced."""
        if not target.exists:
            # An agent brings back what a restored receiver has lost; a request to replace what went meanwhile does not.
            is_missed = item.replaces is not None and self.manifest.source.startswith(PUT_SOURCE)
            return outcome(item, "diverged") if is_missed else None
        if target.size == item.end and target.held().crc == item.crc:
            return outcome(item, "already", target.held())
        if item.replaces is not None and target.size == item.replaces.size and target.held() == item.replaces:
            return None
        # not even what the sender put there itself may go unnamed: its request may be an old one that comes late
        is_own = bool(self.manifest.source) and before is not None and before.source == self.manifest.source
        return outcome(item, "diverged", target.held())._replace(is_own=is_own)

    def _judge_fresh(self, task: Task, target: LockedFile, before: Stamp | None) -> None:
        item = task.item
        folder = target.folder
        self._reserve(item, item.length, makes_file=not target.exists)
        commit_before = (before.commit if before else "") if target.exists else None
        self._fresh.append(_Fresh(task, target, folder, self._stamps.new(), commit_before))
        self.outcomes[task.index] = outcome(item, "stored", Held(item.end, item.crc))

    def _judge_staged(self, tasks: list[Task], target: LockedFile) -> None:
        staged, last = self._stage_each(tasks), tasks[-1]
        if self.outcomes[last.index].result not in ("stored", "already"):
            return
        try:
            _ = target.folder
        except BadPath as error:
            self.outcomes[last.index] = outcome(last.item, "rejected", reason=str(error))
            return
        self.outcomes[last.index] = outcome(last.item, "stored", staged.held())
        self._commits.append(_Commit(last, staged, target, self._stamps.new()))

    def _open_staged(self, item: Item) -> LockedFile:
        return self.open(staged_path(item.path, self.manifest.source, item.upload or ""), private=True)

    def _stage_each(self, tasks: list[Task]) -> LockedFile:
        staged = self._open_staged(tasks[0].item)
        for task in tasks:
            self.outcomes[task.index] = self._stage(staged, task)
        return staged

    def _stage(self, staged: LockedFile, task: Task) -> Outcome:
        item = task.item
        result, there = staged.place(item, task.payload)
        if result == "diverged" or (result == "ahead" and item.op == "commit"):
            # Nobody but this sender writes this copy and nobody reads it: it is of bytes that the file no longer has.
            staged.cut(0)
            result, there = ("behind", 0) if item.offset else ("stored", 0)
        if result == "stored":
            self._plan(staged, task, there)
            self._intents.append(_change(item, staged.path))
        return outcome(item, result, staged.held())

    # --- the log

    def _write_log(self) -> None:
        """Log what is small, in full, and of the rest the intents; where the log has no room all is written straight."""
        appends, fresh = self._loggable_appends(), self._loggable_fresh()
        changes = [*self._changes(appends), *map(_fresh_change, fresh)]
        if changes and self._has_room_for_log(changes):
            self._ticket = self.redo_log.try_write(changes)
        if self._ticket is not None:
            for append in appends:
                append.is_logged = True
            for one in fresh:
                one.is_logged = True

    def _loggable_appends(self) -> list[_Append]:
        return [
            append
            for append in self._appends
            if (append.file.is_known or append.file.is_new)
            and not append.ends_in_nul
            and sum(task.item.length for task in append.tasks) <= MAX_LOGGED_BYTES
            and self._is_at_home(append.file.device)
        ]

    def _loggable_fresh(self) -> list[_Fresh]:
        return [
            fresh
            for fresh in self._fresh
            if self.tree.has_attributes
            and fresh.before != ""  # without stamps a torn file is like any other
            and fresh.task.item.length <= MAX_LOGGED_BYTES
            and self._is_at_home(fresh.folder.device)
        ]

    def _is_at_home(self, device: int) -> bool:
        """Whether a device is the log's own: a disk that is mounted below may stand still alone."""
        return device == self.tree.device

    def _changes(self, logged: list[_Append]) -> Iterator[Change]:
        yield from self._intents
        in_full = {id(append) for append in logged}
        for append in self._appends:
            for task in append.tasks if self._is_at_home(append.file.device) else ():
                yield _change(task.item, task.item.path, task.payload if id(append) in in_full else None)

    def _is_all_logged(self) -> bool:
        """Whether all that is to be written is small."""
        is_small = all(append.is_logged for append in self._appends) and all(fresh.is_logged for fresh in self._fresh)
        return is_small and not self._intents

    def _has_room_for_log(self, changes: list[Change]) -> bool:
        size = sum(change.length for change in changes if change.payload is not None)
        free_bytes = self._free_bytes if self._free_bytes is not None else 0
        return free_bytes - self._planned_bytes - size >= self.min_free_bytes

    # --- writing

    def _write(self) -> None:
        for file in self._files:
            file.flush()
        for append in self._appends:
            mtime_ns = append.tasks[-1].item.mtime_ns
            if mtime_ns is not None:
                append.file.set_mtime(mtime_ns)
            if append.ends_in_nul:
                append.file.note_end()
        for commit in self._commits:
            commit.staged.set_stamp(commit.stamp)
        for fresh in self._fresh:
            self._write_fresh(fresh)

    def _write_fresh(self, fresh: _Fresh) -> None:
        item = fresh.task.item
        with fitting(item.path):
            file = fresh.file = FreshFile(self.tree.disk, self._folders, fresh.folder, fresh.target.name)
            file.write(fresh.task.payload)
            file.dress(fresh.stamp, item.mtime_ns)
            if fresh.is_logged:  # now, so that one descriptor is open at a time
                self._publish_fresh(fresh, file)

    def _publish_fresh(self, fresh: _Fresh, file: FreshFile) -> None:
        file.publish(replaces=fresh.target.exists)
        fresh.signature = Signature.of(os.fstat(file.fd))
        file.close()
        fresh.file = None

    # --- making it last

    def sync(self) -> None:
        """Make durable all files, and their entries, that the log does not have in full; these are never cut back again."""
        unsynced: Unsynced = {}
        jobs: list[Callable[[], None]] = []
        logged = {id(append.file) for append in self._appends if append.is_logged}
        for file in self._files:
            if id(file) in logged or not file.needs_sync:
                continue
            # What the log alone made durable so far has an entry that is not.
            is_all_news = not file.is_known or self.redo_log.is_pending(file.path)
            jobs.append(partial(file.sync, is_all_news=is_all_news))
            if is_all_news:
                _note_entry(self._folders.find(file.folder_path), unsynced)
        jobs += [fresh.file.sync for fresh in self._fresh if fresh.file is not None]
        _do_all(jobs)
        self._sync_folders(unsynced)
        for file in self._files:
            file.settle()

    def _sync_folders(self, unsynced: Unsynced) -> None:
        _do_all([partial(self.tree.sync_folder, path, settled) for path, settled in unsynced.items()])

    def _publish(self) -> None:
        unsynced: Unsynced = {}
        for commit in self._commits:
            self._move(commit)
            _note_entry(commit.target.folder, unsynced)
        self._set_times()
        for fresh in self._fresh:
            if fresh.file is not None:
                with fitting(fresh.task.item.path):
                    self._publish_fresh(fresh, fresh.file)
                _note_entry(fresh.folder, unsynced)
        self._sync_folders(unsynced)

    def _set_times(self) -> None:
        """Give the copies that were moved their times: by its own the age of one that was not yet is judged (the sweep)."""
        dated = [commit for commit in self._commits if commit.task.item.mtime_ns is not None]
        for commit in dated:
            commit.staged.set_mtime(commit.task.item.mtime_ns or 0)
        _do_all([partial(commit.staged.sync, is_all_news=True) for commit in dated])

    def _finish(self) -> None:
        """Remember what is durable now."""
        if self._ticket is not None:
            self.redo_log.done(self._ticket)
            self._ticket = None
        self.remember()
        for fresh in self._fresh:
            item = fresh.task.item
            if fresh.signature is not None:
                self.checksums.remember(item.path, fresh.signature, {item.end: item.crc})
        for commit in self._commits:
            commit.staged.remember(commit.target.path)
            if commit.task.item.offset > 0:  # built of several parts: earlier versions may have been begun and left
                self._drop_earlier_versions(commit.staged)

    def remember(self) -> None:
        """Remember the state of all files, which are durable as they are."""
        gone = {id(file) for commit in self._commits for file in (commit.staged, commit.target)}
        gone |= {id(fresh.target) for fresh in self._fresh}
        for file in self._files:
            if not file.is_new and id(file) not in gone:
                file.remember()

    def _drop_earlier_versions(self, staged: LockedFile) -> None:
        prefix = staged.name.partition("-")[0] + "-"
        remove_unlocked(self.tree, STAGE_DIR, lambda name, _: name.startswith(prefix) and name != staged.name)

    def _move(self, commit: _Commit) -> None:
        staged, target = commit.staged, commit.target
        from_fd, to_fd = self._folders.find(STAGE_DIR).fd, target.folder.fd
        try:
            if target.exists:
                self.tree.disk.rename(staged.name, from_fd, target.name, to_fd)
            else:
                self._link(staged.name, from_fd, target.name, to_fd)
                staged.remove()
        except FileExistsError:
            raise Raced(f"{target.path[:200]!a} was made by another program", path=target.path) from None
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            self._copy(commit)

    def _link(self, name: str, folder_fd: int, new_name: str, new_folder_fd: int) -> None:
        try:
            # A link fails where another program was quicker; a rename would silently take its place.
            self.tree.disk.link(name, folder_fd, new_name, new_folder_fd)
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            self.tree.disk.rename(name, folder_fd, new_name, new_folder_fd)

    def _copy(self, commit: _Commit) -> None:
        """Publish a copy where another file system is mounted."""
        fresh = FreshFile(self.tree.disk, self._folders, commit.target.folder, commit.target.name)
        try:
            fresh.copy(commit.staged.fd, commit.staged.size)
            fresh.dress(commit.stamp, commit.task.item.mtime_ns)
            fresh.sync()
            fresh.publish(replaces=commit.target.exists)
        finally:
            fresh.close()
        commit.staged.remove()

    # --- failing

    def _take_back_record(self) -> None:
        """Void the record of a round that failed, once the files that got their names no longer live by it."""
        if self._ticket is None:
            return
        published = [fresh for fresh in self._fresh if fresh.is_logged and fresh.signature is not None]
        try:
            if published:
                self._keep(published)
        except (OSError, BadPath, StoreError) as error:
            # What it says of streams may be redone as well: that was refused, and is what their senders will send again.
            _log.error("a failed batch stays in the redo log, where alone its files are durable: %s", error)
            self.redo_log.done(self._ticket)
        else:
            self.redo_log.void(self._ticket)

    def _keep(self, published: list[_Fresh]) -> None:
        """Make durable what stands at its name while the record that has its bytes is about to be voided."""
        try:
            ticket = self.redo_log.try_write([_fresh_change(fresh) for fresh in published])
        except OSError:
            ticket = None
        if ticket is not None:
            self.redo_log.done(ticket)
            return
        unsynced: Unsynced = {}
        for fresh in published:
            self.open(fresh.task.item.path, shared=True).sync(is_all_news=True)
            _note_entry(fresh.folder, unsynced)
        self._sync_folders(unsynced)

    def _cut_back(self) -> None:
        for file in self._files:
            if not file.try_cut_back():
                _log.error("%s: bytes that were not acknowledged can't be cut off", file.path)


def _note_entry(folder: Folder, unsynced: Unsynced) -> None:
    """Note all folders that have to be durable for an entry of `folder` to be."""
    for parent, identity in folder.news:
        unsynced.setdefault(parent, set()).add(identity)
    unsynced.setdefault(folder.path, set())


def _change(item: Item, path: str, payload: memoryview | None = None) -> Change:
    return Change(path, item.offset, item.length, item.crc_before, item.crc, item.mtime_ns, payload=payload)


def _fresh_change(fresh: _Fresh) -> Change:
    change = _change(fresh.task.item, fresh.task.item.path, fresh.task.payload)
    return change._replace(stamp=fresh.stamp, before=fresh.before)


def _do_all(jobs: list[Callable[[], None]]) -> None:
    """Do the jobs in a few threads of their own, so that no other round waits for a disk that stands still for this one.

    All have ended when the first error, if any, is raised.
    """
    left, errors = deque(jobs), list[BaseException]()

    def work() -> None:
        with suppress(IndexError):
            while True:
                job = left.popleft()
                try:
                    job()
                except BaseException as error:  # noqa: BLE001  # handed to the round's own thread
                    errors.append(error)

    threads = [threading.Thread(target=work, name="ml-logger-fsync") for _ in jobs[1:_SYNC_THREADS]]
    for thread in threads:
        thread.start()
    work()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
