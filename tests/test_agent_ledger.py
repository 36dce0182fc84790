"""The ledger is a memory: it survives restarts, and its loss or ruin stops nothing."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from small_disk import SmallDisk

from ml_logger.agent.ledger import SCHEMA_VERSION, Entry, Ledger
from ml_logger.agent.scanner import Signature
from ml_logger.wire import NOTHING, Crc, Held, Lineage, Offset

ENTRY = Entry(
    "run/metrics.jsonl", Held(Offset(10), Crc(0xFFFFFFFF)), Signature(10, 2**62, 2**61, 2**63 - 1, 3), is_done=True
)


def reopened(file: Path) -> Ledger:
    return Ledger(file)


def test_entries_survive_a_restart(tmp_path):
    """What was saved is there again, whatever bytes the name consists of."""
    names = ["run/metrics.jsonl", os.fsdecode(b"caf\xe9/\xff"), "новый\n"]
    ledger = Ledger(tmp_path / "l.sqlite")
    for name in names:
        ledger.put(name, ENTRY)
    ledger.close()
    again = reopened(tmp_path / "l.sqlite")
    assert [again.get(n) for n in names] == [ENTRY] * 3
    again.close()


def test_an_empty_file_is_told_from_nothing(tmp_path):
    """Whether the receiver holds an empty file or none is remembered; either way no byte is acknowledged."""
    ledger = Ledger(tmp_path / "l.sqlite")
    for name, held in (("empty", NOTHING), ("none", None)):
        ledger.put(name, Entry(name, held))
    ledger.close()
    again = reopened(tmp_path / "l.sqlite")
    assert [again.get(name) for name in ("empty", "none")] == [Entry("empty", NOTHING), Entry("none", None)]
    assert again.get("none").acked == NOTHING
    again.close()


def test_forgotten_entries_stay_forgotten(tmp_path):
    """An entry of a file that is gone does not come back after a restart."""
    ledger = Ledger(tmp_path / "l.sqlite")
    ledger.put("kept", ENTRY)
    ledger.put("gone", ENTRY)
    ledger.save()
    ledger.forget_all_but(["kept"])
    ledger.close()
    again = reopened(tmp_path / "l.sqlite")
    assert again.get("gone") is None
    assert again.get("kept") == ENTRY
    again.close()


def ask_again(ledger: Ledger, mark: str, held: dict[str, Held]) -> set[str]:
    """Learn of a receiver's next start, and find that it holds what is `held` of what is doubted; return what was."""
    doubtful = set(ledger.note_lineage(Lineage(mark, "restarted")))
    for path in doubtful:
        ledger.doubt(path)
        ledger.put(path, ENTRY._replace(held=held.get(path, ENTRY.held)))
    return doubtful


def test_what_is_held_still_is_no_news(tmp_path):
    """Asked about after two starts of the receiver, a file that was held each time is older than any copy, and left alone."""
    ledger = Ledger(tmp_path / "l.sqlite")
    ledger.note_lineage(Lineage("first", "same"))
    ledger.put("kept", ENTRY)
    ledger.put("grown", ENTRY)
    grown = {"grown": Held(Offset(20), Crc(2))}
    assert ask_again(ledger, "second", grown) == {"kept", "grown"}
    ledger.put("new", ENTRY)
    assert ask_again(ledger, "third", grown) == {"kept", "grown", "new"}, (
        "it may have come after the second mark was made"
    )
    assert ask_again(ledger, "fourth", grown) == {"new", "grown"}
    assert ask_again(ledger, "fifth", grown) == set()
    ledger.close()


def ruin_with_nuls(file: Path) -> None:
    file.write_bytes(bytes(8192))


def ruin_with_text(file: Path) -> None:
    file.write_bytes(b"not a database, but long enough to be taken for one" * 100)


def ruin_by_cutting(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:5000])


def ruin_version(file: Path) -> None:
    db = sqlite3.connect(file)
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    db.commit()
    db.close()


def ruin_schema(file: Path) -> None:
    db = sqlite3.connect(file)
    db.execute("DROP TABLE files")
    db.execute("CREATE TABLE files (path TEXT)")
    db.commit()
    db.close()


