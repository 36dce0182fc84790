"""The room in memory for bodies on their way in: what each holds, the share of each address, and who makes way.

Used by the event loop's one thread.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from .answers import Refused


@dataclass(eq=False)
class Holder:
    """A request whose body is on its way from `address`; `cut` ends it, if it `may_be_cut` just now."""

    address: str
    cut: Callable[[], object]
    may_be_cut: bool = True
    is_cut: bool = False
    held_bytes: int = 0
    since_s: float = 0.0


class Room:
    """`size_bytes` for all bodies together, of which one address has at most `share_bytes`.

    Where there is none left, whoever may be cut and has held some for `patience_s` makes way, the longest holder first.
    """

    def __init__(
        self,
        size_bytes: int,
        share_bytes: int,
        patience_s: float,
        *,
        steady_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._size_bytes, self._share_bytes, self._patience_s = size_bytes, share_bytes, patience_s
        self._steady_s = steady_s
        self._holders: dict[Holder, None] = {}  # those that hold some, the longest first
        self._held_bytes = 0
        self._held_by_address: Counter[str] = Counter()

    def take(self, holder: Holder, size_bytes: int) -> None:
        """Count bytes that came in; raises `Refused` where there is no room for them: 503, or 408 for one that was cut.

        Whoever is refused holds nothing from then on, so that those who come next have its room, and are not refused too.
        """
        if holder.is_cut:
            raise self.too_slow()
        if not holder.held_bytes:
            holder.since_s = self._steady_s()
        self._count(holder, size_bytes)
        while not self._is_kept(holder.address):
            overdue = self._maybe_overdue(holder)
            if overdue is None:
                self.give(holder, holder.held_bytes)
                raise Refused(503, "max_requests_in_memory: too many bodies in memory")
            self._cut(overdue)

    def give(self, holder: Holder, size_bytes: int) -> None:
        """Count bytes that are held no longer; those of one that was cut or refused are counted already."""
        self._count(holder, -min(size_bytes, holder.held_bytes))

    def too_slow(self) -> Refused:
        """Return what one that was cut is told."""
        return Refused(
            408, f"stall_timeout_s: the body took more than {self._patience_s:g} s, and others wait for its room"
        )

    def _count(self, holder: Holder, size_bytes: int) -> None:
        holder.held_bytes += size_bytes
        self._held_bytes += size_bytes
        self._held_by_address[holder.address] += size_bytes
        if holder.held_bytes:
            self._holders.setdefault(holder)
        else:
            self._holders.pop(holder, None)
        if not self._held_by_address[holder.address]:
            del self._held_by_address[holder.address]

    def _has_share(self, address: str) -> bool:
        return self._held_by_address[address] <= self._share_bytes

    def _is_kept(self, address: str) -> bool:
        return self._has_share(address) and self._held_bytes <= self._size_bytes

    def _maybe_overdue(self, taker: Holder) -> Holder | None:
        """Return the longest holder that is to make way: another of the taker's address where that is past its share."""
        oldest_s = self._steady_s() - self._patience_s
        may_be_other = self._has_share(taker.address)
        for holder in self._holders:
            if holder.since_s > oldest_s:
                break
            if holder is not taker and holder.may_be_cut and (may_be_other or holder.address == taker.address):
                return holder
        return None

    def _cut(self, holder: Holder) -> None:
        self.give(holder, holder.held_bytes)
        holder.is_cut = True
        holder.cut()
