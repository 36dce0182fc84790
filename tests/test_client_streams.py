"""Streams that users name: any number of them, and a start that comes late; and a standard output that fails."""

import errno
import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys

import pytest

from ml_logger import ML_Logger
from ml_logger.color import Color
from ml_logger.layout import part_of
from ml_logger.reader import Run
from ml_logger.spool import most_streams

DEADLINE_S = 60
SPOOL_FORMAT = pathlib.Path(__file__).parent.parent / "docs" / "SPOOL_FORMAT.md"


def python(code, *arguments):
    """Run `code` in a process of its own to its end."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    result = subprocess.run(command, timeout=DEADLINE_S, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result


def records(directory, stream="metrics.jsonl"):
    """Return the records of all parts of a stream."""
    parts = [path for path in directory.iterdir() if part_of(path.name, stream) is not None]
    return [json.loads(line) for path in parts for line in path.read_bytes().splitlines()]


MANY_NAMES = """
import os, resource, sys
from ml_logger import ML_Logger
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
run = ML_Logger(sys.argv[1])
run.log_data("first", 0)
for number in range(300):
    run.log_data(f"name {number}", number)
    run.log_data("busy", number)
    run.log(number, number=number, silent=True)
run.log_data("first", 1)
files = [open(os.devnull) for _ in range(200)]  # what training itself opens
assert not run.dropped and not run.failures
"""


def test_the_documented_number_of_open_streams(monkeypatch):
    """As many streams are open at once as the description of the files says."""
    limits = {20: 8, 64: 8, 800: 100, 1024: 128, 1 << 20: 1024, resource.RLIM_INFINITY: 1024}
    for limit, streams in limits.items():
        monkeypatch.setattr(resource, "getrlimit", lambda _, limit=limit: (limit, limit))
        assert most_streams() == streams
    text = " ".join(SPOOL_FORMAT.read_text(encoding="utf-8").split())
    assert "at most an eighth of the descriptors" in text
    assert "never fewer than 8, never more than 1,024" in text


def test_more_names_than_descriptors(tmp_path):
    """A stream that was put aside for others goes on in its next part; one in use stays open, and so do the logger's own."""
    assert python(MANY_NAMES, tmp_path).stderr == ""
    run = Run(tmp_path)
    assert [run.data(f"name {number}") for number in range(300)] == [[number] for number in range(300)]
    assert run.data("first") == [0, 1]
    assert (tmp_path / "first.1.jsonl").exists()
    assert run.data("busy") == list(range(300))
    for name in ("busy", "metrics", "run"):
        assert not (tmp_path / f"{name}.1.jsonl").exists()


def test_unwritable_names_are_told_a_thousand_times_at_most(tmp_path, caplog):
    """A directory that takes no file any more is told for each stream once, and not for ever."""
    run = ML_Logger(tmp_path / "run")
    (tmp_path / "run").rmdir()
    (tmp_path / "run").touch()
    for number in range(1200):
        run.log_data(f"name {number}", 1)
        run.log_data("again", 1)
    assert sum("can't be written" in record.getMessage() for record in caplog.records) == 1000


def test_a_start_that_finds_no_room_is_written_later(tmp_path, monkeypatch):
    """While the disk is full at the first record nothing is stored; with room again the start comes before all else."""
    is_full = True

    def write(fd, data, write=os.write):
        if is_full:
            raise OSError(errno.ENOSPC, "no space left on device")
        return write(fd, data)

    monkeypatch.setattr(os, "write", write)
    run = ML_Logger(tmp_path)
    for number in range(10):
        run.log(number, number=number, silent=True)
    assert run.dropped == 11
    is_full = False
    run.log(10, number=10, silent=True)
    assert run.dropped == 10
    run.close()
    assert [record["number"] for record in records(tmp_path)] == [10]
    events = records(tmp_path, "run.jsonl")
    assert [event["event"] for event in events] == ["start", "end"]
    assert events[-1]["dropped"] == 10
    assert events[0]["_timestamp"] < records(tmp_path)[0]["_timestamp"]


