"""Tombstones: what was deleted through the receiver stays deleted, whoever sends it again.

One file, ``.ml-logger/tombstones``, to which lines are added and from which none is taken, one JSON object each:

    {"id":"20261125T101500-1f2e3d4c","event":"deleted","path":"run","by":"alice","at":1795601700.5}
    {"id":"20261125T101500-1f2e3d4c","event":"trashed","at_ns":1795601700612345678,"files":3,"bytes":4096}
    {"id":"20261125T101500-1f2e3d4c","event":"lifted"}

A tombstone of a folder covers all below it. It counts from the moment its first line is durable: that is the deletion, and
moving what it covers to the trash (`trash`) only follows, after a crash at the next start. A line without its end was not
written to the end and is cut off by the next writer. Other worker processes, and a person at the command line, write to it too,
so when it changes what was added is read; all of it only if it is another file, or not the one that was read so far. All
tombstones are kept in memory, under their paths, so that neither a deletion nor a look costs more where there are many.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import orjson

from ..errors import Gone
from ..layout import RECEIVER_DIR
from .clock import Clock
from .locked_file import write_all
from .tree import Tree

_NAME = "tombstones"
_PROOF_BYTES = 64
"""So many of the bytes read last are looked at again, to know the file for the one that was read so far."""


@dataclass(frozen=True, slots=True)
class Tombstone:
    """One deletion: of what, by whom, and when (seconds since the epoch).

    `trashed_ns` is when what it covers had left the tree (ns since the epoch), None before that; `files` and `size_bytes` say
    how much that was. Once it `is_lifted` the name can be used again.
    """

    id: str
    path: str
    by: str
    at: float
    trashed_ns: int | None = None
    files: int = 0
    size_bytes: int = 0
    is_lifted: bool = False


class Tombstones:
    """The tombstones of one tree. Thread-safe; raises `OSError` where the disk fails.

    `clock` is the one that the redo log has its times from: they are compared (`is_over`).
    """

    def __init__(self, tree: Tree, clock: Clock) -> None:
        self._tree, self._disk, self._clock = tree, tree.disk, clock
        self._folder_fd = tree.open_folder(RECEIVER_DIR, create=True)
        self._guard = threading.Lock()
        self._state: tuple[int, ...] | None = None
        self._inode, self._end, self._proof = 0, 0, b""
        self._index = _Index()
        self._has_durable_entry = False
        self.refresh()

    def close(self) -> None:
        """Let go of the folder."""
        os.close(self._folder_fd)

    # --- looking

    def refresh(self) -> None:
        """Read the file again if it has changed; costs one call to the system if it has not."""
        if self._state_now() != self._state:
            self._read_file()

    def _state_now(self) -> tuple[int, ...] | None:
        try:
            found = os.stat(_NAME, dir_fd=self._folder_fd, follow_symlinks=False)
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns

    def _read_file(self) -> None:
        try:
            fd = self._disk.open_file(_NAME, os.O_RDONLY, self._folder_fd)
        except FileNotFoundError:
            return
        try:
            fcntl.flock(fd, fcntl.LOCK_SH)  # nobody is told of what is not durable yet
            # Behind the file's lock, as where it is written: the other way round two wait in a circle.
            with self._guard:
                self._read(fd)
        finally:
            os.close(fd)

    def _read(self, fd: int) -> None:
        """Read what was added since the last time, all of it if this is another file."""
        state = self._state_now()  # before the bytes: what comes in between is read the next time
        found = os.fstat(fd)
        index, start = self._index, self._end
        if not self._is_known(fd, found):
            index, start = _Index(), 0
        if found.st_size > start:
            content = os.pread(fd, found.st_size - start, start)
            content = content[: content.rfind(b"\n") + 1]
            for line in content.splitlines():
                with suppress(ValueError, TypeError, KeyError):  # a disk may damage a line; the others still count
                    index.take(orjson.loads(line))
            self._proof = (self._proof + content if start else content)[-_PROOF_BYTES:]
            start += len(content)
        self._clock.meet(index.last_ns)
        self._inode, self._end, self._index, self._state = found.st_ino, start, index, state

    def _is_known(self, fd: int, found: os.stat_result) -> bool:
        """Whether this is the file that was read so far, to which lines alone were added."""
        is_same = found.st_ino == self._inode and found.st_size >= self._end
        return is_same and os.pread(fd, len(self._proof), self._end - len(self._proof)) == self._proof

    def maybe_covering(self, path: str) -> Tombstone | None:
        """Return the tombstone of `path` or of a folder above it, as last read; None if it is not deleted."""
        standing = self._index.standing
        if not standing:
            return None
        return next((stone for above in _with_those_above(path) if (stone := standing.get(above)) is not None), None)

    def require_there(self, path: str) -> None:
        """Raise `Gone` if `path` is deleted, as last read."""
        if self.maybe_covering(path) is not None:
            raise Gone(f"{path[:200]!a} was deleted", path=path)

    def is_over(self, path: str, written_ns: int) -> bool:
        """Whether what was logged for `path` at `written_ns` has left the tree since, so that it must not be redone."""
        index = self._index
        for above in _with_those_above(path):
            if written_ns <= index.trashed_ns.get(above, -1):
                return True
            standing = index.standing.get(above)
            if standing is not None and standing.trashed_ns is not None:
                return True
        return False

    def all(self) -> list[Tombstone]:
        """Return all of them, the lifted ones too, in the order of their deletions."""
        return list(self._index.by_id.values())

    def on_their_way(self) -> list[Tombstone]:
        """Return those whose files are still to be moved to the trash."""
        return list(self._index.on_their_way.values())

    def get(self, stone_id: str) -> Tombstone:
        """Return one by its id, as last read."""
        return self._index.by_id[stone_id]

    def maybe(self, stone_id: str) -> Tombstone | None:
        """Return one by its id, as last read, None where there is none."""
        return self._index.by_id.get(stone_id)

    # --- changing

    def add(self, path: str, by: str) -> Tombstone:
        """Delete `path`: from now on it is gone. Raises `Gone` if it is already."""
        now = time.time()
        stone_id = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime(now))}-{os.urandom(4).hex()}"
        with self._writing() as fd:
            covering = self.maybe_covering(path)
            if covering is not None:
                raise Gone(f"{path[:200]!a} was deleted", path=path)
            self._append(fd, {"id": stone_id, "event": "deleted", "path": path, "by": by, "at": now})
        return self.get(stone_id)

    def note_trashed(self, stone: Tombstone, files: int, size_bytes: int) -> Tombstone:
        """Note that all it covers has left the tree; the path must be locked."""
        event: dict[str, Any] = {"id": stone.id, "event": "trashed", "at_ns": self._clock.next_ns()}
        event |= {"files": files, "bytes": size_bytes}
        return self._note(stone, event)

    def lift(self, stone: Tombstone) -> Tombstone:
        """Let the name be used again."""
        return self._note(stone, {"id": stone.id, "event": "lifted"})

    def _note(self, stone: Tombstone, event: dict[str, Any]) -> Tombstone:
        with self._writing() as fd:
            self._append(fd, event)
        return self.get(stone.id)

    @contextmanager
    def _writing(self) -> Iterator[int]:
        """Give the file, locked against other writers and read to its end; what was added is read behind the block."""
        fd = self._disk.open_file(_NAME, os.O_RDWR | os.O_CREAT, self._folder_fd)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            self._tree.inherit(fd, self._folder_fd)
            with self._guard:
                self._read(fd)
                yield fd
                self._read(fd)
        finally:
            os.close(fd)

    def _append(self, fd: int, event: dict[str, Any]) -> None:
        end = self._end  # the file is read up to there, and locked
        try:
            if end < os.fstat(fd).st_size:
                self._disk.truncate(fd, end)
            write_all(self._disk, fd, memoryview(orjson.dumps(event) + b"\n"), end)
            self._disk.sync(fd)
            self._sync_entries()
        except OSError:
            with suppress(OSError):  # else it stands, and what it says is done by the housekeeper
                self._disk.truncate(fd, end)
            raise

    def _sync_entries(self) -> None:
        if not self._has_durable_entry:
            self._disk.sync(self._folder_fd)
            self._tree.sync_folder("", set())
            self._has_durable_entry = True


def _with_those_above(path: str) -> Iterator[str]:
    while path:
        yield path
        path = path.rpartition("/")[0]


class _Index:
    """Tombstones by what they are asked for; changed in place, one step at a time, so that others may look meanwhile.

    `standing` has those that are not lifted by their paths, `trashed_ns` for each path the last time that something left it.
    """

    def __init__(self) -> None:
        self.by_id: dict[str, Tombstone] = {}
        self.standing: dict[str, Tombstone] = {}
        self.on_their_way: dict[str, Tombstone] = {}
        self.trashed_ns: dict[str, int] = {}
        self.last_ns = 0

    def take(self, record: Any) -> None:
        """Apply one line; raises `ValueError`, `TypeError` or `KeyError` for one that is none."""
        stone_id, event = record["id"], record["event"]
        if event == "deleted":
            stone = Tombstone(stone_id, str(record["path"]), str(record["by"]), float(record["at"]))
        elif event == "trashed":
            files, size_bytes, at_ns = int(record["files"]), int(record["bytes"]), int(record["at_ns"])
            stone = replace(self.by_id[stone_id], trashed_ns=at_ns, files=files, size_bytes=size_bytes)
        elif event == "lifted":
            stone = replace(self.by_id[stone_id], is_lifted=True)
        else:
            raise ValueError(event)
        self._keep(stone)

    def _keep(self, stone: Tombstone) -> None:
        self.by_id[stone.id] = stone
        if not stone.is_lifted:
            self.standing[stone.path] = stone
        elif (standing := self.standing.get(stone.path)) is not None and standing.id == stone.id:
            del self.standing[stone.path]
        if stone.trashed_ns is None and not stone.is_lifted:
            self.on_their_way[stone.id] = stone
        else:
            self.on_their_way.pop(stone.id, None)
        if stone.trashed_ns is not None:
            self.last_ns = max(self.last_ns, stone.trashed_ns)
            self.trashed_ns[stone.path] = max(self.trashed_ns.get(stone.path, 0), stone.trashed_ns)
