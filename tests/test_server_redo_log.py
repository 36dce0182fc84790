"""The redo log: what it brings back, what it leaves alone, and that nobody waits for a disk that stands still for others."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from batches import Part, append, apply, commit, content_of, held_of, results, stage
from serving import serving

from ml_logger import wire
from ml_logger.errors import BadBatch, StoreBusy, StoreError
from ml_logger.server import local_round, redo_log
from ml_logger.server.disk import Disk
from ml_logger.server.lanes import Lanes
from ml_logger.server.local_store import LocalStore
from ml_logger.server.locks import PathLocks
from ml_logger.server.redo_record import Change, describe, encode_record, new_generation, read_records
from ml_logger.server.stamp import Stamp
from ml_logger.server.tree import Tree
from ml_logger.server.turns import Turns
from ml_logger.testing.disk import FaultyDisk, let_go
from ml_logger.testing.faults import Died, dies_at, fails
from ml_logger.wire import Manifest

LINES = b"".join(b'{"_step":%d}\n' % n for n in range(100))
HALF = len(LINES) // 2
PICTURE = bytes(range(256)) * 8
NEWER = PICTURE[::-1]
DEADLINE_S = 60


def open_store(data_dir: Path, disk: Disk | None = None) -> LocalStore:
    """Open a store that keeps house when it is told to, and then settles everything."""
    return LocalStore(data_dir, disk=disk, settle_s=0, keeps_house=False)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


def segments(data_dir: Path) -> list[Path]:
    return sorted((data_dir / ".ml-logger" / "redo").glob("*.redo"))


def killed(data_dir: Path, *batches: tuple[Part, ...]) -> None:
    """Store the batches, then die: nothing is settled."""
    store = open_store(data_dir)
    for batch in batches:
        assert set(results(store, *batch)) == {"stored"}
    let_go(data_dir)


# --- redoing


def test_what_was_lost_comes_back(data_dir: Path) -> None:
    """Streams and whole files of which nothing reached the disk are there again, with their times, before anybody asks."""
    killed(
        data_dir,
        (append("run/m", LINES, 0, HALF), commit("a/b/w", PICTURE, mtime_ns=10**18)),
        (append("run/m", LINES, HALF),),
    )
    (data_dir / "run" / "m").unlink()
    (data_dir / "a" / "b" / "w").unlink()
    (data_dir / "a" / "b").rmdir()
    store = open_store(data_dir)
    assert (data_dir / "run" / "m").read_bytes() == LINES
    assert (data_dir / "a" / "b" / "w").read_bytes() == PICTURE
    assert (data_dir / "a" / "b" / "w").stat().st_mtime_ns == 10**18
    store.close()


@pytest.mark.parametrize("most_logged", [0, 1 << 20])
@pytest.mark.parametrize("torn", [b"", LINES[HALF:-7], bytes(100), bytes(HALF), LINES[HALF:-7] + bytes(7)])
def test_a_torn_tail_is_cut_back(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, torn: bytes, most_logged: int
) -> None:
    """What a power cut left behind the last agreed byte is replaced by what was acknowledged, or, if that was nothing, cut."""
    killed(data_dir, (append("m", LINES, 0, HALF),))
    open_store(data_dir).close()
    monkeypatch.setattr(local_round, "MAX_LOGGED_BYTES", most_logged)
    store = open_store(data_dir)
    assert results(store, append("m", LINES, 0, HALF)) == ["already"]  # so that it knows the file
    assert results(store, append("m", LINES, HALF)) == ["stored"]
    let_go(data_dir)
    (data_dir / "m").write_bytes(LINES[:HALF] + torn)
    open_store(data_dir).close()
    assert (data_dir / "m").read_bytes() == (LINES if most_logged else LINES[:HALF])


def test_a_torn_whole_file_is_replaced(data_dir: Path) -> None:
    """A file that has its name and stamp, and not its bytes, is written anew."""
    killed(data_dir, (commit("w", PICTURE),))
    with (data_dir / "w").open("r+b") as file:
        file.truncate(100)
    open_store(data_dir).close()
    assert (data_dir / "w").read_bytes() == PICTURE


def test_versions_come_back_in_their_order(data_dir: Path) -> None:
    """Whichever version of a file the disk has, the last acknowledged one is there afterwards."""
    contents = [bytes([n]) * 500 for n in range(4)]
    batches = [
        (commit("w", content, upload=str(n), replaces=held_of(contents[n - 1]) if n else None),)
        for n, content in enumerate(contents)
    ]
    for survivor in range(4):
        folder = data_dir / str(survivor)
        kept = data_dir / f"kept-{survivor}"
        store = open_store(folder)
        for number, batch in enumerate(batches):
            assert results(store, *batch) == ["stored"]
            if number == survivor:
                os.link(folder / "w", kept)
        let_go(folder)
        kept.rename(folder / "w")
        open_store(folder).close()
        assert (folder / "w").read_bytes() == bytes([3]) * 500


def test_what_was_refused_is_never_redone(data_dir: Path) -> None:
    """Of a batch that failed after it was logged nothing appears after a crash, neither in streams nor as whole files."""
    disk = FaultyDisk()
    store = open_store(data_dir, disk)
    apply(store, append("m", LINES, 0, HALF))
    disk.fault = fails("make_unnamed")
    with pytest.raises(StoreError):
        apply(store, append("m", LINES, HALF), append("n", LINES), commit("w", PICTURE))
    let_go(data_dir)
    again = open_store(data_dir)
    assert again.stat(["m", "n", "w"]) == [held_of(LINES[:HALF]), held_of(b""), None]
    again.close()


def test_later_writers_are_left_alone(data_dir: Path) -> None:
    """What another receiver, or a person, has stored since then is not replaced by what is older."""
    other = open_store(data_dir)
    first = open_store(data_dir)
    apply(first, commit("w", PICTURE), commit("v", PICTURE), append("m", LINES, 0, HALF), append("n", LINES, 0, HALF))
    newer = commit("w", NEWER, replaces=held_of(PICTURE))
    assert results(other, newer, append("m", LINES, HALF)) == ["stored", "stored"]
    other.close()
    (data_dir / "aside").write_bytes(b"by hand")
    (data_dir / "aside").rename(data_dir / "v")
    (data_dir / "n").write_bytes(b"by hand\n" * 200)
    let_go(data_dir)
    open_store(data_dir).close()
    found = [(data_dir / name).read_bytes() for name in ("w", "v", "m", "n")]
    assert found == [NEWER, b"by hand", LINES, b"by hand\n" * 200]


def test_while_others_live_nothing_is_cut(data_dir: Path) -> None:
    """A receiver that takes over the log of a dead one completes what is missing, and cuts off nothing of its neighbours'."""
    dying = FaultyDisk()
    first, living = open_store(data_dir, dying), open_store(data_dir)
    apply(first, append("m", LINES, 0, HALF), append("n", LINES, 0, HALF))
    (folder,) = {os.path.dirname(path) for path in segments(data_dir)}
    (data_dir / "m").write_bytes(LINES[:10] + b"other")
    (data_dir / "n").write_bytes(LINES[:10])
    for fd in [int(name) for name in os.listdir("/proc/self/fd")]:
        if (
            os.path.exists(f"/proc/self/fd/{fd}")
            and os.readlink(f"/proc/self/fd/{fd}").startswith(f"{folder}/")
            and (os.readlink(f"/proc/self/fd/{fd}").endswith(".redo"))
        ):
            os.close(fd)
    living.keep_house()
    assert (data_dir / "m").read_bytes() == LINES[:10] + b"other"
    assert (data_dir / "n").read_bytes() == LINES[:HALF]
    living.close()
    let_go(data_dir)


