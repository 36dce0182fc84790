"""Deleting shipped files from the spool, so that no byte goes which the receiver does not hold, whoever writes meanwhile.

What the ledger says is a memory, so right before a file goes the receiver is asked what it holds *now*: size and CRC must be
those it acknowledged. The file itself must be the one that was shipped, and final:

- nobody holds the lock that a writer keeps on its open stream, and nobody has the file open for writing. The second is what
  a read lease tells (``F_SETLEASE``, see ``fcntl(2)``): it is refused while anybody has, and while it is held nobody can
  begin to. Where leases can't be had (NFS, another user's file) only time tells: `UNSEEN_S`.
- it is no stream's last part while its run is alive: the next part would be given the same name (`layout.numbered`).

A name is taken away before the last look: the file is renamed to a hidden one, looked at again `GRACE_S` later, and only then
unlinked. Who replaces it meanwhile makes a new file under the name; who had found the name and was about to open it is seen,
or what was written is, and the file is put back. So an `open` or `rename` that comes between look and deletion costs nothing.
What a crash in between leaves are hidden files; the next agent gives them their names back (`hiding`).

No signature tells of every change, so the bytes have the last word: right before it is unlinked the nameless file is read once
more, and its CRC must be that of what the receiver holds. A file whose bytes are others is put back and shipped anew.

No folder is reached through a symlink.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from ..wire import Held
from . import hiding, local_file
from .folders import Folders, open_file
from .ledger import Entry
from .scanner import LocalFile, signature_of

UNSEEN_S = 3600.0
"""How long a file must not have changed where the system can't tell whether anybody has it open for writing."""

GRACE_S = 1.0
"""How long a file lies under a hidden name: more than an `open` takes that found it under its own, on a machine under load."""

EMPTY_KEEP_S = 24 * 3600.0
"""How long a folder that was emptied here stays: programs may still want to write into it."""

SOON_S = 60.0
LATER_S = 600.0
"""After which time a file that had to be kept is looked at again: one in use, and one that a person must see to."""

_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)

