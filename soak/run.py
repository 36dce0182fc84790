"""The run of a soak: live through the plan of faults, and keep what happened.

Whatever must not happen is a finding, a line of text: a process that ended by itself, a traceback, a drain that stands still,
an exit code that says that something is left. The run goes on to its end, so that one finding does not hide the others.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from .faults import ACTS
from .fleet import Fleet
from .memory import Memory
from .plan import Fault

WATCH_S = 0.05
SAMPLE_S = 1.0
START_DEADLINE_S = 300.0
MOST_FINDINGS = 20


class GivenUp(Exception):
    """So much is wrong that going on shows nothing more."""


@dataclass
class Soak:
    """What is known of a soak while it runs, and in the end."""

    fleet: Fleet
    duration_s: float
    events: Path
    began_s: float = field(default_factory=time.monotonic)
    happened: list[Fault] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    memory: Memory = field(default_factory=Memory)
    _sampled_s: float = 0.0

    def now_s(self) -> float:
        """Return the seconds since the start."""
        return time.monotonic() - self.began_s

    def live_through(self, faults: Iterable[Fault]) -> None:
        """Start all, let each fault begin and end when it should, and return when the time is over, all faults lifted."""
        self._begin()
        moments = sorted(
            [(fault.at_s, "begins", fault) for fault in faults] + [(fault.end_s, "ends", fault) for fault in faults],
            key=lambda moment: moment[0],
        )
        begun: dict[Fault, float] = {}
        for at_s, what, fault in moments:
            self._watch_until(at_s)
            self.note(f"{fault.kind} {what}", fault.victim.name)
            if what == "begins":
                begun[fault] = self.now_s()
                ACTS[fault.kind].begin(self.fleet, fault)
            else:
                ACTS[fault.kind].end(self.fleet, fault)
                self.happened.append(replace(fault, at_s=begun[fault], end_s=self.now_s()))
        self._watch_until(self.duration_s)

    def _begin(self) -> None:
        """Start all; the time counts from when all are at work, however long two dozen starts take."""
        self.fleet.begin()
        while silent := self.fleet.silent():
            self._watch()
            time.sleep(WATCH_S)
            if self.now_s() > START_DEADLINE_S:
                raise GivenUp(f"{', '.join(silent)} are not at work within {START_DEADLINE_S:.0f} s")
        self.began_s = time.monotonic()

    def _watch_until(self, at_s: float) -> None:
        self._watch()  # also when it is late: who is hit next may have ended by itself
        while self.now_s() < at_s:
            time.sleep(max(0.0, min(WATCH_S, at_s - self.now_s())))
            self._watch()

    def _watch(self) -> None:
        """Find what ended by itself and start it again, and sample the memory."""
        for role in self.fleet.roles.values():
            if role.is_wanted and not role.running.is_alive:
                self.find(f"{role.name} ended by itself with {role.running.process.returncode}\n{role.running.tail()}")
                role.begin()
        if len(self.findings) > MOST_FINDINGS:
            raise GivenUp(f"{len(self.findings)} findings, the last: {self.findings[-1]}")
        if time.monotonic() - self._sampled_s >= SAMPLE_S:
            self._sampled_s = time.monotonic()
            for role in [*self.fleet.of("agent"), *self.fleet.of("receiver")]:
                if role.is_wanted:
                    self.memory.sample(role.name, role.running.process.pid, self._sampled_s)

    def find(self, finding: str) -> None:
        """Keep a finding."""
        self.findings.append(finding)
        self.note("finding", finding)

    def note(self, what: str, which: str = "") -> None:
        """Write down what happens, and when."""
        with self.events.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"at_s": round(self.now_s(), 2), "what": what, "which": which}) + "\n")
