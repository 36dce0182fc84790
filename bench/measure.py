"""Measuring: every call timed on its own, the cases taking turns, so that a busy machine disturbs all of them alike.

A call during which the kernel gave the CPU to somebody else says little about the code. Such calls are counted (by the
thread's involuntary context switches), and the percentiles are given with and without them. The clock's own cost, a few
dozen nanoseconds, stays in all numbers, floors included.
"""

from __future__ import annotations

import os
import resource
import statistics
import sys
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

Call = Callable[[int], object]
"""One call of what is measured; it is given its number, from 0."""

_WHOSE = getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF)


@dataclass(frozen=True)
class Case:
    """Something to measure: `start` makes its files and gives the call; leaving it cleans up (and is not timed).

    `between` is what happens before each call, untimed, such as the work of a training step, after which caches are cold.
    """

    name: str
    start: Callable[[], AbstractContextManager[Call]]
    calls: int = 3_000
    warm_up: int = 200
    between: Callable[[], object] | None = None


@dataclass
class Round:
    """The calls of one case in one round: nanoseconds each, and which of them were interrupted."""

    durations_ns: array[int]
    interrupted: list[int]
    cpu_s: float | None  # None where something else ran in between

    def percentile_us(self, share: float, *, undisturbed: bool = False) -> float:
        """Return the duration in µs that `share` of the calls stay within."""
        left_out = frozenset(self.interrupted) if undisturbed else frozenset()
        kept = sorted(d for i, d in enumerate(self.durations_ns) if i not in left_out) or sorted(self.durations_ns)
        return kept[min(len(kept) - 1, int(len(kept) * share))] / 1000


@dataclass
class Timing:
    """All rounds of one case; each statistic is the median over the rounds, `max_us` the largest of all calls."""

    name: str
    rounds: list[Round] = field(default_factory=list)
    bytes_written: int = 0

    def over_rounds(self, share: float, *, undisturbed: bool = False) -> float:
        """Return the median over the rounds of one percentile, in µs."""
        return statistics.median(r.percentile_us(share, undisturbed=undisturbed) for r in self.rounds)

    @property
    def median_us(self) -> float:
        """The median call."""
        return self.over_rounds(0.5)

    def _cpu_s(self) -> list[float]:
        return [r.cpu_s for r in self.rounds if r.cpu_s is not None]

    def summary(self) -> dict[str, float | str]:
        """Return the numbers of this case as they stand in the results."""
        durations = [d for r in self.rounds for d in r.durations_ns]
        calls = len(durations)
        return {
            "name": self.name,
            "calls": calls,
            "median_us": round(self.median_us, 2),
            "p99_us": round(self.over_rounds(0.99), 2),
            "p999_us": round(self.over_rounds(0.999), 2),
            "p999_undisturbed_us": round(self.over_rounds(0.999, undisturbed=True), 2),
            "max_us": round(max(durations) / 1000, 1),
            "interrupted": sum(len(r.interrupted) for r in self.rounds),
            "calls_per_s": round(calls / (sum(durations) / 1e9)),
            "cpu_us_per_call": round(sum(cpu) / calls * 1e6, 2) if (cpu := self._cpu_s()) else "–",
            "bytes_per_call": round(self.bytes_written / calls, 1),
        }


def take_turns(cases: Sequence[Case], rounds: int, folder: str) -> dict[str, Timing]:
    """Measure `cases` in `rounds` rounds, each case once a round; `folder` is where they write (for bytes a call)."""
    timings = {case.name: Timing(case.name) for case in cases}
    for _ in range(rounds):
        for case in cases:
            before = _size_of(folder)
            timings[case.name].rounds.append(_run(case))
            written = _size_of(folder) - before
            timings[case.name].bytes_written += round(written * case.calls / (case.calls + case.warm_up))
    return timings


def _run(case: Case) -> Round:
    with case.start() as call:
        for number in range(case.warm_up):
            call(number)
        return _time_calls(call, case.warm_up, case.calls, case.between)


def _time_calls(call: Call, first: int, count: int, between: Callable[[], object] | None) -> Round:
    durations, interrupted = array("q", bytes(8 * count)), []
    clock, usage = time.perf_counter_ns, resource.getrusage
    switches, cpu_before = usage(_WHOSE).ru_nivcsw, time.process_time()
    for i in range(count):
        if between is not None:
            between()
            switches = usage(_WHOSE).ru_nivcsw
        began = clock()
        call(first + i)
        durations[i] = clock() - began
        now = usage(_WHOSE).ru_nivcsw
        if now != switches:
            interrupted.append(i)
            switches = now
    return Round(durations, interrupted, time.process_time() - cpu_before if between is None else None)


def _size_of(folder: str) -> int:
    return sum(entry.stat().st_size for entry in _files(folder))


def _files(folder: str) -> Iterator[os.DirEntry[str]]:
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            yield from _files(entry.path)
        else:
            yield entry


def resident_bytes() -> int:
    """Return the memory of this process that is in RAM now (where /proc tells it, else the largest it ever was)."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
