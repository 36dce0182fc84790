"""Processes: how a run is, from what the processes that wrote it said of themselves.

Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from .records import Record, maybe_time

State = Literal["running", "finished", "failed", "killed", "silent"]
"""`killed`: it began, said no end, and is known to be gone; `silent`: nothing is known of how it ended, if it did."""


@dataclass(frozen=True, slots=True)
class Process:
    """What one process said in its part of ``run.jsonl``, and whether it is seen alive (None: nobody can know)."""

    events: Sequence[Record]
    is_alive: bool | None

    @property
    def state(self) -> State | None:
        """How it is; None for a forked child that left without a word, as they do."""
        if self.is_alive:
            return "running"
        ends = [event.get("state") for event in self.events if event.get("event") == "end"]
        if ends:
            return "failed" if ends[-1] == "failed" else "finished"
        if any(event.get("forked") for event in self.events):
            return None
        has_begun = any(event.get("event") == "start" for event in self.events)
        return "killed" if has_begun and self.is_alive is False else "silent"


@dataclass(frozen=True, slots=True)
class Life:
    """How a run is; times in seconds since the epoch, None where nothing tells.

    `ended` is when the last of its processes said so, `host` and `pid` are of the process that began last.
    """

    state: State
    started: float | None
    ended: float | None
    host: str | None
    pid: int | None


def life_of(processes: Sequence[Process]) -> Life:
    """Return how the run of these `processes`, in the order in which they began, is."""
    states = [process.state for process in processes]
    known = [state for state in states if state is not None]
    state: State = "running" if "running" in known else known[-1] if known else "silent"
    events = [event for process in processes for event in process.events]
    starts = [event for event in events if event.get("event") == "start"]
    ends = [time for event in events if event.get("event") == "end" and (time := maybe_time(event)) is not None]
    times = [time for event in starts if (time := maybe_time(event)) is not None]
    last = starts[-1] if starts else {}
    host, pid = last.get("host"), last.get("pid")
    return Life(
        state,
        started=min(times, default=None),
        ended=max(ends, default=None) if state in ("finished", "failed") else None,
        host=host if isinstance(host, str) else None,
        pid=pid if isinstance(pid, int) else None,
    )
