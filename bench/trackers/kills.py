"""What a kill takes away: records of calls that had returned and that the tracker's own reader does not find afterwards."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..processes import Failed, children, family
from . import Held, Tracker
from .drive import COUNTER
from .runs import DEADLINE_S, Place, ask, driving, kill

_LOOK_S = 0.001
_END_S = 20.0


@dataclass(frozen=True)
class Killed:
    """A run that was killed: how many calls had returned, how many records are found, and whether there were helpers."""

    returned: int
    found: int
    had_helpers: bool

    @property
    def lost(self) -> int:
        """How many records of calls that had returned are not there."""
        return max(0, self.returned - self.found)


def kill_once(tracker: Tracker, before: int, place: Place, *, with_helpers: bool) -> Killed:
    """Have a tracker log at a pace, kill it after `before` calls, and look; helpers that are not killed get time to end."""
    with driving(tracker, "paced", place) as process:
        end_s = time.monotonic() + DEADLINE_S
        while _returned(place) < before:
            if process.poll() is not None or time.monotonic() > end_s:
                raise Failed(f"{tracker.name}: does not log: {place.said()}")
            time.sleep(_LOOK_S)
        helpers = [member for child in children(process.pid) for member in family(child)]
        kill([process.pid, *(helpers if with_helpers else [])])
        process.wait()
        _wait_gone(helpers)
    returned = _returned(place)
    return Killed(returned, Held(**ask(tracker, "held", place)).records, bool(helpers))


def _returned(place: Place) -> int:
    content = place.answer.read_bytes() if place.answer.exists() else b""
    return int(COUNTER.unpack(content)[0]) if len(content) == COUNTER.size else 0


def _wait_gone(pids: Sequence[int]) -> None:
    """Return once these processes have ended; those that have not after a while are killed."""
    end_s = time.monotonic() + _END_S
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < end_s:
        time.sleep(_LOOK_S)
    kill([pid for pid in pids if Path(f"/proc/{pid}").exists()])
