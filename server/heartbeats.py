"""The agents that were heard of: the last heartbeat of each, in memory only, bounded in number and in bytes.

A restart forgets them; they are heard again within seconds. Used by the event loop's one thread.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from .. import wire
from ..wire import Heartbeat

MAX_AGENTS = 1000
MAX_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class _Heard:
    beat: Heartbeat
    prefix: str
    size_bytes: int
    at_s: float


class Heartbeats:
    """Keeps the last heartbeat of each source and prefix.

    Past a bound one goes of the prefix that has the most, the longest silent: no token can push out what others' agents say.

    `steady_s` is a clock that never jumps: ages are counted by it alone, so no agent's clock matters.
    """

    def __init__(self, steady_s: Callable[[], float]) -> None:
        self._steady_s = steady_s
        self._heard: dict[tuple[str, str], _Heard] = {}  # the longest silent first
        self._size_bytes = 0

    def take(self, body: bytes, prefix: str = "") -> None:
        """Keep the heartbeat in `body`, of an agent that is confined to `prefix`.

        Raises `BadBatch` if it is none, and then changes nothing.
        """
        beat = wire.decode_heartbeat(body)
        self._drop((prefix, beat.source))
        self._heard[prefix, beat.source] = _Heard(beat, prefix, len(body), self._steady_s())
        self._size_bytes += len(body)
        while len(self._heard) > MAX_AGENTS:
            self._drop_of_most(lambda _heard: 1)
        while self._size_bytes > MAX_BYTES:
            self._drop_of_most(lambda heard: heard.size_bytes)

    def __len__(self) -> int:
        return len(self._heard)

    def _drop_of_most(self, size: Callable[[_Heard], int]) -> None:
        shares: Counter[str] = Counter()
        for heard in self._heard.values():
            shares[heard.prefix] += size(heard)
        most = max(shares.values())
        self._drop(next(key for key, heard in self._heard.items() if shares[heard.prefix] == most))

    def _drop(self, key: tuple[str, str]) -> None:
        heard = self._heard.pop(key, None)
        if heard is not None:
            self._size_bytes -= heard.size_bytes

    def agents(self, may_enter: Callable[[str], bool]) -> list[tuple[Heartbeat, float]]:
        """Return the last heartbeat, with its age in seconds, of each agent whose prefix one `may_enter`, the latest first."""
        now_s = self._steady_s()
        return [(h.beat, now_s - h.at_s) for h in reversed(self._heard.values()) if may_enter(h.prefix)]

    def living_runs(self, within_s: float) -> frozenset[str]:
        """Return the runs that agents heard of `within_s` see a writer of, as far as they are in the agent's own prefix."""
        now_s = self._steady_s()
        fresh = [heard for heard in self._heard.values() if now_s - heard.at_s <= within_s]
        runs = ((heard.prefix, run) for heard in fresh for spool in heard.beat.spools for run in spool.runs_alive)
        return frozenset(run for prefix, run in runs if not prefix or run == prefix or run.startswith(prefix + "/"))
