"""Walking folders that are deeper than any client makes them: counted, deleted, emptied; and house work that goes on."""

from __future__ import annotations

import errno
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from batches import append, apply
from processes import wait_until

from ml_logger.server.descent import MOST_OPEN, descend, sizes
from ml_logger.server.disk import Disk
from ml_logger.server.housekeeper import Housekeeper
from ml_logger.server.local_store import LocalStore
from ml_logger.server.quotas import Quotas

DEPTH = 1500


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "data"
    subprocess.run(["rm", "-rf", tmp_path / "data"], check=True)  # what removes old folders of tests is no match for it


@pytest.fixture
def store(data_dir: Path) -> Iterator[LocalStore]:
    store = LocalStore(data_dir, keeps_house=False, trash_keep_s=0.0)
    yield store
    store.close()


def make_deep(folder: Path, depth: int = DEPTH) -> None:
    """Make folders in folders, with a file of 10 bytes at the end, which no path leads to any more."""
    folder.mkdir(parents=True)
    fd = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("n", dir_fd=fd)
        below = os.open("n", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    file_fd = os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=fd)
    os.write(file_fd, b"0123456789")
    os.close(file_fd)
    os.close(fd)


def test_a_deep_folder_is_deleted_and_emptied(store: LocalStore, data_dir: Path) -> None:
    """What is deeper than any path can say, and Python's stack, goes to the trash with its count, and from there for good."""
    make_deep(data_dir / "run")
    apply(store, append("run/m", b"line\n"))
    deleted = store.delete("run", "alice")
    assert (deleted.files, deleted.size_bytes) == (2, 15)
    store.keep_house()
    assert list((data_dir / ".ml-logger" / "trash").iterdir()) == []


def test_a_deep_folder_counts(store: LocalStore, data_dir: Path) -> None:
    """A quota's bytes are counted down to the last level."""
    make_deep(data_dir / "team" / "run")
    assert store.usage("team") == 10


def test_the_descriptors_are_bounded(tmp_path: Path) -> None:
    """However deep, a bounded number of folders is open; each is entered and left once, what is below it in between."""
    make_deep(tmp_path / "top", 300)
    before, most, depth, deepest = len(os.listdir("/proc/self/fd")), 0, 0, 0
    fd = os.open(tmp_path / "top", os.O_RDONLY)
    for _, is_end in descend(Disk(), fd):
        depth += -1 if is_end else 1
        most, deepest = max(most, len(os.listdir("/proc/self/fd")) - before), max(depth, deepest)
    os.close(fd)
    assert (depth, deepest) == (0, 301)
    assert most <= MOST_OPEN + 3
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_folder_that_is_moved_meanwhile(tmp_path: Path) -> None:
    """Who lost the way back walks on nowhere: nothing outside the folder is ever met."""
    make_deep(tmp_path / "top" / "a", 100)
    (tmp_path / "top" / "a" / "n" / "kept").mkdir()
    (tmp_path / "elsewhere").mkdir()
    fd = os.open(tmp_path / "top", os.O_RDONLY)
    with pytest.raises(OSError, match="moved while it was walked"):
        for here, is_end in descend(Disk(), fd):
            if here.names and not is_end:
                below = "/".join(["n"] * 60)
                (tmp_path / "top" / "a" / below).rename(tmp_path / "elsewhere" / "n")
    os.close(fd)


def test_what_cannot_be_entered_is_passed_over(tmp_path: Path) -> None:
    """A folder that can't be opened, and a link, cost themselves alone."""

    class Shut(Disk):
        def open_folder(self, name: str, folder_fd: int) -> int:
            if name == "shut":
                raise PermissionError(errno.EACCES, "shut")
            return super().open_folder(name, folder_fd)

    for name in ("a", "shut", "z"):
        (tmp_path / "top" / name).mkdir(parents=True)
        (tmp_path / "top" / name / "file").write_bytes(b"12345")
    (tmp_path / "top" / "link").symlink_to(tmp_path)
    fd = os.open(tmp_path / "top", os.O_RDONLY)
    assert list(sizes(Shut(), fd)) == [5, 5]
    os.close(fd)


def test_the_house_is_kept_whatever_fails(caplog: pytest.LogCaptureFixture) -> None:
    """A work that raises what nobody foresaw is tried again and keeps the others from nothing; it is told of once."""
    done = threading.Semaphore(0)

    def fail() -> None:
        raise RecursionError("too deep")

    housekeeper = Housekeeper([fail, done.release], 0.001)
    housekeeper.wake()
    assert all(done.acquire(timeout=60) for _ in range(5))
    housekeeper.stop()
    assert housekeeper.failures >= 5
    assert len([r for r in caplog.records if r.exc_info and "keeping house" in r.message]) == 1


def test_the_metrics_show_it(store: LocalStore, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store's own thread goes on settling where emptying the trash fails, and its vitals count that."""

    def fail(_self: object, _keep_s: float) -> list[str]:
        raise RecursionError("too deep")

    monkeypatch.setattr("ml_logger.server.trash.Trash.old_ids", fail)
    keeping = LocalStore(data_dir, settle_s=0, trash_keep_s=0.0)
    apply(keeping, append("run/m", b"line\n"))
    wait_until(lambda: keeping.vitals().house_failures > 0, what="a failure")
    apply(keeping, append("run/n", b"line\n"))
    wait_until(lambda: keeping.vitals().unsettled_bytes == 0, what="the redo log to be settled")
    keeping.close()


def test_a_quota_is_counted_again_after_a_failure(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that counts outlives what one count raises."""
    counted, asked = threading.Event(), list[str]()

    def usage(folder: str) -> int:
        asked.append(folder)
        if len(asked) == 1:
            raise RecursionError("too deep")
        counted.set()
        return 0

    monkeypatch.setattr(store, "usage", usage)
    quotas = Quotas(store, {"team": 10})
    quotas.wake()
    wait_until(lambda: bool(asked), what="the first count")
    quotas.wake()
    assert counted.wait(60)
    quotas.stop()
