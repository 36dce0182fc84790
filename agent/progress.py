"""How far the shipping of one spool is: one value for status, metrics, heartbeats and the progress bar alike. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from .scanner import Problem

RATE_WINDOW_S = 60.0
_SAMPLE_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one spool is.

    `backlog_bytes` of `backlog_files` are not acknowledged (of a growing stream what is behind the acknowledged end, of a whole
    file all of it or what is left of its upload); the oldest of them has waited for `oldest_unshipped_s` seconds, None if there
    are none. `shipped_bytes`, `shipped_files` and `errors` (failed tries) are totals since the agent started. `last_ack_at` is
    when the receiver last acknowledged something, in seconds since the epoch. `last_error` is the error that stands: None once
    the receiver has answered again. `aside` is what can't be shipped as it is, `gone_files` how many were deleted on the
    receiver. `runs_alive` names the run directories, relative to the spool, that have a living writer or changed lately.
    """

    backlog_files: int = 0
    backlog_bytes: int = 0
    oldest_unshipped_s: float | None = None
    shipped_bytes: int = 0
    shipped_files: int = 0
    errors: int = 0
    last_ack_at: float | None = None
    last_error: str | None = None
    aside: tuple[Problem, ...] = ()
    runs_alive: tuple[str, ...] = ()
    gone_files: int = 0


def sum_of(parts: Sequence[Progress]) -> Progress:
    """Return how far several spools are together: sums, the oldest byte, the latest acknowledgement, any standing error."""
    return Progress(
        backlog_files=sum(p.backlog_files for p in parts),
        backlog_bytes=sum(p.backlog_bytes for p in parts),
        oldest_unshipped_s=max((p.oldest_unshipped_s for p in parts if p.oldest_unshipped_s is not None), default=None),
        shipped_bytes=sum(p.shipped_bytes for p in parts),
        shipped_files=sum(p.shipped_files for p in parts),
        errors=sum(p.errors for p in parts),
        last_ack_at=max((p.last_ack_at for p in parts if p.last_ack_at is not None), default=None),
        last_error=next((p.last_error for p in parts if p.last_error is not None), None),
        aside=tuple(problem for p in parts for problem in p.aside),
        runs_alive=tuple(run for p in parts for run in p.runs_alive),
        gone_files=sum(p.gone_files for p in parts),
    )


class Meter:
    """A rate over the last minute, from a total that only grows; at most one sample a second is kept."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def note(self, now_s: float, total: int) -> None:
        """Take note of `total` at `now_s` of a clock that never jumps."""
        samples = self._samples
        if len(samples) >= 2 and now_s - samples[-2][0] < _SAMPLE_EVERY_S:
            samples.pop()
        samples.append((now_s, total))
        # the last sample before the window stays: it says what the total was when the window began
        while len(samples) >= 2 and samples[1][0] <= now_s - RATE_WINDOW_S:
            samples.popleft()

    def rate(self, now_s: float) -> float:
        """Return how much the total grew a second, over the last minute or since the first sample if that is shorter."""
        samples = list(self._samples)  # another thread may note meanwhile
        if not samples:
            return 0.0
        begin_s = now_s - RATE_WINDOW_S
        first = next(((s, total) for s, total in reversed(samples) if s <= begin_s), samples[0])
        span_s = now_s - max(first[0], begin_s)
        return (samples[-1][1] - first[1]) / span_s if span_s > 0 else 0.0
