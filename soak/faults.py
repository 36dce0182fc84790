"""What a fault does: how each kind begins and ends on the fleet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from proxy import Behaviour, CutRequest, Delay, Drop, Duplicate, LoseAnswer, Pass
from shifted_clock import set_clock
from small_disk import SmallDisk

from .fleet import Fleet
from .plan import Fault

JUMPS_S = (-86_400.0, -3_600.0, -30.0, 30.0, 3_600.0, 86_400.0)
SLOW_S = 1.0
MOST_CUT_BYTES = 400


@dataclass(frozen=True)
class Act:
    """How a kind of fault begins and ends."""

    begin: Callable[[Fleet, Fault], None]
    end: Callable[[Fleet, Fault], None]


def _kill(fleet: Fleet, fault: Fault) -> None:
    fleet.roles[fault.victim.name].kill()


def _start(fleet: Fleet, fault: Fault) -> None:
    fleet.roles[fault.victim.name].begin()


def _stop(fleet: Fleet, fault: Fault) -> None:
    fleet.roles[fault.victim.name].running.freeze()


def _go_on(fleet: Fleet, fault: Fault) -> None:
    fleet.roles[fault.victim.name].running.thaw()


def _fill(fleet: Fleet, fault: Fault) -> None:
    _disk(fleet, fault).fill()


def _free(fleet: Fleet, fault: Fault) -> None:
    _disk(fleet, fault).free()


def _disk(fleet: Fleet, fault: Fault) -> SmallDisk:
    machine = fault.victim.machine
    disk = (fleet.mirror if machine is None else fleet.spools[machine]).disk
    assert disk is not None
    return disk


def _jump(fleet: Fleet, fault: Fault) -> None:
    set_clock(fleet.clock(fault.victim.name), JUMPS_S[int(fault.luck * len(JUMPS_S))])


def _jump_back(fleet: Fleet, fault: Fault) -> None:
    set_clock(fleet.clock(fault.victim.name), 0)


def _link(behaviour: Callable[[Fault], Behaviour]) -> Act:
    def set_link(fleet: Fleet, fault: Fault, default: Behaviour) -> None:
        assert fault.victim.machine is not None
        fleet.links[fault.victim.machine].default = default

    return Act(
        lambda fleet, fault: set_link(fleet, fault, behaviour(fault)), lambda f, fault: set_link(f, fault, Pass())
    )


_KILL, _STOP = Act(_kill, _start), Act(_stop, _go_on)
_CLOCK, _DISK = Act(_jump, _jump_back), Act(_fill, _free)

ACTS = {
    "kill a trainer": _KILL,
    "kill an agent": _KILL,
    "kill the receiver": _KILL,
    "stop a trainer": _STOP,
    "stop an agent": _STOP,
    "stop the receiver": _STOP,
    "link cut": _link(lambda _: Drop(reset=True)),
    "link slow": _link(lambda _: Delay(SLOW_S)),
    "link loses answers": _link(lambda _: LoseAnswer()),
    "link doubles requests": _link(lambda _: Duplicate()),
    "link tears requests": _link(lambda fault: CutRequest(-1 - int(fault.luck * MOST_CUT_BYTES))),
    "spool's disk full": _DISK,
    "receiver's disk full": _DISK,
    "an agent's clock jumps": _CLOCK,
    "a trainer's clock jumps": _CLOCK,
}
