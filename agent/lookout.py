"""The lookout: what has changed in the spool, and is therefore on the agenda or forgotten."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from .memory import Memory
from .places import Places
from .scanner import LocalFile, Problem


class Lookout:
    """Looks into one spool and takes up what is new or different."""

    def __init__(self, memory: Memory, places: Places) -> None:
        self._memory = memory
        self._places = places
        self._root = os.fspath(memory.spool)
        self._is_first_look = True
        self._has_seen_all = False

    def look(self, folders: Iterable[str] | None) -> tuple[Problem, ...]:
        """Take note of what has changed in `folders` (absolute paths; None is everywhere); return what can't be looked into."""
        memory = self._memory
        found = memory.walk.look(None if folders is None else list(self._inside(folders)))
        for path in found.gone:
            memory.forget(path)
        for file in sorted(found.changed, key=lambda f: (f.signature.mtime_ns, f.path)):
            self._take_up(file)
        self._is_first_look = False
        if not self._has_seen_all and not found.problems:
            memory.ledger.forget_all_but(memory.walk.paths())  # what went away while no agent ran
            self._has_seen_all = True
        return found.problems

    def _inside(self, folders: Iterable[str]) -> Iterator[str]:
        for folder in folders:
            if folder == self._root:
                yield ""
            elif folder.startswith(self._root + "/"):
                yield folder[len(self._root) + 1 :]

    def _take_up(self, file: LocalFile) -> None:
        memory = self._memory
        memory.alive.note(file)
        entry = memory.ledger.get(file.path)
        if entry is None:
            if not self._has_seen_all:
                memory.doubts.unknown.add(file.path)
        elif entry.is_gone or (entry.is_done and entry.seen == file.signature and file.path not in memory.agenda):
            return
        elif self._is_first_look and entry.seen != file.signature and memory.kind(file) == "stream":
            memory.doubts.unsure.add(file.path)  # it may have been edited as well as grown while no agent looked
        if memory.agenda.note(file):
            self._places.place(file)