def test_what_can_not_be_made_durable_is_written_again(data_dir: Path) -> None:
    """After a failed syncfs, which may have lost the bytes, nothing leaves the log before it was written once more."""
    disk = FaultyDisk()
    store = open_store(data_dir, disk)
    apply(store, append("m", LINES), commit("w", PICTURE))
    disk.fault = fails("sync_all")
    store.keep_house()
    disk.log.clear()
    disk.fault = fails("nothing")
    store.keep_house()
    inodes = {os.stat(data_dir / name).st_ino for name in ("m", "w")}
    written = [number for call, number in disk.log if call == "write"]
    assert inodes <= set(written)
    assert [call for call, _ in disk.log].index("sync_all") > max(disk.log.index(("write", n)) for n in inodes)
    disk.log.clear()
    store.keep_house()
    assert not [call for call, _ in disk.log if call != "open_file"]
    store.close()


def test_a_large_stream_costs_two_waits_an_append(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One for the intent and one for the bytes; what the log alone held so far has its entry fsynced once, too."""
    monkeypatch.setattr(local_round, "MAX_LOGGED_BYTES", HALF)
    disk = FaultyDisk()
    store = open_store(data_dir, disk)
    apply(store, append("run/m", LINES * 4, 0, HALF))
    waits = []
    for start in range(HALF, 3 * len(LINES), len(LINES)):
        disk.log.clear()
        apply(store, append("run/m", LINES * 4, start, start + len(LINES)))
        waits.append([call for call, _ in disk.log if "sync" in call])
        store.keep_house()
        assert (start == HALF) == ("sync_all" in [call for call, _ in disk.log])
    assert waits[0] == ["sync_data", *["sync"] * 3]
    assert waits[1:] == [["sync_data", "sync_data"]] * 2
    store.close()


def test_a_full_log_stops_nobody(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the log has no room left, files are written straight and fsynced; segments are used again once settled."""
    monkeypatch.setattr(redo_log, "SEGMENT_BYTES", 2000)
    disk = FaultyDisk()
    store = open_store(data_dir, disk)
    for number in range(20):
        assert results(store, append(f"{number}", LINES)) == ["stored"]
    assert len(segments(data_dir)) == redo_log.MAX_SEGMENTS
    last = os.stat(data_dir / "19").st_ino
    assert ("sync", last) in disk.log
    store.keep_house()
    disk.log.clear()
    assert results(store, append("after", LINES)) == ["stored"]
    assert [call for call, _ in disk.log if "sync" in call] == ["sync_data"]
    store.close()


def test_segments_are_taken_over(data_dir: Path) -> None:
    """Starting and dying again and again does not fill the disk with segments."""
    for number in range(10):
        killed(data_dir, (append(f"{number}", LINES),))
    store = open_store(data_dir)
    assert len(segments(data_dir)) <= redo_log.MAX_SEGMENTS
    assert all(content_of(store, f"{number}") == LINES for number in range(10))
    store.close()


# --- records


def changes_of(*parts: Part) -> list[Change]:
    return [
        Change(i.path, i.offset, i.length, i.crc_before, i.crc, None, Stamp("s", "c"), None, memoryview(payload))
        for i, payload in parts
    ]


def read_back(content: bytes, path: Path) -> list[tuple[int, str, bytes]]:
    path.write_bytes(content)
    with path.open("rb") as file:
        return [(time_ns, c.path, bytes(c.payload or b"")) for time_ns, c in read_records(file.fileno())]


def test_records_are_read_up_to_the_first_that_is_not_whole(tmp_path: Path) -> None:
    """Cut at any length, or with any byte damaged, a segment gives the whole records before that and nothing else."""
    generation, content, wanted, ends = new_generation(), b"", [], [0]
    for number in range(3):
        changes = changes_of(append(f"m{number}", LINES[:50]), commit("w", PICTURE[:40]))
        content += encode_record(describe(changes), changes, generation, number)
        wanted += [(number, f"m{number}", LINES[:50]), (number, "w", PICTURE[:40])]
        ends.append(len(content))
    path = tmp_path / "segment"
    assert read_back(content, path) == wanted
    older = encode_record(describe([]), [], new_generation(), 9)
    for length in range(len(content) + 1):
        whole = 2 * (sum(end <= length for end in ends) - 1)
        assert read_back(content[:length], path) == wanted[:whole]
        assert read_back(content[:length] + older, path)[: len(wanted[:whole])] == wanted[:whole]
    for at in range(24, len(content)):  # before that stand the mark and the generation of the first record
        damaged = content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :]
        found = read_back(damaged, path)
        assert found == wanted[: len(found)]
        assert len(found) == 2 * (sum(end <= at for end in ends) - 1)


