"""Shipping: how long until all is there, and what both ends pay for it, beside what a user would pick instead.

``python -m bench.shipping --peers`` ships the same files by every way in turn, each round all of them: (A) one stream of
512 MiB of metric lines, (B) 10,000 images of 10 KB in 100 folders, also over a line of 50 ms; (C) is the lag of 200 streams
(see `lag`). The time runs from the start of the shipping command to its end; the server is up before. Source and destination
are on one disk; the source is in the page cache, and nothing waits to be written when the clock starts. Without ``--peers``
nothing is needed that is not installed with the project. Numbers go to ``build/bench/shipping.json``; those without peers, or
of some cases only, to ``shipping-part.json``, which the report does not take.
"""

from __future__ import annotations

import argparse
import contextlib
import filecmp
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from ml_logger.layout import AGENT_DIR

from . import corpus, lag, processes, results
from .peers import Peer, Place
from .peers.nginx import CurlToNginx
from .peers.ours import Ours, version_command
from .peers.rclone import Rclone
from .peers.rsync import Rsync

_MIB = 1 << 20
_ROUND_TRIP_MS = 50
_IMAGES = 10_000
_LINES_BYTES = 512 * _MIB

OURS = Ours("agent", is_durable=True)
OURS_PLAIN = Ours("agent, compression: none", is_durable=True, settings={"compression": "none"})
RSYNC_FSYNC = Rsync("rsync --fsync", is_durable=True, options=("--fsync",))
RSYNC_ZSTD = Rsync("rsync --fsync -z (zstd)", is_durable=True, options=("--fsync", "-z", "--zc=zstd"))
RSYNC = Rsync("rsync", is_durable=False)
RCLONE = Rclone("rclone to WebDAV", is_durable=False)
CURL = CurlToNginx("curl, one PUT a file, to nginx", is_durable=False)
PEERS: tuple[Peer, ...] = (RSYNC_FSYNC, RSYNC_ZSTD, RSYNC, RCLONE, CURL)
RSYNC_LOOPS = tuple(
    Rsync(f"rsync {' '.join(options)}", is_durable="--fsync" in options, options=options)
    for options in (("--append", "--fsync"), ("--append",))
)

_P = TypeVar("_P", bound=Peer)


@dataclass(frozen=True)
class Run:
    """One shipping: the wall time, both ends' CPU seconds, and the most memory each end had."""

    wall_s: float
    sender_cpu_s: float
    receiver_cpu_s: float
    sender_rss_bytes: int
    receiver_rss_bytes: int


@dataclass
class Shipped:
    """All runs of one way of shipping, one a round."""

    peer: Peer
    runs: list[Run] = field(default_factory=list)

    def median(self, of: Callable[[Run], float]) -> float:
        """Return the median over the rounds."""
        return statistics.median(map(of, self.runs))

    def row(self, size_bytes: int) -> dict[str, object]:
        """Return the numbers as they stand in the results."""
        wall_s = self.median(lambda r: r.wall_s)
        return {
            "way": self.peer.name,
            "durable": "yes" if self.peer.is_durable else "no",
            "wall_s": round(wall_s, 3),
            "wall_s_min": round(min(r.wall_s for r in self.runs), 3),
            "wall_s_max": round(max(r.wall_s for r in self.runs), 3),
            "MiB_per_s": round(size_bytes / _MIB / wall_s, 1),
            "sender_cpu_s": round(self.median(lambda r: r.sender_cpu_s), 2),
            "receiver_cpu_s": round(self.median(lambda r: r.receiver_cpu_s), 2),
            "sender_rss_MiB": round(max(r.sender_rss_bytes for r in self.runs) / _MIB, 1),
            "receiver_rss_MiB": round(max(r.receiver_rss_bytes for r in self.runs) / _MIB, 1),
        }


def ratio(ours: Shipped, other: Shipped, started_s: float = 0.0) -> float:
    """Return the median over the rounds of the wall times' ratio, `started_s` taken off ours."""
    return statistics.median((a.wall_s - started_s) / b.wall_s for a, b in zip(ours.runs, other.runs, strict=True))


# --- one shipping


@dataclass
class Yard:
    """Where everything happens: a folder on the disk that is measured, with a new mirror for every run.

    Mirrors are removed only when all is measured: for minutes after many files were deleted ext4 takes its time to make new
    ones, since it passes over the inodes that were freed lately.
    """

    root: Path
    _used: int = 0

    def new_place(self, source: Path | None = None) -> Place:
        """Return a place with an empty mirror, and an empty source if none is given; nothing waits to be written then."""
        self._used += 1
        names = ("source", "mirror", "work")
        folders = [self.root / f"{name}-{os.getpid()}-{self._used}" for name in names]
        for folder in folders:
            folder.mkdir(parents=True)
        place = Place(source or folders[0], folders[1], folders[2])
        os.sync()
        return place

    def clear(self) -> None:
        """Remove what was made in this run; what is shipped stays for the next."""
        for folder in self.root.glob(f"*-{os.getpid()}-*"):
            shutil.rmtree(folder)


