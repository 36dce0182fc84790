"""Bugs that are planted on purpose: the same machine that finds nothing in the code as it is finds each of them.

A check that can't fail is no check. Each bug is one that shippers and receivers are known for, put into the real code by a
small patch. Where chance would need long for it, an opening leads there; the rules behind it and the checks are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from promises import Broken
from test_model import Events, try_out
from world import World

from ml_logger.agent import scanner
from ml_logger.agent.delivery import Delivery, Report, Stored
from ml_logger.agent.pieces import Piece
from ml_logger.agent.recalls import Recalls
from ml_logger.server import local_store, locked_file
from ml_logger.server.local_round import Round
from ml_logger.server.locked_file import LockedFile
from ml_logger.server.redo_log import RedoLog
from ml_logger.wire import Crc, Item, Lineage, Outcome

MOST_EXAMPLES = 100

Patch = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class Bug:
    """A bug: what it breaks, how it is planted, and the opening that leads to it where one is needed."""

    name: str
    breaks: tuple[str, ...]
    plant: Patch
    opening: Callable[[World], None] | None = None


def instead_of(owner: Any, name: str, wrong: Any) -> Patch:
    return lambda patch: patch.setattr(owner, name, wrong)


def _keep_crc_of_the_bytes_before(self: LockedFile, data: memoryview, crc: Crc) -> None:
    self._is_planned = True
    self._tail.append(data)
    self._points[self.size] = crc
    self.size += len(data)


def _believe_the_ledger(self: Recalls, lineage: Lineage | None) -> None:
    self._is_under_way = False
    if lineage is not None:
        self._memory.ledger.note_lineage(lineage)


_real_place = LockedFile.place


def _call_it_already_there(self: LockedFile, item: Item, payload: memoryview) -> Any:
    return ("already", item.length) if self.exists and self.size >= item.end else _real_place(self, item, payload)


def _append_what_is_there_already(self: LockedFile, item: Item, payload: memoryview) -> Any:
    result, there = _real_place(self, item, payload)
    return ("stored", 0) if result == "already" and item.length else (result, there)


def _keep_torn_tails(patch: pytest.MonkeyPatch) -> None:
    """Neither what a dead writer left nor the zeros of a power cut are cut off; one of the two would do."""
    patch.setattr(LockedFile, "cut", _forget_without_cutting)
    patch.setattr(locked_file, "torn_from", lambda _fd, size: size)


def _forget_without_cutting(self: LockedFile, size: int) -> None:
    self.size = self._size_before = self._size_on_disk = size
    self._points = {known: crc for known, crc in self._points.items() if known <= size}
    self._tail, self._is_planned, self._is_written = [], False, self._fd is not None
    self.is_torn = False


_real_send = Delivery._send


def _take_it_as_sent(self: Delivery, pieces: Sequence[Piece], packed: Any, report: Report) -> None:
    before = len(report.verdicts)
    try:
        _real_send(self, pieces, packed, report)
    except Exception:
        report.verdicts[before:] = [Stored(piece) for piece in pieces]
        raise


_real_verdict = Round._maybe_verdict


def _overwrite(self: Round, target: LockedFile, item: Item, before: Any) -> Outcome | None:
    verdict = _real_verdict(self, target, item, before)
    return None if verdict is not None and verdict.result == "diverged" else verdict


def _is_dotfile_alone(name: str) -> bool:
    return name.startswith(".ml-logger")


# --- openings


def _come_back_as_an_old_copy(world: World) -> None:
    """One machine has shipped all it had when the receiver is put back to where it had nothing."""
    world.receiver.back_up()
    world.machines["A"].save("model.pt", 100)
    for _ in range(4):
        world.ship("A")
    world.receiver.restore()


def _lose_answers(world: World) -> None:
    """What one machine ships arrives; it is not told so, and sends it again."""
    for mishap in ("none", "unanswered"):
        world.machines["A"].scribble("run/text.log", ["whole"])
        world.ship("A", [mishap])
    world.ship("A")


def _be_torn_everywhere(world: World) -> None:
    """The power goes at each call of the receiver while it takes a large piece; what it wrote has left its size alone."""
    machine = world.machines["A"]
    for call in range(1, 30):
        machine.log("run/torn.jsonl", [250])
        world.ship("A", receiver_dies_in=call)
        if not world.receiver.is_up:
            world.receiver.cut_power("sizes")
            world.receiver.start()


def _be_cut_short_in_a_save(world: World) -> None:
    """The client dies before it gives a file its name."""
    world.machines["A"].save("model.pt", 100, dies_in=3)


def _lose_a_batch(world: World) -> None:
    """A small file is sent in vain."""
    for _ in range(4):
        world.ship("A")
    world.machines["A"].save("model.pt", 100)
    for _ in range(5):
        world.ship("A", ["lost", "lost", "lost", "lost"])


def _use_one_name_twice(world: World) -> None:
    """Both machines have a file of one name, and one of them ships."""
    for machine in world.machines.values():
        machine.save("model.pt", 100)
    for _ in range(4):
        world.ship("A")


# --- the list

BUGS = (
    Bug(
        "acknowledged before the fsync",
        ("acknowledged bytes stay",),
        instead_of(RedoLog, "_wait_until_durable", lambda *_: None),
    ),
    Bug(
        "the CRC of the wrong range",
        ("all is shipped", "acknowledged bytes stay", "nothing is stored twice", "the trees are equal"),
        instead_of(LockedFile, "append", _keep_crc_of_the_bytes_before),
    ),
    Bug(
        "a position from the ledger alone",
        ("all is shipped",),
        instead_of(Recalls, "take_in", _believe_the_ledger),
        _come_back_as_an_old_copy,
    ),
    Bug(
        "renamed without an fsync of the folder",
        ("acknowledged bytes stay",),
        instead_of(Round, "_sync_folders", lambda *_: None),
    ),
    Bug(
        "`already` without a comparison",
        ("all is shipped",),
        instead_of(LockedFile, "place", _call_it_already_there),
    ),
    Bug(
        "a temporary file is shipped",
        ("nothing else is stored", "the trees are equal"),
        instead_of(scanner, "is_hidden", _is_dotfile_alone),
        _be_cut_short_in_a_save,
    ),
    Bug(
        "a torn tail is appended to",
        ("nothing else is stored",),
        _keep_torn_tails,
        _be_torn_everywhere,
    ),
    Bug(
        "saved before it was acknowledged",
        ("all is shipped",),
        instead_of(Delivery, "_send", _take_it_as_sent),
        _lose_a_batch,
    ),
    Bug(
        "other bytes are overwritten",
        ("all is shipped",),
        instead_of(Round, "_maybe_verdict", _overwrite),
        _use_one_name_twice,
    ),
    Bug(
        "a path leads out of the data directory",
        ("hostile paths are refused", "nothing outside is touched"),
        instead_of(local_store, "check_path", lambda path: path),
    ),
    Bug(
        "appended twice after a lost answer",
        ("nothing else is stored", "acknowledged bytes stay"),
        instead_of(LockedFile, "place", _append_what_is_there_already),
        _lose_answers,
    ),
)


def events_after(opening: Callable[[World], None] | None) -> type[Events]:
    """Return the machine that begins with an opening."""

    class EventsAfter(Events):
        def __init__(self) -> None:
            super().__init__()
            if opening is not None:
                opening(self.world)

    return EventsAfter


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_is_found(bug: Bug, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine names the promise that the bug breaks."""
    bug.plant(monkeypatch)
    with pytest.raises(Broken) as broken:
        try_out(events_after(bug.opening), examples=MOST_EXAMPLES)
    assert broken.value.promise in bug.breaks


@pytest.mark.parametrize("bug", [bug for bug in BUGS if bug.opening], ids=lambda bug: bug.name)
def test_an_opening_alone_breaks_nothing(bug: Bug) -> None:
    """What leads to a bug is harmless in the code as it is."""
    try_out(events_after(bug.opening), examples=2)
