"""The plain-file store under faults: failing calls, death at every call, power cuts, links, and disks without room."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from batches import Part, append, apply, commit, content_of, held_of, names, results, stage

from ml_logger.errors import NotHeld, StoreBusy, StoreError, StoreFull, UsageError
from ml_logger.server import local_round, local_store
from ml_logger.server.disk import Disk
from ml_logger.server.local_round import MIN_FREE_FILES, staged_path
from ml_logger.server.local_store import LocalStore
from ml_logger.testing.disk import CALLS, FaultyDisk, PowerCutDisk, let_go
from ml_logger.testing.faults import Died, dies_at, fails, fails_at

LINES = b"".join(b'{"_step":%d}\n' % n for n in range(100))
HALF = len(LINES) // 2
PICTURE = bytes(range(256)) * 8
NEWER = PICTURE[::-1]

BATCHES: list[tuple[Part, ...]] = [
    (append("run/metrics.jsonl", LINES, 0, HALF), commit("run/images/a/0.png", PICTURE), stage("w", PICTURE, 0, 700)),
    (append("run/metrics.jsonl", LINES, HALF), append("other/run/text.log", LINES), commit("w", PICTURE, 700)),
    (commit("w", NEWER, upload="2", replaces=held_of(PICTURE)), append("empty", b"")),
]
"""A small history with every op: streams in new folders, a small, a staged and a replaced whole file."""

WHOLE = {"run/images/a/0.png": [PICTURE], "w": [PICTURE, NEWER]}
STREAMS = {"run/metrics.jsonl": LINES, "other/run/text.log": LINES, "empty": b""}
FINAL = {"run/images/a/0.png": PICTURE, "w": NEWER, **STREAMS}


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def store(data_dir: Path) -> Iterator[LocalStore]:
    store = LocalStore(data_dir)
    yield store
    store.close()


@pytest.fixture(params=["logged", "mixed", "straight", "no log"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The ways that bytes take: through the redo log, the small ones, none (with intents), or without any log."""
    most = {"logged": 1 << 20, "mixed": HALF, "straight": 0, "no log": 0}
    monkeypatch.setattr(local_round, "MAX_LOGGED_BYTES", most[request.param])
    monkeypatch.setattr(Disk, "syncs_all", request.param != "no log")
    return str(request.param)


@pytest.fixture
def straight(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is written straight to its file."""
    monkeypatch.setattr(local_round, "MAX_LOGGED_BYTES", 0)


def open_store(data_dir: Path, disk: Disk | None = None) -> LocalStore:
    """Open a store that keeps house when it is told to, and then settles everything."""
    return LocalStore(data_dir, disk=disk, settle_s=0, keeps_house=False)


def tree_of(data_dir: Path) -> dict[str, bytes]:
    """Return all visible files and their bytes."""
    return {
        str(path.relative_to(data_dir)): path.read_bytes()
        for path in data_dir.rglob("*")
        if path.is_file() and ".ml-logger" not in path.parts
    }


def require_whole(tree: dict[str, bytes], *, is_final: bool = False) -> None:
    """Require that no whole file is visible in part and every stream is a prefix of the sender's."""
    for path, content in tree.items():
        assert content in WHOLE[path] if path in WHOLE else STREAMS[path].startswith(content), path
    if is_final:
        assert tree == FINAL


def send_all(store: LocalStore) -> None:
    """Send the history as an agent that starts again would: every batch, whatever became of it before."""
    for batch in BATCHES:
        wanted = ("stored", "already", "ahead")
        outcomes = apply(store, *batch)
        assert all(o.result in wanted or (o.path, o.held) == ("w", held_of(NEWER)) for o in outcomes), outcomes
        if batch is BATCHES[1]:
            store.keep_house()


def count_calls(tmp_path: Path) -> int:
    disk = FaultyDisk()
    store = open_store(tmp_path / "counted", disk)
    send_all(store)
    store.close()
    return disk.calls


# --- failing calls


@pytest.mark.parametrize("way", ["logged", "straight"], indirect=True)
@pytest.mark.parametrize(("code", "kind"), [(errno.EIO, StoreError), (errno.ENOSPC, StoreFull)])
def test_every_call_fails_once(tmp_path: Path, way: str, code: int, kind: type[StoreError]) -> None:
    """One call of many fails: the batch is refused as a whole, and sent again it is stored as if nothing had been."""
    failed = 0
    for number in range(1, count_calls(tmp_path) + 1):
        data_dir, disk = tmp_path / f"data-{number}", FaultyDisk()
        store = open_store(data_dir, disk)
        disk.fault = fails_at(disk.calls + number, code)
        try:
            send_all(store)
        except StoreError as error:
            failed += 1
            assert type(error) is kind
        disk.fault = fails("nothing")
        require_whole(tree_of(data_dir))
        send_all(store)
        require_whole(tree_of(data_dir), is_final=True)
        store.close()
    assert failed > 30


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE])
def test_too_many_open_files_are_no_failed_disk(data_dir: Path, code: int) -> None:
    """Where nothing can be opened just now only waiting helps: the same batch is stored afterwards."""
    disk = FaultyDisk()
    store = open_store(data_dir, disk)
    disk.fault = fails_at(disk.calls + 1, code)
    with pytest.raises(StoreBusy, match="no more files can be opened"):
        send_all(store)
    disk.fault = fails("nothing")
    send_all(store)
    require_whole(tree_of(data_dir), is_final=True)
    store.close()