# --- locks and lanes


@contextmanager
def in_threads(*works: Callable[[], object]) -> Iterator[list[threading.Thread]]:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    try:
        yield threads
    finally:
        for thread in threads:
            thread.join(DEADLINE_S)
    assert not any(thread.is_alive() for thread in threads)


def test_a_path_is_locked_alone(data_dir: Path) -> None:
    """Two holders of one path wait for each other, also where there is no file; those of other paths don't."""
    tree = Tree(data_dir, Disk())
    locks, others = PathLocks(tree), PathLocks(tree)
    order: list[str] = []

    def wait() -> None:
        with others.hold(["b", "a"]):
            order.append("second")

    with locks.hold(["a"]):
        with others.hold(["b"]), others.hold(["c"], shared=True), locks.hold(["c"], shared=True):
            pass
        waiting = threading.Thread(target=wait)
        waiting.start()
        deadline = time.monotonic() + DEADLINE_S
        while "OFDLCK" not in Path("/proc/locks").read_text() and time.monotonic() < deadline:
            pass
        order.append("first")
    waiting.join(DEADLINE_S)
    assert order == ["first", "second"]
    for each in (locks, others):
        each.close()
    tree.close()


def test_a_lane_is_as_wide_as_its_share() -> None:
    """A run's requests wait while its share is under way, and are refused once none of that ends; other runs go on."""
    lanes, go, entered = Lanes(2, 0.1), threading.Event(), threading.Semaphore(0)

    def stand_still() -> None:
        with lanes.enter(["run/a", "run/b"]):
            entered.release()
            go.wait(DEADLINE_S)

    with in_threads(stand_still, stand_still):
        assert all(entered.acquire(timeout=DEADLINE_S) for _ in range(2))
        with pytest.raises(StoreBusy, match="under 'run'"), lanes.enter(["other/a", "run/c"]):
            pass
        with lanes.enter(["other/a"]):
            go.set()
    with lanes.enter(["run/c"]):
        pass


