"""Idle: what an agent costs that has nothing to ship, and how long a look at all of the spool takes.

``python -m bench.idle`` ships a spool of many small files with a running agent, waits until that is over, and then looks at
the agent's CPU for three minutes, its memory, its watches (``/proc/PID/fdinfo``) and its open files; nothing changes
meanwhile. The walk is timed in this process, over the same spool. Numbers go to ``build/bench/idle.json``.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ml_logger.agent.config import AgentConfig
from ml_logger.agent.scanner import Walk

from . import processes, results
from .peers import Place
from .peers.ours import Ours
from .processes import Server
from .shipping import OURS, Yard

_MIB = 1 << 20
_WATCHED_S = 180.0  # a walk that happens to fall into it is not all of it
_CALM_S = 10.0
_SHIP_DEADLINE_S = 1200.0
_WALKS = 5


@dataclass(frozen=True)
class Spool:
    """A spool of `files` small files in `folders` folders, and what it may cost when nothing happens."""

    files: int
    folders: int
    most_cpu_percent: float
    most_rss_mib: float | None = None
    most_walk_s: float | None = None

    @property
    def name(self) -> str:
        """What it is called in the results."""
        return f"{self.files:,} files in {self.folders:,} folders"


SPOOLS = (Spool(10_000, 100, 0.5), Spool(100_000, 2_000, 1.0, 150.0, 2.0))


@dataclass(frozen=True)
class Idle:
    """What an idle agent costs; `walk_s` is one look at all of the spool, median, from a memory of the one before."""

    shipped_s: float
    cpu_percent: float
    rss_bytes: int
    watches: int
    open_files: int
    first_walk_s: float
    walk_s: float

    def row(self, name: str) -> dict[str, object]:
        """Return the numbers as they stand in the results."""
        return {
            "spool": name,
            "shipped_s": round(self.shipped_s, 1),
            "idle_cpu_%": round(self.cpu_percent, 3),
            "rss_MiB": round(self.rss_bytes / _MIB, 1),
            "watches": self.watches,
            "open_files": self.open_files,
            "first_walk_s": round(self.first_walk_s, 3),
            "walk_s": round(self.walk_s, 3),
        }


def measure(spool: Spool, place: Place, ours: Ours = OURS) -> Idle:
    """Ship `spool` and watch the agent idle; raises `processes.Failed` if it is not shipped in time."""
    _fill(place.source, spool)
    began_s = time.monotonic()
    with (
        ours.serve(place) as server,
        processes.serving(ours.agent(place, server.port), place.work / "agent.log") as agent,
    ):
        _wait_shipped(place, spool, agent)
        shipped_s = time.monotonic() - began_s
        _wait_calm(agent)
        before_s, began_s = agent.cpu_s(), time.monotonic()
        time.sleep(_WATCHED_S)
        cpu_percent = (agent.cpu_s() - before_s) / (time.monotonic() - began_s) * 100
        counts = _watches(agent.process.pid), _open_files(agent.process.pid, place.source)
        rss_bytes = agent.rss_bytes()
    first_walk_s, walk_s = _walk_s(place.source)
    return Idle(shipped_s, cpu_percent, rss_bytes, *counts, first_walk_s, walk_s)


def _fill(folder: Path, spool: Spool) -> None:
    """Write a line to each file; every folder holds the same number of them."""
    for number in range(spool.folders):
        (folder / f"run_{number:04d}").mkdir()
    for number in range(spool.files):
        path = f"{folder}/run_{number % spool.folders:04d}/{number // spool.folders:03d}.jsonl"
        with open(path, "wb") as file:
            file.write(b'{"_step":%d,"loss":0.5}\n' % number)


def _wait_shipped(place: Place, spool: Spool, agent: Server) -> None:
    end = time.monotonic() + _SHIP_DEADLINE_S
    while _count(place.mirror) < spool.files:
        processes.require_running(agent, end)
        time.sleep(1)


def _count(mirror: Path) -> int:
    return sum(len(os.listdir(folder)) for folder in mirror.glob("run_*"))


def _wait_calm(agent: Server) -> None:
    """Return once the agent has had nothing to do for a while."""
    before_s = -1.0
    while (now_s := agent.cpu_s()) - before_s > _CALM_S * 0.05:
        before_s = now_s
        time.sleep(_CALM_S)


def _watches(pid: int) -> int:
    return sum(_lines_of(info, "inotify wd:") for info in Path(f"/proc/{pid}/fdinfo").iterdir())


def _lines_of(file: Path, start: str) -> int:
    with suppress(OSError):
        return sum(line.startswith(start) for line in file.read_text(encoding="ascii").splitlines())
    return 0


def _open_files(pid: int, spool: Path) -> int:
    """Return how many files of the spool a process has open; the agent's own, in a dot-directory, are none of them."""
    found = 0
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            where = os.readlink(link)
            found += where.startswith(f"{spool}/") and not where.startswith(f"{spool}/.")
    return found


def _walk_s(spool: Path) -> tuple[float, float]:
    """Return the seconds of the first look at a spool, and the median of those after it."""
    walk = Walk.of(AgentConfig(spool, "http://127.0.0.1"), spool)
    times_s = [_timed(walk.look) for _ in range(_WALKS + 1)]
    return times_s[0], statistics.median(times_s[1:])


def _timed(call: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    call()
    return time.perf_counter() - began_s


def _judge(spool: Spool, idle: Idle, report: results.Report) -> None:
    report.judge(f"{spool.name}: idle CPU in percent of a core", idle.cpu_percent, spool.most_cpu_percent)
    report.judge(f"{spool.name}: watches (one a folder, and the spool)", idle.watches, spool.folders + 1)
    report.judge(f"{spool.name}: open files", idle.open_files, 0)
    if spool.most_rss_mib is not None:
        report.judge(f"{spool.name}: memory in MiB", idle.rss_bytes / _MIB, spool.most_rss_mib)
    if spool.most_walk_s is not None:
        report.judge(
            f"{spool.name}: a full walk, the first included, in s",
            max(idle.first_walk_s, idle.walk_s),
            spool.most_walk_s,
        )


def main() -> None:
    """Measure, print the table and what is met, write the JSON."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--most-files", type=int, default=100_000, help="leave larger spools out")
    parser.add_argument("--dir", type=Path, default=results.FOLDER / "shipping", help="a folder on the disk to measure")
    options = parser.parse_args()
    yard, report = Yard(options.dir.absolute()), results.Report()
    try:
        for spool in (spool for spool in SPOOLS if spool.files <= options.most_files):
            idle = measure(spool, yard.new_place())
            report.add(spool.name, [idle.row(spool.name)])
            _judge(spool, idle, report)
    finally:
        yard.clear()
    name = "idle" if len(report.tables) == len(SPOOLS) else "idle-part"
    print(results.verdicts(report.targets), f"written to {report.write(name)}", sep="\n\n")


if __name__ == "__main__":
    main()