@pytest.mark.parametrize("call", ["write", "sync_data", "sync"])
def test_bytes_that_are_not_durable_are_cut_back(data_dir: Path, straight: None, call: str) -> None:
    """After a failed write or fsync the stream is what it was, so that the bytes must come again."""
    disk = FaultyDisk()
    store = LocalStore(data_dir, disk=disk)
    apply(store, append("m", LINES, 0, HALF))
    disk.fault = fails(call)
    parts = (append("m", LINES, HALF), append("new", LINES))
    with pytest.raises(StoreError, match="the disk failed"):
        apply(store, *parts)
    assert tree_of(data_dir)["m"] == LINES[:HALF]
    assert tree_of(data_dir).get("new", b"") == b""
    disk.fault = fails("nothing")
    assert results(store, *parts) == ["stored", "stored"]
    store.close()


def test_what_was_there_is_fsynced_before_it_is_acknowledged(data_dir: Path) -> None:
    """A file left by a process that died before its fsync is fsynced before `stat` or `already` speak of it."""
    (data_dir / "run").mkdir(parents=True)
    (data_dir / "run" / "m").write_bytes(LINES)
    for ask in (lambda s: s.stat(["run/m"]), lambda s: apply(s, append("run/m", LINES))):
        disk = FaultyDisk()
        store = LocalStore(data_dir, disk=disk)
        ask(store)
        synced = {number for call, number in disk.log if call == "sync"}
        assert {os.stat(data_dir / name).st_ino for name in (".", "run", "run/m")} <= synced
        before = len(disk.log)
        ask(store)
        assert not [call for call, _ in disk.log[before:] if call.startswith("sync")]
        disk.fault = fails("sync")
        store.close()
        refusing = LocalStore(data_dir, disk=disk)
        with pytest.raises(StoreError):
            ask(refusing)
        refusing.close()


def test_a_batch_waits_for_the_disk_once(data_dir: Path) -> None:
    """However many small files, new folders and streams it has, one fdatasync of the redo log comes before the answer."""
    disk = FaultyDisk()
    store = open_store(data_dir, disk)
    apply(store, append("first", LINES))
    disk.log.clear()
    apply(store, *[append(f"run/{n}", LINES) for n in range(50)], *[commit(f"a/b/{n}", PICTURE) for n in range(50)])
    calls = [call for call, _ in disk.log]
    assert [call for call in calls if "sync" in call] == ["sync_data"]
    assert calls.index("write") + 1 == calls.index("sync_data") < calls.index("make_unnamed")
    disk.log.clear()
    store.keep_house()
    assert [call for call, _ in disk.log if "sync" in call] == ["sync_all", "sync_data"]
    store.close()


