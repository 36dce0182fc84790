"""Arrivals: when each record of metrics stood in the receiver's file, seen by looking at the streams again and again.

A record's lag is from its `log()` to the look that finds its line, so it is too long by the time between two looks, which
is kept too. A record counts as arrived once it can be read; its fsync has followed before the agent is told.
"""

from __future__ import annotations

import os
import re
import threading
import time
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

LOOK_S = 0.02
SHARE = 0.2
"""The most of its time that is spent on looking: with many files looks get rarer."""

_RECORD = re.compile(rb'"id":"(t\d+)\.[^"]*","at":([0-9.]+)')


@dataclass
class Lags:
    """The records of one trainer that arrived: when each was logged, by the steady clock, and how long it took, in seconds."""

    logged_s: array[float] = field(default_factory=lambda: array("d"))
    lags_s: array[float] = field(default_factory=lambda: array("d"))


class Arrivals:
    """Watches the metrics of all runs in the folders of `mirror`, in a thread of its own, until `close`."""

    def __init__(self, mirror: Path) -> None:
        self.lags: dict[str, Lags] = {}
        self.looks_s = array("d")
        """The time between two looks, each time."""
        self._mirror = os.fspath(mirror)
        self._offsets: dict[str, int] = {}
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="arrivals", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Look a last time, and end."""
        self._is_over.set()
        self._thread.join()

    def write(self, path: Path, began_s: float) -> None:
        """Write the lag of every record as a table: trainer, when it was logged since `began_s`, and its lag, in seconds."""
        with path.open("w", encoding="utf-8") as file:
            for trainer, lags in self.lags.items():
                pairs = zip(lags.logged_s, lags.lags_s, strict=True)
                file.writelines(f"{trainer},{logged_s - began_s:.3f},{lag_s:.3f}\n" for logged_s, lag_s in pairs)

    def _watch(self) -> None:
        last_s, is_last = time.monotonic(), False
        while not is_last:
            is_last, began_s = self._is_over.is_set(), time.monotonic()
            self._look()
            now_s = time.monotonic()
            self.looks_s.append(now_s - last_s)
            last_s = now_s
            self._is_over.wait(max(LOOK_S, (now_s - began_s) / SHARE))

    def _look(self) -> None:
        for path, size in _streams(self._mirror):
            if size > self._offsets.get(path, 0):
                self._read(path)

    def _read(self, path: str) -> None:
        begin = self._offsets.get(path, 0)
        with open(path, "rb") as file:
            file.seek(begin)
            news, now_s = file.read(), time.monotonic()
        end = news.rfind(b"\n") + 1
        self._offsets[path] = begin + end
        for found in _RECORD.finditer(news, 0, end):
            lags, logged_s = self.lags.setdefault(found[1].decode(), Lags()), float(found[2])
            lags.logged_s.append(logged_s)
            lags.lags_s.append(now_s - logged_s)


def _streams(mirror: str) -> Iterator[tuple[str, int]]:
    """Yield path and size of each stream of metrics in a run; runs are two folders down."""
    for group in _folders(mirror):
        for run in _folders(group):
            for entry in _entries(run):
                if entry.name.startswith("metrics"):
                    yield entry.path, entry.stat().st_size


def _folders(path: str) -> Iterator[str]:
    return (entry.path for entry in _entries(path) if entry.is_dir() and not entry.name.startswith("."))


def _entries(path: str) -> list[os.DirEntry[str]]:
    with os.scandir(path) as entries:
        return list(entries)
