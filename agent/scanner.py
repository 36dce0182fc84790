"""The walk: which files a spool holds. This is the truth; watchdog events only make it happen sooner.

Only regular files are reported. Symlinks, FIFOs, sockets and devices are never opened, hidden names (dotfiles, temporary
names, the agent's state) are passed over. A folder that can't be read is a problem to report, never an end of the walk.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ..layout import is_hidden, matches_any
from .config import AgentConfig


class Signature(NamedTuple):
    """What tells one state of a file from another without reading it: size in bytes, times in ns, inode, device.

    `ctime_ns` is the time of the inode's last change, which no program can set back; `chmod` and `link` move it too. Each
    number fits into 64 bits with a sign, which is what the ledger and the wire can hold (`signature_of`).

    A tuple, since a walk makes one for every file of the spool and compares it: three times as fast as a dataclass.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    ino: int
    dev: int


class LocalFile(NamedTuple):
    """A regular file in the spool: its path relative to the spool, as the operating system spells it, and its state."""

    path: str
    signature: Signature


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that keeps a path from being shipped, and why."""

    path: str
    reason: str


_LEAST, _MOST = -(2**63), 2**63 - 1


def signature_of(status: os.stat_result) -> Signature:
    """Return the signature in a stat result.

    A time before 1677 or after 2262 counts as that bound: a file system may hold times that no 64 bits of nanoseconds can.
    """
    found = Signature(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev)
    return found if max(found) <= _MOST and min(found) >= _LEAST else _bounded(found)


def _bounded(found: Signature) -> Signature:
    """Return `found` in 64 bits with a sign; inodes and devices, which have 64 without one, stay as many as they were."""
    mtime_ns, ctime_ns = (min(max(time_ns, _LEAST), _MOST) for time_ns in found[1:3])
    ino, dev = (number if number <= _MOST else number - 2**64 for number in found[3:])
    return Signature(found.size, mtime_ns, ctime_ns, ino, dev)


@dataclass(frozen=True)
class Findings:
    """What a look at the spool found: files that are new or changed, paths that are gone, folders that can't be listed.

    A file is told once, in the state it was seen in last; one that is among the changed and the gone was deleted and made anew.
    """

    changed: tuple[LocalFile, ...]
    gone: tuple[str, ...]
    problems: tuple[Problem, ...]


@dataclass(slots=True)
class _Folder:
    files: dict[str, Signature]
    folders: set[str]
    interval_s: float
    due_s: float
    cost_s: float = 0.0


QUIET_SHARE = 1 / 200
"""How much of the time looks at folders in which nothing happens may take; a large spool is walked less often than asked."""

MAX_QUIET_S = 600.0


class Walk:
    """Walks a spool again and again, and tells what has changed between two looks.

    A folder in which something changed is due again after `interval_s`; each look that finds nothing doubles that, up to
    `quiet_interval_s`, or to what keeps the walks within `QUIET_SHARE` of the time. Files match `include` and not `exclude`;
    a pattern is matched against the relative path and against the name alone, and an excluded folder is not entered.
    `steady_s` is a clock that never jumps.
    """

    def __init__(
        self,
        root: Path,
        *,
        include: Sequence[str],
        exclude: Sequence[str],
        interval_s: float,
        quiet_interval_s: float,
        steady_s: Callable[[], float],
    ) -> None:
        self._root = root
        self._prefix = f"{os.fspath(root)}/"
        self._include = include
        self._takes_all = "*" in include
        self._exclude = exclude
        self._interval_s = interval_s
        self._quiet_interval_s = max(interval_s, quiet_interval_s)
        self._steady_s = steady_s
        self._folders: dict[str, _Folder] = {}
        self._problems: dict[str, Problem] = {}
        self._changed: dict[str, LocalFile] = {}  # by path: one look may see a file twice
        self._gone: list[str] = []
        self._size_bytes = 0
        self._next_due_s = 0.0  # no folder is due before
        self._cost_s = 0.0  # of a look into every folder, as they last were

    @classmethod
    def of(cls, config: AgentConfig, spool: Path, steady_s: Callable[[], float] = time.monotonic) -> Walk:
        """Return a walk over `spool` as `config` wants it."""
        return cls(
            spool,
            include=config.include,
            exclude=config.exclude,
            interval_s=config.scan_interval_s,
            quiet_interval_s=config.quiet_scan_interval_s,
            steady_s=steady_s,
        )

    def look(self, places: Collection[str] | None = None) -> Findings:
        """Look at the `places` named, files and folders (relative paths, also of new ones), and into folders that are due.

        None looks everywhere. A file that is named costs a look at itself, not one into its folder.
        """
        for folder in self._wanted(places):
            self._visit(folder)
        found = Findings(tuple(self._changed.values()), tuple(self._gone), tuple(self._problems.values()))
        self._changed, self._gone = {}, []
        return found

    def next_look_in_s(self) -> float:
        """Return in how many seconds the next folder is due, or may be."""
        return max(0.0, self._next_due_s - self._steady_s())

    def find(self, path: str) -> LocalFile | None:
        """Return the file `path` as it was at the last look, None if it was not there."""
        folder, _, name = path.rpartition("/")
        signature = self._folders[folder].files.get(name) if folder in self._folders else None
        return None if signature is None else LocalFile(path, signature)

    def files_in(self, folder: str) -> list[LocalFile]:
        """Return the files of `folder` as they were at the last look."""
        known = self._folders.get(folder)
        return [] if known is None else [LocalFile(_join(folder, name), s) for name, s in known.files.items()]

    def paths(self) -> Iterator[str]:
        """Yield the path of every file known."""
        for path, folder in self._folders.items():
            for name in folder.files:
                yield _join(path, name)

    def files(self) -> Iterator[LocalFile]:
        """Yield every file known, in the state in which it was last seen."""
        for path, folder in self._folders.items():
            for name, signature in folder.files.items():
                yield LocalFile(_join(path, name), signature)

    @property
    def size_bytes(self) -> int:
        """The size of every file known together."""
        return self._size_bytes

    def note_gone(self, files: Iterable[LocalFile]) -> None:
        """Take note that files were deleted in this state, before the next look, which will report them as gone."""
        for file in files:
            above, _, name = file.path.rpartition("/")
            folder = self._folders.get(above)
            if folder is not None and folder.files.get(name) == file.signature:
                del folder.files[name]
                self._size_bytes -= file.signature.size
                self._tell_gone([file.path])

    def _tell_gone(self, paths: Iterable[str]) -> None:
        for path in paths:
            self._changed.pop(path, None)
            self._gone.append(path)

    def _wanted(self, places: Collection[str] | None) -> list[str]:
        if places is None or not self._folders:
            self._next_due_s = float("inf")
            return ["", *(path for path in self._folders if path)]
        named = {self._nearest_known(place) for place in places if not self._has_looked_at(place)}
        return sorted(named.union(self._due()))  # what is above comes first

    def _due(self) -> list[str]:
        """Return the folders that are due; all of them are asked only when one may be."""
        now_s = self._steady_s()
        if now_s < self._next_due_s:
            return []
        self._next_due_s = min((f.due_s for f in self._folders.values() if f.due_s > now_s), default=float("inf"))
        return [path for path, folder in self._folders.items() if folder.due_s <= now_s]

    def _set_due(self, folder: _Folder, due_s: float) -> None:
        folder.due_s = due_s
        self._next_due_s = min(self._next_due_s, due_s)

    def _nearest_known(self, place: str) -> str:
        """Return the folder `place`, or the one above it from which a walk will come to it."""
        while place and place not in self._folders:
            place = place.rpartition("/")[0]
        return place

    def _has_looked_at(self, place: str) -> bool:
        """Look at a file alone, if it is one in a folder that is known; whether that was all there was to do."""
        above, _, name = place.rpartition("/")
        folder = self._folders.get(above)
        if folder is None or not name or name in folder.folders:
            return False
        if self._is_passed_over(name, place):
            return True
        try:
            status = os.stat(f"{self._prefix}{place}", follow_symlinks=False)  # noqa: PTH116  # a text, thousands of times a second
        except FileNotFoundError:
            return (self._root / above).is_dir() and self._note_deleted(folder, place, name)
        except OSError:
            return False
        return stat.S_ISREG(status.st_mode) and self._note_file(folder, place, name, signature_of(status))

    def _note_deleted(self, folder: _Folder, path: str, name: str) -> bool:
        before = folder.files.pop(name, None)
        if before is not None:
            self._size_bytes -= before.size
            self._tell_gone([path])
            self._note_busy(folder)
        return True

    def _note_file(self, folder: _Folder, path: str, name: str, signature: Signature) -> bool:
        before = folder.files.get(name)
        if before != signature and self._is_included(path):
            folder.files[name] = signature
            self._size_bytes += signature.size - (0 if before is None else before.size)
            self._changed[path] = LocalFile(path, signature)
            self._note_busy(folder)
        return True

    def _note_busy(self, folder: _Folder) -> None:
        """Make the folder due as after a change; not later than it is, or what was missed in a busy one would wait on."""
        folder.interval_s = self._interval_s
        self._set_due(folder, min(folder.due_s, self._steady_s() + self._interval_s))

    def _is_passed_over(self, name: str, path: str) -> bool:
        return is_hidden(name) or (bool(self._exclude) and matches_any(path, self._exclude))

    def _is_included(self, path: str) -> bool:
        return self._takes_all or matches_any(path, self._include)

    def _visit(self, path: str) -> None:
        """List one folder, note what is different, and go into folders that were not there before."""
        known = self._folders.get(path)
        if known is None and path and not self._is_folder(path):
            return  # it, or a folder above it, has gone meanwhile or become a file
        began_s = self._steady_s()
        try:
            files, folders = self._list(path)
        except OSError as error:
            self._note_unlisted(path, error)
            return
        cost_s = self._steady_s() - began_s
        self._problems.pop(path, None)
        before = known or _Folder({}, set(), self._interval_s, 0.0)
        is_changed = files != before.files
        if is_changed:
            self._compare(path, before, files)
        for name in before.folders - folders:
            self._forget(_join(path, name))
        is_quiet = known is not None and not is_changed and folders == before.folders
        interval_s = min(before.interval_s * 2, self._longest_s()) if is_quiet else self._interval_s
        self._cost_s += cost_s - before.cost_s
        # the former ones if they are equal: the walk's memory stays where it is
        now = self._folders[path] = _Folder(files if is_changed else before.files, folders, interval_s, 0.0, cost_s)
        self._set_due(now, self._steady_s() + interval_s)
        for name in folders - before.folders:
            self._visit(_join(path, name))

    def _is_folder(self, path: str) -> bool:
        """Whether `path` was a folder at the last look into the one above it."""
        above, _, name = path.rpartition("/")
        return above in self._folders and name in self._folders[above].folders

    def _longest_s(self) -> float:
        """Return the longest time between two looks into one folder."""
        return max(self._quiet_interval_s, min(self._cost_s / QUIET_SHARE, MAX_QUIET_S))

    def _compare(self, path: str, before: _Folder, files: dict[str, Signature]) -> None:
        changed = [LocalFile(_join(path, n), s) for n, s in files.items() if before.files.get(n) != s]
        self._changed.update((file.path, file) for file in changed)
        self._tell_gone(_join(path, name) for name in before.files.keys() - files.keys())
        self._size_bytes += _size_of(files) - _size_of(before.files)

    def _note_unlisted(self, path: str, error: OSError) -> None:
        if path and isinstance(error, (FileNotFoundError, NotADirectoryError)):
            if self._root.is_dir():  # or else all of the spool is away, which is said of the root
                self._forget(path)  # deleted while we walked; what it held is gone by a person's will
            return
        # It may be back soon (a mount, permissions): nothing that is known of what is in it is forgotten.
        self._problems[path] = Problem(path or str(self._root), f"can't list this folder: {error.strerror}")
        if path in self._folders:
            self._set_due(self._folders[path], self._steady_s() + self._interval_s)

    def _forget(self, path: str) -> None:
        self._problems.pop(path, None)
        folder = self._folders.pop(path, None)
        if folder is not None:
            self._size_bytes -= _size_of(folder.files)
            self._cost_s -= folder.cost_s
            self._tell_gone(_join(path, name) for name in folder.files)
            for name in folder.folders:
                self._forget(_join(path, name))

    def _list(self, path: str) -> tuple[dict[str, Signature], set[str]]:
        """Return the files and the folders in a folder; a hundred thousand files pass through here at every full walk."""
        files: dict[str, Signature] = {}
        folders: set[str] = set()
        takes_all = self._takes_all and not self._exclude
        with os.scandir(f"{self._prefix}{path}") as entries:
            for entry in entries:
                name = entry.name
                if is_hidden(name) or not (takes_all or self._takes(entry, _join(path, name))):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.add(name)
                elif (signature := _maybe_signature(entry)) is not None:
                    files[name] = signature
        return files, folders

    def _takes(self, entry: os.DirEntry[str], path: str) -> bool:
        if self._exclude and matches_any(path, self._exclude):
            return False
        return self._is_included(path) or entry.is_dir(follow_symlinks=False)


def _size_of(files: dict[str, Signature]) -> int:
    return sum(signature.size for signature in files.values())


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _maybe_signature(entry: os.DirEntry[str]) -> Signature | None:
    try:
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    return signature_of(status) if stat.S_ISREG(status.st_mode) else None