def test_nobody_waits_long_for_a_turn() -> None:
    """One thread has the turn at a time; one that never comes back costs the others one short wait, not one each time."""
    turns, go, entered = Turns(patience_s=0.05), threading.Event(), threading.Event()

    def stand_still() -> None:
        with turns.take():
            entered.set()
            go.wait(DEADLINE_S)

    with in_threads(stand_still):
        assert entered.wait(DEADLINE_S)
        with turns.take():
            pass
        patient = Turns(patience_s=DEADLINE_S)
        with patient.take():
            waiting = threading.Thread(target=lambda: patient.take().__enter__())
            waiting.start()
            waiting.join(0.05)
            assert waiting.is_alive()
        waiting.join(DEADLINE_S)
        began = time.monotonic()
        for _ in range(1000):
            with turns.take():
                pass
        assert time.monotonic() - began < 1000 * 0.05
        go.set()


class StandingDisk(Disk):
    """A disk that does not come back from any call on something below `frozen` until `thaw`."""

    def __init__(self, frozen: Path) -> None:
        super().__init__()
        self.frozen, self.thaw = str(frozen), threading.Event()

    def _wait(self, fd: int) -> None:
        if os.readlink(f"/proc/self/fd/{fd}").startswith(self.frozen):
            assert self.thaw.wait(DEADLINE_S)

    def write(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        self._wait(fd)
        return super().write(fd, data, offset)

    def sync(self, fd: int) -> None:
        self._wait(fd)
        super().sync(fd)

    def sync_data(self, fd: int) -> None:
        self._wait(fd)
        super().sync_data(fd)

    def make_unnamed(self, folder_fd: int) -> int:
        self._wait(folder_fd)
        return super().make_unnamed(folder_fd)

    def sync_all(self, fd: int) -> None:
        assert self.thaw.wait(DEADLINE_S)
        super().sync_all(fd)


@pytest.mark.parametrize("most_logged", [0, 1 << 20])
def test_a_disk_that_stands_still_under_one_run(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, most_logged: int
) -> None:
    """However many requests hang in one run, and though nothing can be settled, those of another are acknowledged."""
    monkeypatch.setattr(local_round, "MAX_LOGGED_BYTES", most_logged)
    monkeypatch.setattr(redo_log, "SEGMENT_BYTES", 4000)
    disk = StandingDisk(data_dir / "frozen")
    (data_dir / "frozen").mkdir(parents=True)
    store = LocalStore(data_dir, disk=disk, settle_s=0, patience_s=0.2)

    def body_of(*parts: Part) -> bytes:
        return wire.encode_batch(Manifest("s", tuple(i for i, _ in parts)), [p for _, p in parts], compress=False)

    with serving(store) as site, ThreadPoolExecutor(12) as pool:
        hanging = [
            pool.submit(site.post, "/v1/batch", body_of(append(f"frozen/m{n}", LINES), commit(f"frozen/w{n}", PICTURE)))
            for n in range(12)
        ]
        for number in range(20):
            answer = site.post(
                "/v1/batch", body_of(append(f"good/m{number}", LINES), commit(f"good/w{number}", PICTURE))
            )
            assert answer.status_code == 200
            assert answer.text.count('"stored"') == 2
        disk.thaw.set()
        answers = [future.result(DEADLINE_S) for future in hanging]
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) <= {200, 503}
    assert statuses.count(503) >= 4
    assert all("Retry-After" in answer.headers for answer in answers if answer.status_code == 503)
    store.close()