def ship(peer: Peer, place: Place, line: Callable[[int], contextlib.AbstractContextManager[int]]) -> Run:
    """Ship by `peer` once and compare what arrived; `line` gives the port to connect to."""
    with peer.serve(place) as server, line(server.port) as port:
        command = peer.command(place, port)
        before_s = server.cpu_s()
        cost = processes.run(command, place.work / "sender.log")
        receiver_cpu_s, receiver_rss_bytes = server.cpu_s() - before_s, server.rss_bytes()
    shutil.rmtree(place.source / AGENT_DIR, ignore_errors=True)  # ours leaves its status there, for others to ship
    require_equal(place)
    return Run(cost.wall_s, cost.cpu_s, receiver_cpu_s, cost.rss_bytes, receiver_rss_bytes)


def require_equal(place: Place) -> None:
    """Raise `processes.Failed` unless every file of the source is in the mirror, byte for byte."""
    names = [str(path.relative_to(place.source)) for path in place.source.rglob("*") if path.is_file()]
    _, wrong, missing = filecmp.cmpfiles(place.source, place.mirror, names, shallow=False)
    if wrong or missing:
        raise processes.Failed(f"{len(wrong)} files differ, {len(missing)} are missing, such as {(wrong + missing)[0]}")


@contextlib.contextmanager
def _near(port: int) -> Iterator[int]:
    yield port


@contextlib.contextmanager
def _far(port: int) -> Iterator[int]:
    """A line with a delay in front of `port`, in a process of its own."""
    log = Path(f"{os.getpid()}-delay.log").absolute()
    command = [sys.executable, "-m", "bench.delay", "--to", str(port), "--round-trip-ms", str(_ROUND_TRIP_MS)]
    try:
        with processes.serving(command, log) as proxy:
            yield int(processes.wait_first_line(proxy))
    finally:
        log.unlink(missing_ok=True)


def take_turns(
    yard: Yard, peers: Sequence[Peer], source: Path, rounds: int, *, is_far: bool = False
) -> dict[str, Shipped]:
    """Ship by each of `peers` once a round, in `rounds` rounds."""
    shipped = {peer.name: Shipped(peer) for peer in peers}
    for _ in range(rounds):
        for peer in peers:
            shipped[peer.name].runs.append(ship(peer, yard.new_place(source), _far if is_far else _near))
    return shipped


def start_up(yard: Yard, rounds: int) -> list[dict[str, object]]:
    """Return what the agent needs besides shipping, median seconds: to load its program; to ship one empty file and end."""
    source = yard.root / "one-empty-file"
    source.mkdir(parents=True, exist_ok=True)
    (source / "params.jsonl").touch()
    loaded, ended = [], []
    for _ in range(rounds):
        place = yard.new_place(source)
        loaded.append(processes.run(version_command(), place.work / "version.log").wall_s)
        ended.append(ship(OURS, place, _near).wall_s)
    taken = {"load the program": loaded, "load it, ship one empty file, end": ended}
    return [{"start-up": what, "s": round(statistics.median(times_s), 3)} for what, times_s in taken.items()]


# --- the cases


@dataclass(frozen=True)
class Options:
    """What a run of this benchmark does."""

    rounds: int
    cases: str
    with_peers: bool


def lines(yard: Yard, options: Options, report: results.Report) -> None:
    """(A): one stream of metric lines."""
    source = corpus.metric_lines(yard.root / "lines", _LINES_BYTES)
    shipped = take_turns(yard, [OURS, OURS_PLAIN, *_present(options, PEERS)], source, options.rounds)
    report.add(
        f"A: one stream of {_LINES_BYTES // _MIB} MiB of metric lines", [s.row(_LINES_BYTES) for s in shipped.values()]
    )
    for ours, peer, most in ((OURS_PLAIN, RSYNC_FSYNC, 1.3), (OURS, RSYNC_ZSTD, 1.0)):
        _compare(report, "A", shipped, ours, peer, most)
    _judge_memory(report, "A", shipped.values())


