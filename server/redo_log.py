"""The redo log: what a batch is about to change is durable here, in one write and one fdatasync, before it is changed.

So an acknowledgement costs one wait for the disk however many files the batch has, and batches that come together share it.
The changed files are made durable later, all of a segment at once (`settle`); only then is the segment used again. Whoever
finds a segment that nobody has locked redoes it first (`adopt`): after a power cut that brings back what was acknowledged.

Segments are overwritten from their start and used again and again: an fdatasync of bytes that replace others costs the file
system no change of its own books.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from ..errors import NotHeld
from ..layout import RECEIVER_DIR
from .clock import Clock
from .disk import Disk
from .locked_file import write_all
from .redo_record import (
    NO_MARK,
    VOID_MARK,
    Change,
    describe,
    encode_record,
    new_generation,
    read_records,
    size_of_record,
)
from .tree import Tree

REDO_DIR = f"{RECEIVER_DIR}/redo"
SEGMENT_BYTES = 32 << 20
MAX_SEGMENTS = 6
"""Together they bound the disk that the log takes, and what is redone at a start."""

_SUFFIX = ".redo"
_PRESENCE = "receivers"  # locked shared by all that live

_log = logging.getLogger(__name__)


class Redo(Protocol):
    """Makes changes, in their order, as far as they are not made already, and makes them durable."""

    def __call__(self, changes: Sequence[Change], *, is_alone: bool) -> None:
        """`is_alone` says that no receiver has written to the same folder since."""


class _Segment:
    """One file of the log, locked by this process; `end` is where the next record goes."""

    def __init__(self, name: str, fd: int) -> None:
        self.name, self.fd = name, fd
        self.synced = threading.Condition()
        self.is_syncing = self.is_broken = False
        self.begin()

    def begin(self) -> None:
        """Start again at the first byte."""
        self.generation = new_generation()
        self.end = self.synced_to = self.in_flight = 0
        self.began_at = 0.0
        self.paths: set[str] = set()


@dataclass
class Ticket:
    """One record in the log, whose changes are being made."""

    segment: _Segment
    offset: int


def abandoned_records(tree: Tree) -> dict[str, list[tuple[int, Change]]]:
    """Return the changes in segments that nobody has locked, by the segment's name, with the times of their records.

    Their bytes are left out: a payload is empty, and None still that of an intent.
    """
    try:
        folder_fd = tree.open_folder(REDO_DIR)
    except NotHeld:
        return {}
    try:
        names = sorted(name for name in os.listdir(folder_fd) if name.endswith(_SUFFIX))  # noqa: PTH208  # a descriptor
        found = {name: _records_unless_locked(tree.disk, name, folder_fd) for name in names}
    finally:
        os.close(folder_fd)
    return {name: records for name, records in found.items() if records}


def _records_unless_locked(disk: Disk, name: str, folder_fd: int) -> list[tuple[int, Change]]:
    try:
        fd = disk.open_file(name, os.O_RDONLY, folder_fd)
    except FileNotFoundError:
        return []
    try:
        # Held for this moment only, and shared, by which a receiver that comes for it knows that nobody has it.
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        fcntl.flock(fd, fcntl.LOCK_UN)
        return [(time_ns, _without_bytes(change)) for time_ns, change in read_records(fd)]
    except BlockingIOError:
        return []
    finally:
        os.close(fd)


def _without_bytes(change: Change) -> Change:
    return change if change.payload is None else change._replace(payload=memoryview(b""))


def _try_lock(fd: int) -> bool:
    """Lock a segment; whether no other receiver has it. Who only looks at it has it shared, for a moment, and is waited for."""
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        fcntl.flock(fd, fcntl.LOCK_UN)


class RedoLog:
    """The segments of one process. Thread-safe; raises `OSError` where the disk fails."""

    def __init__(self, tree: Tree, clock: Clock, *, wake: Callable[[], None] = lambda: None) -> None:
        self._tree, self._disk, self._clock, self._wake = tree, tree.disk, clock, wake
        self._folder_fd = tree.open_folder(REDO_DIR, create=True)
        self._presence_fd = self._disk.open_file(_PRESENCE, os.O_RDWR | os.O_CREAT, self._folder_fd)
        tree.inherit(self._presence_fd, self._folder_fd)
        self._guard = threading.Lock()
        self._settling = threading.Lock()
        self._active: _Segment | None = None
        self._free: list[_Segment] = []
        self._sealed: list[_Segment] = []
        self._to_redo: list[_Segment] = []
        self._pending: dict[str, _Segment] = {}
        self._has_durable_folder = False

    # --- writing

    def try_write(self, changes: Sequence[Change]) -> Ticket | None:
        """Make a record of `changes` durable; None, and nothing written, where there is no room for it.

        The paths must be locked until the ticket is given to `done`, or to `void` if the changes were not made.
        """
        described = describe(changes)
        size = size_of_record(described, changes)
        with self._guard:
            segment = self._maybe_segment(size)
            if segment is None:
                return None
            ticket = self._append(segment, encode_record(described, changes, segment.generation, self._clock.next_ns()))
            logged = [change.path for change in changes if change.payload is not None]
            segment.paths.update(logged)
            self._pending.update((path, segment) for path in logged)
            end = segment.end
        try:
            self._wait_until_durable(segment, end)
        except OSError:
            self.void(ticket)
            raise
        return ticket

    def _append(self, segment: _Segment, record: bytes) -> Ticket:
        write_all(self._disk, segment.fd, memoryview(record), segment.end)
        ticket = Ticket(segment, segment.end)
        if segment.end == 0:
            segment.began_at = time.monotonic()
            self._wake()
        segment.end += len(record)
        segment.in_flight += 1
        return ticket

    def _maybe_segment(self, size: int) -> _Segment | None:
        """Return the segment that the next record of `size` bytes goes to."""
        if not self._disk.syncs_all or size > SEGMENT_BYTES:
            return None
        active = self._active
        if active is not None and (active.is_broken or active.end + size > SEGMENT_BYTES):
            self._seal()
        if self._active is None:
            self._active = self._free.pop() if self._free else self._maybe_new()
        return self._active

    def _seal(self) -> None:
        if self._active is not None:
            self._sealed.append(self._active)
            self._active = None
            self._wake()

    def _maybe_new(self) -> _Segment | None:
        if len(self._sealed) + len(self._to_redo) >= MAX_SEGMENTS:
            return None
        name = os.urandom(8).hex() + _SUFFIX
        segment = self._maybe_locked(name, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        try:
            self._sync_entries()
        except BaseException:
            if segment is not None:
                os.close(segment.fd)
            raise
        return segment

    def _sync_entries(self) -> None:
        self._disk.sync(self._folder_fd)
        if not self._has_durable_folder:
            for path in (RECEIVER_DIR, ""):
                self._tree.sync_folder(path, set())
            self._has_durable_folder = True

    def _wait_until_durable(self, segment: _Segment, end: int) -> None:
        """Wait for an fdatasync that began after the record was written; one serves all who wait."""
        with segment.synced:
            while segment.synced_to < end:
                if segment.is_broken:
                    raise OSError(5, "the redo log can't be written")
                if segment.is_syncing:
                    segment.synced.wait()
                    continue
                segment.is_syncing = True
                break
            else:
                return
        written = segment.end
        try:
            self._disk.sync_data(segment.fd)
        except BaseException:
            # An fsync that failed can't be repeated: what is behind `synced_to` may be gone.
            segment.is_broken = True
            raise
        else:
            segment.synced_to = written
        finally:
            with segment.synced:
                segment.is_syncing = False
                segment.synced.notify_all()

    def done(self, ticket: Ticket) -> None:
        """Say that the changes were made: in the files, though not yet durable there."""
        with self._guard:
            ticket.segment.in_flight -= 1

    def void(self, ticket: Ticket) -> None:
        """Say that the changes were not made, or not all of them: they must never be redone."""
        segment = ticket.segment
        try:
            write_all(self._disk, segment.fd, memoryview(VOID_MARK), ticket.offset)
            self._disk.sync_data(segment.fd)
        except OSError as error:
            _log.error("%s: a record of what was not stored stays in it: %s", segment.name, error.strerror)
        self.done(ticket)

    def is_pending(self, path: str) -> bool:
        """Whether what the file at `path` holds may be durable in the log alone."""
        return path in self._pending

    @property
    def unsettled_bytes(self) -> int:
        """How many bytes of it speak of what may not be durable in the files; asked without the lock, so nearly right."""
        return sum(segment.end for segment in (*self._sealed, *self._to_redo, self._active) if segment is not None)

    # --- settling

    def settle(self, redo: Redo, *, older_than_s: float = 0.0) -> None:
        """Make durable what the segments that are full or older than `older_than_s` speak of, and use them again."""
        with self._settling:
            with self._guard:
                active = self._active
                if active is not None and active.end and time.monotonic() - active.began_at >= older_than_s:
                    self._seal()
                ready = [segment for segment in self._sealed if not segment.in_flight]
                self._sealed = [segment for segment in self._sealed if segment.in_flight]
            if ready:
                self._sync(ready)
            self._redo_failed(redo)

    def _sync(self, segments: list[_Segment]) -> None:
        try:
            if any(segment.paths for segment in segments):  # what has intents only was fsynced before the answer
                self._disk.sync_all(self._tree.root_fd)
        except OSError as error:
            # The bytes may be gone from memory too by now. They are still in the log.
            _log.error("files could not be made durable, they are written again: %s", error.strerror)
            self._to_redo += segments
            return
        for segment in segments:
            self._retire(segment)

    def _redo_failed(self, redo: Redo) -> None:
        while self._to_redo:
            segment = self._to_redo[0]
            redo([change for _, change in read_records(segment.fd)], is_alone=False)
            self._retire(self._to_redo.pop(0))

    def _retire(self, segment: _Segment) -> None:
        """Use a segment again: what it speaks of is durable in the files."""
        try:
            write_all(self._disk, segment.fd, memoryview(NO_MARK), 0)
            self._disk.sync_data(segment.fd)
        except OSError as error:  # redone at the next start, which changes nothing
            _log.error("%s can't be emptied: %s", segment.name, error.strerror)
            segment.is_broken = True
        with self._guard:
            for path in segment.paths:
                if self._pending.get(path) is segment:
                    del self._pending[path]
            segment.begin()
            if segment.is_broken:
                os.close(segment.fd)
            else:
                self._free.append(segment)

    # --- what others left

    def open(self, redo: Redo) -> None:
        """Redo what was left, before anything is answered; then stand beside the other receivers, if there are any."""
        is_alone = False
        with suppress(BlockingIOError):
            fcntl.flock(self._presence_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_alone = True
        if is_alone:
            self.adopt(redo, is_alone=True)
        fcntl.flock(self._presence_fd, fcntl.LOCK_SH)
        if not is_alone:
            self.adopt(redo)

    def adopt(self, redo: Redo, *, is_alone: bool = False) -> None:
        """Redo the segments that nobody has locked, in the order of their times, and take them."""
        with self._settling:
            found = [segment for name in self._foreign() if (segment := self._maybe_locked(name, os.O_RDWR))]
            try:
                records = sorted((record for s in found for record in read_records(s.fd)), key=lambda record: record[0])
                if records:
                    self._clock.meet(records[-1][0])
                    _log.info("redoing %d changes", len(records))
                    redo([change for _, change in records], is_alone=is_alone)
            except BaseException:
                for segment in found:
                    os.close(segment.fd)
                raise
            for segment in found:
                self._retire(segment)
                self._drop_surplus()

    def _foreign(self) -> list[str]:
        with self._guard:
            ours = {s.name for s in (*self._free, *self._sealed, *self._to_redo, self._active) if s is not None}
        names = os.listdir(self._folder_fd)  # noqa: PTH208  # a descriptor, which pathlib can't list
        return sorted(name for name in names if name.endswith(_SUFFIX) and name not in ours)

    def _drop_surplus(self) -> None:
        with self._guard:
            if len(self._free) > MAX_SEGMENTS // 2:
                segment = self._free.pop()
                self._disk.unlink(segment.name, self._folder_fd)
                os.close(segment.fd)

    def _maybe_locked(self, name: str, flags: int) -> _Segment | None:
        """Return a segment that this process has locked, or None if another has, or it was removed meanwhile."""
        try:
            fd = self._disk.open_file(name, flags, self._folder_fd)
        except FileNotFoundError:
            return None
        if _try_lock(fd) and os.fstat(fd).st_nlink:
            return _Segment(name, fd)
        os.close(fd)
        return None

    def close(self, redo: Redo) -> None:
        """Settle everything and let go; what can't be settled is redone at the next start."""
        try:
            self.settle(redo)
        finally:
            for segment in (*self._free, *self._sealed, *self._to_redo, self._active):
                if segment is not None:
                    os.close(segment.fd)
            os.close(self._presence_fd)
            os.close(self._folder_fd)
