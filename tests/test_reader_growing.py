"""A run that grows is read from where the last look ended, and a second process finds in the cache what the first one read."""

from __future__ import annotations

import gc
import json
import os
import random
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import orjson
import pytest
from processes import wait_until
from watched import MemoryFiles, WatchedFiles

from ml_logger import ML_Logger
from ml_logger.errors import TryAgain
from ml_logger.reader import Run, news_since
from ml_logger.reader.cache import ColumnCache
from ml_logger.reader.growing import WORTH_BYTES
from ml_logger.reader.held import HeldFile, HeldNumbers

PER_LINE = 100


def lines(first: int, last: int, *, seed: float = 0.5, begin_s: float = 1.8e9) -> bytes:
    """Return records of the steps first to last, each of `PER_LINE` bytes."""
    found = []
    for step in range(first, last):
        line = orjson.dumps({"_step": step, "_timestamp": begin_s + step, "loss": seed + step, "pad": ""})
        found.append(line[:-2] + b"x" * (PER_LINE - len(line) - 1) + line[-2:] + b"\n")
    return b"".join(found)


MANY = 2 * WORTH_BYTES // PER_LINE


@pytest.fixture
def cache(tmp_path):
    return ColumnCache(tmp_path / "cache", min_free_bytes=0)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def append(folder: Path, data: bytes, name: str = "metrics.jsonl") -> None:
    with (folder / name).open("ab") as file:
        file.write(data)


def losses(run: Run) -> list[float]:
    return run.series("loss").values.tolist()


def expected(first: int, last: int, seed: float = 0.5) -> list[float]:
    return [seed + step for step in range(first, last)]


def test_only_what_is_new_is_read(folder):
    """A look at a run that grew reads its new bytes and the KiB before them, and one at a run that did not reads nothing."""
    append(folder, lines(0, 3000))
    files = WatchedFiles(folder)
    run = Run("", files=files, cache=None)
    assert losses(run) == expected(0, 3000)
    for count in (3000, 3001, 3010):
        files.bytes_read.clear()
        assert losses(run) == expected(0, count)
        assert files.bytes_read["metrics.jsonl"] <= (0 if count == 3000 else 10 * PER_LINE + 4 * 1024)
        append(folder, lines(count, 3001 if count == 3000 else 3010))


class Interrupted(WatchedFiles):
    """Files of which a read in six fails, as over a bad line, always the same ones."""

    def __init__(self, root):
        super().__init__(root)
        self.chance = random.Random(1)

    def open(self, path):
        file, chance = super().open(path), self.chance
        plain = file.read

        def read(offset, length):
            if chance.random() < 1 / 6:
                raise TryAgain("the line is down")
            return plain(offset, length)

        file.read = read
        return file


def test_a_look_that_fails_in_the_middle(folder, cache, monkeypatch):
    """What could be read before a failure is kept, and the next look goes on there: no line is lost, none comes twice."""
    monkeypatch.setattr("ml_logger.reader.records.CHUNK_BYTES", 64 << 10)
    append(folder, lines(0, MANY) + b"bad\n")
    append(folder, b'{"event":"start","_timestamp":1.5}\n' * 10, "run.jsonl")
    run, tries = Run("", files=Interrupted(folder), cache=cache), []

    def is_read():
        try:
            tries.append(len(run.events))
            return losses(run) == expected(0, MANY) and run.columns().bad_lines == 1
        except TryAgain:
            tries.append(None)
            return False

    wait_until(is_read, poll_s=0)
    assert None in tries
    assert {found for found in tries if found is not None} == {10}


