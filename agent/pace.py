"""The pace: how much one batch may have, and how soon the next may follow, by how the last ones went."""

from __future__ import annotations

from ..errors import TimedOut
from .couriers import Job
from .delivery import Batch

MIN_BATCH_BYTES = 64 << 10
"""What a batch shrinks to, at most, on a line on which larger ones take too long."""


class Pace:
    """Begins with the largest batch; `next_flush_s` is how long the receiver asks to wait between batches."""

    def __init__(self, largest_batch_bytes: int) -> None:
        self._most_bytes = self.batch_bytes = largest_batch_bytes
        self.next_flush_s = 0.0

    def note(self, job: Job) -> None:
        """Make batches smaller where they are refused as too large or take too long, and larger again where they pass."""
        if not isinstance(job.work, Batch):
            return
        if job.report.most_bytes is not None:
            self._most_bytes = self.batch_bytes = min(self._most_bytes, job.report.most_bytes)
        elif isinstance(job.error, TimedOut):
            self.batch_bytes = min(self.batch_bytes, max(self.batch_bytes // 2, MIN_BATCH_BYTES))
        elif job.error is None:
            self.next_flush_s = job.report.next_flush_s
            self.batch_bytes = min(self.batch_bytes * 2, self._most_bytes)
