"""Finding a file its place on the agenda: queued, or left to settle, to rest, or to wait for the end of its last line."""

from __future__ import annotations

from .agenda import Lane
from .memory import Memory
from .pace import Pace
from .planner import Kind, lane_of
from .scanner import LocalFile


class Places:
    """Finds places for the files of one spool; `pace` tells how much one batch carries, and so what is a backlog."""

    def __init__(self, memory: Memory, pace: Pace) -> None:
        self._memory = memory
        self._agenda = memory.agenda
        self._aside = memory.aside
        self._settle_s = memory.config.settle_s
        self._pace = pace

    def place(self, file: LocalFile, *, is_complete: bool = False, first: bool = False) -> None:
        """Let `file` rest or settle as long as it has to, or queue it, at the head if it comes `first`."""
        path, kind = file.path, self._memory.kind(file)
        rest_s = self._aside.rest_left_s(file)
        settle_s = 0.0 if is_complete or kind == "stream" else self._settle_s - self._memory.settling.age_s(file)
        if rest_s > 0:
            self._agenda.rest(path, rest_s)
        elif settle_s > 0:
            self._agenda.settle(path, settle_s)
        else:
            self._agenda.queue(path, self.lane(file, kind), first=first)

    def place_due(self, *, is_everywhere: bool) -> None:
        """Place the files that have waited for long enough; if `is_everywhere`, those that wait for their writers, too."""
        for file in self._agenda.take_due() + (self._agenda.take_held() if is_everywhere else []):
            self.place(file)

    def place_refused(self) -> None:
        """Place the files that the receiver refused, as if it had not."""
        for path in self._aside.take_refused():
            file = self._agenda.get(path)
            if file is not None and not self._agenda.is_out(path):
                self.place(file, is_complete=True)

    def place_tail(self, file: LocalFile) -> bool:
        """Let `file` wait for the end of its last line; return whether there is such a wait."""
        tail = self._memory.reader.tail_of(file.path)
        if tail is not None and tail.settles_in_s is None:
            self._agenda.hold(file.path)
        elif tail is not None and tail.settles_in_s is not None:
            self._agenda.settle(file.path, tail.settles_in_s)
        return tail is not None

    def set_aside(self, file: LocalFile, reason: str) -> None:
        """Let `file`, which can't be shipped as it is, rest."""
        self._aside.put(file, reason)
        if file.path in self._agenda:
            self._agenda.rest(file.path, self._aside.rest_left_s(file))

    def lane(self, file: LocalFile, kind: Kind) -> Lane:
        """Return the lane by which `file` goes."""
        return lane_of(kind, file.signature.size - self._memory.entry(file).acked.size, self._pace.batch_bytes)