Stat = Callable[[Sequence[str]], list[Held | None]]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that may go: what was acknowledged of it, for how many seconds it must not have changed, and why it may go."""

    file: LocalFile
    entry: Entry
    unchanged_s: float
    reason: str


@dataclass(frozen=True, slots=True)
class Errand:
    """What to delete: files, and folders (relative to the spool) if they are empty, old and of no living run."""

    files: tuple[Candidate, ...] = ()
    folders: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Kept:
    """A file that could not go yet, why, and after how many seconds to try again.

    `is_told` if a person should hear of it, `is_unlike` if its bytes are not those that the receiver holds.
    """

    path: str
    reason: str
    again_in_s: float
    is_told: bool = False
    is_unlike: bool = False


@dataclass(slots=True)
class Swept:
    """What came of an errand; the folders that are gone, and those that are of no interest any more."""

    deleted: list[Candidate] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    removed_folders: list[str] = field(default_factory=list)
    used_folders: list[str] = field(default_factory=list)

    @property
    def deleted_bytes(self) -> int:
        """The size of all that was deleted."""
        return sum(candidate.file.signature.size for candidate in self.deleted)


@dataclass(frozen=True, slots=True)
class _Aside:
    candidate: Candidate
    folder: str
    name: str
    aside: str


class Broom:
    """Carries out errands in one spool, in any thread.

    `stat` asks the receiver, `wall_ns` is the time since the epoch, and `rest` waits for so many seconds.
    """

    def __init__(
        self, spool: Path, stat: Stat, wall_ns: Callable[[], int], rest: Callable[[float], object] = time.sleep
    ) -> None:
        self._spool = spool
        self._stat = stat
        self._wall_ns = wall_ns
        self._rest = rest

    def sweep(self, errand: Errand, *, is_rehearsal: bool = False) -> Swept:
        """Delete what may be deleted; a rehearsal only says what would be. Takes `GRACE_S` if anything is deleted.

        Raises `ShipError` or `BadAnswer` where the receiver can't be asked; nothing is deleted then.
        """
        files = sorted(errand.files, key=lambda candidate: candidate.file.path.rpartition("/"))
        held = self._stat([candidate.entry.remote for candidate in files]) if files else []
        swept = Swept()
        try:
            with closing(Folders(self._spool)) as folders:
                if is_rehearsal:
                    self._rehearse(folders, files, held, swept)
                else:
                    self._sweep_files(folders, files, held, swept)
                    for folder in errand.folders:
                        self._sweep_folder(folders, folder, swept)
        except FileNotFoundError:
            pass  # the spool itself is away; what was done counts
        return swept

    # --- files

    def _rehearse(
        self, folders: Folders, files: Sequence[Candidate], held: Sequence[Held | None], swept: Swept
    ) -> None:
        for candidate, holding in zip(files, held, strict=True):
            with _noting(candidate, swept):
                if self._has_leave(folders, candidate, holding, swept):
                    _rehearse_unlink(folders, candidate, swept)

    def _sweep_files(
        self, folders: Folders, files: Sequence[Candidate], held: Sequence[Held | None], swept: Swept
    ) -> None:
        going: list[_Aside] = []
        for candidate, holding in zip(files, held, strict=True):
            with _noting(candidate, swept):
                if self._has_leave(folders, candidate, holding, swept):
                    going.append(_take_name(folders, candidate))
        if going:
            self._rest(GRACE_S)
        for aside in going:
            with _noting(aside.candidate, swept):
                _note_end(aside.candidate, _try_unlink(folders.open(aside.folder), aside), swept)

    def _has_leave(self, folders: Folders, candidate: Candidate, held: Held | None, swept: Swept) -> bool:
        """Whether the file may be deleted as it is now; if not, why is noted. Raises OSError."""
        kept = self._why_kept(folders, candidate, held)
        if kept is not None:
            swept.kept.append(kept)
        return kept is None

    def _why_kept(self, folders: Folders, candidate: Candidate, held: Held | None) -> Kept | None:
        path = candidate.file.path
        if held != candidate.entry.held:
            return Kept(path, "the receiver no longer holds what it acknowledged", LATER_S, is_told=True)
        folder, _, name = path.rpartition("/")
        with open_file(folders.open(folder), name) as fd:
            kept = self._why_file_kept(candidate, fd)
        if kept is None and folders.is_last_of_living_run(folder, name):
            return Kept(path, "it is the last part of a stream of a living run", SOON_S)
        return kept

    def _why_file_kept(self, candidate: Candidate, fd: int) -> Kept | None:
        path = candidate.file.path
        lease = _try_lease(fd)
        status = os.fstat(fd)
        if not _is_as_shipped(status, candidate):
            return Kept(path, "it has changed since it was shipped", SOON_S)
        if lease is False or not local_file.is_writer_gone(fd):
            return Kept(path, "it is open for writing", SOON_S)
        # the change time too: a copy that keeps the times of the original looks older than it is
        age_s = (self._wall_ns() - max(status.st_mtime_ns, status.st_ctime_ns)) / 1e9
        wait_s = (candidate.unchanged_s if lease else max(candidate.unchanged_s, UNSEEN_S)) - age_s
        return Kept(path, "it is not old enough", wait_s) if wait_s > 0 else None

    # --- folders

    def _sweep_folder(self, folders: Folders, folder: str, swept: Swept) -> None:
        """Remove a folder if it is empty and old; whatever else it is, it is used, and not ours to remove."""
        parent, _, name = folder.rpartition("/")
        try:
            parent_fd = folders.open(parent)
            status = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
            if self._wall_ns() - status.st_mtime_ns < EMPTY_KEEP_S * 1e9 or folders.is_run_alive(folder):
                return
            os.rmdir(name, dir_fd=parent_fd)
        except OSError:  # not empty, no folder, no rights: it stays
            swept.used_folders.append(folder)
        else:
            swept.removed_folders.append(folder)


def _note_end(candidate: Candidate, kept: Kept | None, swept: Swept) -> None:
    if kept is None:
        swept.deleted.append(candidate)
    else:
        swept.kept.append(kept)


def _rehearse_unlink(folders: Folders, candidate: Candidate, swept: Swept) -> None:
    folder, _, name = candidate.file.path.rpartition("/")
    with open_file(folders.open(folder), name) as fd:
        _note_end(candidate, _why_bytes_kept(candidate, fd), swept)


def _is_as_shipped(status: os.stat_result, candidate: Candidate) -> bool:
    return stat.S_ISREG(status.st_mode) and signature_of(status) == candidate.entry.seen


@contextmanager
def _noting(candidate: Candidate, swept: Swept) -> Iterator[None]:
    """Note of `candidate` what an OSError in the block means: it is gone, or can't be deleted."""
    path = candidate.file.path
    try:
        yield
    except OSError as error:
        if error.errno in _GONE:
            swept.gone.append(path)
        else:
            swept.kept.append(Kept(path, f"it can't be deleted: {error.strerror}", LATER_S, is_told=True))