def test_a_start_that_was_deleted_is_written_again(tmp_path, monkeypatch):
    """When the whole directory is deleted the run begins in it anew, once; when it was one stream its start is still there."""
    monkeypatch.setattr("ml_logger.spool.LOOK_EVERY_S", 0.0)
    run = ML_Logger(tmp_path / "run")
    run.log(0, number=0, silent=True)
    (tmp_path / "run/metrics.jsonl").unlink()
    run.log(1, number=1, silent=True)
    assert [event["event"] for event in records(tmp_path / "run", "run.jsonl")] == ["start"]
    shutil.rmtree(tmp_path / "run")
    for number in range(2, 5):
        run.log(number, number=number, silent=True)
        run.log_data("other", number)
    run.close()
    assert [record["number"] for record in records(tmp_path / "run")] == [2, 3, 4]
    assert [event["event"] for event in records(tmp_path / "run", "run.jsonl")] == ["start", "end"]


class Odd:
    """A standard output of somebody else's, which raises `error` whatever is asked of it."""

    def __init__(self, error):
        self.error = error

    def raise_error(self, *arguments):
        raise self.error

    write = flush = isatty = fileno = raise_error


@pytest.mark.parametrize("error", [TypeError, NotImplementedError, KeyError, OSError])
def test_text_log_does_not_need_the_screen(tmp_path, monkeypatch, error):
    """Whatever a replaced standard output raises, text.log holds every table and every text."""
    run = ML_Logger(tmp_path)
    monkeypatch.setattr(sys, "stdout", Odd(error("no")))
    run.log_params(Args={"parameter": 1})
    for step in range(3):
        run.log(step, value=Color(f"value {step}", "red"), long="x" * 200)
    run.log_text("a text")
    run.print("printed", Color("red", "red"), flush=True)
    run.close()
    text = (tmp_path / "text.log").read_text()
    for expected in ("parameter", "value 0", "value 1", "value 2", "a text", "printed red"):
        assert expected in text
    assert len(records(tmp_path)) == 3
    assert Run(tmp_path).state == "finished"


FORWARDING = """
import logging, os, sys, threading
import ml_logger.sidecar as sidecar, ml_logger.spool as spool
from ml_logger import ML_Logger

directory, kind = sys.argv[1:]
if kind == "no agent":  # a warning with every record
    sidecar.expect(directory)
    spool.LOOK_EVERY_S = sidecar.LOOK_EVERY_S = 0.0
    sidecar._is_missing = lambda spool: sidecar._told.clear() or sidecar._due_s.clear() or True
    sidecar._due_s = {f"{directory}/run": 0.0}
else:  # a disk that is full at the start and at the end
    write = os.write
    def full(fd, data):
        if fd > 2: raise OSError(28, "No space left on device")
        return write(fd, data)
    os.write = full

class Forward(logging.Handler):
    def emit(self, record):
        met.wait(0.02)
        run.log(1, text=record.getMessage(), silent=True)

met = threading.Event()
logging.getLogger().addHandler(Forward())
logging.getLogger().setLevel(logging.INFO)
for _ in range(20):
    run = ML_Logger(f"{directory}/run")
    started = threading.Barrier(4)
    def train():
        started.wait()
        for number in range(10):
            run.log(number, number=number, silent=True)
        run.close()
    def tell():
        started.wait()
        for number in range(10): logging.getLogger("user").info("%d", number)
    threads = [threading.Thread(target=target, daemon=True) for target in (train, tell, train, tell)]
    for thread in threads: thread.start()
    for thread in threads:
        thread.join(40)
        if thread.is_alive(): os._exit(9)
os._exit(0)
"""


@pytest.mark.parametrize("kind", ["no agent", "full disk"])
def test_a_handler_that_logs_into_the_run(tmp_path, kind):
    """A handler of `logging` that forwards to the run never waits for a thread that is just giving it a warning."""
    command = [sys.executable, "-c", FORWARDING, tmp_path, kind]
    assert subprocess.run(command, capture_output=True, timeout=2 * DEADLINE_S).returncode == 0
