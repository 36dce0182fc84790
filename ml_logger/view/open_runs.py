"""The runs that are in memory: those that somebody looks at, and those that grow; the others are let go of."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

from ..errors import NotHeld
from ..files import Files
from ..reader import Columns, Run
from ..reader.cache import ColumnCache
from ..reader.find import has_streams
from .run_line import RunLine

MOST_NUMBERS = 12_000_000
"""The runs in memory hold about so many numbers (8 bytes each) together, unless one alone has more."""

_BESIDE = 4_000
"""What is beside the numbers of a run takes the memory of so many."""


class OpenRun:
    """One run with what was read of it. Thread-safe; every method may block."""

    def __init__(self, files: Files, path: str, cache: ColumnCache | None) -> None:
        self.run = Run(path, files=files, cache=cache)
        self._files, self._path = files, path
        self._line = RunLine(files, path, lambda _path: self.run.columns())
        self._lock = threading.Lock()

    def line(self) -> dict[str, Any]:
        """Return the run as it is listed; raises `NotHeld`."""
        with self._lock:
            self._line.look(self._files.list(self._path))
            return self._line.fields()


def _numbers_of(columns: Columns) -> int:
    """Return about how many numbers of 8 bytes would take the memory that a run with these does."""
    return _BESIDE + 2 * columns.count + sum(sum(part.keys.values()) for part in columns.parts)


class OpenRuns:
    """The runs of `files`, as far as they are in memory, with columns in a `cache`. Thread-safe; every method may block."""

    def __init__(self, files: Files, cache: ColumnCache | None, most_numbers: int = MOST_NUMBERS) -> None:
        self._files, self._cache, self._most_numbers = files, cache, most_numbers
        self._lock = threading.Lock()
        self._runs: OrderedDict[str, OpenRun] = OrderedDict()  # the longest unused first
        self._numbers: dict[str, int] = {}
        self._total = 0

    def get(self, path: str) -> OpenRun:
        """Return the run at `path`; raises `NotHeld`."""
        if not has_streams(self._files.list(path)):
            raise NotHeld(f"{path[:200]!a} is no run")
        return self._used(path)

    def columns(self, path: str) -> Columns:
        """Return the numbers of the run at `path`; none where there is no such run."""
        found = self._used(path)
        columns = found.run.columns()
        self._weigh(path, _numbers_of(columns))
        return columns

    def _used(self, path: str) -> OpenRun:
        with self._lock:
            found = self._runs.get(path) or OpenRun(self._files, path, self._cache)
            self._runs[path] = found
            self._runs.move_to_end(path)
            return found

    def _weigh(self, path: str, numbers: int) -> None:
        with self._lock:
            self._total += numbers - self._numbers.get(path, 0)
            self._numbers[path] = numbers
            while self._total > self._most_numbers and len(self._runs) > 1:
                longest, _ = self._runs.popitem(last=False)
                self._total -= self._numbers.pop(longest, 0)
