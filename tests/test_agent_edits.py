"""Edits that no size tells of: what the mirror holds in the end is what the file holds, and a look alone costs no resend."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from direct import Pair
from processes import Commands, assert_trees_equal, read_mirror, wait_until

from ml_logger.agent import grown
from ml_logger.agent.delivery import Packed
from ml_logger.wire import Answer

LINE = b"%04d\n"
LINES = b"".join(LINE % number for number in range(5000))
"""A stream of several batches, of which no mark covers the middle."""

EDITED = LINES[:12_000] + b"EDIT\n" + LINES[12_005:]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    made = Pair(tmp_path, settle_s=2.0, batch_bytes=4096)
    yield made
    made.close()


def edit(path: Path, content: bytes = b"EDIT\n", offset: int = 12_000) -> None:
    """Write into the middle of a file."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(content)


def edit_in_secret(path: Path, content: bytes = b"EDIT\n", offset: int = 12_000) -> None:
    """Write into the middle of a file and set its time back, as a copying program does."""
    before = path.stat()
    edit(path, content, offset)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def held(pair: Pair) -> set[bytes]:
    return set(read_mirror(pair.data_dir).values())


@pytest.mark.parametrize("change", [edit, edit_in_secret])
def test_an_edit_within_a_shipped_stream_is_shipped_beside_the_former(pair: Pair, change: object) -> None:
    """Also one whose time was set back: both versions are kept, each under a name of its own."""
    pair.append("run/m.log", LINES)
    pair.drain()
    change(pair.spool / "run/m.log")  # type: ignore[operator]  # parametrize keeps no types
    pair.drain()
    assert held(pair) == {LINES, EDITED}


@pytest.mark.parametrize("size", [20, 20_000])
def test_a_whole_file_whose_time_was_set_back_is_shipped_again(pair: Pair, size: int) -> None:
    """Small and large: the inode's own time tells that something has changed."""
    pair.write("w.bin", b"A" * size)
    pair.drain()
    edit_in_secret(pair.spool / "w.bin", b"B" * 10, size // 2)
    pair.drain()
    assert_trees_equal(pair.spool, pair.data_dir)


def test_an_edit_that_comes_with_new_lines_is_found_once_the_stream_is_quiet(pair: Pair) -> None:
    """While it grows only its ends are looked at; it is compared as a whole when it has not changed for a while."""
    pair.append("m.log", LINES)
    pair.drain()
    edit(pair.spool / "m.log")
    pair.append("m.log", b"more\n")
    pair.shipper.ship_once()
    pair.shipper.ship_once()
    assert held(pair) == {LINES + b"more\n"}
    pair.now_s += grown.QUIET_S
    pair.drain()
    assert held(pair) == {LINES + b"more\n", EDITED + b"more\n"}


def test_a_stream_that_grows_is_not_compared(pair: Pair) -> None:
    """However often more is shipped of it, none of that costs more than a look at its ends; at last it is compared once."""
    looks: list[list[str]] = []
    comparisons = pair.shipper._comparisons
    compare = comparisons.compare
    comparisons.compare = lambda paths: looks.append([*paths]) or compare(looks[-1])  # type: ignore[method-assign,func-returns-value]
    for _ in range(50):
        pair.append("m.log", LINE % 1)
        pair.shipper.ship_once()
    assert not any(looks)
    pair.now_s = 10 * grown.QUIET_S + os.stat(pair.spool / "m.log").st_mtime
    for _ in range(5):
        pair.shipper.ship_once()
        pair.now_s += 10 * grown.QUIET_S
    assert [look for look in looks if look] == [["m.log"]]


def test_an_edit_while_no_agent_runs_is_found_at_the_start(pair: Pair) -> None:
    """Also one that came with new lines."""
    pair.append("m.log", LINES)
    pair.drain()
    edit(pair.spool / "m.log")
    pair.append("m.log", b"more\n")
    pair.restart_agent()
    pair.drain()
    assert held(pair) == {LINES, EDITED + b"more\n"}


@pytest.mark.parametrize("name", ["long.log", "small.bin", "large.bin"])
def test_other_rights_owners_and_links_cost_a_read_and_nothing_else(pair: Pair, name: str) -> None:
    """Nothing is sent, the receiver is not even asked: what a person deleted there does not come back for that."""
    pair.append(name, LINES[:100] if name == "small.bin" else LINES)
    pair.drain()
    (pair.data_dir / name).unlink()
    before = pair.transport.sent_bytes, len(pair.transport.stats)
    (pair.spool / name).chmod(0o600)
    os.link(pair.spool / name, pair.spool / ".link")
    pair.drain()
    assert (pair.transport.sent_bytes, len(pair.transport.stats)) == before
    assert read_mirror(pair.data_dir) == {}


def test_a_store_to_a_mapped_page_is_found_when_the_mapping_ends(commands: Commands, tmp_path: Path) -> None:
    """A page that is dirty already moves no time; the last reference to the file, gone, makes the agent read it again."""
    spool = tmp_path / "spool"
    spool.mkdir()
    receiver = commands.start_receiver(tmp_path / "data")
    agent = commands.start_agent(commands.write_agent_config(spool, receiver.url))
    path = spool / "w.npy"
    path.write_bytes(b"0" * 4096)
    with path.open("r+b") as file:
        mapped = mmap.mmap(file.fileno(), 4096)
    mapped[:5] = b"first"
    wait_until(lambda: is_held(tmp_path / "data/w.npy", b"first"), what=agent.tail())
    mapped[:5] = b"later"
    mapped.close()
    wait_until(lambda: is_held(tmp_path / "data/w.npy", b"later"), what=agent.tail())


def test_a_file_that_is_closed_while_it_is_on_its_way_is_read_again(pair: Pair) -> None:
    """What was stored into it behind the read, without moving a time, is shipped as well."""
    pair.write("w.bin", b"0" * 5)
    path, send = pair.spool / "w.bin", pair.transport.send
    with path.open("r+b") as file:
        mapped = mmap.mmap(file.fileno(), 5)
    mapped[:] = b"first"

    def change_and_send(packed: Packed) -> Answer:
        pair.transport.send = send  # type: ignore[method-assign]
        mapped[:] = b"later"
        mapped.close()
        pair.shipper._comparisons.note_complete("w.bin")
        return send(packed)

    pair.transport.send = change_and_send  # type: ignore[method-assign]
    pair.shipper.ship_once([str(path)])
    pair.shipper.ship_once()
    assert read_mirror(pair.data_dir) == {b"w.bin": b"later"}


def is_held(path: Path, begin: bytes) -> bool:
    return path.exists() and path.read_bytes().startswith(begin)


def test_a_rename_to_the_final_name_ships_at_once(commands: Commands, tmp_path: Path) -> None:
    """A file is passed over while it has a temporary name, and need not settle once it has its own."""
    spool = tmp_path / "spool"
    spool.mkdir()
    receiver = commands.start_receiver(tmp_path / "data")
    agent = commands.start_agent(commands.write_agent_config(spool, receiver.url, settle_s=3600.0))
    (spool / "m.log").write_bytes(b"line\n")
    wait_until(lambda: is_held(tmp_path / "data/m.log", b"line"), what=agent.tail())  # it watches by now
    for number in range(3):
        (spool / f"{number}.pt.tmp").write_bytes(b"weights")
        (spool / f"{number}.pt.tmp").rename(spool / f"{number}.pt")
    (spool / "half.pt.tmp").write_bytes(b"weig")
    wait_until(lambda: len(read_mirror(tmp_path / "data")) == 4, what=agent.tail())
    assert_trees_equal(spool, tmp_path / "data")
