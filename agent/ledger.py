"""The ledger: what the receiver acknowledged, remembered across restarts. A memory, not the truth.

The truth is the receiver's file. A ledger that is deleted, corrupt, from another version or too old costs a re-check of each
file, never a duplicate or a lost byte; so its writes need no fsync, and one that can't be read is moved aside.

No page of it is mapped: on a full disk a store to a mapped page ends the process (SIGBUS) where a write fails. SQLite maps the
index of its write-ahead log unless it has the database to itself, which the agent's lock grants it anyway.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from ..errors import ConfigError
from ..wire import NOTHING, Crc, Held, Lineage, Offset
from .local_file import Mark
from .rights import may
from .scanner import Signature

log = logging.getLogger(__name__)

SCHEMA_VERSION = 5

_CREATE_LINEAGE = "CREATE TABLE IF NOT EXISTS lineage (mark TEXT NOT NULL, era INTEGER NOT NULL)"
_CREATE_PREFIX = "CREATE TABLE IF NOT EXISTS prefix (name TEXT NOT NULL)"
_CREATE = """
CREATE TABLE IF NOT EXISTS files (
    path BLOB PRIMARY KEY, remote TEXT NOT NULL, held_size INTEGER, held_crc INTEGER,
    size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER, ino INTEGER, dev INTEGER, is_done INTEGER NOT NULL,
    head_crc INTEGER, tail_crc INTEGER, era INTEGER NOT NULL
) WITHOUT ROWID
"""
_SELECT = """
SELECT path, remote, held_size, held_crc, size, mtime_ns, ctime_ns, ino, dev, is_done, head_crc, tail_crc, era FROM files
"""
_INSERT = "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


_DONE, _GONE = 1, 2
"""What `is_done` holds of a file that is done. An older agent, or an older ledger, knows no difference: done is done."""


class Entry(NamedTuple):
    """What is known of one file.

    `remote` is the path it is shipped under, `held` what the receiver acknowledged of it (None: nothing, not even an empty
    file), `seen` the state in which the local file was last read and found to begin with those bytes, and `is_done` whether
    nothing of that state was left to ship.
    `is_gone` says that it was deleted on the receiver: it is done for ever, whatever becomes of the local file.
    `mark` tells a long stream that was rewritten in place from one that grew. `era` counts the receiver's marks that were known
    when it was acknowledged (`Ledger.note_lineage`); it is set by `Ledger.put`.
    """

    remote: str
    held: Held | None
    seen: Signature | None = None
    is_done: bool = False
    mark: Mark | None = None
    era: int = 0
    is_gone: bool = False

    @property
    def acked(self) -> Held:
        """The bytes that the receiver acknowledged, which may be none."""
        return self.held or NOTHING


class Ledger:
    """The entries of one spool, in memory and in SQLite.

    A failing disk is no reason to stop shipping: a write that fails is logged once, and tried again with the next one.
    `connect` opens the database, as `sqlite3.connect` does.
    """

    def __init__(self, file: Path, *, connect: Callable[..., sqlite3.Connection] = sqlite3.connect) -> None:
        self._file = file
        self._open_database = connect
        self._entries: dict[str, Entry] = {}
        self._doubted: dict[str, Entry] = {}
        self._unsaved: set[str] = set()
        self._gone: set[str] = set()
        self._has_warned = False
        self._is_closed = False
        self._known: str | None = None
        self._era = 0
        self._is_lineage_unsaved = False
        self._prefix: str | None = None
        self._is_prefix_unsaved = False
        self._db = self._open()

    def _open(self) -> sqlite3.Connection:
        if self._file.exists() and not may(self._file, os.R_OK | os.W_OK):
            raise ConfigError(f"ledger {self._file} can't be written", hint="it is another user's: set 'state_dir'")
        try:
            return self._connect()
        except (sqlite3.DatabaseError, ValueError, TypeError) as error:
            if _is_of_the_disk(error):
                return self._open_in_memory(error)
            aside = self._file.with_name(f"{self._file.name}.unreadable-{time.time_ns()}")
            log.warning(
                "ledger %s can't be used (%s): moved to %s, every file is checked again", self._file, error, aside
            )
            return self._open_anew(aside)

    def _open_anew(self, aside: Path) -> sqlite3.Connection:
        self._entries.clear()
        self._gone.clear()
        try:
            _move_aside(self._file, aside)
            return self._connect()
        except (OSError, sqlite3.Error) as error:
            return self._open_in_memory(error)

    def _open_in_memory(self, error: Exception) -> sqlite3.Connection:
        """Do without a file, which says nothing against shipping: a full disk empties only if the agent works."""
        log.warning("ledger %s can't be opened (%s): shipping goes on from memory", self._file, error)
        self._entries.clear()
        self._gone.clear()
        return self._connect(":memory:")

    def _connect(self, name: str | None = None) -> sqlite3.Connection:
        db = self._open_database(name or self._file, isolation_level=None, check_same_thread=False)
        try:
            db.execute("PRAGMA locking_mode = EXCLUSIVE")  # before the first look: it may find a WAL there already
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if version not in (0, SCHEMA_VERSION):
                raise ValueError(f"it has version {version}, this agent writes {SCHEMA_VERSION}")
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = OFF")
            db.execute(_CREATE)
            db.execute(_CREATE_LINEAGE)
            db.execute(_CREATE_PREFIX)
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            self._entries.update(_load(db))
            self._gone.update(path for path, entry in self._entries.items() if entry.is_gone)
            self._known, self._era = db.execute("SELECT mark, era FROM lineage").fetchone() or (None, 0)
            self._prefix = _prefix_in(db)
        except BaseException:
            db.close()
            raise
        return db

    def get(self, path: str) -> Entry | None:
        """Return what is known of the local `path`, or None."""
        return self._entries.get(path)

    def put(self, path: str, entry: Entry) -> None:
        """Remember `entry` for `path`; it reaches the file with the next `save`."""
        era = self._era_if_old(entry, self._doubted.pop(path, None), self._entries.get(path))
        self._entries[path] = entry._replace(era=self._era if era is None else era)
        self._unsaved.add(path)
        if entry.is_gone:
            self._gone.add(path)

    @staticmethod
    def _era_if_old(entry: Entry, doubted: Entry | None, before: Entry | None) -> int | None:
        """Return the era in which what `entry` holds was acknowledged, None if that is news."""
        if doubted is not None and entry.is_done and entry.held == doubted.held:
            return doubted.era  # nothing was sent since: it was there before the receiver's last start
        if before is not None and before.held == entry.held is not None:
            return before.era  # only the file was looked at again
        return None

    def doubt(self, path: str) -> None:
        """Forget what is known of `path` until the receiver was asked about it."""
        entry = self._entries.get(path)
        self.forget(path)
        if entry is not None:
            self._doubted[path] = entry

    def note_prefix(self, prefix: str) -> bool:
        """Remember that files go under `prefix` from now on; return whether it was another one for what is known of them.

        That is forgotten: what the receiver holds elsewhere says nothing of what it holds here.
        """
        if prefix == self._prefix:
            return False
        is_moved = self._prefix is not None and bool(self._entries)
        if is_moved:
            self.forget_all_but(())
        self._prefix, self._is_prefix_unsaved = prefix, True
        return is_moved

    @property
    def known_mark(self) -> str | None:
        """The receiver's mark that was told last, None if none was."""
        return self._known

    def note_lineage(self, lineage: Lineage) -> list[str]:
        """Remember the receiver's mark; return the paths of which it may hold less than it acknowledged.

        Marks are asked for now and then, so what was acknowledged since the last but one may be younger than the last.
        """
        doubtful = self._doubtful(lineage.since)
        if lineage.mark != self._known:
            self._known, self._era, self._is_lineage_unsaved = lineage.mark, self._era + 1, True
        return doubtful

    def _doubtful(self, since: str) -> list[str]:
        if since == "same":
            return []
        if since == "unknown":
            return [path for path, entry in self._entries.items() if not entry.is_gone]
        # A restart takes away no more than moments of what was acknowledged. What never was needs no second question: one
        # restart after the other would else keep an agent with many new files at asking.
        late = ((path, entry) for path, entry in self._entries.items() if entry.era >= self._era - 1)
        return [path for path, entry in late if not entry.is_gone and (entry.is_done or entry.acked.size > 0)]

    @property
    def gone_files(self) -> int:
        """The number of files that were deleted on the receiver."""
        return len(self._gone)

    def forget(self, path: str) -> None:
        """Drop the entry of a file that is no longer in the spool."""
        self._doubted.pop(path, None)
        self._gone.discard(path)
        if self._entries.pop(path, None) is not None:
            self._unsaved.add(path)

    def forget_all_but(self, paths: Iterable[str]) -> None:
        """Drop the entries of files that are no longer in the spool."""
        self._doubted.clear()
        for path in self._entries.keys() - set(paths):
            del self._entries[path]
            self._gone.discard(path)
            self._unsaved.add(path)

    def save(self) -> None:
        """Write what has changed in one transaction; a failure is logged and kept for the next call."""
        if not (self._unsaved or self._is_lineage_unsaved or self._is_prefix_unsaved):
            return
        try:
            self._write()
        except Exception as error:  # noqa: BLE001 - whatever it is, it says nothing against shipping
            self._give_up_write(error)
        else:
            self._unsaved.clear()
            self._is_lineage_unsaved = self._is_prefix_unsaved = False
            self._has_warned = False

    def _write(self) -> None:
        gone = [(os.fsencode(p),) for p in self._unsaved if p not in self._entries]
        rows = [_to_row(p, self._entries[p]) for p in self._unsaved if p in self._entries]
        self._db.execute("BEGIN")
        self._db.executemany("DELETE FROM files WHERE path = ?", gone)
        self._db.executemany(_INSERT, rows)
        if self._is_lineage_unsaved:
            self._db.execute("DELETE FROM lineage")
            self._db.execute("INSERT INTO lineage VALUES (?, ?)", (self._known, self._era))
        if self._is_prefix_unsaved:
            self._db.execute("DELETE FROM prefix")
            self._db.execute("INSERT INTO prefix VALUES (?)", (self._prefix,))
        self._db.execute("COMMIT")

    def _give_up_write(self, error: Exception) -> None:
        with contextlib.suppress(sqlite3.Error):  # nothing to roll back, or a disk that can't even do that
            self._db.execute("ROLLBACK")
        if not self._has_warned:
            log.warning("ledger %s can't be written (%s): shipping goes on from memory", self._file, error)
            self._has_warned = True

    def close(self) -> None:
        """Save and close; closing again does nothing."""
        if not self._is_closed:
            self.save()
            self._is_closed = True
            with contextlib.suppress(sqlite3.Error):
                self._db.close()


