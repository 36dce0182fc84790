"""The figures of a soak, as a table for people and as JSON in ``build/bench/soak.json``."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import results

from .arrivals import Arrivals
from .fleet import MACHINES, trainers
from .plan import Fault, disturbed_seconds
from .run import Soak
from .tally import Tally

SHOWN = 20


@dataclass(frozen=True)
class Verdict:
    """What a soak came to."""

    tally: Tally
    findings: Sequence[str]

    @property
    def is_good(self) -> bool:
        """Whether nothing was lost or doubled, the trees are as they must be, and nothing else was found."""
        wrong = (self.tally.lost, self.tally.doubled, self.tally.files_lost, self.tally.differences, self.findings)
        return not any(wrong)

    def lines(self) -> list[str]:
        """Return what is wrong, some lines of each kind."""
        kinds: Mapping[str, Sequence[object]] = {
            "record lost": self.tally.lost,
            "of them not even in the spool": self.tally.never_on_disk,
            "record doubled": self.tally.doubled,
            "file lost": self.tally.files_lost,
            "difference": self.tally.differences,
            "finding": self.findings,
        }
        return [
            *(f"{kind}: {one}" for kind, found in kinds.items() for one in found[:SHOWN]),
            *(f"{kind}: {len(found) - SHOWN} more" for kind, found in kinds.items() if len(found) > SHOWN),
        ]


def publish(soak: Soak, arrivals: Arrivals, verdict: Verdict, seed: int, left_out: str) -> Path:
    """Print the figures, write them, and return the file they are in."""
    report, tally = results.Report(), verdict.tally
    report.add("records", [_records(tally)])
    report.add("lag, log() to the receiver's file", _lags(soak, arrivals))
    report.add("memory", [soak.memory.row(role.name) for role in [*soak.fleet.of("agent"), *soak.fleet.of("receiver")]])
    report.add("faults", _faults(soak.happened))
    report.judge("records and files lost", len(tally.lost) + len(tally.files_lost), 0)
    report.judge("records doubled", len(tally.doubled), 0)
    report.judge("files that differ", len(tally.differences), 0)
    report.judge("other findings", len(verdict.findings), 0)
    print(results.verdicts(report.targets))
    facts = {"seed": seed, "duration_s": soak.duration_s, "left_out": left_out, "wrong": verdict.lines()}
    return report.write("soak", **facts)


def _records(tally: Tally) -> dict[str, object]:
    return {
        "records logged": tally.logged,
        "shipped": tally.shipped,
        "lost": len(tally.lost),
        "doubled": len(tally.doubled),
        "refused by a full disk": tally.dropped,
        "files logged": tally.files_logged,
        "files lost": len(tally.files_lost),
        "MiB stored": round(tally.bytes_stored / (1 << 20), 1),
    }


def _lags(soak: Soak, arrivals: Arrivals) -> list[dict[str, object]]:
    disturbed = [disturbed_seconds(soak.happened, machine) for machine in range(MACHINES)]
    all_s, calm_s = array("d"), array("d")
    for trainer in trainers():
        lags = arrivals.lags.get(trainer.name)
        for logged_s, lag_s in zip(lags.logged_s, lags.lags_s, strict=True) if lags else ():
            all_s.append(lag_s)
            if int(logged_s - soak.began_s) not in disturbed[trainer.machine]:
                calm_s.append(lag_s)
    looks_s = sorted(arrivals.looks_s)
    return [
        _percentiles("undisturbed seconds", sorted(calm_s)),
        _percentiles("all seconds", sorted(all_s)),
        _percentiles("between two looks", looks_s),
    ]


def _percentiles(name: str, sorted_s: Sequence[float]) -> dict[str, object]:
    def at(share: float) -> float | None:
        return round(sorted_s[min(len(sorted_s) - 1, int(len(sorted_s) * share))] * 1000, 1) if sorted_s else None

    return {"ms": name, "count": len(sorted_s), "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "max": at(1.0)}


def _faults(happened: Sequence[Fault]) -> list[dict[str, object]]:
    counts = Counter(fault.kind for fault in happened)
    lasted = Counter[str]()
    for fault in happened:
        lasted[fault.kind] += fault.end_s - fault.at_s
    rows = [
        {"fault": kind, "times": times, "seconds": round(lasted[kind], 1)} for kind, times in sorted(counts.items())
    ]
    return [*rows, {"fault": "all", "times": sum(counts.values()), "seconds": round(sum(lasted.values()), 1)}]
