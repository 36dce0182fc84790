"""The receiver's store: what making batches durable costs, beside bare loops that do no more than that.

``python -m bench.receiver`` measures on one disk, the cases taking turns: batches of 100 whole files of 10 KB, 4 MiB
appends to one stream and to 8 streams side by side, and batches of one line for each of 200 streams. Numbers go to
``build/bench/receiver.json``. Every case has folders of its own and none is deleted before the end: ext4 makes new files
many times slower where others were deleted in the last minutes.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from ml_logger.server.disk import Disk
from ml_logger.server.local_store import LocalStore
from ml_logger.wire import Crc, Item, Manifest, Offset, crc32

from . import results

_FILE = os.urandom(10_000)
_FILE_CRC = crc32(_FILE)
_FILES_A_BATCH = 100
_APPEND = os.urandom(4 << 20)
_STREAMS = 8
_LINE = b'{"_step": 12345, "_timestamp": 1795363200.123456, "loss": 0.1234567, "accuracy": 0.7777777}\n'
_SLOW_STREAMS = 200
_POOL_THREADS = 8

_libc = ctypes.CDLL(None, use_errno=True)
_folders = count()


@dataclass
class Tally:
    """What one round of one case did: files, bytes, fsyncs, and the seconds of clock and CPU that took."""

    files: int
    size_bytes: int
    syncs: int = 0
    wall_s: float = 0.0
    cpu_s: float = 0.0
    settle_s: float = 0.0


Work = Callable[[Path, Tally], None]
"""Does one round below a folder; counts its fsyncs and what it leaves for later (`settle_s`)."""


@dataclass
class Case:
    """Something to measure, and what its rounds came to."""

    name: str
    work: Work
    files: int
    size_bytes: int
    rounds: list[Tally] = field(default_factory=list)

    def run(self, root: Path) -> None:
        """Do one round in a new folder."""
        folder = root / f"{next(_folders)}"
        folder.mkdir()
        tally = Tally(self.files, self.size_bytes)
        os.sync()  # so that no case pays for what the one before it left
        cpu_before = time.process_time()
        began = time.perf_counter()
        self.work(folder, tally)
        tally.wall_s = time.perf_counter() - began - tally.settle_s
        tally.cpu_s = time.process_time() - cpu_before
        self.rounds.append(tally)

    def _median(self, figure: Callable[[Tally], float]) -> float:
        return statistics.median(figure(tally) for tally in self.rounds)

    @property
    def mib_per_s(self) -> float:
        """The median round's speed."""
        return self._median(lambda t: t.size_bytes / t.wall_s / (1 << 20))

    @property
    def files_per_s(self) -> float:
        """The median round's speed."""
        return self._median(lambda t: t.files / t.wall_s)

    def summary(self) -> dict[str, float | str]:
        """Return the numbers of this case as they stand in the results."""
        return {
            "name": self.name,
            "files_per_s": round(self.files_per_s),
            "mib_per_s": round(self.mib_per_s, 1),
            "cpu_us_per_item": round(self._median(lambda t: t.cpu_s / t.files * 1e6), 1),
            "cpu_s_per_gib": round(self._median(lambda t: t.cpu_s / t.size_bytes * (1 << 30)), 2),
            "fsyncs_per_s": round(self._median(lambda t: t.syncs / t.wall_s)),
            "settle_ms": round(self._median(lambda t: t.settle_s) * 1000),
        }


# --- floors: what has to be done, in a bare loop


def _new_file(name: str, folder_fd: int, content: bytes) -> int:
    fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=folder_fd)
    os.write(fd, content)
    return fd


def _batches_of_names(files: int) -> list[list[str]]:
    names = [f"{number:06}.png" for number in range(files)]
    return [names[start : start + _FILES_A_BATCH] for start in range(0, files, _FILES_A_BATCH)]


def _two_folders(folder: Path) -> tuple[int, int]:
    for name in ("aside", "place"):
        (folder / name).mkdir()
    aside_fd, place_fd = (os.open(folder / name, os.O_RDONLY) for name in ("aside", "place"))
    return aside_fd, place_fd


def _publish(names: Sequence[str], fds: Sequence[int], aside_fd: int, place_fd: int) -> None:
    for name, fd in zip(names, fds, strict=True):
        os.rename(name, name, src_dir_fd=aside_fd, dst_dir_fd=place_fd)
        os.close(fd)


