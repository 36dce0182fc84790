"""Which runs are alive: those in which something changed lately, or whose writer still holds its lock."""

from __future__ import annotations

import functools
from pathlib import Path

from ..layout import RUN, part_of
from . import local_file
from .scanner import LocalFile
from .settling import Clock

LATELY_S = 60.0
"""A run in which something changed within this time counts as alive."""


class RunsAlive:
    """The run directories (folders with a ``run.jsonl``) of one spool that are alive; costs nothing for those that are not."""

    def __init__(self, spool: Path, clock: Clock) -> None:
        self._spool = spool
        self._clock = clock
        self._runs: dict[str, set[str]] = {}  # folder of a run: its run.jsonl and the parts of that
        self._touched_s: dict[str, float] = {}

    def note(self, file: LocalFile) -> None:
        """Take note of a file that is new or has changed."""
        folder, _, name = file.path.rpartition("/")
        is_run = part_of(name, RUN) is not None
        if is_run:
            self._runs.setdefault(folder, set()).add(file.path)
        age_s = (self._clock.wall_ns() - file.signature.mtime_ns) / 1e9
        if is_run or age_s < LATELY_S:  # a run that is silent for long may have a living writer
            self._touch(folder, max(0.0, age_s))

    def _touch(self, folder: str, age_s: float) -> None:
        at_s = self._clock.steady_s() - age_s
        for above in with_those_above(folder):
            if above in self._runs:
                self._touched_s[above] = max(at_s, self._touched_s.get(above, at_s))

    def forget(self, path: str) -> None:
        """Drop what is remembered of `path`."""
        folder = path.rpartition("/")[0]
        parts = self._runs.get(folder)
        if parts is not None:
            parts.discard(path)
            if not parts:
                del self._runs[folder]
                self._touched_s.pop(folder, None)

    def folders(self) -> tuple[str, ...]:
        """Return the folders of the runs that are alive, relative to the spool."""
        now_s = self._clock.steady_s()
        for folder, touched_s in list(self._touched_s.items()):
            if now_s - touched_s >= LATELY_S and not self._has_writer(folder):
                del self._touched_s[folder]
        return tuple(sorted(self._touched_s))

    def run_of(self, path: str) -> str:
        """Return the folder of the run that the file `path` is of; where there is none, its topmost folder or itself."""
        above = with_those_above(path.rpartition("/")[0])
        return next((folder for folder in above if folder in self._runs), path.partition("/")[0])

    def _has_writer(self, folder: str) -> bool:
        return any(local_file.has_writer(self._spool / path) for path in self._runs.get(folder, ()))


@functools.lru_cache(maxsize=1 << 12)  # asked whenever a live stream has grown
def with_those_above(folder: str) -> tuple[str, ...]:
    """Return `folder` and every folder above it, the spool itself (``""``) last."""
    return (folder, *with_those_above(folder.rpartition("/")[0])) if folder else ("",)
