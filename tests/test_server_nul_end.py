"""NULs at a stream's end: those of a power cut are cut off, and no others."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from batches import append, apply, commit, content_of, held_of, results

from ml_logger.server.local_store import LocalStore
from ml_logger.testing.disk import FaultyDisk, let_go
from ml_logger.testing.faults import Died, dies_at

LINES = b'{"_step":0}\n{"_step":1}\n'
FIRST = 12
ENDS_IN_NULS = b'{"_step":0}\n' + bytes(5000)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


Open = Callable[[], LocalStore]


@pytest.fixture
def opened(data_dir: Path) -> Iterator[Open]:
    """Open the store; the one before is closed first."""
    stores: list[LocalStore] = []

    def reopen() -> LocalStore:
        if stores:
            stores.pop().close()
        stores.append(LocalStore(data_dir, keeps_house=False))
        return stores[0]

    yield reopen
    stores.pop().close()


def tear(path: Path, torn: bytes = bytes(4000)) -> None:
    """Leave what a power cut may leave behind a file."""
    with path.open("ab") as file:
        file.write(torn)


@pytest.mark.parametrize("start", [0, FIRST], ids=["from the start", "from the end"])
@pytest.mark.parametrize("size", [1, 4000, 3 << 20])
def test_nuls_that_nobody_was_told_of_are_cut_off(data_dir: Path, opened: Open, start: int, size: int) -> None:
    """The stream is held up to them, and what is sent next takes their place."""
    apply(opened(), append("m", LINES, 0, FIRST))
    tear(data_dir / "m", bytes(size))
    assert results(opened(), append("m", LINES, start)) == ["stored"]
    assert (data_dir / "m").read_bytes() == LINES


@pytest.mark.parametrize("end", [FIRST, len(LINES)])
def test_a_stream_without_news_is_mended_too(data_dir: Path, opened: Open, end: int) -> None:
    """Who asks is told of one byte less than is held, and the resend of what is there has the NULs cut off."""
    apply(opened(), append("m", LINES))
    tear(data_dir / "m")
    store = opened()
    assert store.stat(["m"]) == [held_of(LINES[:-1])]
    assert results(store, append("m", LINES, 0, end)) == ["already" if end == len(LINES) else "ahead"]
    assert (data_dir / "m").read_bytes() == LINES
    assert store.stat(["m"]) == [held_of(LINES)]


def test_a_stream_of_nothing_but_torn_nuls(data_dir: Path, opened: Open) -> None:
    """It is as good as none."""
    apply(opened(), append("m", b""))
    tear(data_dir / "m")
    store = opened()
    assert store.stat(["m"]) == [None]
    assert results(store, append("m", LINES)) == ["stored"]
    assert (data_dir / "m").read_bytes() == LINES


@pytest.mark.parametrize("torn", [b"x" * 4000, bytes(4000) + b"x", b"\n"])
def test_other_bytes_are_kept(data_dir: Path, opened: Open, torn: bytes) -> None:
    """An end that is not all NULs may be another sender's: it has diverged, and no byte is touched."""
    apply(opened(), append("m", LINES, 0, FIRST))
    tear(data_dir / "m", torn)
    store = opened()
    assert results(store, append("m", LINES, FIRST)) == ["diverged"]
    assert (data_dir / "m").read_bytes() == LINES[:FIRST] + torn
    assert store.stat(["m"]) == [held_of(LINES[:FIRST] + torn)]


@pytest.mark.parametrize("cuts", [(), (FIRST,), (FIRST + 1,), (FIRST + 4000,)])
def test_nuls_that_were_acknowledged_stay(data_dir: Path, cuts: tuple[int, ...]) -> None:
    """Another machine's stream that ends in NULs is no torn one, however it came, whoever is killed or starts anew."""
    store = LocalStore(data_dir, keeps_house=False)
    for start, end in zip((0, *cuts), (*cuts, None), strict=True):
        assert results(store, append("m", ENDS_IN_NULS, start, end)) == ["stored"]
    for _ in range(2):
        assert results(store, append("m", LINES, FIRST), source="source-2") == ["diverged"]
        assert store.stat(["m"]) == [held_of(ENDS_IN_NULS)]
        let_go(data_dir)
        store = LocalStore(data_dir, keeps_house=False)
    assert content_of(store, "m") == ENDS_IN_NULS
    store.close()