def _fsync_each(folder: Path, tally: Tally) -> None:
    """Write aside, fsync each in a pool, rename, fsync the folder."""
    aside_fd, place_fd = _two_folders(folder)
    with ThreadPoolExecutor(_POOL_THREADS) as pool:
        for names in _batches_of_names(tally.files):
            fds = [_new_file(name, aside_fd, _FILE) for name in names]
            list(pool.map(os.fsync, fds))
            _publish(names, fds, aside_fd, place_fd)
            os.fsync(place_fd)
            tally.syncs += len(names) + 1


def _syncfs(folder: Path, tally: Tally) -> None:
    """Write aside, one syncfs, rename, one more: the names may not be durable before the bytes."""
    aside_fd, place_fd = _two_folders(folder)
    for names in _batches_of_names(tally.files):
        fds = [_new_file(name, aside_fd, _FILE) for name in names]
        _libc.syncfs(place_fd)
        _publish(names, fds, aside_fd, place_fd)
        _libc.syncfs(place_fd)
        tally.syncs += 2


def _segment_first(folder: Path, tally: Tally) -> None:
    """All bytes into one segment that was used before, one fdatasync, then the files; these become durable at the end."""
    aside_fd, place_fd = _two_folders(folder)
    segment_fd = os.open(folder / "segment", os.O_RDWR | os.O_CREAT)
    batch = _FILE * _FILES_A_BATCH
    os.pwrite(segment_fd, bytes(len(_FILE) * tally.files), 0)
    os.fsync(segment_fd)
    began = time.perf_counter()
    for number, names in enumerate(_batches_of_names(tally.files)):
        os.pwrite(segment_fd, batch, number * len(batch))
        os.fdatasync(segment_fd)
        _publish(names, [_new_file(name, aside_fd, _FILE) for name in names], aside_fd, place_fd)
        tally.syncs += 1
    working_s = time.perf_counter() - began
    _libc.syncfs(place_fd)
    tally.settle_s += time.perf_counter() - began - working_s


def _append_bare(folder: Path, name: str, appends: int, piece_bytes: int = len(_APPEND)) -> None:
    """Write, CRC and fdatasync, 4 MiB by 4 MiB."""
    crc = Crc(0)
    fd = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    for number in range(appends):
        crc = crc32(_APPEND, crc)
        for start in range(0, len(_APPEND), piece_bytes):
            os.pwrite(fd, memoryview(_APPEND)[start : start + piece_bytes], number * len(_APPEND) + start)
        os.fdatasync(fd)
    os.close(fd)


def _one_stream_bare(folder: Path, tally: Tally) -> None:
    tally.syncs = tally.size_bytes // len(_APPEND)
    _append_bare(folder, "stream", tally.syncs)


