"""Tracking: what a call costs the training script, beside what a user would log with instead, and what a kill takes away.

``python -m bench.tracking`` logs (A) one dict of ten floats and (B) one image of 256×256×3 with each tracker, back to back,
each run in a new process of an environment of the tracker's own, the trackers taking turns round by round. *To the durable end*
is from the first call until the run is closed and fsync has returned for every file of it. Then (C) each logs at the pace of a
training, and is killed; what its own reader finds is compared with the calls that had returned. Trackers are installed under
``build/trackers/``; one that can't be is left out, with a line. Numbers go to ``build/bench/tracking.json``.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from . import results
from .processes import Failed
from .trackers import OURS, TORCH, TRACKERS, Held, Tracker
from .trackers.drive import RECORDS_PER_S
from .trackers.environments import is_there, version
from .trackers.kills import Killed, kill_once
from .trackers.runs import Answer, Place, ask

_MIB = 1 << 20
_NO_TORCH = "not installed (too large)"
_DIR_HELP = "where to write (default: the system's temporary directory); no Git repository: DVCLive would write into it"

Row = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """How much is logged: rounds, the calls and seconds that bound a round, and the calls before each kill."""

    rounds: int = 3
    records: int = 1_000
    images: int = 40
    seconds: float = 1.0
    before_kills: tuple[int, ...] = (120, 246)  # drawn by lot once: a writer of blocks loses what its last one holds


QUICK = Plan(rounds=1, records=300, images=5, seconds=0.5, before_kills=(50,))


# --- (A) and (B): what calls cost


@dataclass
class Logged:
    """All rounds of one tracker in one case."""

    tracker: Tracker
    answers: list[Answer] = field(default_factory=list)

    def median(self, of: Callable[[Answer], float]) -> float:
        """Return the median over the rounds."""
        return statistics.median(map(of, self.answers))

    def durations_us(self) -> list[float]:
        """Return the durations of all calls of all rounds, in order of length."""
        return sorted(duration for answer in self.answers for duration in answer["durations_us"])

    def row(self) -> Row:
        """Return the numbers as they stand in the results; percentiles are over all calls, the rest medians over the rounds."""
        durations_us = self.durations_us()
        return {
            "tracker": self.tracker.name,
            "calls": len(durations_us),
            "median_us": round(statistics.median(durations_us), 1),
            "p999_us": round(durations_us[min(len(durations_us) - 1, int(len(durations_us) * 0.999))], 1),
            "max_us": round(durations_us[-1], 1),
            "calls_per_s": round(self.median(lambda a: len(a["durations_us"]) / a["durable_s"]), 1),
            "cpu_us_per_call": round(self.median(lambda a: a["cpu_s"] / len(a["durations_us"]) * 1e6), 1),
            "bytes_per_call": round(self.median(lambda a: a["bytes_per_call"])),
            "rss_MiB": round(self.median(lambda a: a["rss_bytes"]) / _MIB),
            "import_s": round(self.median(lambda a: a["import_s"]), 3),
            "open_s": round(self.median(lambda a: a["open_s"]), 3),
        }


def log_once(tracker: Tracker, case: str, plan: Plan, place: Place, *, is_read: bool = True) -> Answer:
    """Log in one process, and if `is_read` have the tracker's reader find all of it; raises `Failed` otherwise."""
    calls = plan.records if case == "records" else plan.images
    answer = ask(tracker, case, place, "--calls", str(calls), "--seconds", str(plan.seconds))
    if not is_read:
        return answer
    found = Held(**ask(tracker, "held", place))
    if getattr(found, case) != answer["logged"]:
        raise Failed(f"{tracker.name}: of {answer['logged']} {case} its reader finds {found}")
    return answer


# --- (C): what a kill takes away


def _killed_row(tracker: Tracker, plan: Plan, new_place: Callable[[], Place]) -> Row:
    def kill_all(*, with_helpers: bool) -> list[Killed]:
        return [kill_once(tracker, n, new_place(), with_helpers=with_helpers) for n in plan.before_kills]

    alone = kill_all(with_helpers=False)
    row = {"tracker": tracker.name, "kills": len(alone), "returned": sum(one.returned for one in alone)}
    row |= {"lost": sum(one.lost for one in alone), "lost_with_its_helpers": "no helpers"}
    if any(one.had_helpers for one in alone):
        row["lost_with_its_helpers"] = sum(one.lost for one in kill_all(with_helpers=True))
    return row


# --- all of it


@dataclass
class Bench:
    """The trackers that are here and the folder for their runs; who fails once is left out from then on, with a line."""

    trackers: list[Tracker]
    folder: Path
    left_out: dict[str, str] = field(default_factory=dict)
    _used: int = 0

    def new_place(self) -> Place:
        """Return a place that nobody has used."""
        self._used += 1
        return Place(self.folder / f"{self._used:04d}")

    def each(self, work: Callable[[Tracker], None]) -> None:
        """Do `work` for each tracker in turn."""
        for tracker in list(self.trackers):
            self._try(work, tracker)

    def _try(self, work: Callable[[Tracker], None], tracker: Tracker) -> None:
        try:
            work(tracker)
        except (Failed, OSError, ValueError) as error:
            if tracker is OURS:
                raise
            self.trackers.remove(tracker)
            self.left_out[tracker.name] = str(error).strip().splitlines()[-1]  # of a traceback what it says in the end
            print(f"{tracker.name} is left out: {error}", flush=True)


