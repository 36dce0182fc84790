"""The account: what was shipped, in this round and since the start, and how the last delivery ended."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..errors import MLLoggerError
from .couriers import Job
from .delivery import Batch, Missing, Recall
from .progress import Progress
from .settling import Clock


@dataclass(slots=True)
class Tally:
    """What was acknowledged, and whether the receiver did anything that it was asked."""

    bytes: int = 0
    files: int = 0
    is_answered: bool = False


class Account:
    """Counts from `so_far` on, round by round; what is left to ship is not in it."""

    def __init__(self, clock: Clock, so_far: Progress) -> None:
        self._clock = clock
        self._so_far = so_far
        self._tally = Tally()

    @property
    def so_far(self) -> Progress:
        """The totals up to the last round that ended well, and the last words."""
        return self._so_far

    def begin_round(self) -> None:
        """Begin a round; what one that failed had shipped counts in this one."""
        self._tally.is_answered = False

    def end_round(self) -> Tally:
        """End the round; return what was done in it."""
        tally, self._tally = self._tally, Tally()
        shipped_bytes, shipped_files = (
            self._so_far.shipped_bytes + tally.bytes,
            self._so_far.shipped_files + tally.files,
        )
        self._so_far = replace(self._so_far, shipped_bytes=shipped_bytes, shipped_files=shipped_files)
        return tally

    def note_shipped(self, size_bytes: int, files: int = 0) -> None:
        """Count bytes that were acknowledged, and files that were so to their end."""
        self._tally.bytes += size_bytes
        self._tally.files += files

    def note_end(self, job: Job) -> None:
        """Take note of how `job` ended."""
        so_far = self._so_far
        self._tally.is_answered |= _is_answered(job)
        if job.error is not None:
            said = job.error.one_line() if isinstance(job.error, MLLoggerError) else f"unexpected: {job.error!r}"
            self._so_far = replace(so_far, errors=so_far.errors + 1, last_error=said)
        elif isinstance(job.work, Batch):
            self._so_far = replace(so_far, last_error=None, last_ack_at=self._clock.wall_ns() / 1e9)
        elif isinstance(job.work, Recall):
            self._so_far = replace(so_far, last_error=None)


def _is_answered(job: Job) -> bool:
    """Whether the receiver did what it was asked; for a file that had gone before it was not asked at all."""
    is_told = job.report.lineage is not None or any(not isinstance(v, Missing) for v in job.report.verdicts)
    return job.error is None and is_told
