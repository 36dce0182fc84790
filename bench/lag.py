"""The lag: how long after a line was written it stands in the receiver's file, with many streams that grow slowly.

200 streams get 10 lines a second each. The receiver's files are looked at every few ms (so a lag is too long by up to that); a
line is there once its file is long enough, which is when it was written, its fsync follows. Each line carries the time at
which it was appended. CPU is that of the time in which lines were written, start-up left out.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import orjson

from . import processes
from .peers import Place
from .peers.ours import Ours
from .peers.rsync import Rsync
from .processes import Server

STREAMS = 200
LINES_PER_S = 10
SECONDS = 20
_LOOK_S = 0.004
_DEADLINE_S = 60.0
_PAUSE_S = 0.1


class Sender(Protocol):
    """Whatever ships while lines are written."""

    def cpu_s(self) -> float:
        """Return the CPU seconds so far."""

    def rss_bytes(self) -> int:
        """Return the most memory so far."""


@dataclass(frozen=True)
class Way:
    """One way of shipping streams that grow: the server, and the sender that runs until the block ends."""

    name: str
    serve: Callable[[Place], contextlib.AbstractContextManager[Server]]
    send: Callable[[Place, int], contextlib.AbstractContextManager[Sender]]


@dataclass(frozen=True)
class Lag:
    """One run: every line's lag in ms, sorted; both ends' CPU in percent of a core, and memory."""

    lags_ms: array[float]
    sender_cpu_percent: float
    receiver_cpu_percent: float
    sender_rss_bytes: int
    receiver_rss_bytes: int

    def percentile_ms(self, share: float) -> float:
        """Return the lag in ms that `share` of the lines stay within."""
        return self.lags_ms[min(len(self.lags_ms) - 1, int(len(self.lags_ms) * share))]


@dataclass
class Measured:
    """All runs of one way, one a round."""

    way: Way
    runs: list[Lag] = field(default_factory=list)

    def median(self, of: Callable[[Lag], float]) -> float:
        """Return the median over the rounds."""
        return statistics.median(map(of, self.runs))

    def row(self) -> dict[str, object]:
        """Return the numbers as they stand in the results."""
        shares = {"p50_ms": 0.5, "p90_ms": 0.9, "p99_ms": 0.99, "max_ms": 1.0}
        return {
            "way": self.way.name,
            "lines": sum(len(run.lags_ms) for run in self.runs),
            **{name: round(self.median(lambda r, s=share: r.percentile_ms(s)), 1) for name, share in shares.items()},  # type: ignore[misc]
            "p50_ms_max": round(max(run.percentile_ms(0.5) for run in self.runs), 1),
            "p99_ms_max": round(max(run.percentile_ms(0.99) for run in self.runs), 1),
            "sender_cpu_%": self.median(lambda r: r.sender_cpu_percent),
            "receiver_cpu_%": self.median(lambda r: r.receiver_cpu_percent),
            "sender_rss_MiB": round(max(run.sender_rss_bytes for run in self.runs) / (1 << 20), 1),
            "receiver_rss_MiB": round(max(run.receiver_rss_bytes for run in self.runs) / (1 << 20), 1),
        }


def take_turns(new_place: Callable[[Path | None], Place], ways: Sequence[Way], rounds: int) -> list[Measured]:
    """Measure each of `ways` once a round, in `rounds` rounds; `new_place` gives an empty mirror."""
    measured = [Measured(way) for way in ways]
    for _ in range(rounds):
        for one in measured:
            one.runs.append(measure(one.way, new_place(None)))
    return measured


# --- the ways


def agent(ours: Ours) -> Way:
    """Return the agent, running beside the streams."""

    @contextlib.contextmanager
    def send(place: Place, port: int) -> Iterator[Sender]:
        with processes.serving(ours.agent(place, port), place.work / "agent.log") as running:
            yield running

    return Way(ours.name, ours.serve, send)


@dataclass
class _Spent:
    cpu: float = 0.0
    rss: int = 0

    def cpu_s(self) -> float:
        return self.cpu

    def rss_bytes(self) -> int:
        return self.rss


def rsync_loop(rsync: Rsync) -> Way:
    """Return rsync, started again and again with a pause of 0.1 s."""

    @contextlib.contextmanager
    def send(place: Place, port: int) -> Iterator[Sender]:
        spent, is_over = _Spent(), threading.Event()

        def repeat() -> None:
            while not is_over.wait(_PAUSE_S):
                cost = processes.run(rsync.command(place, port), place.work / "rsync.log")
                spent.cpu, spent.rss = spent.cpu + cost.cpu_s, max(spent.rss, cost.rss_bytes)

        thread = threading.Thread(target=repeat)
        thread.start()
        try:
            yield spent
        finally:
            is_over.set()
            thread.join()

    return Way(f"{rsync.name} every {_PAUSE_S} s", rsync.serve, send)


# --- one run


@dataclass
class _Arrivals:
    """When each file was first seen to have grown to which size."""

    paths: Sequence[Path]
    sizes: dict[Path, list[tuple[int, float]]] = field(default_factory=dict)
    is_over: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        names = [(path, os.fspath(path), self.sizes.setdefault(path, [])) for path in self.paths]
        while not self.is_over.wait(_LOOK_S):
            for _, name, seen in names:
                size, now_s = _size(name), time.time()
                if size and (not seen or seen[-1][0] != size):
                    seen.append((size, now_s))

    def lags_ms(self) -> array[float]:
        return array("d", sorted(lag for path in self.paths for lag in _lags_ms(path, self.sizes[path])))


def _size(name: str) -> int:
    try:
        return os.stat(name).st_size
    except FileNotFoundError:
        return 0


def _lags_ms(path: Path, seen: Sequence[tuple[int, float]]) -> Iterator[float]:
    """Yield the lag of every line but the first, which is older than the sender."""
    end, at = 0, 0
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True)):
        end += len(line)
        while seen[at][0] < end:
            at += 1
        if number:
            yield (seen[at][1] - orjson.loads(line)["_timestamp"]) * 1000


def measure(way: Way, place: Place) -> Lag:
    """Ship the streams while they grow and return what was measured; raises `processes.Failed` if they don't arrive."""
    with _writing(place.source) as writer, way.serve(place) as server, way.send(place, server.port) as sender:
        sources = sorted(place.source.glob("*/metrics.jsonl"))
        mirrors = [place.mirror / path.relative_to(place.source) for path in sources]
        _wait_equal(sources, mirrors)
        time.sleep(2)  # start-up is over, and what follows the first lines
        arrivals = _Arrivals(mirrors)
        watching = threading.Thread(target=arrivals.watch)
        watching.start()
        try:
            began_s, before = time.monotonic(), (sender.cpu_s(), server.cpu_s())
            _go(writer)
            took_s, after = time.monotonic() - began_s, (sender.cpu_s(), server.cpu_s())
            _wait_equal(sources, mirrors)
            time.sleep(5 * _LOOK_S)
        finally:
            arrivals.is_over.set()
            watching.join()
        sent, received = (round((b - a) / took_s * 100, 1) for a, b in zip(before, after, strict=True))
        return Lag(arrivals.lags_ms(), sent, received, sender.rss_bytes(), server.rss_bytes())


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start the writers; they have written the first line of each stream, and wait."""
    arguments = ["--streams", str(STREAMS), "--lines-per-s", str(LINES_PER_S), "--seconds", str(SECONDS)]
    command = [sys.executable, "-m", "bench.writers", str(folder), *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        if writer.stdout.readline() != b"ready\n":
            raise processes.Failed("the writers did not start")
        yield writer


def _go(writer: subprocess.Popen[bytes]) -> None:
    """Let the writers write, and return when they have."""
    writer.communicate(b"go\n")
    if writer.returncode != 0:
        raise processes.Failed(f"the writers ended with {writer.returncode}")


def _wait_equal(sources: Sequence[Path], mirrors: Sequence[Path]) -> None:
    end = time.monotonic() + _DEADLINE_S
    while any(_size(str(a)) != _size(str(b)) for a, b in zip(sources, mirrors, strict=True)):
        if time.monotonic() > end:
            raise processes.Failed(f"the streams have not arrived after {_DEADLINE_S:.0f} s")
        time.sleep(0.05)
