"""Patience with whoever shows a wrong token: it is counted by address, and each further answer comes later.

Only refusals wait, so nobody who has a token is locked out by somebody who has none, even behind one proxy. Used by the event
loop's one thread.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

FREE_FAILURES = 5
"""So many are answered at once: a person mistypes, an agent was started with an old token."""

FIRST_WAIT_S = 0.25
LONGEST_WAIT_S = 5.0
FORGET_S = 300.0
MOST_ADDRESSES = 10_000


class Patience:
    """Counts failures; `steady_s` is a clock that never jumps. `failures` is how many there were in all."""

    def __init__(self, steady_s: Callable[[], float]) -> None:
        self._steady_s = steady_s
        self._counts: OrderedDict[str, tuple[int, float]] = OrderedDict()  # the longest quiet first
        self.failures = 0

    def fail(self, address: str) -> int:
        """Count a failure of `address`, and return how many it had without five quiet minutes between."""
        now_s = self._steady_s()
        count, at_s = self._counts.pop(address, (0, now_s))
        count = 1 if now_s - at_s > FORGET_S else count + 1
        self._counts[address] = (count, now_s)
        if len(self._counts) > MOST_ADDRESSES:
            self._counts.popitem(last=False)
        self.failures += 1
        return count


def wait_s(count: int) -> float:
    """Return how many seconds the answer to the `count`-th failure waits: none, then from 0.25 doubling up to 5."""
    over = count - FREE_FAILURES
    return 0.0 if over <= 0 else min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(over - 1, 10))
