"""Deleting in the plain-file store: death, faults and power cuts at every call, links, mounted disks; the trash by command."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import orjson
import pytest
from batches import append, apply, commit, held_of, results, stage

from ml_logger.errors import Gone, NotHeld, StoreError, Undeletable, UsageError
from ml_logger.server import local_round, local_store
from ml_logger.server.clock import Clock
from ml_logger.server.disk import Disk
from ml_logger.server.local_store import LocalStore
from ml_logger.server.locks import PathLocks
from ml_logger.server.tombstones import Tombstones
from ml_logger.server.trash import Trash
from ml_logger.server.trash_cli import main as trash
from ml_logger.server.tree import Tree
from ml_logger.testing.disk import FaultyDisk, PowerCutDisk, let_go
from ml_logger.testing.faults import Died, dies_at, fails, fails_at

LINES = b"".join(b'{"_step":%d}\n' % n for n in range(100))
HALF = len(LINES) // 2
PICTURE = bytes(range(256)) * 8

RUN = (append("run/m.jsonl", LINES, 0, HALF), commit("run/images/0.png", PICTURE))
MORE = (append("run/m.jsonl", LINES, HALF), append("other/m.jsonl", LINES))
RUN_FILES = {"m.jsonl": LINES, "images/0.png": PICTURE}


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def store(data_dir: Path) -> Iterator[LocalStore]:
    store = open_store(data_dir)
    yield store
    store.close()


@pytest.fixture(params=["logged", "straight", "no log"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The ways that bytes take: through the redo log, straight with intents, or without any log."""
    monkeypatch.setattr(local_round, "MAX_LOGGED_BYTES", 1 << 20 if request.param == "logged" else 0)
    monkeypatch.setattr(Disk, "syncs_all", request.param != "no log")
    return str(request.param)


def open_store(data_dir: Path, disk: Disk | None = None, **more: float) -> LocalStore:
    return LocalStore(data_dir, disk=disk, keeps_house=False, **more)  # type: ignore[arg-type]  # floats alone are given


def delete_amid_work(store: LocalStore, said: list[str]) -> None:
    """Store a run, delete it and go on with another; `said` tells what was acknowledged."""
    for word, work in (
        ("stored", lambda: apply(store, *RUN)),
        ("more", lambda: apply(store, *MORE)),
        ("deleted", lambda: store.delete("run", "alice")),
        ("after", lambda: apply(store, append("after/m", LINES))),
    ):
        work()
        said.append(word)
    store.keep_house()


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def in_trash(data_dir: Path) -> list[dict[str, bytes]]:
    """Return the files of each run that is in the trash."""
    return [files_below(folder) for folder in (data_dir / ".ml-logger" / "trash").glob("*/run")]


def is_gone(store: LocalStore, data_dir: Path) -> bool:
    """Return whether the run is gone, having required that all of it is or nothing, and that what is gone is in the trash."""
    held = store.stat(["run/m.jsonl", "run/images/0.png"])
    (outcome,) = apply(store, append("run/m.jsonl", b"none", 4))
    if not outcome.is_gone:
        return False
    assert held == [None, None]
    with pytest.raises(Gone):
        store.open("run/m.jsonl")
    assert not (data_dir / "run").exists()
    return True


def require_sound(data_dir: Path, said: list[str]) -> None:
    """Require that a store that starts on `data_dir` keeps what was `said`, deletes once more, and brings nothing back."""
    store = open_store(data_dir)
    gone = is_gone(store, data_dir)
    assert gone or "deleted" not in said
    if gone:
        assert "more" in said
        assert RUN_FILES in in_trash(data_dir)
    elif "more" in said:
        assert store.stat(["run/m.jsonl", "run/images/0.png"]) == [held_of(LINES), held_of(PICTURE)]
    if "more" in said:
        assert store.stat(["other/m.jsonl"]) == [held_of(LINES)]
    if "after" in said:
        assert store.stat(["after/m"]) == [held_of(LINES)]
    with suppress(NotHeld):
        store.delete("run", "alice")
    store.close()
    with suppress(UsageError):
        trash(["forget", "run", "--data-dir", str(data_dir)])
    assert not (data_dir / "run").exists()
    again = open_store(data_dir)
    assert again.stat(["run/m.jsonl"]) == [None]
    assert results(again, append("run/m.jsonl", b"new\n")) == ["stored"]
    again.close()
    assert files_below(data_dir / "run") == {"m.jsonl": b"new\n"}


