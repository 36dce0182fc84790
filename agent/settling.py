"""How long files have not changed: by their times, or under the agent's own eyes where the clock was set back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .scanner import LocalFile, Signature


@dataclass(frozen=True)
class Clock:
    """The two clocks: `wall_ns` since the epoch, to compare with file times, and `steady_s`, which never jumps."""

    wall_ns: Callable[[], int]
    steady_s: Callable[[], float]


class Settling:
    """Remembers since when each file has been in the state it is in."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since: dict[str, tuple[Signature, float]] = {}

    def age_s(self, file: LocalFile) -> float:
        """Return for how many seconds `file` has certainly not changed."""
        now_s = self._clock.steady_s()
        signature, since_s = self._since.get(file.path, (None, now_s))
        if signature != file.signature:
            since_s = now_s
            self._since[file.path] = (file.signature, now_s)
        return max(now_s - since_s, (self._clock.wall_ns() - file.signature.mtime_ns) / 1e9)

    def forget(self, path: str) -> None:
        """Drop what is remembered of `path`."""
        self._since.pop(path, None)
