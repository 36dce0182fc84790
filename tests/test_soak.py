"""The soak's judgement: its plan repeats, and its tally finds what is lost, doubled or different."""

from __future__ import annotations

import sys
from itertools import combinations
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent))  # it is no part of what is installed

from soak.fleet import MACHINES, trainers
from soak.memory import slope_per_s
from soak.plan import KINDS, Fault, Victim, disturbed_seconds, plan_faults
from soak.report import Verdict
from soak.tally import Logged, count, read_list

VICTIMS = [Victim(sort, f"{sort} {n}", n) for sort in dict.fromkeys(kind.sort for kind in KINDS) for n in range(2)]

ONE, TWO, THREE = (b"t00.0123abcd.%d" % number for number in range(3))


def line(record: bytes) -> bytes:
    return b'{"_step":1,"_timestamp":1.5,"id":"%s","at":2.5}\n' % record


SPOOLS = [
    {b"m0/run/metrics.jsonl": line(ONE) + line(TWO), b"shared/run/text.log": b"id=%s words\n" % THREE},
    {b"shared/run/text.log": b"other\n", b"shared/run/tensors/w/0005.npy": b"tensor"},
]
MIRROR = {
    b"m0/run/metrics.jsonl": line(ONE) + line(TWO),
    b"shared/run/text.log": b"other\n",
    b"shared/run/text~0a1b2c3d.log": b"id=%s words\n" % THREE,
    b"shared/run/tensors/w/0005.npy": b"tensor",
}
LOGGED = Logged(frozenset({ONE, TWO, THREE}), frozenset({b"shared/run/tensors/w/0005.npy"}), 0)


def tally(**changes: bytes | None):
    """Count with changes to the mirror: other bytes for a path, or None for none of it."""
    mirror = {**MIRROR, **{path.encode(): content for path, content in changes.items()}}
    return count(LOGGED, SPOOLS, {p: c for p, c in mirror.items() if c is not None}, b"shared/")


def test_a_plan_repeats_with_its_seed() -> None:
    """The same seed makes the same plan, another one another."""
    assert plan_faults(7, 300, VICTIMS) == plan_faults(7, 300, VICTIMS)
    assert plan_faults(7, 300, VICTIMS) != plan_faults(8, 300, VICTIMS)


@pytest.mark.parametrize("seed", range(20))
def test_faults_are_of_every_kind_and_over_in_time(seed: int) -> None:
    """A minute sees nearly every kind, and nothing has two faults of its sort at once or one at the end."""
    faults = plan_faults(seed, 60, VICTIMS)
    assert len({fault.kind for fault in faults}) >= len(KINDS) - 2
    assert all(0 < fault.at_s < fault.end_s < 60 for fault in faults)
    for one, other in combinations(faults, 2):
        assert one.victim != other.victim or one.end_s <= other.at_s or other.end_s <= one.at_s


def test_kinds_without_a_victim_are_left_out() -> None:
    """Where there are no small disks there are no faults of disks."""
    faults = plan_faults(1, 300, [victim for victim in VICTIMS if "disk" not in victim.sort])
    assert faults
    assert not any("disk" in fault.kind for fault in faults)


def test_a_machine_is_disturbed_by_its_own_faults_and_those_of_all() -> None:
    """The seconds of a fault, one before and some after count, on the machines that feel it."""
    own = Fault("link cut", Victim("link", "link-1", 1), 10.5, 12.5)
    felt_by_all = Fault("kill the receiver", Victim("receiver", "receiver", None), 30.0, 31.0)
    assert disturbed_seconds([own, felt_by_all], 1) == {*range(9, 18), *range(29, 37)}
    assert disturbed_seconds([own, felt_by_all], 0) == {*range(29, 37)}


def test_all_is_well_with_two_machines_under_one_name() -> None:
    """The file that goes under a name with a digest is no difference where two machines share a run."""
    good = tally()
    assert Verdict(good, []).is_good
    assert (good.logged, good.shipped, good.files_logged, good.bytes_stored) == (
        3,
        3,
        1,
        sum(map(len, MIRROR.values())),
    )


@pytest.mark.parametrize(
    ("wrong", "changes"),
    [
        ("lost", {"m0/run/metrics.jsonl": line(ONE)}),
        ("lost", {"shared/run/text~0a1b2c3d.log": None}),
        ("doubled", {"m0/run/metrics.jsonl": line(ONE) + line(TWO) + line(TWO)}),
        ("doubled", {"shared/run/text~11111111.log": b"id=%s words\n" % THREE}),
        ("files_lost", {"shared/run/tensors/w/0005.npy": None}),
        ("differences", {"m0/run/metrics.jsonl": line(ONE) + line(TWO) + b"\n"}),
        ("differences", {"m0/run/metrics~0a1b2c3d.jsonl": b"more\n"}),
        ("differences", {"shared/run/tensors/w/0005.npy": b"torn"}),
        ("differences", {"shared/run/nobody's.txt": b""}),
    ],
)
def test_what_is_wrong_is_found(wrong: str, changes: dict[str, bytes | None]) -> None:
    """A record or file that is missing, twice there, or other than it was fails the soak, and is named."""
    found = tally(**changes)
    assert getattr(found, wrong)
    assert not Verdict(found, []).is_good
    assert Verdict(found, []).lines()


def test_a_record_that_the_client_lost_is_told_apart() -> None:
    """What is in no spool either was lost before any agent saw it."""
    spools = [{**SPOOLS[0], b"m0/run/metrics.jsonl": line(ONE)}, SPOOLS[1]]
    found = count(LOGGED, spools, {**MIRROR, b"m0/run/metrics.jsonl": line(ONE)}, b"shared/")
    assert (found.lost, found.never_on_disk, found.differences) == ([TWO], [TWO], [])


def test_any_finding_fails_the_soak() -> None:
    """A process that ended by itself is enough, whatever the trees say."""
    assert not Verdict(tally(), ["agent-1 ended by itself"]).is_good


def test_lists_say_what_was_logged_where() -> None:
    """Records count by their ids, files by run and path, and what was refused is counted."""
    lists = {"t00.0123abcd": b"record %s\ndropped x\nfile tensors/w/0005.npy\n" % ONE, "t01.0123abcd": b""}
    logged = read_list({"t00": "shared/run", "t01": "m1/run"}, lists)
    assert logged == Logged(frozenset({ONE}), frozenset({b"shared/run/tensors/w/0005.npy"}), 1)


def test_the_slope_is_that_within_lives() -> None:
    """A new life that begins at another level is no growth, and a level that stays is none."""
    assert slope_per_s([[(0, 10), (1, 12), (2, 14)], [(0, 100), (1, 102)]]) == pytest.approx(2)
    assert slope_per_s([[(0, 10), (5, 10)], [(0, 20), (5, 20)]]) == 0
    assert slope_per_s([[(0, 10)], []]) is None


def test_twenty_trainers_on_four_machines_some_with_one_name() -> None:
    """Each machine has five; two trainers of one run's name are never on one machine."""
    all_of_them = trainers()
    assert [sum(t.machine == machine for t in all_of_them) for machine in range(MACHINES)] == [5, 5, 5, 5]
    pairs = [(a, b) for a, b in combinations(all_of_them, 2) if a.run == b.run]
    assert len(pairs) == 5
    assert all(a.machine != b.machine and a.run.startswith("shared/") for a, b in pairs)