def test_a_torn_line_comes_with_the_next_look(folder):
    """A line is read once it is whole, wherever the looks cut it."""
    data, run = lines(0, 6), Run(folder, cache=None)
    for size in range(0, len(data) + 1, 7):
        (folder / "metrics.jsonl").write_bytes(b"")
        append(folder, data[:size])
        assert losses(run) == expected(0, data[:size].count(b"\n"))
    run = Run(folder, cache=None)
    (folder / "metrics.jsonl").unlink()
    for size in range(0, len(data), 7):
        append(folder, data[size : size + 7])
        assert losses(run) == expected(0, data[: size + 7].count(b"\n"))


@pytest.mark.parametrize("has_cache", [False, True])
def test_a_stream_that_was_written_anew(folder, cache, has_cache):
    """A stream that was cut, replaced, or edited where the last look ended is read from its beginning."""
    run = Run(folder, cache=cache if has_cache else None)
    path = folder / "metrics.jsonl"
    for number, (data, values) in enumerate(
        [
            (lines(0, MANY), expected(0, MANY)),
            (lines(0, 10), expected(0, 10)),
            (lines(0, MANY, seed=0.25), expected(0, MANY, 0.25)),
            (lines(0, MANY - 1, seed=0.25) + lines(MANY, MANY + 1), [*expected(0, MANY - 1, 0.25), 0.5 + MANY]),
        ]
    ):
        path.write_bytes(data)
        os.utime(path, (number, number))
        assert losses(run) == values
        assert losses(Run(folder, cache=cache if has_cache else None)) == values


def test_a_second_process_reads_no_line_again(folder, cache):
    """What was read once is taken from the cache: of the stream only a few KiB are looked at, and the same comes out."""
    append(folder, lines(0, MANY))
    append(folder, lines(MANY, 2 * MANY), "metrics.1.jsonl")
    first = Run(folder, cache=cache)
    before, last = first.metrics(), first.last_values()
    files = WatchedFiles(folder)
    second = Run("", files=files, cache=cache)
    assert_same(second.metrics(), before)
    assert (second.last_values(), second.columns().cursor) == (last, first.columns().cursor)
    assert files.bytes_read.total() <= 2 * 4 * 1024
    append(folder, lines(2 * MANY, 2 * MANY + 5), "metrics.1.jsonl")
    files.bytes_read.clear()
    assert losses(second) == losses(first) == expected(0, 2 * MANY + 5)
    assert files.bytes_read.total() <= 5 * PER_LINE + 4 * 1024


def assert_same(one, other):
    assert one.keys() == other.keys()
    for key in one:
        np.testing.assert_array_equal(one[key], other[key])


