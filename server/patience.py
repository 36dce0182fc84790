"""Patience with whoever shows a wrong token: it is counted by address, and each further answer comes later.

An address whose next refusal would have to wait needs a place to wait in before a token from it is looked at: so nobody who is
turned away at once learns that the guess was wrong, and an address tries a few tokens in `LONGEST_WAIT_S`, however many
connections it has. What was let in from the same address lately is looked at always: behind one proxy all have one address,
and those who work must not be locked out by somebody who guesses. (A token of theirs could then be guessed as fast as before;
those that the command makes can't be guessed.)

Used by the event loop's one thread.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

FREE_FAILURES = 5
"""So many are answered at once: a person mistypes, an agent was started with an old token."""

FIRST_WAIT_S = 0.25
LONGEST_WAIT_S = 5.0
FORGET_S = 300.0
MOST_ADDRESSES = 10_000
MOST_WELCOME = 10_000

MOST_WAITING = 200
"""So many refusals wait at a time."""

MOST_WAITING_AN_ADDRESS = 8


class Patience:
    """Counts failures; `steady_s` is a clock that never jumps. `failures` is how many there were in all."""

    def __init__(self, steady_s: Callable[[], float]) -> None:
        self._steady_s = steady_s
        self._counts: OrderedDict[str, tuple[int, float]] = OrderedDict()  # the longest quiet first
        self._waiting: Counter[str] = Counter()
        self._welcome: OrderedDict[tuple[str, bytes], float] = OrderedDict()  # the longest unseen first
        self.failures = 0

    def may_try(self, address: str, shown: bytes) -> bool:
        """Whether to look at a token from `address`, of which `shown` is the digest."""
        return not self._owes_wait(address) or self._has_place(address) or self._was_welcome(address, shown)

    def welcome(self, address: str, shown: bytes) -> None:
        """Remember that this digest was let in from `address`."""
        self._welcome.pop((address, shown), None)
        self._welcome[address, shown] = self._steady_s()
        if len(self._welcome) > MOST_WELCOME:
            self._welcome.popitem(last=False)

    @contextmanager
    def waiting(self, address: str) -> Iterator[bool]:
        """Take a place to wait in until the block ends; give whether there was one."""
        has_place = self._has_place(address)
        self._waiting[address] += has_place
        try:
            yield has_place
        finally:
            self._waiting[address] -= has_place
            if not self._waiting[address]:
                del self._waiting[address]

    def _owes_wait(self, address: str) -> bool:
        count, at_s = self._counts.get(address, (0, 0.0))
        return count >= FREE_FAILURES and self._steady_s() - at_s <= FORGET_S

    def _has_place(self, address: str) -> bool:
        return self._waiting[address] < MOST_WAITING_AN_ADDRESS and self._waiting.total() < MOST_WAITING

    def _was_welcome(self, address: str, shown: bytes) -> bool:
        at_s = self._welcome.get((address, shown))
        return at_s is not None and self._steady_s() - at_s <= FORGET_S

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
