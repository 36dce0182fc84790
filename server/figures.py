"""Figures of what the receiver does, in memory that its workers share: each counts in its own row, and a reader adds them up.

A row outlives its worker, so that a count never falls when one is started again. All figures are known beforehand: nothing a
client sends makes another. A row is written by the event loop's one thread.
"""

from __future__ import annotations

import mmap
from bisect import bisect_left
from typing import Literal, get_args

from ..wire import RESULTS, Result

CALLS = (
    "healthz",
    "readyz",
    "metrics",
    "stat",
    "batch",
    "lineage",
    "heartbeat",
    "agents",
    "files",
    "list",
    "digest",
    "view",
)
"""The calls that are counted by their name, the last part of the URL's beginning; the rest is `other`."""

OTHER = "other"
_REFUSALS = (400, 401, 403, 404, 405, 408, 409, 410, 411, 412, 413, 415, 416, 426, 429)
STATUSES = (200, 201, 204, 206, 304, *_REFUSALS, 500, 501, 503, 507)
"""The statuses that are counted each; the rest counts as 0."""

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the histogram of batches, in seconds."""

Count = Literal["received_bytes", "failed_logins", "disk_waits", "house_failures"]
State = Literal["connections", "unsettled_bytes"]
COUNTS: tuple[Count, ...] = get_args(Count)
STATES: tuple[State, ...] = get_args(State)

_Key = tuple[str, ...]


def _keys() -> list[_Key]:
    requests = [("request", call, str(status)) for call in (*CALLS, OTHER) for status in (*STATUSES, 0)]
    items = [("item", result) for result in RESULTS]
    buckets = [("batch", str(bound)) for bound in (*BUCKETS_S, "inf")]
    return [*requests, *items, *buckets, ("batch_s",), *((name,) for name in (*COUNTS, *STATES))]


_PLACES = {key: place for place, key in enumerate(_keys())}
_BATCHES = _PLACES["batch", str(BUCKETS_S[0])]


class Figures:
    """The rows of `workers` processes, one of them this one's. Made before these are forked."""

    def __init__(self, workers: int = 1) -> None:
        self._workers = workers
        self._cells = memoryview(mmap.mmap(-1, 8 * workers * len(_PLACES))).cast("d")
        self._start = 0

    @property
    def workers(self) -> int:
        """How many processes count."""
        return self._workers

    def take_row(self, number: int) -> None:
        """Count in the row of worker `number` from now on; the states that a dead one left are cleared."""
        self._start = number * len(_PLACES)
        for name in STATES:
            self.set_state(name, 0.0)

    # --- counting

    def _add(self, key: _Key, amount: float = 1.0) -> None:
        self._cells[self._start + _PLACES[key]] += amount

    def count_request(self, path: str, status: int) -> None:
        """Count a request for a URL's `path` that was answered with `status`."""
        words = path.removeprefix("/v1").split("/", 2)
        call = words[1] if len(words) > 1 and words[1] in CALLS else OTHER
        self._add(("request", call, str(status if status in STATUSES else 0)))

    def count_batch(self, results: list[Result], seconds: float) -> None:
        """Count a batch that was answered, with the results of its items."""
        for result in results:
            self._add(("item", result))
        self._cells[self._start + _BATCHES + bisect_left(BUCKETS_S, seconds)] += 1
        self._add(("batch_s",), seconds)

    def add(self, name: Count, amount: float) -> None:
        """Add to a count."""
        self._add((name,), amount)

    def set_state(self, name: State, value: float) -> None:
        """Say how a state of this worker is now."""
        self._cells[self._start + _PLACES[name,]] = value

    # --- reading

    def total(self, *key: str) -> float:
        """Return the sum over all workers of a figure."""
        return sum(self._cells[_PLACES[key] :: len(_PLACES)])

    def requests(self) -> list[tuple[str, str, float]]:
        """Return call, status and number, of those there were."""
        found = [(key[1], key[2], self.total(*key)) for key in _PLACES if key[0] == "request"]
        return [one for one in found if one[2]]

    def batches(self) -> list[tuple[str, float]]:
        """Return the histogram of batches: each bound in seconds, and how many took no longer."""
        counts: list[tuple[str, float]] = []
        for bound in (*map(str, BUCKETS_S), "inf"):
            counts.append((bound, self.total("batch", bound) + (counts[-1][1] if counts else 0.0)))
        return counts