def streams_bare(folder: Path, tally: Tally) -> None:
    """Write, CRC and fdatasync 4 MiB at a time, to 8 streams side by side."""
    tally.syncs = tally.size_bytes // len(_APPEND)
    _side_by_side(lambda number: _append_bare(folder, f"stream-{number}", tally.syncs // _STREAMS))


def streams_bare_in_pieces(folder: Path, tally: Tally) -> None:
    """The same, with writes of 256 KiB, which the kernel has pages for at once."""
    tally.syncs = tally.size_bytes // len(_APPEND)
    _side_by_side(lambda number: _append_bare(folder, f"stream-{number}", tally.syncs // _STREAMS, 256 << 10))


def _side_by_side(work: Callable[[int], None]) -> None:
    threads = [threading.Thread(target=work, args=(number,)) for number in range(_STREAMS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# --- the store


def _in_store(work: Callable[[LocalStore, Tally], None]) -> Work:
    def run(folder: Path, tally: Tally) -> None:
        disk = Disk()
        store = LocalStore(folder / "data", disk=disk)
        work(store, tally)
        tally.syncs = disk.waits.count
        began = time.perf_counter()
        store.close()
        tally.settle_s += time.perf_counter() - began

    return run


def _commit_all(store: LocalStore, names: Sequence[str], payloads: Sequence[bytes]) -> None:
    items = tuple(
        Item(
            f"experiment/run/images/sample/{name}",
            "commit",
            Offset(0),
            len(_FILE),
            Crc(0),
            _FILE_CRC,
            upload=name,
            mtime_ns=1795363200 * 10**9,
        )
        for name in names
    )
    for outcome in store.apply(Manifest("bench", items), payloads):
        assert outcome.result == "stored", outcome


def _commits(store: LocalStore, tally: Tally) -> None:
    payloads = [_FILE] * _FILES_A_BATCH
    for names in _batches_of_names(tally.files):
        _commit_all(store, names, payloads)


def _commits_in_four(store: LocalStore, tally: Tally) -> None:
    """Four batches at a time, as an agent with four connections sends them."""
    with ThreadPoolExecutor(4) as pool:
        payloads = [_FILE] * _FILES_A_BATCH
        list(pool.map(lambda names: _commit_all(store, names, payloads), _batches_of_names(tally.files)))


def _append(store: LocalStore, path: str, appends: int) -> None:
    crc, size = Crc(0), 0
    for _ in range(appends):
        before, crc = crc, crc32(_APPEND, crc)
        item = Item(path, "append", Offset(size), len(_APPEND), before, crc)
        size += len(_APPEND)
        (outcome,) = store.apply(Manifest("bench", (item,)), [_APPEND])
        assert outcome.result == "stored", outcome


def _one_stream(store: LocalStore, tally: Tally) -> None:
    _append(store, "run/metrics.jsonl", tally.size_bytes // len(_APPEND))


def _streams(store: LocalStore, tally: Tally) -> None:
    appends = tally.size_bytes // len(_APPEND) // _STREAMS
    _side_by_side(lambda number: _append(store, f"run-{number}/metrics.jsonl", appends))


def _lines(store: LocalStore, tally: Tally) -> None:
    crc, size = Crc(0), 0
    for _ in range(tally.files // _SLOW_STREAMS):
        before, crc = crc, crc32(_LINE, crc)
        items = tuple(
            Item(f"run-{number:03}/metrics.jsonl", "append", Offset(size), len(_LINE), before, crc)
            for number in range(_SLOW_STREAMS)
        )
        size += len(_LINE)
        for outcome in store.apply(Manifest("bench", items), [_LINE] * _SLOW_STREAMS):
            assert outcome.result == "stored", outcome


# --- all of it


def _cases(files: int, mib: int, lines: int) -> list[Case]:
    small: dict[str, Work] = {
        "10 KB files: floor, fsync each": _fsync_each,
        "10 KB files: floor, syncfs": _syncfs,
        "10 KB files: floor, segment first": _segment_first,
        "10 KB files: store": _in_store(_commits),
        "10 KB files: store, 4 at once": _in_store(_commits_in_four),
    }
    large: dict[str, Work] = {
        "one stream: floor": _one_stream_bare,
        "one stream: store": _in_store(_one_stream),
        "8 streams: floor": streams_bare,
        "8 streams: store": _in_store(_streams),
    }
    return [
        *(Case(name, work, files, files * len(_FILE)) for name, work in small.items()),
        *(Case(name, work, mib << 20 >> 22, mib << 20) for name, work in large.items()),
        Case("200 streams, a line each: store", _in_store(_lines), lines, lines * len(_LINE)),
    ]


def _targets(cases: Sequence[Case]) -> list[results.Target]:
    by_name = {case.name: case for case in cases}

    def times_slower(name: str, floor: str) -> float:
        pairs = zip(by_name[name].rounds, by_name[floor].rounds, strict=True)
        return statistics.median(a.wall_s / b.wall_s for a, b in pairs)

    return [
        results.Target(
            "8 streams: time over the floor's", times_slower("8 streams: store", "8 streams: floor"), 1 / 0.6
        ),
        results.Target(
            "one stream: time over the floor's", times_slower("one stream: store", "one stream: floor"), 1.3
        ),
        results.Target(
            "10,000 files of 10 KB, four batches at once: s",
            10_000 / by_name["10 KB files: store, 4 at once"].files_per_s,
            1.3,
        ),
    ]


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often every case has its turn")
    parser.add_argument("--files", type=int, default=3_000, help="small files a round")
    parser.add_argument("--mib", type=int, default=256, help="MiB of appends a round")
    parser.add_argument("--lines", type=int, default=12_000, help="lines a round")
    parser.add_argument("--dir", help="where to write: the disk to measure (default: the system's temporary directory)")
    options = parser.parse_args()
    cases = _cases(options.files, options.mib, options.lines)
    with tempfile.TemporaryDirectory(prefix="ml-logger-bench-", dir=options.dir) as folder:
        for _ in range(options.rounds):
            for case in cases:
                case.run(Path(folder))
    report = results.Report(targets=_targets(cases))
    report.add("cases", [case.summary() for case in cases])
    print(results.verdicts(report.targets), f"written to {report.write('receiver')}", sep="\n\n")


if __name__ == "__main__":
    main()
