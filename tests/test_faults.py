"""The faults that ship in `ml_logger.testing` do what they say: by one that does nothing every test would pass."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

import pytest

from ml_logger.agent.ledger import Entry, Ledger
from ml_logger.errors import ShipError
from ml_logger.server.local_store import LocalStore
from ml_logger.spool import StreamWriter, write_whole
from ml_logger.testing import calls, connection
from ml_logger.testing.calls import faulty_calls
from ml_logger.testing.connection import FaultyConnect
from ml_logger.testing.disk import PowerCutDisk
from ml_logger.testing.faults import Died, Faults, dies_at, fails, fails_at, is_full
from ml_logger.testing.line import Call, FaultyLine, Mishap


class Echo:
    """An end of a line that answers with the number of the request, and keeps what came."""

    def __init__(self) -> None:
        self.came: list[bytes] = []

    def exchange(self, call: Call, body: bytes) -> bytes:
        self.came.append(body)
        return b"answer %d" % len(self.came)


def test_faults_come_when_they_are_due() -> None:
    """One call fails, one kind of calls fails, and after its death a process does nothing more."""
    faults = Faults(fails_at(2))
    assert [type(faults.maybe_error("write")) for _ in range(3)] == [type(None), OSError, type(None)]
    faults.fault = fails("write", errno.EIO)
    assert (faults.maybe_error("open"), type(faults.maybe_error("write"))) == (None, OSError)
    faults.die_in(2)
    faults.meet("open")
    for _ in range(2):
        with pytest.raises(Died):
            faults.meet("open")


@pytest.mark.parametrize(
    ("mishap", "came", "answer"),
    [
        ("none", [b"a", b"b\nc"], b"answer 2"),
        ("lost", [b"a"], None),
        ("unanswered", [b"a", b"b\nc"], None),
        ("doubled", [b"a", b"b\nc", b"b\nc"], b"answer 3"),
        ("late", [b"a"], None),
        ("old answer", [b"a", b"b\nc"], b"answer 1"),
        ("damaged", [b"a", b"b\nb"], b"answer 2"),
        ("cut off", [b"a", b"b\nc"], b"answ"),
    ],
)
def test_a_line_does_what_it_is_told(mishap: Mishap, came: list[bytes], answer: bytes | None) -> None:
    """Each mishap changes what arrives, or what comes back, of the second request, and of no other."""
    echo = Echo()
    line = FaultyLine(echo, ["none", mishap])
    line.exchange("batch", b"a")
    if answer is None:
        with pytest.raises(ShipError):
            line.exchange("batch", b"b\nc")
    else:
        assert line.exchange("batch", b"b\nc") == answer
    assert echo.came == came
    assert line.has_late == (mishap == "late")
    line.exchange("batch", b"d")
    line.deliver_late()
    assert echo.came == [*came, b"d", *([b"b\nc"] if mishap == "late" else [])]


def test_a_client_on_a_full_disk_writes_half(tmp_path: Path) -> None:
    """A record is cut back and dropped while the disk is full; one that a process died in stays by half."""
    faults = Faults()
    writer = StreamWriter(str(tmp_path), "m.jsonl")
    with faulty_calls(faults):
        assert writer.append(b"first\n")
        faults.fault = is_full(calls.NEEDS_ROOM)
        assert not writer.append(b"second\n")
        faults.fault = dies_at(0)
        with pytest.raises(Died):
            writer.append(b"third.\n")
    assert (tmp_path / "m.jsonl").read_bytes() == b"first\nthi"
    assert writer.append(b"fourth\n")  # outside of the block all is as before
    writer.close()


def test_a_client_that_dies_in_a_whole_file_leaves_a_temporary_one(tmp_path: Path) -> None:
    """At whichever call it dies, the file is there whole or not at all."""
    seen = set()
    for number in (1, 2, 3, 4):
        target = tmp_path / str(number) / "w"
        target.parent.mkdir()
        with faulty_calls(Faults(dies_at(number))):
            try:
                write_whole(str(target), b"content")
            except Died:
                assert not target.exists()
        seen.add((target.exists(), len(list(target.parent.iterdir()))))
    assert seen == {(False, 0), (False, 1), (True, 1)}


def test_a_ledger_on_a_full_disk(tmp_path: Path) -> None:
    """A save that fails, or in which the process dies, leaves what was saved before."""
    faults = Faults()
    connect = FaultyConnect(faults)
    ledger = Ledger(tmp_path / "ledger", connect=connect)
    ledger.put("a", Entry("a", None))
    ledger.save()
    faults.fault = is_full(connection.NEEDS_ROOM)
    ledger.put("b", Entry("b", None))
    ledger.save()
    faults.die_in(2)
    with pytest.raises(Died):
        ledger.save()
    connect.let_go()
    with pytest.raises(sqlite3.OperationalError):
        FaultyConnect(Faults(fails("pragma")))(tmp_path / "ledger").execute("PRAGMA user_version")
    again = Ledger(tmp_path / "ledger")
    assert (again.get("a") is None, again.get("b") is None) == (False, True)
    again.close()


def test_a_power_cut_leaves_what_others_put_there(tmp_path: Path) -> None:
    """What did not go through the disk counts as durable, links too; what did, and was not fsynced, is gone."""
    disk = PowerCutDisk()
    LocalStore(tmp_path / "data", disk=disk, keeps_house=False).close()
    (tmp_path / "data" / "by hand").write_bytes(b"content")
    (tmp_path / "data" / "link").symlink_to("nowhere")
    store = LocalStore(tmp_path / "data", disk=disk, keeps_house=False)
    assert store.free_bytes() > 0
    folder_fd = os.open(tmp_path / "data", os.O_RDONLY)
    os.close(disk.open_file("not fsynced", os.O_RDWR | os.O_CREAT, folder_fd))
    os.close(folder_fd)
    disk.restore(tmp_path / "data", tmp_path / "after", "nothing")
    assert (tmp_path / "after" / "by hand").read_bytes() == b"content"
    assert (tmp_path / "after" / "link").is_symlink()
    assert not (tmp_path / "after" / "not fsynced").exists()