def count_calls(data_dir: Path) -> int:
    disk = FaultyDisk()
    store = open_store(data_dir, disk)
    delete_amid_work(store, [])
    store.close()
    return disk.calls


def die_at(number: int, data_dir: Path, disk: FaultyDisk) -> list[str]:
    said: list[str] = []
    disk.fault = dies_at(number)
    with suppress(Died):
        store = open_store(data_dir, disk)
        delete_amid_work(store, said)
        store.close()
    return said


# --- death, power cuts, faults


def test_death_at_every_call(tmp_path: Path, way: str) -> None:
    """Killed at any call all of a run is there or nothing; what was said to be deleted is, whole in the trash, for ever."""
    deaths = count_calls(tmp_path / "counted") + 5
    for number in range(1, deaths):
        data_dir = tmp_path / f"data-{number}"
        said = die_at(number, data_dir, FaultyDisk())
        let_go(data_dir)
        require_sound(data_dir, said)
        assert list((data_dir / ".ml-logger" / "trash").glob("*/left-*")) == []  # nothing was redone beside it


@pytest.mark.parametrize("left", ["nothing", "names"])
def test_a_power_cut_at_every_call(tmp_path: Path, way: str, left: str) -> None:
    """Whatever is left of what was not fsynced, the same holds."""
    for number in range(1, count_calls(tmp_path / "counted") + 5):
        data_dir, found = tmp_path / f"data-{number}", tmp_path / f"found-{number}"
        disk = PowerCutDisk()
        said = die_at(number, data_dir, disk)
        disk.restore(data_dir, found, left)
        require_sound(found, said)


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_every_call_fails_once(tmp_path: Path, code: int) -> None:
    """A deletion whose disk fails once is done by the housekeeper or not at all, and can be asked for again."""
    failed = 0
    counted = FaultyDisk()
    store = open_store(tmp_path / "counted", counted)
    apply(store, *RUN, *MORE)
    before = counted.calls
    store.delete("run", "alice")
    store.close()
    for number in range(1, counted.calls - before + 1):
        data_dir, disk = tmp_path / f"data-{number}", FaultyDisk()
        store = open_store(data_dir, disk)
        apply(store, *RUN, *MORE)
        disk.fault = fails_at(disk.calls + number, code)
        try:
            store.delete("run", "alice")
        except StoreError:
            failed += 1
        disk.fault = fails("nothing")
        with suppress(Gone):
            store.delete("run", "alice")
        store.keep_house()
        assert is_gone(store, data_dir)
        assert RUN_FILES in in_trash(data_dir)
        store.close()
    assert failed > 10


def test_the_order_of_a_deletion(data_dir: Path) -> None:
    """The tombstone is durable before the files move, their bytes are before that too, and both folders before the answer."""
    disk = FaultyDisk()
    store = open_store(data_dir, disk)
    apply(store, *RUN)
    disk.log.clear()
    store.delete("run", "alice")
    calls = [call for call, _ in disk.log]
    stone = (data_dir / ".ml-logger" / "tombstones").stat().st_ino
    assert disk.log.index(("sync", stone)) < calls.index("sync_all") < calls.index("rename")
    after = disk.log[calls.index("rename") + 1 :]
    (trash_folder,) = (data_dir / ".ml-logger" / "trash").iterdir()
    for folder in (trash_folder, trash_folder.parent, data_dir):
        assert ("sync", folder.stat().st_ino) in after
    store.close()


def test_a_failed_syncfs_after_a_deletion(data_dir: Path) -> None:
    """Bytes that had to be written once more from the log do not bring back a run whose name is free again."""
    disk = FaultyDisk()
    store = open_store(data_dir, disk, settle_s=0.0)
    apply(store, *RUN, append("other/m", LINES))
    store.delete("run", "alice")
    trash(["forget", "run", "--data-dir", str(data_dir)])
    disk.fault = lambda call, _: OSError(errno.EIO, "no") if call == "sync_all" and "once" not in told else None
    told: list[str] = []
    store.keep_house()
    told.append("once")
    store.keep_house()
    assert not (data_dir / "run").exists()
    assert store.stat(["other/m"]) == [held_of(LINES)]
    store.close()