def _try_lease(fd: int) -> bool | None:
    """Take a read lease, which falls with the descriptor; False if somebody has the file open for writing, None if unknown."""
    if sys.platform != "linux":
        return None
    try:
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)  # what tells that somebody waits; SIGIO would end the process
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return False if error.errno == errno.EAGAIN else None
    return True


def _take_name(folders: Folders, candidate: Candidate) -> _Aside:
    folder, _, name = candidate.file.path.rpartition("/")
    hidden = hiding.hide(folders.open(folder), name)
    folders.note_deleted(folder, name)
    return _Aside(candidate, folder, name, hidden)


def _try_unlink(folder_fd: int, going: _Aside) -> Kept | None:
    """Look at a file without a name for the last time, and unlink it; else give it its name back and return why."""
    try:
        kept = _why_put_back(folder_fd, going)
    except OSError:
        with suppress(OSError):
            hiding.put_back(folder_fd, going.aside, going.name)
        raise
    if kept is not None:
        hiding.put_back(folder_fd, going.aside, going.name)
    return kept


def _why_put_back(folder_fd: int, going: _Aside) -> Kept | None:
    """Unlink the file while it is certainly what the receiver holds, or return why it is not; raises OSError."""
    with open_file(folder_fd, going.aside) as fd:
        lease, before = _try_lease(fd), signature_of(os.fstat(fd))
        seen = going.candidate.file.signature
        if lease is False or before._replace(ctime_ns=seen.ctime_ns) != seen:  # the rename has moved that time itself
            return Kept(going.candidate.file.path, "it changed in the last moment", SOON_S)
        if (kept := _why_bytes_kept(going.candidate, fd)) is not None:
            return kept
        if signature_of(os.fstat(fd)) != before:  # where there are no leases somebody may have written meanwhile
            return Kept(going.candidate.file.path, "it changed in the last moment", SOON_S)
        hiding.unlink(folder_fd, going.aside)
    return None


def _why_bytes_kept(candidate: Candidate, fd: int) -> Kept | None:
    """Return why the file has to stay, if its bytes are not those that the receiver holds.

    No time tells of every change: a store to a page that is mapped and dirty moves none, and of a long stream only the ends
    are looked at before more of it is sent.
    """
    if candidate.entry.is_gone:
        return None  # it was deleted there: nobody wants it anew
    acked = candidate.entry.acked
    if os.fstat(fd).st_size == acked.size and local_file.holds_prefix(fd, acked):
        return None
    return Kept(
        candidate.file.path,
        "its bytes are not those that the receiver holds: it is shipped anew",
        SOON_S,
        is_told=True,
        is_unlike=True,
    )