# --- other file systems, and folders that may not be written


@pytest.fixture
def mounted(data_dir: Path) -> Iterator[Path]:
    """A folder in the data directory on which another file system is mounted."""
    folder = data_dir / "mounted"
    folder.mkdir(parents=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "none", folder], capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip("mounting is not allowed here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_another_file_system_below(data_dir: Path, mounted: Path) -> None:
    """Streams, small files, large ones and new versions of them are stored on a disk that is mounted in the tree."""
    store = open_store(data_dir)
    parts = (append("mounted/m", LINES), commit("mounted/w", PICTURE), stage("mounted/v", PICTURE, 0, 700))
    assert results(store, *parts) == ["stored"] * 3
    assert results(store, commit("mounted/v", PICTURE, 700)) == ["stored"]
    replacing = [commit(f"mounted/{name}", NEWER, upload="2", replaces=held_of(PICTURE)) for name in ("w", "v")]
    assert results(store, *replacing) == ["stored", "stored"]
    assert results(store, stage("mounted/v", LINES, 0, 9, upload="3")) == ["stored"]
    assert results(store, commit("mounted/v", LINES, 9, upload="3", replaces=held_of(NEWER))) == ["stored"]
    assert {path.name: path.read_bytes() for path in mounted.iterdir()} == {"m": LINES, "w": NEWER, "v": LINES}
    for folder in ("stage", "tmp"):
        assert list((data_dir / ".ml-logger" / folder).iterdir()) == []
    store.close()


@pytest.mark.parametrize("refusing", ["open_file", "make_folder", "make_unnamed"])
def test_a_folder_that_may_not_be_written(data_dir: Path, monkeypatch: pytest.MonkeyPatch, refusing: str) -> None:
    """Where rights are missing that item alone is rejected, with the reason; the others are stored."""
    disk = FaultyDisk()
    store = open_store(data_dir, disk)
    apply(store, append("good", LINES, 0, HALF))
    bad = {
        "open_file": append("bad", LINES),
        "make_folder": append("bad/m", LINES),
        "make_unnamed": commit("bad", LINES),
    }
    disk.fault = fails_once(refusing, errno.EACCES)
    outcomes = apply(store, bad[refusing], append("good", LINES, HALF))
    assert [o.result for o in outcomes] == ["rejected", "stored"]
    assert "may not write" in (outcomes[0].reason or "")
    monkeypatch.setattr(disk, "may_write", lambda _fd: False)
    disk.fault = fails("nothing")
    assert results(store, append("new", LINES), commit("w", LINES), append("good", LINES)) == [
        "rejected",
        "rejected",
        "already",
    ]
    store.close()


def fails_once(call: str, code: int) -> Callable[[str, int], BaseException | None]:
    """The second `call` of a batch fails (the first opens the file of the locks), or the only one."""
    left = [2 if call == "open_file" else 1]

    def fault(met: str, _number: int) -> BaseException | None:
        left[0] -= met == call
        return OSError(code, os.strerror(code)) if met == call and left[0] == 0 else None

    return fault


def test_old_uploads_are_swept_while_running(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A receiver that is never restarted removes what nobody went on with for a week, within an hour."""
    store = open_store(data_dir)
    apply(store, stage("w", PICTURE, 0, 700))
    (staged,) = (data_dir / ".ml-logger" / "stage").iterdir()
    os.utime(staged, (1, 1))
    store.keep_house()
    assert staged.exists()
    now = time.monotonic() + 3700
    monkeypatch.setattr(time, "monotonic", lambda: now)
    store.keep_house()
    assert not staged.exists()
    monkeypatch.undo()
    store.close()


def test_a_frame_with_a_large_window_is_refused() -> None:
    """A few bytes that ask for 128 MiB to refer back to get none; what the project sends is far below."""
    compressor = wire.zstd.ZstdCompressor(options={wire.zstd.CompressionParameter.window_log: 27})
    frame = (
        compressor.compress(b"x" * 100) + compressor.flush()
    )  # in pieces, since a known size makes the window smaller
    with pytest.raises(BadBatch, match="zstd"):
        wire.expand(frame, max_expanded_bytes=1000)
    body = os.urandom(9 << 20)
    assert wire.expand(wire.zstd.compress(body, wire.ZSTD_LEVEL), max_expanded_bytes=10 << 20) == body


# --- a real file system


@contextmanager
def mounted_image(image: Path, folder: Path) -> Iterator[Path]:
    """Mount an image of ext4; skips the test where that is not allowed."""
    folder.mkdir()
    if subprocess.run(["mount", "-o", "loop", image, folder], capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting is not allowed here")
    try:
        yield folder
    finally:
        let_go(folder)
        subprocess.run(["umount", folder], check=True)


def whole_batch(number: int) -> list[Part]:
    """A batch of the history that is cut off: a stream that grows, one that is large, small files, a new version of one."""
    lines, large = LINES * (number + 1), PICTURE * 200 * (number + 1)
    return [
        append("run/m", lines, len(LINES) * number),
        append("run/large", large, len(PICTURE) * 200 * number),
        commit(
            "run/latest",
            bytes([number]) * 5000,
            upload=str(number),
            replaces=held_of(bytes([number - 1]) * 5000) if number else None,
        ),
        *(commit(f"run/images/{number}/{n}", PICTURE) for n in range(5)),
    ]


@pytest.mark.parametrize("calls", [*range(60, 260, 20)])
def test_ext4_cut_off_from_its_device(tmp_path: Path, calls: int) -> None:
    """A copy of the device, taken the moment the process dies, holds all that was acknowledged and nothing torn."""
    image, copy = tmp_path / "image", tmp_path / "copy"
    with image.open("wb") as file:
        file.truncate(48 << 20)
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("mkfs.ext4 is not installed")
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
    acknowledged = 0
    with mounted_image(image, tmp_path / "mounted") as folder:
        with suppress(Died):
            store = open_store(folder / "data", FaultyDisk(dies_at(calls)))
            while True:
                assert set(results(store, *whole_batch(acknowledged))) == {"stored"}
                acknowledged += 1
                if acknowledged == 2:
                    store.keep_house()
        shutil.copyfile(image, copy)
    with mounted_image(copy, tmp_path / "found") as folder:
        open_store(folder / "data")
        require_history(folder / "data", acknowledged)


def require_history(data_dir: Path, batches: int) -> None:
    """Require all of so many batches, at most one more, and no whole file in part."""
    for name, piece in (("m", LINES), ("large", PICTURE * 200)):
        found = (data_dir / "run" / name).read_bytes() if batches else b""
        assert len(found) >= len(piece) * batches
        assert (piece * (batches + 1)).startswith(found)
    for number in range(batches):
        assert [(data_dir / f"run/images/{number}/{n}").read_bytes() for n in range(5)] == [PICTURE] * 5
    latest = [bytes([number]) * 5000 for number in (batches - 1, batches) if number >= 0]
    assert not batches or (data_dir / "run" / "latest").read_bytes() in latest