def test_all_is_written_before_the_first_fsync(data_dir: Path, straight: None) -> None:
    """The fsyncs of files that are written straight overlap, and each folder is fsynced once."""
    disk = FaultyDisk()
    store = LocalStore(data_dir, disk=disk)
    disk.log.clear()
    apply(store, *[append(f"run/{n}", LINES) for n in range(50)])
    del disk.log[: [call for call, _ in disk.log].index("sync_data")]  # the intents
    calls = [call for call, _ in disk.log]
    assert max(i for i, call in enumerate(calls) if call == "write") < calls.index("sync")
    folder = os.stat(data_dir / "run").st_ino
    assert [number for call, number in disk.log if call == "sync"].count(folder) == 1
    store.close()


# --- death and power cuts


def die_at(number: int, data_dir: Path, disk: FaultyDisk) -> list[tuple[Part, str]]:
    """Send the history until the disk's call `number`, at which the process dies; return what was acknowledged."""
    acknowledged: list[tuple[Part, str]] = []
    disk.fault = dies_at(number)
    with suppress(Died):
        store = open_store(data_dir, disk)
        for batch in BATCHES:
            acknowledged += zip(batch, results(store, *batch), strict=True)
            if batch is BATCHES[1]:
                store.keep_house()
        store.close()
    return acknowledged


def require_acknowledged(store: LocalStore, acknowledged: list[tuple[Part, str]]) -> None:
    """Require that everything that was acknowledged as stored is held, by sending it again."""
    for (item, payload), result in acknowledged:
        assert result in ("stored", "already")
        (again,) = apply(store, (item, payload))
        replaced = item.path == "w" and store.stat(["w"]) in ([held_of(PICTURE)], [held_of(NEWER)])
        assert again.result in ("already", "ahead") or replaced, (item, again)


@pytest.mark.parametrize("way", ["logged", "straight"], indirect=True)
def test_death_at_every_call(tmp_path: Path, way: str) -> None:
    """Killed at any call and started again, the store holds what it acknowledged and takes the rest."""
    for number in range(1, count_calls(tmp_path) + 10):
        data_dir = tmp_path / f"data-{number}"
        acknowledged = die_at(number, data_dir, FaultyDisk())
        let_go(data_dir)
        require_whole(tree_of(data_dir))
        store = open_store(data_dir)
        require_acknowledged(store, acknowledged)
        send_all(store)
        require_whole(tree_of(data_dir), is_final=True)
        store.close()


@pytest.mark.parametrize("left", ["nothing", "names", "sizes"])
def test_a_power_cut_at_every_call(tmp_path: Path, way: str, left: str) -> None:
    """Whatever is left on the disk of what was not fsynced, all that was acknowledged is held, and no torn byte."""
    if (way, left) == ("no log", "sizes"):
        pytest.skip(
            "without a log a torn upload is begun anew, which these batches do not (streams: test_server_nul_end)"
        )
    for number in range(1, count_calls(tmp_path) + 10):
        data_dir, found = tmp_path / f"data-{number}", tmp_path / f"found-{number}"
        disk = PowerCutDisk()
        acknowledged = die_at(number, data_dir, disk)
        disk.restore(data_dir, found, left)
        store = open_store(found)
        require_whole(tree_of(found))
        require_acknowledged(store, acknowledged)
        send_all(store)
        require_whole(tree_of(found), is_final=True)
        store.close()


NEW_OF = {PICTURE + name: NEWER + name for name in (b"a", b"b", b"c")}


def newer_parts() -> list[Part]:
    """A stream that grows, and newer versions of whole files that are there."""
    replacing = [commit(f"run/{old[-1]:x}", new, upload="2", replaces=held_of(old)) for old, new in NEW_OF.items()]
    return [append("run/m", LINES, HALF), *replacing]


def replace_and_fail(data_dir: Path, disk: FaultyDisk, is_met: Callable[[str, int], bool]) -> int:
    """Replace files that are durable, while the calls fail that `is_met` by name and number; return how many calls it took."""
    store = open_store(data_dir, disk)
    older = [commit(f"run/{old[-1]:x}", old) for old in NEW_OF]
    assert set(results(store, append("run/m", LINES, 0, HALF), *older)) == {"stored"}
    store.keep_house()
    before = disk.calls
    disk.fault = lambda call, number: OSError(errno.EIO, "broken") if is_met(call, number - before) else None
    with suppress(StoreError):
        apply(store, *newer_parts())
    return disk.calls - before


