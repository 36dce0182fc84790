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
MAX_LEFT_RUNS = 10_000


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
        self._left: dict[str, tuple[str, str]] = {}  # run to the agent that saw its writer go, the longest gone first

    def take(self, body: bytes, prefix: str = "") -> None:
        """Keep the heartbeat in `body`, of an agent that is confined to `prefix`.

        Raises `BadBatch` if it is none, and then changes nothing.
        """
        beat = wire.decode_heartbeat(body)
        key, heard = (prefix, beat.source), _Heard(beat, prefix, len(body), self._steady_s())
        self._note_left(key, heard)
        self._drop(key)
        self._heard[key] = heard
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
        return frozenset(
            run for heard in self._heard.values() if now_s - heard.at_s <= within_s for run in _runs_alive(heard)
        )

    def left_runs(self) -> frozenset[str]:
        """Return the runs whose writer an agent saw alive and then gone, and of which it has nothing left to ship.

        So what such a run has not said of its end by now it never will. A restart forgets them, as it forgets the agents.
        """
        return frozenset(run for run, key in self._left.items() if self._has_shipped_all(key))

    def _note_left(self, key: tuple[str, str], heard: _Heard) -> None:
        alive = _runs_alive(heard)
        before = self._heard.get(key)
        if before is not None and not _may_be_cut(heard):
            for run in sorted(_runs_alive(before) - alive):
                self._left[run] = key
        for run in alive:
            self._left.pop(run, None)
        while len(self._left) > MAX_LEFT_RUNS:
            del self._left[next(iter(self._left))]

    def _has_shipped_all(self, key: tuple[str, str]) -> bool:
        heard = self._heard.get(key)
        return heard is not None and not any(spool.backlog_files for spool in heard.beat.spools)


def _may_be_cut(heard: _Heard) -> bool:
    """Whether a run that is not named may still be alive: an agent names no more than fit into a heartbeat."""
    is_long = heard.size_bytes > wire.MAX_HEARTBEAT_BYTES // 4  # one that was too long is cut by half, at least once
    return is_long or any(len(spool.runs_alive) >= wire.MAX_RUNS_ALIVE for spool in heard.beat.spools)


def _runs_alive(heard: _Heard) -> frozenset[str]:
    """Return the runs that a heartbeat calls alive, as far as they are in its agent's own prefix."""
    prefix = heard.prefix
    runs = (run for spool in heard.beat.spools for run in spool.runs_alive)
    return frozenset(run for run in runs if not prefix or run == prefix or run.startswith(prefix + "/"))
