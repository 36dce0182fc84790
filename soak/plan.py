"""The plan of faults: what goes wrong, with whom, when and for how long. Pure; the same seed makes the same plan.

Kinds are dealt like cards, so that each has come once before any comes again, and a pause follows when all have come: seconds
in which nothing is wrong are needed to see the lag without faults. Nobody has two faults of one sort at the same time; those
of different sorts overlap.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

FIRST_S = 5.0
GAP_S = (1.0, 3.5)
PAUSE_S = 12.0
LEAD_S = 1.0
"""How long before a fault seconds count as disturbed: what was logged then may be on its way."""


@dataclass(frozen=True)
class Kind:
    """A kind of fault: the sort of thing it happens to, the least and most seconds it lasts, and how long it is felt after."""

    name: str
    sort: str
    least_s: float
    most_s: float
    felt_s: float = 5.0


KINDS = (
    Kind("kill a trainer", "trainer", 0.1, 3.0),
    Kind("kill an agent", "agent", 0.1, 5.0),
    Kind("kill the receiver", "receiver", 0.1, 6.0),
    Kind("stop a trainer", "trainer", 1.0, 5.0),
    Kind("stop an agent", "agent", 1.0, 8.0),
    Kind("stop the receiver", "receiver", 1.0, 8.0),
    Kind("link cut", "link", 1.0, 8.0),
    Kind("link slow", "link", 2.0, 8.0),
    Kind("link loses answers", "link", 1.0, 6.0),
    Kind("link doubles requests", "link", 1.0, 6.0),
    Kind("link tears requests", "link", 1.0, 6.0),
    Kind("spool's disk full", "spool disk", 1.0, 8.0),
    Kind("receiver's disk full", "receiver disk", 1.0, 8.0, felt_s=12.0),  # agents are told to wait for 10 s
    Kind("an agent's clock jumps", "agent clock", 3.0, 15.0),
    Kind("a trainer's clock jumps", "trainer clock", 3.0, 15.0),
)


@dataclass(frozen=True)
class Victim:
    """Whom a fault can hit: its sort, its name, and the number of the machine it is on (None: all feel it)."""

    sort: str
    name: str
    machine: int | None


@dataclass(frozen=True)
class Fault:
    """One fault from `at_s` to `end_s`, in seconds since the start; `luck` in [0, 1) chooses its details."""

    kind: str
    victim: Victim
    at_s: float
    end_s: float
    luck: float = 0.0

    def row(self) -> dict[str, object]:
        """Return it as it is written down."""
        return asdict(self)


def plan_faults(seed: int, duration_s: float, victims: Sequence[Victim]) -> list[Fault]:
    """Return the faults of a soak in the order in which they begin; all are over after `duration_s`.

    Kinds for which there is no one among `victims` are left out.
    """
    dice = random.Random(seed)
    by_sort = {kind.sort: [v for v in victims if v.sort == kind.sort] for kind in KINDS}
    kinds = [kind for kind in KINDS if by_sort[kind.sort]]
    faults: list[Fault] = []
    for at_s, kind in _deal(dice, kinds, duration_s):
        free = [v for v in by_sort[kind.sort] if not any(f.victim == v and f.end_s > at_s for f in faults)]
        end_s = at_s + dice.uniform(kind.least_s, kind.most_s)
        if free and end_s < duration_s:
            faults.append(Fault(kind.name, dice.choice(free), at_s, end_s, dice.random()))
    return faults


def _deal(dice: random.Random, kinds: Sequence[Kind], duration_s: float) -> Iterator[tuple[float, Kind]]:
    at_s = FIRST_S
    while at_s < duration_s:
        for kind in dice.sample(kinds, len(kinds)):
            yield at_s, kind
            at_s += dice.uniform(*GAP_S)
        at_s += PAUSE_S


def disturbed_seconds(faults: Sequence[Fault], machine: int) -> set[int]:
    """Return the seconds since the start that count as disturbed by a fault of this `machine`'s, or of all."""
    felt_s = {kind.name: kind.felt_s for kind in KINDS}
    return {
        second
        for fault in faults
        if fault.victim.machine in (None, machine)
        for second in range(int(fault.at_s - LEAD_S), int(fault.end_s + felt_s[fault.kind]) + 1)
    }