def test_a_growing_run_leaves_few_files(folder, cache):
    """However often a run is looked at while it grows, what is cached of it are a few stretches, and all of it is right."""
    run = Run(folder, cache=cache)
    for number in range(20):
        append(folder, lines(number * MANY // 2, (number + 1) * MANY // 2))
        assert len(run.series("loss")) == (number + 1) * MANY // 2
    assert len(list(cache.folder.rglob("*.json"))) <= 5
    assert losses(Run(folder, cache=cache)) == losses(run) == expected(0, 10 * MANY)


def test_keys_that_only_some_records_have_are_cached(folder, cache):
    """Columns with gaps, NaN that was logged, text and bad lines come out of the cache as they went in."""
    data = (
        lines(0, MANY)
        + b'{"_step":7,"_timestamp":1.8e9,"rare":"NaN","note":"\\ud800x","big":'
        + b"9" * 30
        + b"}\nbad\n"
    )
    (folder / "metrics.jsonl").write_bytes(data + lines(MANY, 2 * MANY))
    first, second = Run(folder, cache=cache), Run(folder, cache=cache)
    assert_same(first.metrics(), second.metrics())
    assert np.isnan(second.series("rare").values).tolist() == [True]
    assert (second.bad_lines, second.last_values()) == (first.bad_lines, first.last_values())
    assert second.last_values()["big"] == int("9" * 30)


def cached_files(cache: ColumnCache) -> list[Path]:
    return sorted(path for path in cache.folder.rglob("*-*.*") if path.is_file())


def test_a_damaged_cache_is_rebuilt(folder, cache):
    """Whatever becomes of a cached file, cut anywhere, emptied, gone or of other bytes, the run reads the same."""
    append(folder, lines(0, MANY) + b'{"_step":1,"rare":1}\n')
    before = losses(Run(folder, cache=cache))
    files = cached_files(cache)
    assert [path.suffix for path in files] == [".json", ".npy", ".npy"]
    for path in files:
        data = path.read_bytes()
        for damaged in (None, b"", data[:1], data[: len(data) // 2], data[:-1], b"\0" * len(data), b"{}", data + b"x"):
            path.unlink()
            if damaged is not None:
                path.write_bytes(damaged)
            os.utime(path, (1, 1)) if damaged is not None else None  # as if the machine had been started since
            assert losses(Run(folder, cache=cache)) == before
            assert losses(Run(folder, cache=cache)) == before
            path.write_bytes(data)


@pytest.mark.parametrize("suffix", [".rows.npy", ".npy"])
@pytest.mark.parametrize("place", [0.0, 0.01, 0.5, 0.99])
def test_numbers_that_changed_in_the_cache_are_not_believed(folder, cache, suffix, place):
    """Other bytes of the same length, wherever they are and however new the file, cost a reading and change no number."""
    every_third = [b'{"_step":%d,"x":%d}\n{"_step":0}\n{"_step":0}\n' % (step, step % 7) for step in range(2 * MANY)]
    append(folder, b"".join(every_third))
    before = Run(folder, cache=cache).metrics()
    (path,) = cache.folder.rglob(f"*[0-9a-f]{suffix}")
    data = bytearray(path.read_bytes())
    start = int(place * len(data))
    data[start : start + 64] = b"\xff\x7f\x00\x00" * 16
    path.write_bytes(data)
    assert_same(Run(folder, cache=cache).metrics(), before)


@pytest.mark.parametrize("damage", ["first", "middle", "last", "half"])
def test_a_large_file_of_the_cache_is_looked_at_in_places(folder, cache, monkeypatch, damage):
    """Of a file too large to be compared as a whole each column's begin, middle and end are, and a half of zeros is seen."""
    monkeypatch.setattr("ml_logger.reader.stored.WHOLE_BYTES", 1 << 10)
    append(folder, lines(0, MANY))
    before = Run(folder, cache=cache).metrics()
    (path,) = cache.folder.rglob("*.npy")
    data = bytearray(path.read_bytes())
    column = len(data) - 8 * MANY
    start = {"first": column, "middle": column + 4 * MANY, "last": len(data) - 8, "half": len(data) // 2}[damage]
    end = len(data) if damage == "half" else start + 8
    data[start:end] = bytes(end - start)
    path.write_bytes(data)
    assert_same(Run(folder, cache=cache).metrics(), before)


@pytest.mark.parametrize(
    "change",
    [
        {"last": 5}, {"last": ["ab"]}, {"last": {"loss": 7.0}}, {"count": "x"}, {"count": MANY - 1}, {"bad_lines": "x"},
        {"bad_lines": 3}, {"identity": "x"}, {"columns": [[5, MANY, None]]}, {"columns": [[[1], MANY, None]]},
        {"span": ["nan"] * 5}, {"span": [10**400] * 5}, {"start": None}, {"checks": [[0, 0]]}, {"format": 1}, {"check": 0},
    ],
)  # fmt: skip
def test_what_the_cache_says_of_itself_is_proven(folder, cache, change):
    """A JSON that says anything else than what was written is not believed, whatever it says and of whatever type."""
    append(folder, lines(0, MANY))
    run = Run(folder, cache=cache)
    before = run.metrics(), run.last_values(), run.bad_lines, run.columns().cursor
    (path,) = cache.folder.rglob("*.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    again = Run(folder, cache=cache)
    assert_same(again.metrics(), before[0])
    assert (again.last_values(), again.bad_lines, again.columns().cursor) == before[1:]


def test_rows_that_no_record_has_are_not_believed(folder, cache, monkeypatch):
    """Numbers of records that do not ascend, or are beyond the records, are refused also where no check was compared."""
    append(folder, b"".join(b'{"_step":1}\n{"x":%d}\n' % step for step in range(3 * MANY)))
    before = Run(folder, cache=cache).metrics()
    (path,) = cache.folder.rglob("*.rows.npy")
    data = path.read_bytes()
    monkeypatch.setattr("ml_logger.reader.stored.WHOLE_BYTES", 1 << 10)
    for number, at in ((-1, 1000), (1 << 40, 1000), (0, 1000), (1001, 1000)):
        path.write_bytes(data[: 128 + 8 * at] + struct.pack("<q", number) + data[136 + 8 * at :])
        assert_same(Run(folder, cache=cache).metrics(), before)


CUT_CODE = """
import os, sys
import numpy as np
from ml_logger.errors import StoreBusy
from ml_logger.reader import Run
from ml_logger.reader.cache import ColumnCache
cache = ColumnCache(sys.argv[2], min_free_bytes=0)
run = Run(sys.argv[1], cache=cache)
expected = 0.5 + np.arange(len(run.series("loss")))
for number in range(3):
    before = run.series("loss")
    for path in cache.folder.rglob("*.npy"):
        os.truncate(path, (4096, 0, path.stat().st_size - 8)[number])
    try:
        before.values
        raise SystemExit("was not noticed")
    except StoreBusy:
        pass
    assert (run.series("loss").values == expected).all()
"""


def test_a_cached_file_that_is_cut_while_it_is_used_ends_no_process(folder, cache):
    """Who has asked before is told, and who asks then gets what is in the run: its lines are read anew."""
    append(folder, lines(0, 5 * MANY))
    command = [sys.executable, "-c", CUT_CODE, str(folder), str(cache.folder)]
    done = subprocess.run(command, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr.decode()) == (0, "")


def test_bytes_written_into_a_cached_file_while_it_is_used_are_not_shown(folder, cache):
    """A run that is open is read anew where somebody wrote into the cache meanwhile."""
    append(folder, lines(0, 5 * MANY))
    run = Run(folder, cache=cache)
    assert losses(run) == expected(0, 5 * MANY)
    for path in cache.folder.rglob("*.npy"):
        with path.open("r+b") as file:
            file.seek(path.stat().st_size // 2)
            file.write(bytes(8000))
        os.utime(path, (5, 5))
    assert losses(run) == expected(0, 5 * MANY)


def test_few_descriptors_are_taken(folder, cache, monkeypatch):
    """What is past its share of them is read at once, and they come back when a run is let go of."""
    monkeypatch.setattr("ml_logger.reader.stored.HELD_BYTES", 1 << 10)
    monkeypatch.setattr("ml_logger.reader.held.most_streams", lambda: 1)
    append(folder, lines(0, MANY))
    open_before = len(os.listdir("/proc/self/fd"))
    runs = [Run(folder, cache=cache) for _ in range(5)]
    for run in runs:
        assert losses(run) == expected(0, MANY)
    assert len(os.listdir("/proc/self/fd")) <= open_before + 2
    runs.clear()
    del run
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == open_before


def test_numbers_in_a_file_are_taken_as_of_an_array(tmp_path):
    """Indexes, slices and arrays of indexes give what they give of an array, and what is beyond is an error."""
    array = np.arange(10.0)
    (tmp_path / "file").write_bytes(b"head" + array.tobytes())
    held = HeldNumbers(HeldFile(tmp_path / "file"), "<f8", 4, 10)
    for key in (
        3,
        -1,
        np.int64(2),
        slice(2, 5),
        slice(None, None, 3),
        slice(8, 2),
        slice(5, None, -2),
        np.array([1, 1]),
    ):
        np.testing.assert_array_equal(held[key], array[key])
    np.testing.assert_array_equal(held[array > 4], array[array > 4])
    np.testing.assert_array_equal(np.concatenate([held, array]), [*array, *array])
    assert (len(held), held.nbytes, np.asarray(held, dtype=np.int64).sum()) == (10, 80, 45)
    for beyond in (10, -11):
        with pytest.raises(IndexError):
            held[beyond]


def test_a_power_cut_may_have_taken_what_was_cached(folder, cache):
    """A file of the right length with other bytes, written before the machine last started, is not believed."""
    append(folder, lines(0, MANY))
    before = losses(Run(folder, cache=cache))
    (path,) = [path for path in cached_files(cache) if path.suffix == ".npy"]
    data = path.read_bytes()
    path.write_bytes(data[:4096] + b"\0" * (len(data) - 4096))
    os.utime(path, (1, 1))
    assert losses(Run(folder, cache=cache)) == before


def test_a_cache_that_cannot_be_written(folder, tmp_path):
    """A file in the cache's place, a disk that is too full, no home: all of it costs time only."""
    append(folder, lines(0, MANY))
    (tmp_path / "file").write_bytes(b"")
    for cache in (ColumnCache(tmp_path / "file/inside"), ColumnCache(tmp_path / "full", min_free_bytes=1 << 60)):
        run = Run(folder, cache=cache)
        assert losses(run) == expected(0, MANY)
        append(folder, lines(MANY, 2 * MANY))
        assert losses(run) == expected(0, 2 * MANY)
        (folder / "metrics.jsonl").write_bytes(lines(0, MANY))
    assert not (tmp_path / "full").exists()


def test_the_cache_is_deleted_while_it_is_used(folder, cache):
    """Deleting it takes nothing from who has read already, and the next one writes it again."""
    append(folder, lines(0, MANY))
    run = Run(folder, cache=cache)
    run.columns()
    for path in cached_files(cache):
        path.unlink()
    append(folder, lines(MANY, 3 * MANY))
    assert losses(run) == losses(Run(folder, cache=cache)) == expected(0, 3 * MANY)


def test_the_cache_is_bounded(tmp_path):
    """Past its size what was not used for the longest goes; what a process that died left behind goes too."""
    cache = ColumnCache(tmp_path / "cache", most_bytes=300_000, min_free_bytes=0)
    for number in range(6):
        folder = tmp_path / f"run{number}"
        folder.mkdir()
        append(folder, lines(0, MANY // 2 + 100))
        Run(folder, cache=cache).columns()
        for path in cached_files(cache):
            if path.stat().st_mtime > 1e9:
                os.utime(path, (1e8 + number, 1e8 + number))
    left = next(path.parent for path in cached_files(cache)) / ".0-5-01234567.npy.tmp-0123"
    left.write_bytes(b"x" * 1000)
    os.utime(left, (1, 1))
    cache.sweep()
    assert 0 < sum(path.stat().st_size for path in cached_files(cache)) <= 300_000
    assert not left.exists()
    files = WatchedFiles(tmp_path / "run5")
    assert len(Run("", files=files, cache=cache).series("loss")) == MANY // 2 + 100
    assert files.bytes_read.total() > 1024  # another name: nothing of it is cached


LOOK_CODE = """
import sys
import numpy as np
from ml_logger.reader import Run
from ml_logger.reader.cache import ColumnCache
run = Run(sys.argv[1], cache=ColumnCache(sys.argv[2], min_free_bytes=0))
while True:
    values = run.series("loss").values
    assert (values == 0.5 + np.arange(len(values))).all(), values[-3:]
    if len(values) >= int(sys.argv[3]):
        break
"""


def test_processes_at_once(folder, cache):
    """Two processes that follow one growing run with one cache see it whole all the time, and do not hurt each other."""
    command = [sys.executable, "-c", LOOK_CODE, str(folder), str(cache.folder), str(5 * MANY)]
    watching = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(2)]
    for number in range(25):
        append(folder, lines(number * MANY // 5, (number + 1) * MANY // 5))
    for process in watching:
        _, told = process.communicate(timeout=60)
        assert process.returncode == 0, told.decode()
    assert losses(Run(folder, cache=cache)) == expected(0, 5 * MANY)


def test_threads_at_once(folder):
    """Threads may share a run."""
    run, wrong = Run(folder, cache=None), []

    def look():
        while len(values := losses(run)) < 5000:
            if values != expected(0, len(values)):
                wrong.append(values)

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(50):
        append(folder, lines(number * 100, (number + 1) * 100))
    for thread in threads:
        thread.join(60)
    assert wrong == []


WRITE_CODE = """
import sys
from ml_logger import ML_Logger
run = ML_Logger(sys.argv[1], segment_bytes=20_000)
for step in range(10**9):
    run.log(step, loss=0.5 + step, silent=True)
"""


def test_a_client_that_writes_and_is_killed(tmp_path):
    """While a client writes, segment after segment, every look is a whole run so far; killed, it is known to be."""
    process = subprocess.Popen([sys.executable, "-c", WRITE_CODE, str(tmp_path / "run")])
    try:
        run, cursor, seen = Run(tmp_path / "run", cache=None), None, []
        wait_until(lambda: len(run.series("loss")) > 0, what="a first record")
        end = time.monotonic() + 60
        while len(seen) < 3000 and time.monotonic() < end:
            columns = run.columns()
            news = news_since(columns, cursor)
            assert news.is_everything == (cursor is None)
            seen += news.series("loss").values.tolist()
            cursor = columns.cursor
            assert seen == expected(0, len(seen))
        assert run.state == "running"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(20)
    assert len(run.parts("metrics.jsonl")) > 2
    assert losses(run) == expected(0, len(losses(run)))
    assert (run.state, run.bad_lines, len(run.columns().attempts)) == ("killed", 0, 1)


def test_events_and_parameters_are_read_once(tmp_path):
    """What processes said of themselves and the parameters are kept, and read from where the last look ended."""
    files = WatchedFiles(tmp_path)
    run = Run("", files=files)
    with ML_Logger(tmp_path) as logger:
        logger.log_params(G={"a": 1})
        assert (run.params, run.state) == ({"G": {"a": 1}}, "running")
        files.bytes_read.clear()
        assert (run.params, run.state) == ({"G": {"a": 1}}, "running")
        assert files.bytes_read.total() == 0
        logger.log_params(G={"b": 2})
        assert run.flat_params == {"G.a": 1, "G.b": 2}
    assert (run.state, len(run.events)) == ("finished", 2)


def test_a_run_that_goes_while_it_is_looked_at(folder):
    """What was deleted is not there any more, and no error."""
    append(folder, lines(0, 3))
    append(folder, lines(3, 6), "metrics.1.jsonl")
    run = Run(folder, cache=None)
    assert len(run.series("loss")) == 6
    (folder / "metrics.jsonl").unlink()
    assert losses(run) == expected(3, 6)
    (folder / "metrics.1.jsonl").unlink()
    folder.rmdir()
    assert (losses(run), run.metrics().keys(), run.state, run.params) == ([], {"step", "timestamp"}, "silent", {})


def test_any_files_will_do():
    """A run is read through the seam alone; where nobody can know who writes, one that did not end is silent."""
    start = b'{"event":"start","_timestamp":1.5,"host":"h","pid":1}\n'
    files = MemoryFiles({"team/run/metrics.jsonl": lines(0, 3), "team/run/run.jsonl": start})
    run = Run("team/run", files=files)
    assert (losses(run), run.state, run.host, run.started) == (expected(0, 3), "silent", "h", 1.5)
