"""The receiver over HTTP: one ``ml-logger-server`` with its default settings, fsync and all, and clients beside it.

``python -m bench.receiver_http`` measures, in less than three minutes: 8 connections that append 4 MiB batches, beside a bare
loop of write, CRC and fdatasync on the same disk, taking turns; 1,000 live agents, each with a batch of 20 KiB every 5 s and
a heartbeat every 10 s; and one good client with and without 200 slow ones, taking turns. The clients are processes of their
own (`clients`), on the same processors as the receiver. CPU is the receiver's; waits for the disk are counted by the receiver,
where it has ``/metrics``. Numbers go to ``build/bench/receiver-http.json``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import statistics
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import clients, crowd, processes, results
from .peers import Place
from .peers.ours import TOKEN, Ours
from .posts import BATCH_BYTES
from .processes import Server
from .receiver import Case, streams_bare, streams_bare_in_pieces
from .shipping import Yard

_MIB = 1 << 20
_BATCHES = 8  # of each of 8 streams, 4 MiB each: 256 MiB a round
_FLOOR_MIB = _BATCHES * clients.STREAMS * clients.APPEND_BYTES // _MIB
_AGENTS_S = 8.0
_MOST_AGENT_ROUNDS = 3  # a quarter of a minute each
_STEADY_S = 3.0
_FIGURES_S = 2.0  # a receiver's figures may be a second old
_WAITS = re.compile(rb"^ml_logger_receiver_disk_waits_total ([0-9.e+]+)$", re.MULTILINE)


@dataclass(frozen=True)
class Run:
    """One round of one case: seconds, requests, bytes stored, and the receiver's CPU seconds.

    Acknowledgements, and how late the clients themselves were to send, are in ms and sorted; none where they were not timed.
    """

    wall_s: float
    requests: int
    size_bytes: int
    cpu_s: float
    acknowledged_ms: list[float] = field(default_factory=list)
    sent_late_ms: list[float] = field(default_factory=list)

    def percentile_ms(self, share: float) -> float:
        """Return the time that `share` of the acknowledgements took at most; NaN where they were not timed."""
        return _percentile(self.acknowledged_ms, share)


def _percentile(times: list[float], share: float) -> float:
    return times[min(len(times) - 1, int(len(times) * share))] if times else float("nan")


@dataclass
class Measured:
    """All rounds of one case; `fsyncs` is how many there were a request, None if nobody counted them."""

    name: str
    runs: list[Run] = field(default_factory=list)
    fsyncs: float | None = None

    def median(self, of: Callable[[Run], float]) -> float:
        """Return the median over the rounds."""
        return statistics.median(map(of, self.runs))

    def row(self) -> dict[str, object]:
        """Return the numbers as they stand in the results, "-" for what was not measured."""
        requests_per_s = self.median(lambda r: r.requests / r.wall_s)
        return {
            "case": self.name,
            "requests_per_s": round(requests_per_s, 1),
            "MiB_per_s": round(self.median(lambda r: r.size_bytes / _MIB / r.wall_s), 1),
            "ack_p50_ms": self._shown(lambda r: r.percentile_ms(0.5)),
            "ack_p99_ms": self._shown(lambda r: r.percentile_ms(0.99)),
            "ack_p99_ms_max": _number(max(run.percentile_ms(0.99) for run in self.runs)),
            "cpu_s_per_GiB": round(self.median(lambda r: r.cpu_s / r.size_bytes * (1 << 30)), 2),
            "cpu_ms_per_request": round(self.median(lambda r: r.cpu_s / r.requests * 1000), 2),
            "fsyncs_per_s": "-" if self.fsyncs is None else round(requests_per_s * self.fsyncs, 1),
        }

    def _shown(self, of: Callable[[Run], float]) -> float | str:
        return _number(self.median(of))


def _number(value: float) -> float | str:
    return round(value, 1) if value == value else "-"


class Bench:
    """One receiver, and the clients that are sent to it one after the other."""

    def __init__(self, place: Place, server: Server) -> None:
        self._place, self.server = place, server
        self._runs = self._requests = 0
        self._waits_before = _maybe_disk_waits(server.port)

    def play(self, kind: str, batch_bytes: int, *options: object) -> Run:
        """Run clients of one kind to their end; raises `processes.Failed` if one of them was not served well."""
        command, log = self._clients(kind, *options)
        os.sync()  # so that nothing of before is paid for now
        before_s = self.server.cpu_s()
        processes.run(command, log)
        cpu_s, said = self.server.cpu_s() - before_s, _last_line(log)
        self._requests += said["requests"]
        return Run(
            said["wall_s"],
            said["requests"],
            said["requests"] * batch_bytes,
            cpu_s,
            sorted(said.get("acknowledged_ms", ())),
            sorted(said.get("sent_late_ms", ())),
        )

    def maybe_fsyncs(self) -> float | None:
        """Return how often the receiver has waited for the disk so far, a request; None if it does not say."""
        if self._waits_before is None:
            return None
        time.sleep(_FIGURES_S)
        waits = _maybe_disk_waits(self.server.port)
        return None if waits is None else (waits - self._waits_before) / self._requests

    @contextlib.contextmanager
    def slow_clients(self, seconds: float) -> Iterator[None]:
        """Have slow clients connected until the block ends, which must be within `seconds`; raises `processes.Failed`."""
        command, log = self._clients("slow", "--seconds", seconds)
        with processes.serving(command, log) as them:
            processes.wait_first_line(them)
            yield
            processes.require_running(them, time.monotonic() + seconds)

    def _clients(self, kind: str, *options: object) -> tuple[list[str], Path]:
        self._runs += 1
        name = f"{kind}-{self._runs}"
        command = [sys.executable, "-m", "bench.clients", kind, "--port", str(self.server.port), "--name", name]
        return [*command, *map(str, options)], self._place.work / f"{name}.log"


def _maybe_disk_waits(port: int) -> int | None:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            found = _WAITS.search(answer.read())
    except urllib.error.HTTPError:  # one that has no metrics, or not what they need
        return None
    return None if found is None else int(float(found[1]))


def _last_line(log: Path) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(log.read_bytes().splitlines()[-1])
    return said


@contextlib.contextmanager
def receiver(yard: Yard) -> Iterator[Bench]:
    """Serve an empty folder by a receiver of its own until the block ends."""
    place = yard.new_place()
    with Ours("receiver", is_durable=True).serve(place) as server:
        yield Bench(place, server)


# --- the cases


def large_batches(yard: Yard, rounds: int, report: results.Report) -> None:
    """8 connections with batches of 4 MiB, beside the bare loop."""
    size_bytes = _FLOOR_MIB * _MIB
    works = {"bare loop, writes of 4 MiB": streams_bare, "bare loop, writes of 256 KiB": streams_bare_in_pieces}
    floors = [Case(name, work, clients.STREAMS * _BATCHES, size_bytes) for name, work in works.items()]
    ways = {"8 connections, plain": (), "8 connections, zstd": ("--compress",)}
    measured = {name: Measured(name) for name in ways}
    bare = {name: Measured(name, fsyncs=1) for name in works}
    bare_place = yard.new_place()
    with contextlib.ExitStack() as running:
        benches = {name: running.enter_context(receiver(yard)) for name in ways}
        for _ in range(rounds):
            for floor in floors:
                floor.run(bare_place.mirror)
                bare[floor.name].runs.append(_as_run(floor))
            for name, options in ways.items():
                run = benches[name].play("streams", clients.APPEND_BYTES, "--batches", _BATCHES, *options)
                measured[name].runs.append(run)
        for name, bench in benches.items():
            measured[name].fsyncs = bench.maybe_fsyncs()
    report.add(
        f"8 connections with batches of 4 MiB, {_FLOOR_MIB} MiB a round",
        [m.row() for m in (*bare.values(), *measured.values())],
    )
    for name, one in measured.items():
        for floor in bare.values():
            times = [ours.wall_s / least.wall_s for ours, least in zip(one.runs, floor.runs, strict=True)]
            report.judge(f"{name}: time over that of {floor.name}", statistics.median(times), 1 / 0.6)


def _as_run(floor: Case) -> Run:
    last = floor.rounds[-1]
    return Run(last.wall_s, last.files, last.size_bytes, last.cpu_s)


def live_agents(yard: Yard, rounds: int, report: results.Report) -> None:
    """1,000 agents at work."""
    measured = Measured(f"{crowd.AGENTS:,} agents")
    with receiver(yard) as bench:
        for _ in range(min(rounds, _MOST_AGENT_ROUNDS)):
            measured.runs.append(bench.play("agents", BATCH_BYTES, "--seconds", _AGENTS_S))
        measured.fsyncs = bench.maybe_fsyncs()
        rss_mb = bench.server.rss_bytes() / 1e6
    every = f"20 KiB every {crowd.PERIOD_S:g} s and a heartbeat every {crowd.HEARTBEAT_S:g} s"
    title = f"{crowd.AGENTS:,} agents, each with {every}"
    late_ms = measured.median(lambda r: _percentile(r.sent_late_ms, 0.99))
    report.add(title, [{**measured.row(), "sent_late_p99_ms": round(late_ms, 1), "rss_MB": round(rss_mb, 1)}])
    report.judge(
        f"{crowd.AGENTS:,} agents: acknowledgement in ms, p99", measured.median(lambda r: r.percentile_ms(0.99)), 250
    )
    report.judge(f"{crowd.AGENTS:,} agents: the receiver's memory in MB", rss_mb, 300)


def slow_clients(yard: Yard, rounds: int, report: results.Report) -> None:
    """A good client, alone and beside slow ones."""
    alone, beside = Measured("good client alone"), Measured(f"good client beside {crowd.SLOW} slow ones")
    with receiver(yard) as bench:
        bench.play("steady", BATCH_BYTES, "--seconds", 1.0)  # so that the first one does not warm up the receiver
        for _ in range(rounds):
            alone.runs.append(bench.play("steady", BATCH_BYTES, "--seconds", _STEADY_S))
            with bench.slow_clients(processes.START_DEADLINE_S + _STEADY_S):
                beside.runs.append(bench.play("steady", BATCH_BYTES, "--seconds", _STEADY_S))
        alone.fsyncs = beside.fsyncs = bench.maybe_fsyncs()
    title = f"20 KiB, one request after the other, beside {crowd.SLOW} clients that send a byte a second"
    report.add(title, [alone.row(), beside.row()])
    pairs = zip(beside.runs, alone.runs, strict=True)
    times = [ours.percentile_ms(0.99) / least.percentile_ms(0.99) for ours, least in pairs]
    report.judge("slow clients: times the good client's p99 without them", statistics.median(times), 2.0)


_CASES = {"l": large_batches, "a": live_agents, "s": slow_clients}


def main() -> None:
    """Measure, print the tables and what is met, write the JSON."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--rounds", type=int, default=4, help="how often every case has its turn")
    parser.add_argument("--cases", default="".join(_CASES), help="which of l(arge batches), a(gents), s(low clients)")
    parser.add_argument("--dir", type=Path, default=results.FOLDER / "shipping", help="a folder on the disk to measure")
    options = parser.parse_args()
    yard, report = Yard(options.dir.absolute()), results.Report()
    try:
        for case in options.cases:
            _CASES[case](yard, options.rounds, report)
    finally:
        yard.clear()
    path = report.write("receiver-http", file_system=results.file_system(options.dir))
    print(results.verdicts(report.targets), f"written to {path}", sep="\n\n")


if __name__ == "__main__":
    main()