@pytest.mark.parametrize("way", ["logged", "straight"], indirect=True)
@pytest.mark.parametrize("left", ["names", "sizes"])
@pytest.mark.parametrize("breaks", ["one call", "all of its kind", "all but the log's"])
def test_a_batch_that_fails_and_then_a_power_cut(tmp_path: Path, way: str, left: str, breaks: str) -> None:
    """What a failed batch had replaced by then is there in whole after a power cut, the old version or the new one."""
    for number in range(1, replace_and_fail(tmp_path / "counted", FaultyDisk(), lambda _call, _at: False) + 1):
        data_dir, found, disk = tmp_path / f"data-{number}", tmp_path / f"found-{number}", PowerCutDisk()
        kinds = set[str]()

        def is_met(call: str, at: int, *, first: int = number, kinds: set[str] = kinds) -> bool:
            kinds.update({call} if at == first else ())
            of_kind = call in kinds if breaks == "all of its kind" else call not in ("write", "sync_data")
            return at == first or (at > first and breaks != "one call" and of_kind)

        replace_and_fail(data_dir, disk, is_met)
        disk.restore(data_dir, found, left)
        store = open_store(found)
        assert all(content_of(store, f"run/{old[-1]:x}") in (old, new) for old, new in NEW_OF.items())
        (held,) = store.stat(["run/m"])
        assert held is not None
        assert held.size >= HALF - 1  # of a torn end the last byte is asked for once more
        assert set(results(store, *newer_parts())) <= {"stored", "already"}
        assert set(tree_of(found).values()) == {LINES, *NEW_OF.values()}
        store.close()


def test_death_between_link_and_unlink(data_dir: Path) -> None:
    """A published copy that still has its staged name is not written to by the next upload."""
    disk = FaultyDisk()
    store = LocalStore(data_dir, disk=disk)
    disk.fault = lambda call, _number: Died() if call == "unlink" else None
    with pytest.raises(Died):
        apply(store, stage("w", PICTURE, 0, 10), commit("w", PICTURE, 10))
    staged = data_dir / staged_path("w", "source-1", "upload-1")
    assert staged.stat().st_ino == (data_dir / "w").stat().st_ino
    again = LocalStore(data_dir)
    assert results(again, stage("w", NEWER, 0, 10)) == ["stored"]
    assert content_of(again, "w") == PICTURE
    assert results(again, commit("w", PICTURE)) == ["already"]
    assert not staged.exists()
    again.close()


# --- room


