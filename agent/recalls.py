"""Recalls: whether the receiver still holds what it acknowledged. It may have been restored or emptied, or lost a file.

It is asked for its mark now and then (`lineage`, docs/PROTOCOL.md), and about the streams of living runs that have nothing to
ship. What is in doubt goes on the agenda as if the agent had never heard of it.
"""

from __future__ import annotations

import logging

from ..wire import Lineage
from .delivery import Recall
from .memory import Memory
from .places import Places
from .scanner import LocalFile

log = logging.getLogger(__name__)

RECALL_S = 60.0
"""How often the receiver is asked whether it was restored, where no heartbeats are sent whose interval this is."""


class Recalls:
    """Says when to ask, and what the answer puts in doubt."""

    def __init__(self, memory: Memory, places: Places) -> None:
        self._memory = memory
        self._places = places
        self._steady_s = memory.clock.steady_s
        self._streams_every_s = memory.config.quiet_scan_interval_s
        self._due_s = self._steady_s()
        self._streams_due_s = self._steady_s() + self._streams_every_s
        self._is_under_way = False

    @property
    def is_under_way(self) -> bool:
        """Whether the receiver is being asked."""
        return self._is_under_way

    def maybe_begin(self) -> Recall | None:
        """Return what to ask now, None if that is not due or is being asked."""
        now_s = self._steady_s()
        if self._is_under_way or now_s < self._due_s:
            return None
        self._is_under_way, self._due_s = True, now_s + (self._memory.config.heartbeat_s or RECALL_S)
        return Recall(self._memory.ledger.known_mark)

    def note_mark(self, mark: str | None) -> None:
        """Ask soon if the receiver has a new mark: what came before it is to be known before much comes after."""
        if mark not in (None, self._memory.ledger.known_mark):
            self._due_s = self._steady_s()

    def take_in(self, lineage: Lineage | None) -> None:
        """Where the receiver may have been restored or emptied, ask it again about what it acknowledged."""
        self._is_under_way = False
        if lineage is None:
            return
        doubtful = self._memory.ledger.note_lineage(lineage)
        self._doubt_live_streams_if_due()
        files = [file for path in doubtful if (file := self._memory.walk.find(path)) is not None]
        if lineage.since == "unknown" and files:
            log.warning(
                "the receiver is not what it was (restored, or emptied): asking again about %d files", len(files)
            )
        for file in files:
            if not self._memory.agenda.is_out(file.path):
                self._memory.ledger.doubt(file.path)
                if self._memory.goal is not None:
                    self._memory.goal.add_version(file.path)
                self._ask_again(file)

    def _doubt_live_streams_if_due(self) -> None:
        """Ask now and then about the streams of living runs that have nothing to ship: somebody may have deleted them there.

        One that grows needs no question: its next piece finds out. One of a run that has ended stays deleted.
        """
        if self._steady_s() < self._streams_due_s:
            return
        self._streams_due_s = self._steady_s() + self._streams_every_s
        for folder in self._memory.alive.folders():
            for file in self._memory.walk.files_in(folder):
                if self._is_idle_stream(file):
                    self._ask_again(file)

    def _is_idle_stream(self, file: LocalFile) -> bool:
        entry = self._memory.ledger.get(file.path)
        is_held = entry is not None and entry.is_done and not entry.is_gone
        return is_held and file.path not in self._memory.agenda and self._memory.kind(file) == "stream"

    def _ask_again(self, file: LocalFile) -> None:
        self._memory.doubts.unknown.add(file.path)
        if self._memory.agenda.note(file):
            self._places.place(file, is_complete=True)
