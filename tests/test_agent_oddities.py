"""What is odd about one file, or wrong with it alone, keeps no other file back, and takes no memory away."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from direct import Pair
from processes import assert_trees_equal

from ml_logger.agent.ledger import Entry, Ledger
from ml_logger.agent.scanner import Signature, signature_of
from ml_logger.wire import Crc, Held, Offset

LINE = b'{"_step": 1, "loss": 0.25}\n'
YEAR_1500_S, YEAR_2300_S, YEAR_9999_S = -14_831_769_600, 10_413_792_000, 253_370_764_800
TMPFS = Path("/dev/shm")


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    made = Pair(tmp_path, settle_s=2.0, batch_bytes=4096)
    yield made
    made.close()


@pytest.fixture
def pair_on_tmpfs() -> Iterator[Pair]:
    """A pair on a file system that holds times of any year."""
    if not os.access(TMPFS, os.W_OK):
        pytest.skip("no tmpfs")
    with tempfile.TemporaryDirectory(dir=TMPFS) as folder:
        made = Pair(Path(folder), settle_s=2.0)
        yield made
        made.close()


def fake_stat(**numbers: int) -> os.stat_result:
    """Return a stat result with these numbers, as file systems give that this machine may not have."""
    values = {"st_size": 1, "st_mtime_ns": 2, "st_ctime_ns": 3, "st_ino": 4, "st_dev": 5} | numbers
    return type("Status", (), values)  # type: ignore[return-value]


# --- numbers that no 64 bits with a sign hold


@pytest.mark.parametrize("year_s", [YEAR_1500_S, YEAR_2300_S, YEAR_9999_S])
def test_a_time_of_any_year_stops_nothing(pair_on_tmpfs: Pair, year_s: int) -> None:
    """Both kinds of file are shipped whatever their time, with others beside them; a restart sends and asks nothing."""
    pair = pair_on_tmpfs
    for name in ("odd.bin", "odd.log", "plain.bin", "plain.log"):
        pair.append(name, LINE)
    for name in ("odd.bin", "odd.log"):
        os.utime(pair.spool / name, (year_s, year_s))
    pair.shipper.ship_once()
    pair.now_s += 3.0  # a file from the future settles by being watched
    pair.drain()
    assert_trees_equal(pair.spool, pair.data_dir)
    before = (len(pair.transport.sent), len(pair.transport.stats))
    pair.restart_agent()
    pair.drain()
    assert (len(pair.transport.sent), len(pair.transport.stats)) == before


@pytest.mark.parametrize("name", ["st_mtime_ns", "st_ctime_ns", "st_ino", "st_dev"])
@pytest.mark.parametrize("number", [-(10**20), -(2**63) - 1, -(2**63), 2**63 - 1, 2**63, 2**64 - 1])
def test_a_signature_is_the_same_behind_a_restart(tmp_path: Path, name: str, number: int) -> None:
    """Whatever a file system says, what comes back from the ledger equals what the next walk finds."""
    if name in ("st_ino", "st_dev") and number < 0:
        pytest.skip("no file system has such a number")
    found = signature_of(fake_stat(**{name: number}))
    ledger = Ledger(tmp_path / "l.sqlite")
    ledger.put("a", Entry("a", Held(Offset(1), Crc(1)), found))
    ledger.close()
    again = Ledger(tmp_path / "l.sqlite")
    assert again.get("a") == Entry("a", Held(Offset(1), Crc(1)), signature_of(fake_stat(**{name: number})))
    again.close()


def test_large_inodes_stay_apart() -> None:
    """Two inodes beyond 2^63 are two, and none is taken for a small one."""
    numbers = [4, 2**63 - 1, 2**63, 2**63 + 4, 2**64 - 1]
    assert len({signature_of(fake_stat(st_ino=number)) for number in numbers}) == len(numbers)


def test_a_ledger_survives_what_it_cannot_hold(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It says once that it can't be written, closes all the same, and goes on when the entry has gone."""
    ledger = Ledger(tmp_path / "l.sqlite")
    ledger.put("odd", Entry("odd", None, Signature(2**70, 0, 0, 0, 0)))
    ledger.put("plain", Entry("plain", None))
    ledger.save()
    ledger.save()
    assert caplog.text.count("can't be written") == 1
    ledger.forget("odd")
    ledger.save()
    ledger.put("odd", Entry("odd", None, Signature(2**70, 0, 0, 0, 0)))
    ledger.close()
    again = Ledger(tmp_path / "l.sqlite")
    assert (again.get("plain"), again.get("odd")) == (Entry("plain", None), None)
    again.close()