# --- the clock


HOUR_NS = 3600 * 10**9


def set_back(monkeypatch: pytest.MonkeyPatch, by_ns: int = HOUR_NS) -> None:
    """Set the clock back for what is put into an order by it."""
    now_ns = time.time_ns
    monkeypatch.setattr("ml_logger.server.clock.time.time_ns", lambda: now_ns() - by_ns)


def lose_files(data_dir: Path, *paths: str) -> None:
    """Die, with the power cut before these files were durable: what is left of them is in the redo log."""
    let_go(data_dir)
    for path in paths:
        (data_dir / path).unlink()


def test_a_clock_that_is_set_back_between_two_processes(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is acknowledged for a name that was deleted and freed is redone, though by the clock it is older than that."""
    store = open_store(data_dir)
    apply(store, *RUN)
    store.delete("run", "alice")
    store.close()
    trash(["forget", "run", "--data-dir", str(data_dir)])
    set_back(monkeypatch)
    store = open_store(data_dir)
    assert results(store, append("run/m.jsonl", LINES)) == ["stored"]
    lose_files(data_dir, "run/m.jsonl")
    store = open_store(data_dir)
    assert store.stat(["run/m.jsonl"]) == [held_of(LINES)]
    store.close()


def test_a_receiver_whose_clock_is_behind(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same holds for a receiver that runs since before the deletion, on a host whose clock is behind."""
    behind, ahead = open_store(data_dir), open_store(data_dir)
    apply(ahead, *RUN)
    ahead.delete("run", "alice")
    ahead.close()
    trash(["forget", "run", "--data-dir", str(data_dir)])
    set_back(monkeypatch)
    assert results(behind, append("run/m.jsonl", LINES)) == ["stored"]
    lose_files(data_dir, "run/m.jsonl")
    store = open_store(data_dir)
    assert store.stat(["run/m.jsonl"]) == [held_of(LINES)]
    store.close()


def test_a_clock_that_is_set_back_before_a_deletion(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was stored before the deletion, by a clock that was ahead, does not come back."""
    store = open_store(data_dir)
    apply(store, *RUN)
    set_back(monkeypatch)
    store.delete("run", "alice")
    trash(["forget", "run", "--data-dir", str(data_dir)])
    let_go(data_dir)
    store = open_store(data_dir)
    assert store.stat(["run/m.jsonl"]) == [None]
    assert not (data_dir / "run").exists()
    store.close()


# --- several at once


def test_a_second_receiver_sees_it(data_dir: Path, store: LocalStore) -> None:
    """What one process deletes is gone for another that has the same folder open, and free again for it as soon."""
    other = open_store(data_dir)
    apply(other, *RUN)
    store.delete("run", "alice")
    assert is_gone(other, data_dir)
    trash(["forget", "run", "--data-dir", str(data_dir)])
    assert results(other, RUN[0]) == ["stored"]
    other.close()


def test_a_writer_that_looked_before_and_locked_after(data_dir: Path, store: LocalStore) -> None:
    """Who was on the way to the lock when a run was deleted finds that it is gone, and makes no file of it."""
    disk = FaultyDisk()
    other = open_store(data_dir, disk)
    apply(other, *RUN)
    waiting = [lambda: store.delete("run", "alice")]

    def fault(_call: str, _number: int) -> None:
        while waiting:
            waiting.pop()()

    disk.fault = fault  # the first call to the disk is the one that opens the locks
    outcomes = apply(other, *MORE)
    assert [(o.result, o.is_gone) for o in outcomes] == [("rejected", True), ("stored", False)]
    assert is_gone(store, data_dir)
    other.close()


def test_who_is_at_work_is_waited_for(data_dir: Path, store: LocalStore) -> None:
    """A run is moved once the batch that writes to it has ended, and with what that has stored."""
    disk = FaultyDisk()
    other = open_store(data_dir, disk)
    apply(other, *RUN)
    deleting = threading.Thread(target=lambda: store.delete("run", "alice"))

    def fault(call: str, _number: int) -> None:
        if call == "write" and not deleting.ident:
            deleting.start()
            deleting.join(0.5)
            assert deleting.is_alive()
            assert (data_dir / "run").exists()

    disk.fault = fault
    assert results(other, *MORE) == ["stored", "stored"]
    deleting.join(60)
    assert is_gone(other, data_dir)
    assert in_trash(data_dir) == [RUN_FILES]
    other.close()


def test_a_line_that_was_not_written_to_its_end(data_dir: Path) -> None:
    """Such a line, and one that is damaged, deletes nothing and hides none of the others."""
    store = open_store(data_dir)
    apply(store, *RUN, append("x", LINES), append("y", LINES))
    store.delete("x", "alice")
    with (data_dir / ".ml-logger" / "tombstones").open("ab") as file:
        file.write(b'no JSON\n{"id":"1","event":"deleted","path":"run","by":"me","at":1}')
    assert results(store, RUN[0]) == ["already"]
    store.delete("y", "alice")
    assert store.stat(["x", "y", "run/m.jsonl"]) == [None, None, held_of(LINES[:HALF])]
    store.close()


def test_many_deletions_cost_the_next_one_nothing(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With thousands of tombstones a deletion, a batch and a look of another process read what was added alone."""
    store = open_store(data_dir)
    apply(store, append("x", LINES), append("y", LINES))
    store.delete("x", "alice")
    file = data_dir / ".ml-logger" / "tombstones"
    lines = file.read_bytes()
    stone_id = orjson.loads(lines.splitlines()[0])["id"].encode()
    with file.open("ab") as added:
        for number in range(3000):
            added.write(lines.replace(stone_id, b"%d" % number).replace(b'"x"', b'"team/%d"' % number))
    other = open_store(data_dir)
    assert results(store, append("team/2999", LINES)) == ["rejected"]
    read_bytes, pread = [0], os.pread

    def counting(fd: int, length: int, offset: int) -> bytes:
        found = pread(fd, length, offset)
        read_bytes[0] += len(found) if os.fstat(fd).st_ino == file.stat().st_ino else 0
        return found

    monkeypatch.setattr(os, "pread", counting)
    store.delete("y", "alice")
    assert results(store, append("z", LINES)) == ["stored"]
    assert other.stat(["y", "z", "team/1"]) == [None, held_of(LINES), None]
    assert read_bytes[0] < 3000
    for one in (store, other):
        one.close()


def test_what_is_remembered_is_what_the_file_says(data_dir: Path) -> None:
    """Whoever adds to the file, tears it or replaces it: who read it step by step knows what a new reader does."""
    tree, dice = Tree(data_dir, Disk()), random.Random(3)
    readers = [Tombstones(tree, Clock()) for _ in range(2)]
    paths = ["a", "a/b", "a/b/c", "b", "b/c"]
    file = data_dir / ".ml-logger" / "tombstones"
    kept = b""
    for step in range(300):
        writer = dice.choice(readers)
        writer.refresh()
        stones = writer.all()
        what = dice.randrange(20)
        if what == 0 and kept:
            file.unlink()
            file.write_bytes(kept)
        elif what == 1 and file.exists():
            kept = file.read_bytes()
            with file.open("ab") as torn:
                torn.write(b'{"id":')
        elif what < 9 or not stones:
            with suppress(Gone):
                writer.add(dice.choice(paths), "alice")
        elif what < 14:
            writer.note_trashed(dice.choice(stones), step, step)
        else:
            writer.lift(dice.choice(stones))
        new = Tombstones(tree, Clock())
        for reader in readers:
            reader.refresh()
            assert reader.all() == new.all()
            assert {s.id for s in reader.on_their_way()} == {
                s.id for s in new.all() if not s.is_lifted and not s.trashed_ns
            }
            assert [reader.maybe_covering(path) for path in paths] == [new.maybe_covering(path) for path in paths]
            for path in paths:
                above = [s for s in new.all() if s.trashed_ns and f"{path}/".startswith(f"{s.path}/")]
                for at in (0, *(s.trashed_ns or 0 for s in above), time.time_ns() + HOUR_NS):
                    is_over = any(not s.is_lifted or at <= (s.trashed_ns or 0) for s in above)
                    assert reader.is_over(path, at) == is_over
        new.close()
    for reader in readers:
        reader.close()
    tree.close()


# --- links and other disks


def test_no_link_is_followed(data_dir: Path, tmp_path: Path, store: LocalStore) -> None:
    """A link can't be deleted, nor anything behind it; one within a run goes with it, and what it leads to stays."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_bytes(b"kept")
    apply(store, *RUN)
    (data_dir / "link").symlink_to(outside)
    (data_dir / "run" / "link").symlink_to(outside)
    for path in ("link", "link/kept", "run/link/kept"):
        with pytest.raises(NotHeld):
            store.delete(path, "alice")
    assert store.delete("run", "alice").files == 2
    trash(["empty", "--data-dir", str(data_dir)])
    assert list((data_dir / ".ml-logger" / "trash").iterdir()) == []
    assert files_below(outside) == {"kept": b"kept"}


@pytest.fixture
def mounted(data_dir: Path) -> Iterator[Path]:
    """A folder below the data directory's ``run`` on which another file system is mounted."""
    folder = data_dir / "run" / "mounted"
    folder.mkdir(parents=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "none", folder], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("mounting is not allowed here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_another_file_system_is_refused(mounted: Path, store: LocalStore) -> None:
    """A file on it, the folder it is mounted on and a run that has it inside are refused, and stay as they were."""
    apply(store, append("run/mounted/m", LINES), append("run/m", LINES))
    for path in ("run/mounted/m", "run/mounted", "run"):
        with pytest.raises(Undeletable, match="another file system"):
            store.delete(path, "alice")
    assert store.stat(["run/mounted/m", "run/m"]) == [held_of(LINES)] * 2
    assert store.delete("run/m", "alice").files == 1


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A folder with a file, on the same disk as the data directory, whose bind mounts are taken down in the end."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "kept").write_bytes(b"kept")
    yield folder
    for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
        if line.split()[1].startswith(f"{tmp_path}/"):
            subprocess.run(["umount", line.split()[1]], check=True)


def bind(folder: Path, at: Path) -> None:
    at.mkdir(parents=True)
    if subprocess.run(["mount", "--bind", folder, at], capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")


def test_a_folder_of_the_same_disk_is_refused(data_dir: Path, store: LocalStore, outside: Path) -> None:
    """A run in which a folder of the same disk is mounted, that folder and a file in it are refused before the tombstone."""
    apply(store, append("run/m", LINES))
    bind(outside, data_dir / "run" / "a" / "bound")
    for path in ("run/a/bound/kept", "run/a/bound", "run/a", "run"):
        with pytest.raises(Undeletable, match="mount"):
            store.delete(path, "alice")
    assert not (data_dir / ".ml-logger" / "tombstones").exists()
    assert store.delete("run/m", "alice").files == 1
    assert files_below(outside) == {"kept": b"kept"}


def test_a_mount_in_the_trash_is_left_alone(
    data_dir: Path, store: LocalStore, outside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was bind-mounted in the trash after the deletion keeps all it has when the trash is emptied, which says so."""
    apply(store, *RUN)
    deleted = store.delete("run", "alice")
    bound = data_dir / ".ml-logger" / "trash" / deleted.id / "run" / "bound"
    bind(outside, bound)
    trash(["empty", "--data-dir", str(data_dir)])
    assert files_below(outside) == {"kept": b"kept"}
    assert in_trash(data_dir) == [{"bound/kept": b"kept"}]
    assert "0 of 1 deletions were emptied" in capsys.readouterr().err


REFUSALS = {
    errno.EXDEV: "mount",
    errno.EBUSY: "mount",
    errno.EACCES: "may not write",
    errno.EPERM: "forbid",
    errno.EROFS: "Read",
}


@pytest.mark.parametrize("code", REFUSALS)
def test_a_rename_that_is_refused(data_dir: Path, code: int) -> None:
    """Where the rename itself is refused, for ever, the deletion is, with the reason, and nothing of it is left."""
    store = open_store(data_dir, FaultyDisk(fails("rename", code)))
    apply(store, append("run/m", LINES))
    with pytest.raises(Undeletable, match=REFUSALS[code]):
        store.delete("run", "alice")
    assert store.stat(["run/m"]) == [held_of(LINES)]
    assert results(store, append("run/m", LINES + b"more\n", len(LINES))) == ["stored"]
    assert list((data_dir / ".ml-logger" / "trash").iterdir()) == []
    store.close()


def test_a_folder_that_may_not_be_written(data_dir: Path, store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """What can be seen to be forbidden is refused before the tombstone: agents would take that for a deletion."""
    apply(store, append("run/m", LINES))
    monkeypatch.setattr(Disk, "may_write", lambda *_: False)
    for path in ("run/m", "run"):
        with pytest.raises(Undeletable, match="may not write"):
            store.delete(path, "alice")
    assert not (data_dir / ".ml-logger" / "tombstones").exists()


def leave_deletions(data_dir: Path, *paths: str) -> None:
    """Store a file at each path and delete it, dying before anything is moved."""
    disk = FaultyDisk()
    store = open_store(data_dir, disk)
    apply(store, *[append(path, LINES) for path in paths])
    for path in paths:
        disk.fault = lambda call, _: Died() if call == "rename" else None
        with pytest.raises(Died):
            store.delete(path, "alice")
        disk.fault = fails("nothing")
    let_go(data_dir)


def test_a_deletion_that_is_refused_at_the_start(data_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One that a crash left and the file system refuses is told and lifted; the receiver starts, and finishes the others."""
    leave_deletions(data_dir, "a", "b")
    refused = [OSError(errno.EPERM, "no")]
    store = open_store(data_dir, FaultyDisk(lambda call, _: refused.pop() if call == "rename" and refused else None))
    assert store.stat(["a", "b"]) == [held_of(LINES), None]
    assert [r.message for r in caplog.records if "not deleted: 'a'" in r.message and "forbid" in r.message]
    assert not (data_dir / "b").exists()
    store.close()


def test_a_deletion_that_fails_for_long(data_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A failing disk keeps the receiver neither from starting nor from its other house work, and is told of once."""
    leave_deletions(data_dir, "a")
    store = open_store(data_dir, FaultyDisk(fails("rename")), trash_keep_s=0.0)
    old = data_dir / ".ml-logger" / "trash" / "of-nobody"
    old.mkdir()
    for _ in range(3):
        store.keep_house()
    assert not old.exists()
    assert len([r for r in caplog.records if "not deleted" in r.message]) == 1
    assert not [r for r in caplog.records if "keeping house" in r.message]
    store.close()
    store = open_store(data_dir)
    assert not (data_dir / "a").exists()
    store.close()


# --- the command


def listed(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    trash(["list", "--json", "--data-dir", str(data_dir)])
    return [orjson.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_restore(data_dir: Path, store: LocalStore, capsys: pytest.CaptureFixture[str]) -> None:
    """A deleted run comes back as it was, beside a receiver at work, and is gone on with."""
    apply(store, *RUN)
    deleted = store.delete("run", "alice")
    (line,) = listed(data_dir, capsys)
    assert line["id"] == deleted.id
    assert (line["path"], line["by"], line["files"], line["in_trash"]) == ("run", "alice", 2, True)
    trash(["restore", "run", "--data-dir", str(data_dir)])
    assert store.stat(["run/images/0.png"]) == [held_of(PICTURE)]
    assert results(store, *MORE) == ["stored", "stored"]
    assert files_below(data_dir / "run") == RUN_FILES
    assert listed(data_dir, capsys) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to somebody else")
def test_restored_by_root(data_dir: Path, store: LocalStore) -> None:
    """Folders that had to be made again belong to whom the data directory does, and so does the trash."""
    apply(store, append("a/b/m", LINES))
    store.delete("a/b/m", "alice")
    (data_dir / "a" / "b").rmdir()
    (data_dir / "a").rmdir()
    os.chown(data_dir, 65534, 65533)
    trash(["restore", "a/b/m", "--data-dir", str(data_dir)])
    for folder in (data_dir / "a", data_dir / "a" / "b"):
        assert (folder.stat().st_uid, folder.stat().st_gid) == (65534, 65533)
    assert store.stat(["a/b/m"]) == [held_of(LINES)]
    (data_dir / ".ml-logger" / "trash").rmdir()
    os.chown(data_dir / ".ml-logger", 65534, 65533)
    trash(["list", "--data-dir", str(data_dir)])
    assert (data_dir / ".ml-logger" / "trash").stat().st_uid == 65534


def test_what_was_restored_outlives_a_power_cut(tmp_path: Path) -> None:
    """Once the command has ended the run is at its place for good, in folders that had to be made anew."""
    data_dir, found, disk = tmp_path / "data", tmp_path / "found", PowerCutDisk()
    store = open_store(data_dir, disk)
    apply(store, append("team/a/m", LINES), append("team/n", LINES))
    deleted = store.delete("team/a", "alice")
    for path in (data_dir / "team" / "n", data_dir / "team"):
        path.unlink() if path.is_file() else path.rmdir()
    tree = Tree(data_dir, disk)
    stones, locks = Tombstones(tree, Clock()), PathLocks(tree)
    Trash(tree, locks, stones).restore(stones.get(deleted.id))
    disk.restore(data_dir, found, "nothing")
    again = open_store(found)
    assert again.stat(["team/a/m"]) == [held_of(LINES)]
    again.close()


def test_what_is_restored_in_part_is_said(
    data_dir: Path, store: LocalStore, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a run that was emptied in part what is left comes back, with a word on how much is lost."""
    apply(store, *RUN)
    deleted = store.delete("run", "alice")
    (data_dir / ".ml-logger" / "trash" / deleted.id / "run" / "m.jsonl").unlink()
    trash(["restore", "run", "--data-dir", str(data_dir)])
    assert "without 1 of its 2 files" in capsys.readouterr().err
    assert store.stat(["run/images/0.png"]) == [held_of(PICTURE)]


def test_restore_is_refused(data_dir: Path, store: LocalStore) -> None:
    """What would take the place of something, belongs below something deleted, or is not there, is named."""
    apply(store, *RUN, append("x", LINES))
    first, second = store.delete("run/m.jsonl", "alice"), store.delete("run", "alice")
    third = store.delete("x", "alice")
    at = ["--data-dir", str(data_dir)]
    with pytest.raises(UsageError, match="above it"):
        trash(["restore", first.id, *at])
    trash(["restore", second.id, *at])
    trash(["forget", first.id, *at])
    assert results(store, append("run/m.jsonl", b"new\n")) == ["stored"]
    with pytest.raises(UsageError, match="something new"):
        trash(["restore", first.id, *at])
    trash(["empty", "x", *at])
    with pytest.raises(UsageError, match="nothing of"):
        trash(["restore", third.id, *at])
    with pytest.raises(UsageError, match="is no deletion"):
        trash(["restore", "none", *at])
    with pytest.raises(UsageError, match="no receiver's data directory"):
        trash(["list", "--data-dir", str(data_dir.parent)])


def test_a_restore_that_died(data_dir: Path, store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the rename and the end of the tombstone it is still deleted, and the same command ends it."""
    apply(store, *RUN)
    store.delete("run", "alice")
    monkeypatch.setattr("ml_logger.server.tombstones.Tombstones.lift", _die)
    with pytest.raises(Died):
        trash(["restore", "run", "--data-dir", str(data_dir)])
    monkeypatch.undo()
    assert store.stat(["run/m.jsonl"]) == [None]
    trash(["restore", "run", "--data-dir", str(data_dir)])
    assert store.stat(["run/images/0.png"]) == [held_of(PICTURE)]


def _die(*_args: object) -> None:
    raise Died


def test_emptying_and_forgetting(data_dir: Path, store: LocalStore, capsys: pytest.CaptureFixture[str]) -> None:
    """What is emptied stays deleted; what is forgotten may be sent again, and what was in the trash of it stays there."""
    apply(store, *RUN, append("x", LINES))
    store.delete("run", "alice")
    store.delete("x", "alice")
    at = ["--data-dir", str(data_dir)]
    trash(["empty", "run", *at])
    assert is_gone(store, data_dir)
    assert in_trash(data_dir) == []
    trash(["forget", "x", *at])
    assert results(store, append("x", b"new\n")) == ["stored"]
    lines = {line["path"]: (line["in_trash"], line["forgotten"]) for line in listed(data_dir, capsys)}
    assert lines == {"run": (False, False), "x": (True, True)}


def test_the_trash_empties_by_itself(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has been in it for `trash_keep_s` goes with the next housekeeping, and not before; it stays deleted."""
    store = open_store(data_dir, trash_keep_s=3600.0)
    apply(store, *RUN)
    store.delete("run", "alice")
    clock: Callable[[], float] = local_store.time.monotonic
    monkeypatch.setattr(local_store.time, "monotonic", lambda: clock() + 1000)
    store.keep_house()
    assert in_trash(data_dir) == [{"m.jsonl": LINES[:HALF], "images/0.png": PICTURE}]
    store.close()
    store = open_store(data_dir, trash_keep_s=0.0)
    store.keep_house()
    assert list((data_dir / ".ml-logger" / "trash").iterdir()) == []
    assert is_gone(store, data_dir)
    store.close()


def test_a_receiver_that_is_started_again_and_again(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However short it lives, it empties the trash of what is old."""
    store = open_store(data_dir, trash_keep_s=3600.0)
    apply(store, *RUN)
    store.delete("run", "alice")
    store.close()
    later = time.time() + 3601
    monkeypatch.setattr(time, "time", lambda: later)
    again = open_store(data_dir, trash_keep_s=3600.0)
    again.keep_house()
    again.close()
    assert in_trash(data_dir) == []


def test_what_was_deleted_while_the_clock_was_wrong(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A deletion that seems to be of long ago, and has just come into the trash, stays there for its time."""
    store = open_store(data_dir, trash_keep_s=3600.0)
    apply(store, *RUN)
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: 86400.0 * 30)
        store.delete("run", "alice")
    store.keep_house()
    assert [set(files) for files in in_trash(data_dir)] == [set(RUN_FILES)]
    store.close()


class _Grudging(Disk):
    """Removes nothing from the folders with these inodes, as if they were somebody else's."""

    refused: frozenset[int] = frozenset()

    def unlink(self, name: str, folder_fd: int) -> None:
        if os.fstat(folder_fd).st_ino in self.refused:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        super().unlink(name, folder_fd)


def test_what_cannot_be_removed(data_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It stays in the trash and is told of once; all else goes, of the same deletion and of the others, whatever its name."""
    disk = _Grudging()
    store = open_store(data_dir, disk, trash_keep_s=0.0)
    apply(store, *RUN, *(append(path, LINES) for path in ("run/z/m", "x", "y")))
    (data_dir / "run" / os.fsdecode(b"no-utf8-\xff")).mkdir()
    for path in ("x", "run", "y"):
        store.delete(path, "alice")
    images = next((data_dir / ".ml-logger" / "trash").glob("*/run/images")).stat().st_ino
    disk.refused = frozenset({images})
    for _ in range(2):
        store.keep_house()
    assert in_trash(data_dir) == [{"images/0.png": PICTURE}]
    assert len(list((data_dir / ".ml-logger" / "trash").iterdir())) == 1
    assert len([r for r in caplog.records if "not emptied" in r.message and "run/images/0.png" in r.message]) == 1
    store.close()


def test_an_upload_under_way(store: LocalStore) -> None:
    """A whole file of which a part is staged can't be committed below what was deleted meanwhile."""
    apply(store, *RUN, stage("run/w", PICTURE, 0, 700))
    store.delete("run", "alice")
    (outcome,) = apply(store, commit("run/w", PICTURE, 700))
    assert (outcome.result, outcome.is_gone) == ("rejected", True)


def test_a_thousand_files(store: LocalStore, data_dir: Path) -> None:
    """A large run goes by one rename."""
    for start in range(0, 1000, 100):
        apply(store, *[commit(f"run/{n}/w", b"w") for n in range(start, start + 100)])
    assert store.delete("run", "alice").files == 1000
    assert not os.path.lexists(data_dir / "run")
