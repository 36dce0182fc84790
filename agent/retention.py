"""Retention: which shipped files may leave the spool, and when. Off unless the config sets a bound.

A file may go once all of it is acknowledged in the state it is in: when it has not changed for ``keep_s``, or, oldest first,
while the spool holds more than ``max_spool_bytes``. One that was deleted on the receiver is there nowhere else: it goes by its
age alone. `plan` says which, from values alone; `Retention` remembers what had to
be kept and for how long; `deletion.Broom` does it, and has the last word on every file.

A call of `select` costs nothing while nothing is due: the walk knows the size of the spool, and the last plan when the next
file gets old. A plan looks at every file, so it is made at most every `EVERY_S`, and takes at most 1/200 of the time.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from .config import RetentionSettings
from .deletion import EMPTY_KEEP_S, LATER_S, SOON_S, Candidate, Errand, Swept
from .ledger import Entry
from .scanner import LocalFile
from .settling import Clock

log = logging.getLogger(__name__)

EVERY_S = 5.0
PLAN_SHARE = 1 / 200
MOST_FILES = 1000
MOST_BYTES = 256 << 20
"""How much one errand may hold: the receiver may have to read all of it to know its CRCs."""

SAY_EVERY_S = 60.0
FULL_FOR_S = 60.0
"""How long a spool may be over its bound, with nothing to delete, before that is said."""


class Files(Protocol):
    """What is known of the spool's files; `scanner.Walk` is one."""

    @property
    def size_bytes(self) -> int:
        """The size of all files."""

    def files(self) -> Iterator[LocalFile]:
        """Yield every file."""

    def note_gone(self, files: Iterable[LocalFile]) -> None:
        """Take note of deleted files."""


class Entries(Protocol):
    """What was acknowledged; `Ledger` is one."""

    def get(self, path: str) -> Entry | None:
        """Return what is known of `path`."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What may go now, oldest first, and in how many seconds the next file may become old enough."""

    candidates: tuple[Candidate, ...]
    due_in_s: float


def plan(
    files: Iterable[LocalFile],
    size_bytes: int,
    *,
    entry_of: Callable[[str], Entry | None],
    rests_for_s: Callable[[str], float],
    now_ns: int,
    settings: RetentionSettings,
    settle_s: float,
) -> Plan:
    """Return which of `files`, of `size_bytes` together, may go; `rests_for_s` says how long a file is to be left alone."""
    keep_s = float("inf") if settings.keep_s is None else max(settings.keep_s, settle_s)
    due_in_s = min(LATER_S, keep_s)  # what comes after this is not old before
    is_over = settings.max_spool_bytes is not None and size_bytes > settings.max_spool_bytes
    by_age = f"it has not changed for {keep_s:.0f} s"
    by_size = f"the spool holds more than {settings.max_spool_bytes} bytes"
    old: list[Candidate] = []
    young: list[Candidate] = []
    for file in files:
        age_s = (now_ns - file.signature.mtime_ns) / 1e9
        if age_s < keep_s:
            due_in_s = min(due_in_s, keep_s - age_s)
            if not is_over:
                continue
        entry, rest_s = entry_of(file.path), rests_for_s(file.path)
        is_gone = entry is not None and entry.is_gone
        is_shipped = is_gone or (entry is not None and entry.is_done and entry.seen == file.signature)
        if entry is None or not is_shipped or rest_s > 0:
            due_in_s = min(due_in_s, max(rest_s, SOON_S)) if age_s >= keep_s else due_in_s
        elif age_s >= keep_s:
            old.append(Candidate(file, entry._replace(seen=file.signature), keep_s, by_age))
        elif age_s >= settle_s and not is_gone:
            young.append(Candidate(file, entry, settle_s, by_size))
    old.sort(key=_age_key)
    excess = 0 if settings.max_spool_bytes is None else size_bytes - _size_of(old) - settings.max_spool_bytes
    return Plan((*old, *_oldest(young, excess)), due_in_s)


def _oldest(candidates: list[Candidate], excess_bytes: int) -> Iterator[Candidate]:
    """Yield the oldest files until they hold `excess_bytes` together."""
    if excess_bytes > 0:
        candidates.sort(key=_age_key)
        for candidate in candidates:
            if excess_bytes <= 0:
                return
            excess_bytes -= candidate.file.signature.size
            if candidate.file.signature.size:
                yield candidate


def _age_key(candidate: Candidate) -> tuple[int, str]:
    return candidate.file.signature.mtime_ns, candidate.file.path


def _size_of(candidates: Iterable[Candidate]) -> int:
    return sum(candidate.file.signature.size for candidate in candidates)