def test_torn_nuls_behind_acknowledged_ones(data_dir: Path, opened: Open) -> None:
    """Only those behind the last one that was acknowledged are cut off."""
    apply(opened(), append("m", ENDS_IN_NULS))
    tear(data_dir / "m")
    assert results(opened(), append("m", ENDS_IN_NULS + b"x\n", len(ENDS_IN_NULS))) == ["stored"]
    assert (data_dir / "m").read_bytes() == ENDS_IN_NULS + b"x\n"


def test_torn_nuls_that_are_sent_are_acknowledged_ones(data_dir: Path, opened: Open) -> None:
    """NULs that a sender has itself are stored once more, and are its own from then on."""
    apply(opened(), append("m", ENDS_IN_NULS, 0, FIRST))
    tear(data_dir / "m", bytes(5000))
    store = opened()
    assert results(store, append("m", ENDS_IN_NULS), append("m", ENDS_IN_NULS)) == ["stored", "already"]
    assert results(opened(), append("m", LINES, FIRST), source="source-2") == ["diverged"]
    assert (data_dir / "m").read_bytes() == ENDS_IN_NULS


def test_a_whole_file_may_end_in_nuls(data_dir: Path, opened: Open) -> None:
    """It is told apart by its stamp, also when a stream of the same name comes."""
    apply(opened(), commit("w", ENDS_IN_NULS))
    store = opened()
    assert store.stat(["w"]) == [held_of(ENDS_IN_NULS)]
    assert results(store, append("w", LINES, 0)) == ["diverged"]
    assert results(store, commit("w", ENDS_IN_NULS)) == ["already"]


def test_what_the_log_has_is_redone_over_torn_nuls(data_dir: Path) -> None:
    """A write without room in the log may have made the file longer than the log knows, and lost bytes that it has."""
    store = LocalStore(data_dir, keeps_house=False)
    apply(store, append("m", LINES, 0, FIRST))
    let_go(data_dir)
    (data_dir / "m").write_bytes(bytes(4000))
    store = LocalStore(data_dir, keeps_house=False)
    assert (data_dir / "m").read_bytes() == LINES[:FIRST]
    store.close()


@pytest.mark.parametrize("keeps_attributes", [True, False])
def test_a_copy_without_attributes_loses_nothing(data_dir: Path, tmp_path: Path, keeps_attributes: bool) -> None:
    """Where the notes of what was acknowledged may be gone no end is called torn."""
    store = LocalStore(data_dir, keeps_house=False)
    apply(store, append("m", ENDS_IN_NULS), append("torn", LINES))
    store.close()
    tear(data_dir / "torn")
    preserved = "--preserve=xattr" if keeps_attributes else "--no-preserve=xattr"
    subprocess.run(["cp", "-R", preserved, data_dir, tmp_path / "copy"], check=True)
    shutil.rmtree(data_dir)
    store = LocalStore(tmp_path / "copy", keeps_house=False)
    assert results(store, append("m", LINES, FIRST), source="source-2") == ["diverged"]
    assert results(store, append("torn", LINES)) == ["already" if keeps_attributes else "ahead"]
    assert os.stat(tmp_path / "copy/torn").st_size == len(LINES) + (0 if keeps_attributes else 4000)
    store.close()


def test_an_attribute_that_is_no_number(tmp_path: Path) -> None:
    """What somebody else has written where the note stands makes nothing torn, and breaks no look."""
    store = LocalStore(tmp_path / "data", keeps_house=False)
    (tmp_path / "data" / "m.log").write_bytes(b"line\n\0\0")
    os.setxattr(tmp_path / "data" / "m.log", "user.ml_logger.nuls_to", b"abc")
    assert store.stat(["m.log"]) == [held_of(b"line\n\0\0")]
    store.close()


def test_a_first_start_that_died(tmp_path: Path) -> None:
    """At whatever call the first start of a tree dies, the next one notes the NULs of streams, as if it were the first."""
    number = 0
    while True:
        number, data_dir = number + 1, tmp_path / f"data-{number}"
        try:
            LocalStore(data_dir, disk=FaultyDisk(dies_at(number)), keeps_house=False)
            break
        except Died:
            let_go(data_dir)
        store = LocalStore(data_dir, keeps_house=False)
        assert store._tree.notes_nuls, number
        store.close()
    assert number > 10
