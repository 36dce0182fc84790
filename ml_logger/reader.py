"""Reading back: what a run directory holds, on the training machine or in the receiver's mirror of it.

Only whole lines count: a line without its newline is still being written (or was torn by a crash) and comes with the next
look. A line that is not a JSON object is counted and passed over, never an error: one bad line must not hide a run.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson

from .layout import HISTOGRAMS, METRICS, PARAMETERS, RUN, is_hidden, part_of, undiverged, unnumbered
from .spool import is_being_written

Record = dict[str, Any]

_BAD = object()
_SPECIAL = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_LONG_NUMBER = re.compile(
    rb"[0-9]{19}"
)  # orjson reads integers past 64 bits as floats; the standard library keeps them


def read_records(path: str | os.PathLike[str], on_bad: Callable[[bytes], None] | None = None) -> Iterator[Record]:
    """Yield the records of one stream file up to its last whole line; `on_bad` is called with each line that is none."""
    for line, value in _lines(path):
        if isinstance(value, dict):
            yield value
        elif on_bad is not None:
            on_bad(line)


def _lines(path: str | os.PathLike[str]) -> Iterator[tuple[bytes, Any]]:
    """Yield each whole line of a file with its value, or with `_BAD`."""
    with Path(path).open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                return
            yield line, _parsed(line)


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line) if _LONG_NUMBER.search(line) else orjson.loads(line)
    except ValueError:
        return _BAD


def as_numbers(value: Any) -> Any:
    """Return `value` with the strings ``"NaN"``, ``"Infinity"`` and ``"-Infinity"`` as the floats they stand for."""
    if isinstance(value, str):
        return _SPECIAL.get(value, value)
    if isinstance(value, list):
        return [as_numbers(element) for element in value]
    if isinstance(value, dict):
        return {key: as_numbers(element) for key, element in value.items()}
    return value


class Run:
    """One run directory; every property reads the files afresh.

    `bad_lines` counts the lines that the last readings passed over.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.bad_lines = 0

    def parts(self, stream: str) -> list[Path]:
        """Return the files of a stream (``metrics.jsonl``, ``metrics.1.jsonl``, …) in the order of their numbers.

        In a mirror those that were kept beside another's (``metrics~1f2e3d4c.jsonl``) follow, the one that began first first.
        """
        folder, _, name = stream.rpartition("/")
        try:
            entries = [entry for entry in (self.path / folder).iterdir() if _part_of(entry.name, name) is not None]
        except (FileNotFoundError, NotADirectoryError):  # nothing was written yet
            return []
        return sorted((entry for entry in entries if entry.is_file()), key=lambda entry: _order(entry, name))

    @property
    def metrics(self) -> list[Record]:
        """Every record of ``log``, part after part, special floats as floats."""
        return [as_numbers(record) for record in self._records(METRICS)]

    @property
    def params(self) -> dict[str, Any]:
        """What ``log_params`` was given: section title to section, a later key over an earlier one."""
        sections: dict[str, Any] = {}
        for record in self._records(PARAMETERS):
            for title, section in record.items():
                if title == "_timestamp":
                    continue
                known = sections.get(title)
                if isinstance(known, dict) and isinstance(section, dict):
                    section = {**known, **section}
                sections[title] = section
        return sections

    def data(self, path: str) -> list[Any]:
        """Return every value that ``log_data(path, …)`` was given, part after part, special floats as floats."""
        stream = unnumbered(path if path.endswith(".jsonl") else f"{path}.jsonl")
        values = []
        for part in self.parts(stream):
            for line, value in _lines(part):
                if value is _BAD:
                    self._count_bad(line)
                else:
                    values.append(as_numbers(value))
        return values

    @property
    def histograms(self) -> list[Record]:
        """Every record of ``log_histogram``, part after part."""
        return [as_numbers(record) for record in self._records(HISTOGRAMS)]

    @property
    def events(self) -> list[Record]:
        """The start and end of every process that wrote here."""
        return list(self._records(RUN))

    @property
    def state(self) -> str:
        """``running`` (its process lives on this machine), ``finished``, ``failed``, or ``unfinished`` (it ended unseen)."""
        parts = self.parts(RUN)
        if any(is_being_written(str(part)) for part in parts):
            return "running"
        ends = [_end_of(list(read_records(part, self._count_bad))) for part in parts]
        known = [state for state in ends if state != "left"]
        return known[-1] if known else "unfinished"

    def last_values(self) -> Record:
        """Return the last value of every key that ``log`` was given."""
        last: Record = {}
        for record in self.metrics:
            last.update(record)
        return last

    def _records(self, stream: str) -> Iterator[Record]:
        for part in self.parts(stream):
            yield from read_records(part, self._count_bad)

    def _count_bad(self, _line: bytes) -> None:
        self.bad_lines += 1


def _end_of(events: list[Record]) -> str:
    """Return how one process ended; a forked child that wrote no end has just ``left``."""
    states = [str(event.get("state")) for event in events if event.get("event") == "end"]
    was_forked = any(event.get("forked") for event in events)
    return states[-1] if states else "left" if was_forked else "unfinished"


def _part_of(name: str, stream: str) -> int | None:
    """Return which part of `stream` the file `name` is, whether it has its plain name or was kept beside another's."""
    number = part_of(name, stream)
    return part_of(undiverged(name), stream) if number is None else number


def _order(part: Path, stream: str) -> tuple[bool, float, int, str]:
    number = part_of(part.name, stream)
    if number is not None:
        return False, 0.0, number, part.name
    return True, _first_time_s(part), _part_of(part.name, stream) or 0, part.name


def _first_time_s(part: Path) -> float:
    first = next(read_records(part), {})
    time_s = first.get("_timestamp")
    return time_s if isinstance(time_s, float) else 0.0


def find_runs(root: str | os.PathLike[str]) -> list[Run]:
    """Return the runs at and under `root`, sorted by path: every directory that holds a run's streams."""
    found = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not is_hidden(name)]
        if any(_part_of(name, stream) is not None for name in files for stream in (RUN, METRICS, PARAMETERS)):
            found.append(Run(folder))
    return sorted(found, key=lambda run: run.path)