def _is_of_the_disk(error: Exception) -> bool:
    """Whether the file can't be used, whatever is in it (SQLITE_FULL, _IOERR, _READONLY, _CANTOPEN; _BUSY: somebody looks)."""
    signs = ("is full", "disk I/O error", "readonly", "unable to open", "is locked")
    return any(sign in str(error) for sign in signs)


def peek(file: Path, prefix: str) -> dict[str, Entry] | None:
    """Return the entries of the ledger `file` by path, None if there is none that can be read; changes nothing.

    Those of a ledger of another prefix don't count, as they won't for the next agent (`Ledger.note_prefix`). It works on a
    copy: even to read a database in WAL mode, SQLite writes beside it.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="ml-logger-") as folder:
            copy = shutil.copyfile(file, Path(folder) / "ledger.sqlite")
            wal = file.with_name(f"{file.name}-wal")
            if wal.exists():
                shutil.copyfile(wal, copy.with_name(f"{copy.name}-wal"))
            with contextlib.closing(sqlite3.connect(copy)) as db:
                (version,) = db.execute("PRAGMA user_version").fetchone()
                if version != SCHEMA_VERSION:
                    return None
                return dict(_load(db)) if _prefix_in(db) in (None, prefix) else {}
    except (OSError, sqlite3.Error, ValueError, TypeError):
        return None


def _load(db: sqlite3.Connection) -> Iterator[tuple[str, Entry]]:
    for path, remote, size, crc, *seen, is_done, head, tail, era in db.execute(_SELECT):
        signature = Signature(*seen) if seen[0] is not None else None
        mark = Mark(Crc(head), Crc(tail)) if head is not None else None
        held = None if size is None else Held(Offset(int(size)), Crc(int(crc)))
        yield os.fsdecode(path), Entry(remote, held, signature, bool(is_done), mark, int(era), is_done == _GONE)


def _prefix_in(db: sqlite3.Connection) -> str | None:
    found = db.execute("SELECT name FROM prefix").fetchone()
    return None if found is None else str(found[0])


def _to_row(path: str, entry: Entry) -> tuple[object, ...]:
    seen = entry.seen
    state = (None,) * len(Signature._fields) if seen is None else tuple(seen)
    ends = (None, None) if entry.mark is None else (entry.mark.head, entry.mark.tail)
    held = (None, None) if entry.held is None else (entry.held.size, entry.held.crc)
    done = _GONE if entry.is_gone else _DONE if entry.is_done else 0
    return (os.fsencode(path), entry.remote, *held, *state, done, *ends, entry.era)


def _move_aside(file: Path, aside: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        part = file.with_name(file.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
