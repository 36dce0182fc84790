"""The agenda: which folder is to be looked at when, so that looking costs little whatever there is.

What changed lately is looked at often, what is quiet ever more rarely. Whatever there is, looking at what did not change
takes no more than a small share of a core. Pure.
"""

from __future__ import annotations

import heapq

SOONEST_S = 0.7
"""How long a folder that has just changed rests."""

QUIET_S = 5.0
"""How long one rests that is quiet, where there are few of them."""

LATEST_S = 60.0
"""How long one rests that is quiet, where there are many."""

SHOWN_S = 1.0
"""How long a run rests at most that a page shows."""

MOST_SHOWN = 200
"""So many runs count as shown, those that were named last."""

BESIDE_S = 2.0
"""How long one rests that has runs in it: the next one mostly comes beside them."""

SHARE = 80.0
"""Looking at what did not change is followed by a rest of so many times as long."""

MOST_REST_S = 0.4
"""A round ends where it must be followed by a longer rest: what is due next is not to wait for all the others."""


def rest_s(quiet_s: float, *, is_alive: bool, has_runs: bool, latest_s: float = QUIET_S) -> float:
    """Return how long a folder rests until the next look, one that did not change for `quiet_s`."""
    if is_alive:
        return SOONEST_S
    return min(max(quiet_s / 20, SOONEST_S), BESIDE_S if has_runs else latest_s)


def affordable_s(look_s: float, folders: int) -> float:
    """Return how often so many folders can be looked at, each for `look_s`, with half of what looking may cost."""
    return 2 * SHARE * look_s * folders


class Agenda:
    """Folders by when they are due; clocks are given in."""

    def __init__(self) -> None:
        self._due: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []

    def put(self, folder: str, at_s: float) -> None:
        """Let a folder be due at `at_s`, and at no other time."""
        self._due[folder] = at_s
        heapq.heappush(self._heap, (at_s, folder))

    def drop(self, folder: str) -> None:
        """Let a folder never be due again."""
        self._due.pop(folder, None)

    def maybe_next(self, now_s: float) -> str | None:
        """Take out the folder that is due for the longest, None where none is."""
        at_s = self.next_at_s()
        if at_s is None or at_s > now_s:
            return None
        folder = heapq.heappop(self._heap)[1]
        del self._due[folder]
        return folder

    def next_at_s(self) -> float | None:
        """Return when the next folder is due, None if none ever is."""
        while self._heap and self._due.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None