class Retention:
    """What one spool's retention remembers. Everything but `select` and `note` happens elsewhere, in any thread.

    `select` gives an errand; whoever carried it out says what came of it by `note`, or by `put_back` that nothing did. Until
    then no other is given. All three are called by one thread.
    """

    def __init__(
        self,
        settings: RetentionSettings,
        settle_s: float,
        entries: Entries,
        files: Files,
        clock: Clock,
        *,
        every_s: float = EVERY_S,
        is_silent: bool = False,
    ) -> None:
        self._settings = settings
        self._settle_s = settle_s
        self._entries = entries
        self._files = files
        self._clock = clock
        self._every_s = every_s
        self._is_silent = is_silent
        self._is_out = False
        self._queue: deque[Candidate] = deque()
        self._next_plan_s = 0.0
        self._due_s = 0.0
        self._rests: dict[str, float] = {}
        self._emptied: dict[str, float] = {}
        self._told: set[str] = set()
        self._full_since_s: float | None = None
        self._unsaid = [0, 0]
        self._say_at_s = 0.0

    @property
    def is_on(self) -> bool:
        """Whether the config sets a bound."""
        return self._settings.is_on

    def select(self) -> Errand | None:
        """Return what is to be deleted now, or None; costs nothing where nothing is due."""
        if not self.is_on or self._is_out:
            return None
        folders: tuple[str, ...] = ()
        now_s = self._clock.steady_s()
        self._say(now_s)
        if not self._queue and now_s >= self._next_plan_s and (self._is_over or now_s >= self._due_s):
            self._make_plan(now_s)
            folders = self._take_folders(now_s)
        errand = Errand(tuple(self._take_files()), folders)
        self._is_out = bool(errand.files or errand.folders)
        return errand if self._is_out else None

    def _make_plan(self, now_s: float) -> None:
        self._rests = {path: until_s for path, until_s in self._rests.items() if until_s > now_s}
        planned = plan(
            self._files.files(),
            self._files.size_bytes,
            entry_of=self._entries.get,
            rests_for_s=lambda path: self._rests.get(path, now_s) - now_s,
            now_ns=self._clock.wall_ns(),
            settings=self._settings,
            settle_s=self._settle_s,
        )
        self._queue.extend(planned.candidates)
        self._watch_bound(now_s, has_candidates=bool(planned.candidates))
        took_s = self._clock.steady_s() - now_s
        self._next_plan_s = now_s + max(self._every_s, took_s / PLAN_SHARE)
        self._due_s = now_s + planned.due_in_s

    def _take_files(self) -> Iterator[Candidate]:
        """Take the next files off the queue, as many as one errand may hold, at least one."""
        files, size_bytes = 0, 0
        while self._queue and files < MOST_FILES:
            size_bytes += self._queue[0].file.signature.size
            if files and size_bytes > MOST_BYTES:
                return
            files += 1
            yield self._queue.popleft()

    @property
    def _is_over(self) -> bool:
        bound = self._settings.max_spool_bytes
        return bound is not None and self._files.size_bytes > bound

    def _take_folders(self, now_s: float) -> tuple[str, ...]:
        due = tuple(folder for folder, due_s in self._emptied.items() if due_s <= now_s)
        for folder in due:
            self._emptied[folder] = now_s + LATER_S
        return due

    def _watch_bound(self, now_s: float, *, has_candidates: bool) -> None:
        """Say, once each time, that the spool stays over its bound because nothing of it may be deleted."""
        if not self._is_over or has_candidates:
            self._full_since_s = None
            self._told.discard("full")
        elif self._full_since_s is None:
            self._full_since_s = now_s
        elif now_s - self._full_since_s >= FULL_FOR_S:
            self._tell_once(
                "full",
                "the spool holds %d bytes, more than retention.max_spool_bytes, and none that may be deleted: they are in use, "
                "or not shipped yet",
                self._files.size_bytes,
            )

    # --- what came of it

    def note(self, swept: Swept) -> None:
        """Take note of what came of the errand."""
        self._is_out = False
        now_s = self._clock.steady_s()
        gone = [candidate.file for candidate in swept.deleted]
        self._files.note_gone(gone)
        for kept in swept.kept:
            self._rests[kept.path] = now_s + kept.again_in_s
            if kept.is_told:
                self._tell_once(kept.reason, "retention keeps %s and maybe others: %s", ascii(kept.path), kept.reason)
        self._note_folders(swept, now_s)
        self._unsaid[0] += len(gone)
        self._unsaid[1] += swept.deleted_bytes
        self._say(now_s)

    def put_back(self) -> None:
        """Take note that the errand was not carried out."""
        self._is_out = False
        self._queue.clear()
        now_s = self._clock.steady_s()
        self._due_s, self._next_plan_s = now_s, max(self._next_plan_s, now_s + self._every_s)

    def _note_folders(self, swept: Swept, now_s: float) -> None:
        for folder in (*swept.removed_folders, *swept.used_folders):
            self._emptied.pop(folder, None)
        emptied = {candidate.file.path.rpartition("/")[0] for candidate in swept.deleted}
        emptied |= {folder.rpartition("/")[0] for folder in swept.removed_folders}
        for folder in emptied - {""}:
            self._emptied[folder] = now_s + EMPTY_KEEP_S

    def _say(self, now_s: float) -> None:
        """Say what was deleted, in one line a minute."""
        if self._unsaid[0] and not self._is_silent and now_s >= self._say_at_s:
            log.info("retention deleted %d shipped files, %d bytes, from the spool", *self._unsaid)
            self._unsaid = [0, 0]
            self._say_at_s = now_s + SAY_EVERY_S

    def _tell_once(self, key: str, message: str, *values: object) -> None:
        if key not in self._told and not self._is_silent:
            self._told.add(key)
            log.warning(message, *values)