def pictures(yard: Yard, options: Options, report: results.Report) -> None:
    """(B): many small files, here and over a line with a delay."""
    source = corpus.images(yard.root / "images", _IMAGES)
    size_bytes = _size_of(source)
    fast = [peer for peer in _present(options, PEERS) if peer is not RCLONE]
    shipped = take_turns(yard, [OURS, *fast], source, options.rounds)
    report.add(f"B: {_IMAGES:,} PNGs of 10 KB in 100 folders", [s.row(size_bytes) for s in shipped.values()])
    _compare(report, "B", shipped, OURS, RSYNC_FSYNC, 0.5)
    _compare(report, "B", shipped, OURS, CURL, 0.25)
    _judge_memory(report, "B", shipped.values())
    far = take_turns(yard, [OURS], source, options.rounds, is_far=True)[OURS.name]
    report.add(f"B over a line of {_ROUND_TRIP_MS} ms there and back", [far.row(size_bytes)])
    report.judge(f"B with {_ROUND_TRIP_MS} ms of round trip: seconds", far.median(lambda r: r.wall_s), 5.0)
    if RCLONE in _present(options, PEERS):
        few = corpus.images(yard.root / "few-images", _IMAGES // 10)
        slow = take_turns(yard, [OURS, RCLONE], few, 1)
        report.add("B, a tenth of it, for who takes minutes", [s.row(_size_of(few)) for s in slow.values()])


def streams(yard: Yard, options: Options, report: results.Report) -> None:
    """(C): the lag of streams that grow."""
    loops = [lag.rsync_loop(peer) for peer in _present(options, RSYNC_LOOPS)]
    measured = lag.take_turns(yard.new_place, [lag.agent(OURS), *loops], options.rounds)
    report.add(
        f"C: {lag.STREAMS} streams with {lag.LINES_PER_S} lines a second each for {lag.SECONDS} s",
        [m.row() for m in measured],
    )
    ours = measured[0]
    report.judge("C: the agent's lag in ms, median", ours.median(lambda m: m.percentile_ms(0.5)), 100.0)
    report.judge("C: the agent's lag in ms, p99", ours.median(lambda m: m.percentile_ms(0.99)), 250.0)
    report.judge("C: the agent's CPU in percent of a core", ours.median(lambda m: m.sender_cpu_percent), 10.0)
    report.judge("C: the receiver's CPU in percent of a core", ours.median(lambda m: m.receiver_cpu_percent), 10.0)
    report.judge("C: the agent's memory in MiB", max(m.sender_rss_bytes for m in ours.runs) / _MIB, 100.0)


def _present(options: Options, peers: Sequence[_P]) -> list[_P]:
    return [peer for peer in peers if options.with_peers and not peer.missing()]


def _compare(
    report: results.Report, case: str, shipped: Mapping[str, Shipped], ours: Peer, peer: Peer, most: float
) -> None:
    if peer.name in shipped:
        measured = ratio(shipped[ours.name], shipped[peer.name])
        report.judge(f"{case}: wall time of {ours.name!r} over that of {peer.name!r}", measured, most)


def _judge_memory(report: results.Report, case: str, shipped: Iterable[Shipped]) -> None:
    most = max(run.sender_rss_bytes for s in shipped if isinstance(s.peer, Ours) for run in s.runs)
    report.judge(f"{case}: the agent's memory in MiB", most / _MIB, 100.0)


def _size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


_CASES: dict[str, Callable[[Yard, Options, results.Report], None]] = {"A": lines, "B": pictures, "C": streams}


def main() -> None:
    """Ship, print the tables and what is met, write the JSON."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often every way has its turn")
    parser.add_argument("--cases", default="ABC", help="which of A, B and C")
    parser.add_argument(
        "--peers", action="store_true", help="also ship with rsync, rclone and curl, where they are installed"
    )
    parser.add_argument("--dir", type=Path, default=results.FOLDER / "shipping", help="a folder on the disk to measure")
    flags = parser.parse_args()
    options = Options(flags.rounds, flags.cases, flags.peers)
    missing = sorted({program for peer in PEERS for program in peer.missing()}) if options.with_peers else []
    if missing:
        print(f"NOT INSTALLED, so not measured: {', '.join(missing)}", end="\n\n")
    yard, report = Yard(flags.dir.absolute()), results.Report()
    try:
        report.add("the agent's start-up, in all of its wall times", start_up(yard, max(3, options.rounds)))
        for case in options.cases:
            _CASES[case](yard, options, report)
    finally:
        yard.clear()
    extra = {
        "peers": _versions(options),
        "missing": missing,
        "file_system": results.file_system(flags.dir),
    }
    is_whole = options.with_peers and set(options.cases) == set(_CASES)
    name = "shipping" if is_whole else "shipping-part"
    print(results.verdicts(report.targets), f"written to {report.write(name, **extra)}", sep="\n\n")


def _versions(options: Options) -> dict[str, str]:
    """Return the first line that each program says of its version."""
    found = {}
    for program in sorted({program for peer in _present(options, PEERS) for program in peer.programs}):
        flag = {"nginx": "-v", "rclone": "version"}.get(program, "--version")
        said = subprocess.run([program, flag], capture_output=True, text=True, check=True)
        found[program] = (said.stdout or said.stderr).splitlines()[0].partition(" (")[0]
    return found


if __name__ == "__main__":
    main()