def log_in_turns(bench: Bench, plan: Plan) -> dict[str, dict[str, Logged]]:
    """Log (A) and (B) with each tracker once a round; returns them by case and name."""
    logged = {case: {tracker.name: Logged(tracker) for tracker in bench.trackers} for case in ("records", "images")}

    def work(tracker: Tracker) -> None:
        for case, by_name in logged.items():
            answers = by_name[tracker.name].answers
            answers.append(log_once(tracker, case, plan, bench.new_place(), is_read=not answers))

    for _ in range(plan.rounds):
        bench.each(work)
    here = {tracker.name for tracker in bench.trackers}
    return {case: {name: one for name, one in by_name.items() if name in here} for case, by_name in logged.items()}


def kill_each(bench: Bench, plan: Plan) -> list[Row]:
    """Kill a run of each tracker (C)."""
    rows: list[Row] = []
    bench.each(lambda tracker: rows.append(_killed_row(tracker, plan, bench.new_place)))
    return rows


def _judge(report: results.Report, logged: Mapping[str, Sequence[Row]], killed: Sequence[Row]) -> None:
    report.judge("records lost of calls that had returned, ML_Logger killed", killed[0]["lost"], 0)
    for case, rows in logged.items():
        ours, peers = rows[0], rows[1:]
        if not peers:
            continue
        report.judge(f"{case}: median call, over the fastest peer's", _over(ours, peers, "median_us"), 1.0)
        report.judge(
            f"{case}: longest call, over that of the peer with the shortest", _over(ours, peers, "max_us"), 1.0
        )
        most = max(float(row["calls_per_s"]) for row in peers)
        report.judge(f"{case}: time to the durable end, over the fastest peer's", most / ours["calls_per_s"], 1.0)
        report.judge(f"{case}: CPU, over the thriftiest peer's", _over(ours, peers, "cpu_us_per_call"), 1.0)
        report.judge(f"{case}: bytes on disk, over the most compact peer's", _over(ours, peers, "bytes_per_call"), 1.0)
        report.judge(f"{case}: memory, over the smallest peer's", _over(ours, peers, "rss_MiB"), 1.0)
        report.judge(f"{case}: import, over the quickest peer's", _over(ours, peers, "import_s"), 1.0)


def _over(ours: Row, peers: Sequence[Row], key: str) -> float:
    return float(ours[key]) / min(float(row[key]) for row in peers)


def _with_torch(rows: list[Row]) -> list[Row]:
    """Return `rows` with one that says why torch is not among them, if it is not."""
    if any(row["tracker"] == TORCH.name for row in rows):
        return rows
    return [*rows, dict.fromkeys(rows[0], "–") | dict(zip(rows[0], (TORCH.name, _NO_TORCH), strict=False))]


def main() -> None:
    """Log and kill, print the tables and what is met, write the JSON."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--quick", action="store_true", help="little of everything, to try it; not for the report")
    parser.add_argument("--only", help="ML_Logger and the trackers whose names begin like this; not for the report")
    parser.add_argument("--dir", help=_DIR_HELP)
    options = parser.parse_args()
    plan = QUICK if options.quick else Plan()
    wanted = [*TRACKERS, *([TORCH] if find_spec("torch") else [])]
    wanted = [t for t in wanted if t is OURS or not options.only or t.name.startswith(options.only)]
    folder = tempfile.mkdtemp(prefix="ml-logger-bench-", dir=options.dir)
    bench, report = Bench([tracker for tracker in wanted if is_there(tracker)], Path(folder)), results.Report()
    missing = [tracker.name for tracker in wanted if tracker not in bench.trackers]
    versions = {tracker.environment: version(tracker) for tracker in bench.trackers if tracker.packages}
    began_s = time.monotonic()
    try:
        logged = log_in_turns(bench, plan)
        records, images = ([one.row() for one in by_name.values()] for by_name in logged.values())
        report.add("A: one dict of ten floats", _with_torch(records))
        report.add("B: one image of 256×256×3", _with_torch(images))
        killed = kill_each(bench, plan)
        report.add(f"C: {RECORDS_PER_S:.0f} records a second, then kill -9", _with_torch(killed))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    _judge(report, {"records": records, "images": images}, killed)
    extra = {"peers": versions, "missing": missing, "left_out": bench.left_out}
    path = report.write("tracking-part" if options.quick or options.only else "tracking", **extra)
    print(results.verdicts(report.targets), f"written to {path} after {time.monotonic() - began_s:.0f} s", sep="\n\n")


if __name__ == "__main__":
    sys.exit(main())