@pytest.mark.parametrize("ruin", [ruin_with_nuls, ruin_with_text, ruin_by_cutting, ruin_version, ruin_schema])
def test_a_ruined_ledger_is_moved_aside(tmp_path, ruin):
    """A ledger that can't be used is kept for inspection and a new one is begun."""
    file = tmp_path / "l.sqlite"
    ledger = Ledger(file)
    for number in range(200):
        ledger.put(f"run/{number}", ENTRY)
    ledger.close()
    ruin(file)
    again = Ledger(file)
    again.put("new", ENTRY)
    again.close()
    assert len(list(tmp_path.glob("l.sqlite.unreadable-*"))) == 1
    third = Ledger(file)
    assert third.get("new") == ENTRY
    third.close()


def test_an_empty_file_is_a_new_ledger(tmp_path):
    """A zero-byte ledger, as a full disk leaves it, is simply filled."""
    (tmp_path / "l.sqlite").touch()
    ledger = Ledger(tmp_path / "l.sqlite")
    ledger.put("a", ENTRY)
    ledger.close()
    assert reopened_entry(tmp_path / "l.sqlite") == ENTRY


def reopened_entry(file: Path) -> Entry | None:
    ledger = Ledger(file)
    try:
        return ledger.get("a")
    finally:
        ledger.close()


def test_a_write_that_fails_is_kept_for_the_next(tmp_path, caplog):
    """While the database takes no write, entries stay in memory and are written later."""
    ledger = Ledger(tmp_path / "l.sqlite")
    ledger._db.execute("PRAGMA query_only = ON")
    ledger.put("a", ENTRY)
    ledger.save()
    ledger.save()
    assert [r.getMessage().count("can't be written") for r in caplog.records] == [1]
    ledger._db.execute("PRAGMA query_only = OFF")
    ledger.close()
    assert reopened_entry(tmp_path / "l.sqlite") == ENTRY


def test_no_page_of_it_is_mapped(tmp_path):
    """What is read and written is no memory map, since on a full disk a store to one ends the process."""
    ledger = Ledger(tmp_path / "l.sqlite")
    ledger.put("a", ENTRY)
    ledger.save()
    assert (tmp_path / "l.sqlite-wal").stat().st_size > 0
    assert "l.sqlite" not in Path("/proc/self/maps").read_text()
    ledger.close()


NEARLY_FULL = """
import os, sys
from pathlib import Path
from ml_logger.agent.ledger import Entry, Ledger

ledger, ballast = Path(sys.argv[1], "l.sqlite"), Path(sys.argv[1], ".ballast")
for free_kib in range(64):
    os.truncate(ballast, ballast.stat().st_size - (free_kib << 10))
    one = Ledger(ledger)
    one.put("a", Entry("a", None))
    one.save()
    with ballast.open("ab", buffering=0) as file:
        try:
            while file.write(bytes(1024)): pass
        except OSError:
            pass
    one.close()
"""


def test_a_disk_with_any_room_left_stops_nothing(tmp_path):
    """Opened, written and closed with no KiB to some free on a disk of small blocks, it never ends the agent."""
    disk = SmallDisk(tmp_path / "state", "ext4")
    try:
        disk.fill()
        command = [*disk.machine.enter, sys.executable, "-c", NEARLY_FULL, tmp_path / "state"]
        assert subprocess.run(command, timeout=60, stderr=subprocess.DEVNULL).returncode == 0
    finally:
        disk.end()


def test_while_somebody_reads_it_shipping_goes_on_from_memory(tmp_path, caplog, monkeypatch):
    """A person who looks into the database in its own transaction costs neither the start nor what is remembered."""
    written = Ledger(tmp_path / "l.sqlite")
    written.put("a", ENTRY)
    written.close()
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, timeout=0))
    with closing(sqlite3.connect(tmp_path / "l.sqlite", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM files").fetchall()
        ledger = Ledger(tmp_path / "l.sqlite")
        assert "shipping goes on from memory" in caplog.text
        ledger.close()
    assert reopened_entry(tmp_path / "l.sqlite") == ENTRY
