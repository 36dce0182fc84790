"""The backlog: what is left to ship, counted when somebody asks; all of it, or what there was when a drain took aim."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from .goal import Goal
from .memory import Memory
from .progress import Progress
from .scanner import LocalFile, Problem


class Backlog:
    """Tells of the files of one spool that are not done; `memory` is as new as the last look."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._agenda = memory.agenda

    # --- a goal

    def aim(self) -> None:
        """Take all that is left now as what is to be shipped; what comes later is left alone."""
        goal = self._memory.goal = Goal()
        for file in self._agenda:
            size, has_grown = file.signature.size, file.signature.size > self._memory.entry(file).acked.size
            if self._memory.kind(file) == "stream" and has_grown:
                goal.add_grown(file.path, size)
            else:
                goal.add_version(file.path)

    @property
    def has_reached_aim(self) -> bool:
        """Whether all that there was when it was told to `aim` is acknowledged."""
        return self._memory.goal is not None and not any(self._is_wanted(file.path) for file in self._agenda)

    def _is_wanted(self, path: str) -> bool:
        """Whether a file on the agenda is to be shipped still, where not all is that comes."""
        if self._memory.goal is None or not self._memory.doubts.has_position(path):
            return True
        entry = self._memory.ledger.get(path)
        return not self._memory.goal.is_reached(path, 0 if entry is None else entry.acked.size)

    # --- what is left

    def left(self, problems: Iterable[Problem]) -> tuple[Problem, ...]:
        """Return what can't be shipped: the `problems` of the last look, and what is set aside or not finished."""
        return (*problems, *self._memory.aside.problems(), *self._memory.reader.tail_problems())

    def unshipped(self, problems: Iterable[Problem]) -> list[Problem]:
        """Return every file that is to be shipped still, and the `problems` of the last look."""
        left = {p.path: p for p in self.left(problems)}
        for file in self._agenda:
            left.setdefault(file.path, Problem(file.path, "not shipped yet"))
            if not self._is_wanted(file.path):
                del left[file.path]
        return sorted(left.values(), key=lambda p: p.path)

    def progress(self, so_far: Progress, lost: Sequence[Problem]) -> Progress:
        """Return `so_far` with what is left; costs a look at each file that is not done. `lost` are hidden for good."""
        ages_s = [self._waits_for_s(file) for file in self._agenda]
        return replace(
            so_far,
            backlog_files=len(ages_s),
            backlog_bytes=sum(self._unshipped_bytes(file) for file in self._agenda),
            oldest_unshipped_s=max(ages_s, default=None),
            aside=(*lost, *self._memory.aside.problems()),
            runs_alive=self._memory.alive.folders(),
            gone_files=self._memory.ledger.gone_files,
        )

    def _unshipped_bytes(self, file: LocalFile) -> int:
        size = file.signature.size
        if self._memory.kind(file) == "whole":
            return size - self._memory.reader.staged_bytes(file)
        return max(0, size - self._memory.entry(file).acked.size)

    def _waits_for_s(self, file: LocalFile) -> float:
        """Return for how long something of `file` has waited at least: seen by this agent, or by the file's time."""
        clock = self._memory.clock
        age_s = (clock.wall_ns() - file.signature.mtime_ns) / 1e9
        return max(0.0, age_s, clock.steady_s() - self._agenda.since_s(file.path))
