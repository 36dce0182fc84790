"""The agenda: every file there is something to do for, and what it waits for. Pure; a round costs what has changed.

A file is in one place at a time: in the queue of a lane, out on a connection (`take`), settling (it may still be written to),
held (its last line has a living writer), or resting (it can't be shipped as it is). News of a file on its way is kept until
it is back.

Two lanes, so that a metric line never waits for a checkpoint: `live` is streams with at most one batch to ship, `bulk` is
whole files and streams with a backlog.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator
from typing import Literal

from .scanner import LocalFile

Lane = Literal["live", "bulk"]
LANES: tuple[Lane, ...] = ("live", "bulk")


class Timers:
    """Paths, each with the time at which it is due."""

    def __init__(self, steady_s: Callable[[], float]) -> None:
        self._steady_s = steady_s
        self._due_s: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []

    def set(self, path: str, wait_s: float) -> None:
        """Let `path` be due in `wait_s` seconds, whatever was set before."""
        due_s = self._steady_s() + wait_s
        self._due_s[path] = due_s
        heapq.heappush(self._heap, (due_s, path))

    def discard(self, path: str) -> None:
        """Take `path` out, if it is in."""
        self._due_s.pop(path, None)

    def take_due(self) -> list[str]:
        """Take out and return the paths that are due."""
        now_s, due = self._steady_s(), []
        while self._heap and self._heap[0][0] <= now_s:
            due_s, path = heapq.heappop(self._heap)
            if self._due_s.get(path) == due_s:
                del self._due_s[path]
                due.append(path)
        return due

    def next_in_s(self) -> float | None:
        """Return in how many seconds the first path is due, None if there is none."""
        while self._heap and self._due_s.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return max(0.0, self._heap[0][0] - self._steady_s()) if self._heap else None


class Agenda:
    """What there is to do. `steady_s` is a clock that never jumps."""

    def __init__(self, steady_s: Callable[[], float]) -> None:
        self._steady_s = steady_s
        self._files: dict[str, LocalFile] = {}
        self._since_s: dict[str, float] = {}
        self._queues: dict[Lane, deque[str]] = {lane: deque() for lane in LANES}
        # a path that is in a queue but not here, or in another lane, was taken out of it
        self._queued: dict[str, Lane] = {}
        self._out: dict[str, float] = {}  # since when
        self._held: set[str] = set()
        self._settling = Timers(steady_s)
        self._resting = Timers(steady_s)

    def __contains__(self, path: str) -> bool:
        return path in self._files

    def __iter__(self) -> Iterator[LocalFile]:
        return iter(self._files.values())

    def get(self, path: str) -> LocalFile | None:
        """Return the newest state of `path`, None if there is nothing to do for it."""
        return self._files.get(path)

    def is_out(self, path: str) -> bool:
        """Whether `path` is on its way."""
        return path in self._out

    @property
    def out(self) -> int:
        """The number of files on their way."""
        return len(self._out)

    def is_ready(self, lane: Lane) -> bool:
        """Whether a file of `lane` could go now."""
        self._drop_stale(lane)
        return bool(self._queues[lane])

    # --- from place to place

    def note(self, file: LocalFile) -> bool:
        """Take up `file`, new or changed; return whether somebody has to find it a place (it is not on its way)."""
        self._files[file.path] = file
        self._since_s.setdefault(file.path, self._steady_s())
        return file.path not in self._out

    def queue(self, path: str, lane: Lane, *, first: bool = False) -> None:
        """Put `path` into the queue of `lane`, unless it is there."""
        self._leave_waiting(path)
        if self._queued.get(path) == lane:
            return
        self._queued[path] = lane
        if first:
            self._queues[lane].appendleft(path)
        else:
            self._queues[lane].append(path)

    def settle(self, path: str, wait_s: float) -> None:
        """Let `path` wait for `wait_s` seconds for what may still be written to it."""
        self._leave(path)
        self._settling.set(path, wait_s)

    def hold(self, path: str) -> None:
        """Let `path` wait until its writer writes on or goes."""
        self._leave(path)
        self._held.add(path)

    def rest(self, path: str, wait_s: float) -> None:
        """Leave `path` alone for `wait_s` seconds."""
        self._leave(path)
        self._resting.set(path, wait_s)

    def take(self, lane: Lane) -> LocalFile | None:
        """Send the first file of `lane` on its way and return it; None if the queue is empty."""
        self._drop_stale(lane)
        if not self._queues[lane]:
            return None
        path = self._queues[lane].popleft()
        del self._queued[path]
        self._out[path] = self._steady_s()
        return self._files[path]

    def put_back(self, path: str, lane: Lane) -> None:
        """Put a file that was taken back to the head of its queue."""
        self._out.pop(path, None)
        if path in self._files:
            self.queue(path, lane, first=True)

    def come_back(self, path: str, *, has_moved: bool = False) -> LocalFile | None:
        """Note that a file is no longer on its way; return its newest state, None if it has gone meanwhile.

        If it `has_moved`, what is left of it is no older than the time it was taken.
        """
        taken_s = self._out.pop(path, None)
        if has_moved and taken_s is not None and path in self._files:
            self._since_s[path] = taken_s
        return self._files.get(path)

    def drop(self, path: str) -> None:
        """Take `path` off the agenda: it is done, or gone. One on its way stays so until it is back."""
        self._leave(path)
        self._files.pop(path, None)
        self._since_s.pop(path, None)

    def since_s(self, path: str) -> float:
        """Return since when something of `path` waits, by the steady clock."""
        return self._since_s[path]

    # --- time

    def take_due(self) -> list[LocalFile]:
        """Return the files that have settled or rested for long enough; somebody has to find them a place."""
        due = self._settling.take_due() + self._resting.take_due()
        return [self._files[path] for path in due if path in self._files]

    def take_held(self) -> list[LocalFile]:
        """Return the files that wait for their writers; somebody has to find them a place."""
        held, self._held = self._held, set()
        return [self._files[path] for path in held if path in self._files]

    def settles_in_s(self) -> float | None:
        """Return in how many seconds the first file may have settled, None if none is settling."""
        return self._settling.next_in_s()

    def _leave(self, path: str) -> None:
        self._queued.pop(path, None)
        self._leave_waiting(path)

    def _leave_waiting(self, path: str) -> None:
        self._held.discard(path)
        self._settling.discard(path)
        self._resting.discard(path)

    def _drop_stale(self, lane: Lane) -> None:
        queue = self._queues[lane]
        while queue and self._queued.get(queue[0]) != lane:
            queue.popleft()
