"""Lanes: each run may have so many requests under way, and none more while its disk stands still.

A run is known by the first component of its paths, which is also where another disk is mounted, if any is. So a disk that
stands still under one run holds up requests of that run, up to their share, and not the slots that all others need.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ..errors import StoreBusy


@dataclass
class _Lane:
    under_way: int = 0
    moved_at: float = 0.0  # when a request last ended, or began where none was under way


class Lanes:
    """Counts the requests under way by run; thread-safe."""

    def __init__(self, most: int, patience_s: float) -> None:
        self._most, self._patience_s = most, patience_s
        self._lanes: dict[str, _Lane] = {}
        self._moved = threading.Condition()

    @contextmanager
    def enter(self, paths: Iterable[str]) -> Iterator[None]:
        """Be under way for the runs of `paths` within the block.

        Waits while one of them has its share under way; raises `StoreBusy` once nothing has ended there for `patience_s`.
        """
        runs = {path.partition("/")[0] for path in paths}
        with self._moved:
            while (crowded := self._maybe_crowded(runs)) is not None:
                left_s = self._lanes[crowded].moved_at + self._patience_s - time.monotonic()
                if left_s <= 0:
                    raise StoreBusy(f"the disk under {crowded[:200]!a} does not answer", path=crowded)
                self._moved.wait(left_s)
            self._begin(runs)
        try:
            yield
        finally:
            with self._moved:
                self._end(runs)
                self._moved.notify_all()

    def _maybe_crowded(self, runs: set[str]) -> str | None:
        return next((run for run in runs if run in self._lanes and self._lanes[run].under_way >= self._most), None)

    def _begin(self, runs: set[str]) -> None:
        now_s = time.monotonic()
        for run in runs:
            lane = self._lanes.get(run)
            if lane is None:
                lane = self._lanes[run] = _Lane(moved_at=now_s)
            lane.under_way += 1

    def _end(self, runs: set[str]) -> None:
        now_s = time.monotonic()
        for run in runs:
            lane = self._lanes[run]
            lane.under_way -= 1
            lane.moved_at = now_s
            if not lane.under_way:
                del self._lanes[run]
