"""What is shipped already and yet to be compared, and when: files that may hold other bytes now, of which no time tells.

These are streams that grew and are quiet now (`grown`), whole files whose last writer let go of them (a mapping may have been
written to), and what retention found to be unlike. What differs is shipped anew.
"""

from __future__ import annotations

from collections.abc import Iterable

from .memory import Memory
from .places import Places
from .planner import kind_of


class Comparisons:
    """Lets files be compared: `asking` makes the questions."""

    def __init__(self, memory: Memory, places: Places) -> None:
        self._memory = memory
        self._agenda = memory.agenda
        self._places = places

    def compare(self, paths: Iterable[str]) -> None:
        """Let what was acknowledged of files be compared with all their bytes."""
        for path in paths:
            file, entry = self._memory.walk.find(path), self._memory.ledger.get(path)
            is_gone = entry is not None and entry.is_gone
            if file is not None and not is_gone and not self._agenda.is_out(path):
                self._memory.doubts.unsure.add(path)
                self._agenda.note(file)
                self._places.place(file, is_complete=True)

    def compare_quiet(self) -> None:
        """Let the streams that grew be compared, once nobody writes to them."""
        self.compare(self._memory.grown.take_quiet(self._memory.walk.find))

    def note_complete(self, path: str) -> None:
        """Let a file go that needs not settle; a whole one that is shipped is compared, since its last writer let go of it.

        A program that had it mapped may have written into it since, to a page that was dirty already: no time tells of that.
        """
        file, entry = self._agenda.get(path), self._memory.ledger.get(path)
        is_whole = kind_of(path, self._memory.config.streams) == "whole"
        if self._agenda.is_out(path):
            self._memory.doubts.unsure.update([path] if is_whole else [])
        elif file is not None:
            self._places.place(file, is_complete=True)
        elif entry is not None and entry.is_done and is_whole:
            self.compare((path,))
