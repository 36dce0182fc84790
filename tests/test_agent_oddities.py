"""What is odd about one file, or wrong with it alone, keeps no other file back, and takes no memory away."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from batches import apply, commit
from direct import Pair
from processes import assert_trees_equal, read_mirror

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


def names(pair: Pair) -> set[str]:
    return {os.fsdecode(name) for name in read_mirror(pair.data_dir)}


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


# --- names that are taken on the receiver


def test_a_file_that_became_a_folder_is_shipped_under_another_name(pair: Pair) -> None:
    """And a folder that became a file: set aside while the name is the former one's, shipped at once when it is renamed."""
    pair.append("x.log", LINE)
    pair.append("y.log/in.log", LINE)
    pair.drain()
    (pair.spool / "x.log").unlink()
    shutil.rmtree(pair.spool / "y.log")
    pair.append("x.log/in.log", LINE * 2)
    pair.append("y.log", LINE * 2)
    pair.now_s += 1e10
    done = pair.shipper.ship_once()
    assert {p.path: p.reason.rpartition(": ")[2] for p in done.left} == {
        "x.log/in.log": "a file or link stands where a folder should be",
        "y.log": "a folder stands there",
    }
    (pair.spool / "x.log").rename(pair.spool / "x")
    (pair.spool / "y.log").rename(pair.spool / "y")
    pair.drain()
    assert names(pair) == {"x.log", "y.log/in.log", "x/in.log", "y"}


def test_a_whole_file_that_goes_under_another_name_is_told_once(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    """Another sender has its name: both are kept, and every version of this one goes beside the other, after one line."""
    apply(pair.transport.store, commit("model.pt", b"theirs"), source="another")
    for content in (b"ours", b"ours, later"):
        pair.write("model.pt", content)
        pair.drain()
    assert sorted(read_mirror(pair.data_dir).values()) == [b"ours, later", b"theirs"]
    assert caplog.text.count("'model.pt' holds other bytes on the receiver: shipping as 'model~") == 1


# --- a file that can't be sent


@pytest.mark.parametrize("culprits", [{"3.bin"}, {"0.bin", "7.bin", "8.bin"}, {"9.bin"}])
def test_a_file_that_cannot_be_packed_blocks_nothing(
    pair: Pair, culprits: set[str], caplog: pytest.LogCaptureFixture
) -> None:
    """It is found, set aside with the reason, said once, and tried again later; all others are shipped in that round."""
    real = pair.transport.pack

    def pack(manifest, payloads, *, compressible):  # type: ignore[no-untyped-def]
        if {item.path for item in manifest.items} & culprits:
            raise TypeError("Integer exceeds 64-bit range")
        return real(manifest, payloads, compressible=compressible)

    pair.transport.pack = pack  # type: ignore[method-assign]
    everything = {f"{number}.bin" for number in range(10)}
    for name in everything:
        pair.write(name, name.encode())
    pair.now_s += 1e10
    pair.shipper.ship_once()
    done = pair.shipper.ship_once()
    assert names(pair) == everything - culprits
    assert {p.path for p in done.left} == culprits
    assert all("Integer exceeds" in p.reason for p in done.left)
    assert caplog.text.count("set aside") == len(culprits)
    culprits.clear()
    pair.now_s += 601
    pair.drain()
    assert names(pair) == everything


def test_a_large_file_that_cannot_be_packed_blocks_nothing(pair: Pair) -> None:
    """Also where it goes piece by piece, and the fault comes with a later one."""
    real = pair.transport.pack

    def pack(manifest, payloads, *, compressible):  # type: ignore[no-untyped-def]
        if manifest.items[0].path == "large.bin" and manifest.items[0].offset > 10_000:
            raise ValueError("no such piece")
        return real(manifest, payloads, compressible=compressible)

    pair.transport.pack = pack  # type: ignore[method-assign]
    pair.write("large.bin", os.urandom(50_000))
    pair.write("small.bin", b"1")
    pair.now_s += 1e10
    for _ in range(5):
        done = pair.shipper.ship_once()
    assert [p.path for p in done.left] == ["large.bin"]
    assert names(pair) == {"small.bin"}


def test_a_file_that_cannot_be_asked_about_blocks_nothing(pair: Pair) -> None:
    """A question about many files is asked in halves, until the one that can't be is found."""
    real = pair.transport.stat

    def stat(paths):  # type: ignore[no-untyped-def]
        if "3.bin" in paths:
            raise ValueError("no such name")
        return real(paths)

    pair.transport.stat = stat  # type: ignore[method-assign]
    for number in range(10):
        pair.write(f"{number}.bin", b"%d" % number)
    pair.now_s += 1e10
    for _ in range(3):
        done = pair.shipper.ship_once()
    assert [p.path for p in done.left] == ["3.bin"]
    assert len(names(pair)) == 9


@pytest.mark.parametrize("error", [OSError("no descriptors left"), MemoryError()])
def test_what_ails_the_machine_is_no_files_fault(pair: Pair, error: Exception) -> None:
    """No file is set aside for it: the same is tried again."""

    def pack(*_: object, **__: object) -> None:
        raise error

    real, pair.transport.pack = pair.transport.pack, pack  # type: ignore[assignment]
    pair.write("a.bin", b"1")
    pair.now_s += 1e10
    with pytest.raises(type(error)):
        for _ in range(3):
            pair.shipper.ship_once()
    pair.transport.pack = real  # type: ignore[method-assign]
    pair.drain()
    assert names(pair) == {"a.bin"}