class SmallDisk(Disk):
    """A disk with `free` bytes left."""

    free = 10_000

    def free_bytes(self, fd: int) -> int:
        return self.free

    def write(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        self.free -= len(data)
        return super().write(fd, data, offset)


def test_the_floor_is_kept(data_dir: Path) -> None:
    """Nothing is written that would pass the floor, what is held is still answered, and room lets it go on."""
    disk = SmallDisk()
    store = LocalStore(data_dir, min_free_bytes=9_000, disk=disk)
    first, second = append("m", LINES, 0, HALF), append("m", LINES, HALF)
    assert results(store, first) == ["stored"]
    with pytest.raises(StoreFull, match=r"^\d+ bytes wanted, \d+ free, the floor is 9000$"):
        apply(store, second)
    assert tree_of(data_dir) == {"m": LINES[:HALF]}
    assert results(store, first) == ["already"]
    disk.free = 100_000
    assert results(store, second) == ["stored"]
    store.close()


def test_the_floor_of_inodes_is_kept(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where few more files can be made, new ones wait and nothing is made of them; streams that are there grow on."""
    store = LocalStore(data_dir)
    assert results(store, append("m", LINES, 0, HALF)) == ["stored"]
    monkeypatch.setattr(Disk, "free_files", lambda _disk, _fd: MIN_FREE_FILES + 1)
    for batch in ([append("a", b""), append("b", b"")], [commit("c", b""), commit("d", b"")]):
        with pytest.raises(StoreFull, match=r"^\d+ inodes free, the floor is 1000$"):
            apply(store, *batch)
    assert results(store, append("m", LINES, HALF), commit("w", PICTURE)) == ["stored", "stored"]
    assert tree_of(data_dir) == {"m": LINES, "w": PICTURE}
    store.close()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_named(data_dir: Path, code: int) -> None:
    """ENOSPC and EDQUOT in the middle of a write leave no torn bytes."""
    disk = FaultyDisk()
    store = LocalStore(data_dir, disk=disk)
    apply(store, append("m", LINES, 0, HALF))
    disk.fault = fails("write", code)
    with pytest.raises(StoreFull, match="disk is full"):
        apply(store, append("m", LINES, HALF))
    assert tree_of(data_dir) == {"m": LINES[:HALF]}
    store.close()


def test_short_writes_are_gone_on_with(data_dir: Path) -> None:
    """A write that takes only some bytes is continued."""

    class Stingy(Disk):
        def write(self, fd: int, data: bytes | memoryview, offset: int) -> int:
            return super().write(fd, data[:7], offset)

    store = LocalStore(data_dir, disk=Stingy())
    assert results(store, append("m", LINES), commit("w", PICTURE)) == ["stored", "stored"]
    assert tree_of(data_dir) == {"m": LINES, "w": PICTURE}
    store.close()


@pytest.mark.parametrize("has_attributes", [True, False])
@pytest.mark.parametrize("missing", [("make_unnamed",), ("make_unnamed", "link")])
def test_a_file_system_without_conveniences(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, missing: tuple[str, ...], has_attributes: bool
) -> None:
    """Where there are no nameless files, links or attributes, whole files are still stored and replaced by name."""

    def refuse(*_args: object) -> None:
        raise OSError(errno.ENOTSUP, "not supported")

    if not has_attributes:
        monkeypatch.setattr(os, "setxattr", refuse)
        monkeypatch.setattr(os, "getxattr", refuse)
    disk = FaultyDisk(lambda call, _: OSError(errno.ENOTSUP, "not supported") if call in missing else None)
    store = LocalStore(data_dir, disk=disk)
    assert results(store, commit("w", PICTURE), stage("v", PICTURE, 0, 9)) == ["stored", "stored"]
    assert results(store, commit("v", PICTURE, 9)) == ["stored"]
    outcomes = apply(store, commit("w", NEWER, upload="2"), commit("v", NEWER, upload="2"))
    assert [(o.result, o.is_own) for o in outcomes] == [("diverged", has_attributes)] * 2
    replacing = (
        commit("w", NEWER, upload="3", replaces=held_of(PICTURE)),
        commit("v", NEWER, upload="3", replaces=held_of(PICTURE)),
    )
    assert results(store, *replacing) == ["stored", "stored"]
    assert tree_of(data_dir) == {"w": NEWER, "v": NEWER}
    store.close()
    assert list((data_dir / ".ml-logger" / "tmp").iterdir()) == []


# --- what other people put into the tree


@pytest.mark.parametrize("opens_paths", sorted({False, Disk.opens_paths}))
def test_no_link_is_followed(
    store: LocalStore, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opens_paths: bool
) -> None:
    """Links to files and folders, in or out of the tree, are neither written through, read, listed nor replaced."""
    monkeypatch.setattr(Disk, "opens_paths", opens_paths)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(LINES[:HALF])
    (data_dir / "folder").symlink_to(outside)
    (data_dir / "file").symlink_to(outside / "file")
    (data_dir / "dangling").symlink_to(outside / "new")
    for path in ("folder/new", "folder/file", "file", "dangling"):
        parts = (append(path, LINES, HALF), append(path, LINES), commit(path, LINES))
        assert results(store, *parts) == ["rejected"] * 3
        assert store.stat([path]) == [None]
        with pytest.raises(NotHeld):
            store.open(path)
    assert store.list("").entries == ()
    with pytest.raises(NotHeld):
        store.list("folder")
    assert [(p.name, p.read_bytes()) for p in outside.iterdir()] == [("file", LINES[:HALF])]
    assert (data_dir / "file").is_symlink()


def test_a_pipe_or_socket_is_no_file(store: LocalStore, data_dir: Path) -> None:
    """Something that is no plain file is rejected at once, without waiting for its other end."""
    os.mkfifo(data_dir / "pipe")
    assert results(store, append("pipe", LINES), commit("pipe", LINES)) == ["rejected", "rejected"]
    assert store.stat(["pipe"]) == [None]
    with pytest.raises(NotHeld):
        store.open("pipe")
    assert store.list("").entries == ()


@pytest.mark.skipif(not Disk.opens_paths, reason="a path is walked here")
def test_a_stream_is_opened_without_a_walk(data_dir: Path) -> None:
    """A line for a file that exists opens none of the folders on its way."""
    disk = FaultyDisk()
    store = open_store(data_dir, disk)
    apply(store, append("experiment/run/m", LINES, 0, HALF))
    disk.log.clear()
    assert results(store, append("experiment/run/m", LINES, HALF)) == ["stored"]
    assert "open_folder" not in {call for call, _ in disk.log}
    assert tree_of(data_dir) == {"experiment/run/m": LINES}
    store.close()


def test_a_page_looks_at_its_own_names(store: LocalStore, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many names a folder has, a short page checks and looks at no others."""
    for number in range(300):
        (data_dir / f"{number:03d}").write_bytes(b"")
    looked: list[str] = []
    check = local_store.check_path
    monkeypatch.setattr(local_store, "check_path", lambda path: looked.append(path) or check(path))
    page = store.list("", after="100", limit=2)
    assert (names(page.entries), page.next_after) == (["101", "102"], "102")
    assert looked == ["101", "102", "103"]


def test_names_that_are_no_text_are_not_listed(store: LocalStore, data_dir: Path) -> None:
    """A local name that the wire can't carry does not break a listing."""
    Path(os.fsdecode(os.fsencode(data_dir) + b"/\xff\xfe")).write_bytes(b"")
    (data_dir / "back\\slash").write_bytes(b"")
    (data_dir / "m").write_bytes(LINES)
    assert names(store.list("").entries) == ["m"]


def test_bytes_written_by_others_are_seen(store: LocalStore, data_dir: Path) -> None:
    """A file that somebody else changed, removed or put back is read anew: its size is the offset."""
    apply(store, append("m", LINES))
    os.truncate(data_dir / "m", HALF)
    assert store.stat(["m"]) == [held_of(LINES[:HALF])]
    assert results(store, append("m", LINES, HALF)) == ["stored"]
    (data_dir / "m").unlink()
    assert store.stat(["m"]) == [None]
    assert results(store, append("m", LINES, HALF)) == ["behind"]
    assert results(store, append("m", LINES)) == ["stored"]
    assert tree_of(data_dir) == {"m": LINES}


def test_two_stores_on_one_directory(data_dir: Path) -> None:
    """Two receivers that share a data directory see each other's bytes."""
    one, two = LocalStore(data_dir), LocalStore(data_dir)
    for start in range(0, len(LINES), 100):
        sender = one if start % 200 else two
        assert results(sender, append("m", LINES, start, start + 100)) == ["stored"]
    assert tree_of(data_dir) == {"m": LINES}
    one.close()
    two.close()


def test_a_file_replaced_while_it_is_opened(data_dir: Path) -> None:
    """Bytes are never written to a file that lost its name between being opened and locked."""

    class Replacing(Disk):
        replaces = False

        def open_file(self, name: str, flags: int, folder_fd: int) -> int:
            fd = super().open_file(name, flags, folder_fd)
            if self.replaces and name == "m":
                self.replaces = False
                (data_dir / "aside").write_bytes(LINES[:100])
                (data_dir / "aside").rename(data_dir / "m")
            return fd

    disk = Replacing()
    store = LocalStore(data_dir, disk=disk)
    apply(store, append("m", LINES, 0, HALF))
    disk.replaces = True
    assert results(store, append("m", LINES, HALF)) == ["behind"]
    disk.replaces = True
    assert results(store, append("m", LINES, 100)) == ["stored"]
    assert tree_of(data_dir) == {"m": LINES}
    store.close()


# --- starting


def test_only_dead_temporary_files_are_swept(data_dir: Path) -> None:
    """At the start temporary files that nobody has locked go; locked ones and staged copies stay."""
    store = LocalStore(data_dir)
    apply(store, stage("w", PICTURE, 0, 700))
    store.close()
    tmp = data_dir / ".ml-logger" / "tmp"
    (tmp / "dead").write_bytes(b"x")
    with (tmp / "alive").open("wb") as alive:
        fcntl.flock(alive, fcntl.LOCK_EX)
        again = LocalStore(data_dir)
        assert [path.name for path in tmp.iterdir()] == ["alive"]
    assert results(again, commit("w", PICTURE, 700)) == ["stored"]
    again.close()


def test_uploads_that_were_left_do_not_pile_up(data_dir: Path) -> None:
    """A finished upload takes the earlier versions of its path with it; what nobody went on with goes after a week."""
    left_uploads = data_dir / ".ml-logger" / "stage"
    store = LocalStore(data_dir)
    apply(store, stage("w", NEWER, 0, 700, upload="old"), stage("other", NEWER, 0, 700), stage("w", PICTURE, 0, 700))
    assert results(store, commit("w", PICTURE, 700)) == ["stored"]
    (other,) = left_uploads.iterdir()
    store.close()
    LocalStore(data_dir).close()
    assert other.exists()
    os.utime(other, (1, 1))
    LocalStore(data_dir).close()
    assert not other.exists()


def test_an_upload_of_an_old_file_is_resumed(data_dir: Path) -> None:
    """A copy whose commit died before its rename is no older than it is, whatever time the sender gave the file."""
    disk = FaultyDisk()
    store = open_store(data_dir, disk)
    apply(store, stage("w", PICTURE, 0, 700))
    disk.fault = lambda call, _number: Died() if call in ("link", "rename") else None
    with pytest.raises(Died):
        apply(store, commit("w", PICTURE, 700, mtime_ns=10**18))
    let_go(data_dir)
    again = open_store(data_dir)
    assert results(again, commit("w", PICTURE, 700, mtime_ns=10**18)) == ["stored"]
    assert (data_dir / "w").stat().st_mtime_ns == 10**18
    again.close()


def test_a_data_directory_that_cannot_be_used(tmp_path: Path) -> None:
    """A file, a link for the receiver's own folder, or a disk that refuses is one clear error at the start."""
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / ".ml-logger").symlink_to(tmp_path)
    refusing = FaultyDisk(fails("open_file", errno.EROFS))
    for make in (
        lambda: LocalStore(tmp_path / "file"),
        lambda: LocalStore(tmp_path / "file" / "below"),
        lambda: LocalStore(tmp_path / "odd"),
        lambda: LocalStore(tmp_path / "refusing", disk=refusing),
    ):
        with pytest.raises(UsageError, match="data directory") as caught:
            make()
        assert caught.value.hint


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("call", ["make_folder", "open_file", "write", "link_unnamed"])
def test_a_start_without_room_is_no_ones_mistake(data_dir: Path, call: str, code: int) -> None:
    """A full disk at the start, also when it redoes, is told from one that can't be used; with room all is redone."""
    disk = FaultyDisk()
    store = open_store(data_dir, disk)
    disk.fault = lambda call, _number: Died() if call == "link_unnamed" else None
    with pytest.raises(Died):
        apply(store, commit("run/w", PICTURE))
    let_go(data_dir)
    if call == "make_folder":
        shutil.rmtree(data_dir / "run")
    with pytest.raises(StoreFull, match="no room for what a start writes"):
        LocalStore(data_dir, disk=FaultyDisk(fails(call, code)), keeps_house=False)
    again = open_store(data_dir)
    assert tree_of(data_dir) == {"run/w": PICTURE}
    again.close()


def test_every_call_of_the_disk_can_fail() -> None:
    """The list of calls that the tests can make fail is the disk's whole interface, but for what only looks."""
    public = {name for name in vars(Disk) if not name.startswith("_")}
    assert public == {*CALLS, "free_bytes", "free_files", "may_write", "syncs_all", "opens_paths"}
