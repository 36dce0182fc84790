"""Streams have one writer for life, records are whole, and a broken disk costs counts, not training."""

import copy
import errno
import fcntl
import multiprocessing
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading

import pytest

import ml_logger.spool as spool
from ml_logger.layout import part_of
from ml_logger.spool import StreamWriter, is_being_written, write_whole


@pytest.fixture
def writer(tmp_path):
    made = StreamWriter(str(tmp_path / "run"), "metrics.jsonl")
    yield made
    made.close()


def files(tmp_path):
    parts = sorted((tmp_path / "run").iterdir(), key=lambda p: part_of(p.name, "metrics.jsonl"))
    return {p.name: p.read_bytes() for p in parts}


def test_first_record_creates_the_file(tmp_path, writer):
    """Nothing exists before the first record, and the record is in the file when append returns."""
    assert not (tmp_path / "run").exists()
    assert writer.append(b"one\n")
    assert files(tmp_path) == {"metrics.jsonl": b"one\n"}
    assert writer.path() == str(tmp_path / "run/metrics.jsonl")


def test_a_second_writer_takes_the_next_number(tmp_path, writer):
    """Two writers of one stream never share a file, and a number once passed is not used again."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run/metrics.3.jsonl").write_bytes(b"old\n")
    other = StreamWriter(str(tmp_path / "run"), "metrics.jsonl")
    assert writer.append(b"a\n")
    assert other.append(b"b\n")
    assert files(tmp_path) == {"metrics.3.jsonl": b"old\n", "metrics.4.jsonl": b"a\n", "metrics.5.jsonl": b"b\n"}
    other.close()


def test_segments_roll(tmp_path):
    """A record that would pass the segment goes to the next number; one that is larger by itself is still whole."""
    writer = StreamWriter(str(tmp_path / "run"), "metrics.jsonl", segment_bytes=8)
    for record in (b"aaa\n", b"bbb\n", b"ccc\n", b"larger than a segment\n", b"d\n"):
        assert writer.append(record)
    writer.close()
    assert list(files(tmp_path).values()) == [b"aaa\nbbb\n", b"ccc\n", b"larger than a segment\n", b"d\n"]


def test_lock_is_held_while_open(tmp_path, writer):
    """Whoever can lock the file exclusively knows that its writer is gone."""
    writer.append(b"a\n")
    path = str(tmp_path / "run/metrics.jsonl")
    assert is_being_written(path)
    writer.close()
    assert not is_being_written(path)
    assert not is_being_written(str(tmp_path / "nothing"))


def test_a_probing_agent_is_not_waited_for(tmp_path, writer, monkeypatch):
    """If somebody holds the exclusive lock at the open, records are written all the same and the lock is taken later."""
    real, held = fcntl.flock, []

    def flock(fd, how):
        if how == fcntl.LOCK_SH | fcntl.LOCK_NB and len(held) < spool._LOCK_TRIES:
            held.append(fd)
            raise BlockingIOError
        return real(fd, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    assert writer.append(b"a\n")
    assert not is_being_written(str(tmp_path / "run/metrics.jsonl"))
    assert writer.append(b"b\n")
    assert is_being_written(str(tmp_path / "run/metrics.jsonl"))


def test_no_locks_on_this_file_system(tmp_path, writer, monkeypatch):
    """Where flock is not supported, records are written without one."""
    monkeypatch.setattr(fcntl, "flock", lambda fd, how: (_ for _ in ()).throw(OSError(errno.ENOLCK, "no locks")))
    assert writer.append(b"a\n")
    assert writer.append(b"b\n")
    assert not is_being_written(str(tmp_path / "run/metrics.jsonl"))


class FullDisk:
    """os.write on a disk with `room` bytes left."""

    def __init__(self, monkeypatch, room):
        self.room = room
        self.real = os.write
        monkeypatch.setattr(spool.os, "write", self)

    def __call__(self, fd, data):
        if not self.room:
            raise OSError(errno.ENOSPC, "no space left")
        written = self.real(fd, bytes(data)[: self.room])
        self.room -= written
        return written


def test_torn_record_is_cut_back(tmp_path, writer, monkeypatch):
    """A record that did not fit leaves no trace, is counted, and logging goes on when space is back."""
    disk = FullDisk(monkeypatch, 7)
    assert writer.append(b"one\n")
    assert not writer.append(b"two and more\n")
    assert not writer.append(b"three\n")
    assert files(tmp_path) == {"metrics.jsonl": b"one\n"}
    assert writer.dropped == 2
    assert writer.last_error.errno == errno.ENOSPC
    disk.room = 100
    assert writer.append(b"four\n")
    assert files(tmp_path) == {"metrics.jsonl": b"one\nfour\n"}


def test_torn_record_that_cannot_be_cut(tmp_path, writer, monkeypatch):
    """While the torn tail can't be cut, the next record that fits starts on a new line; once it can be, it is gone."""
    disk = FullDisk(monkeypatch, 7)
    real = os.ftruncate
    monkeypatch.setattr(spool.os, "ftruncate", lambda fd, size: (_ for _ in ()).throw(OSError(errno.EIO, "broken")))
    writer.append(b"one\n")
    assert not writer.append(b"two and more\n")
    disk.room = 100
    assert writer.append(b"four\n")
    disk.room = 3
    assert not writer.append(b"five and more\n")
    assert files(tmp_path) == {"metrics.jsonl": b"one\ntwo\nfour\nfiv"}
    disk.room = 100
    monkeypatch.setattr(spool.os, "ftruncate", real)
    assert writer.append(b"six\n")
    assert files(tmp_path) == {"metrics.jsonl": b"one\ntwo\nfour\nsix\n"}


def test_whole_lines_of_a_torn_table_stay(tmp_path, writer, monkeypatch):
    """A record of many lines is cut back to the last whole one: an agent may have shipped those before."""
    disk = FullDisk(monkeypatch, 9)
    assert not writer.append(b"one\ntwo\nthree\n")
    disk.room = 100
    assert writer.append(b"four\n")
    assert files(tmp_path) == {"metrics.jsonl": b"one\ntwo\nfour\n"}


@pytest.mark.parametrize(("written", "left"), [(0, b""), (3, b""), (4, b"two\n")])
def test_interrupt_in_a_write(tmp_path, writer, monkeypatch, written, left):
    """Ctrl-C before, in the middle of, or right behind the write leaves whole records once the next one is written."""
    writer.append(b"one\n")
    real = os.write

    def interrupted(fd, data):
        real(fd, data[:written])
        raise KeyboardInterrupt

    monkeypatch.setattr(spool.os, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        writer.append(b"two\n")
    monkeypatch.setattr(spool.os, "write", real)
    assert writer.append(b"three\n")
    assert files(tmp_path) == {"metrics.jsonl": b"one\n" + left + b"three\n"}


def test_no_descriptor_for_the_next_part(tmp_path, writer, monkeypatch):
    """Where the next part can't be opened the full one takes the records, until it can."""
    writer.segment_bytes = 8
    real = os.open
    monkeypatch.setattr(spool.os, "open", lambda *a: (_ for _ in ()).throw(OSError(errno.EMFILE, "too many")))
    assert not writer.append(b"lost\n")
    monkeypatch.setattr(spool.os, "open", real)
    assert writer.append(b"one two\n")
    monkeypatch.setattr(spool.os, "open", lambda *a: (_ for _ in ()).throw(OSError(errno.EMFILE, "too many")))
    assert writer.append(b"three\n")
    monkeypatch.setattr(spool.os, "open", real)
    assert writer.append(b"four\n")
    assert files(tmp_path) == {"metrics.jsonl": b"one two\nthree\n", "metrics.1.jsonl": b"four\n"}


def test_short_write_that_is_no_failure(tmp_path, writer, monkeypatch):
    """A write that takes only a part (a signal, a size limit) is carried on until the record is whole."""
    real = os.write
    monkeypatch.setattr(spool.os, "write", lambda fd, data: real(fd, bytes(data)[:2]))
    assert writer.append(b"a long record\n")
    assert files(tmp_path) == {"metrics.jsonl": b"a long record\n"}


def test_deleted_directory_is_made_again(tmp_path, writer):
    """After somebody deletes the directory the next record is in a new file that has a name."""
    writer.append(b"a\n")
    (tmp_path / "run/metrics.jsonl").unlink()
    (tmp_path / "run").rmdir()
    assert writer.append(b"b\n")
    assert files(tmp_path) == {"metrics.1.jsonl": b"b\n"}


class Clock:
    """The spool's clock, which moves when it is told to."""

    def __init__(self, monkeypatch):
        self.now_s = 1000.0
        monkeypatch.setattr(spool, "monotonic", lambda: self.now_s)


def test_deleted_file_is_noticed_at_the_next_look(tmp_path, writer, monkeypatch):
    """A stream that is written to all the time is looked at every LOOK_EVERY_S: then its records are in a new file."""
    clock = Clock(monkeypatch)
    for _ in range(3):
        assert writer.append(b"a\n")
    (tmp_path / "run/metrics.jsonl").unlink()
    clock.now_s += spool.LOOK_EVERY_S * 0.9
    assert writer.append(b"goes with the file\n")
    clock.now_s += spool.LOOK_EVERY_S * 0.2
    assert writer.append(b"b\n")
    assert files(tmp_path) == {"metrics.1.jsonl": b"b\n"}


def test_no_stat_a_record(tmp_path, writer, monkeypatch):
    """Between two looks a record costs no stat, which on a network file system would be a round trip."""
    clock = Clock(monkeypatch)
    writer.append(b"a\n")
    writer.append(b"a\n")
    real, asked = os.fstat, []
    monkeypatch.setattr(spool.os, "fstat", lambda fd: asked.append(fd) or real(fd))
    for _ in range(100):
        assert writer.append(b"a\n")
    assert asked == []
    clock.now_s += spool.LOOK_EVERY_S
    assert writer.append(b"a\n")
    assert len(asked) == 1
    assert files(tmp_path) == {"metrics.jsonl": b"a\n" * 103}


def test_file_cut_or_extended_by_others(tmp_path, writer, monkeypatch):
    """Whatever somebody does to the file between two looks, each further record is whole and at its end."""
    Clock(monkeypatch)
    path = tmp_path / "run/metrics.jsonl"
    for _ in range(3):
        writer.append(b"a\n")
    os.truncate(path, 0)
    for record in (b"b\n", b"c\n"):
        assert writer.append(record)
    with path.open("ab") as theirs:
        theirs.write(b"theirs\n")
    for record in (b"d\n", b"e\n"):
        assert writer.append(record)
    assert files(tmp_path) == {"metrics.jsonl": b"b\nc\ntheirs\nd\ne\n"}


@pytest.mark.parametrize("kind", ["file", "socket", "pipe"])
def test_number_taken_over_between_two_looks(tmp_path, writer, monkeypatch, kind):
    """Our number may become a file, socket or pipe of others at any moment: not one record gets into it."""
    Clock(monkeypatch)
    for _ in range(3):
        writer.append(b"a\n")
    number = writer._fd
    ends = (
        socket.socketpair()
        if kind == "socket"
        else os.pipe()
        if kind == "pipe"
        else [(tmp_path / "theirs").open("wb+")]
    )
    theirs = ends[-1] if kind == "pipe" else ends[-1].fileno()
    if kind == "file":
        os.write(theirs, b"their content")
    os.dup2(theirs, number)
    try:
        assert writer.append(b"b\n")
        assert files(tmp_path) == {"metrics.jsonl": b"a\n" * 3, "metrics.1.jsonl": b"b\n"}
        if kind == "file":
            assert (tmp_path / "theirs").read_bytes() == b"their content"
        else:
            os.set_blocking(ends[0] if kind == "pipe" else ends[0].fileno(), False)
            with pytest.raises(BlockingIOError):
                ends[0].recv(1) if kind == "socket" else os.read(ends[0], 1)
    finally:
        os.close(number)
        for end in ends:
            os.close(end) if kind == "pipe" else end.close()


def test_descriptor_closed_and_reused_by_others(tmp_path, writer):
    """If other code closed our descriptor and opened its own under the number, its file is never written to."""
    writer.append(b"a\n")
    theirs = os.open(tmp_path / "theirs", os.O_RDWR | os.O_CREAT)
    os.dup2(theirs, writer._fd)
    assert writer.append(b"b\n")
    assert (tmp_path / "theirs").read_bytes() == b""
    os.close(theirs)
    os.close(writer._fd)
    assert writer.append(b"c\n")
    assert list(files(tmp_path).values()) == [b"a\n", b"b\n", b"c\n"]


def test_closing_leaves_the_files_of_others_open(tmp_path, writer):
    """If other code closed our descriptor and opened its own under the number, close() does not close theirs."""
    writer.append(b"a\n")
    number = writer._fd
    os.close(number)
    theirs = os.open(tmp_path / "theirs", os.O_RDWR | os.O_CREAT)
    os.dup2(theirs, number)
    writer.close()
    assert os.write(number, b"still open") == 10
    os.close(number)
    if theirs != number:
        os.close(theirs)


def test_unwritable_place_is_counted(tmp_path):
    """A directory that can't be made costs counted records; once it can be made, records arrive."""
    (tmp_path / "run").write_text("a file where the directory should be")
    writer = StreamWriter(str(tmp_path / "run"), "metrics.jsonl")
    assert not writer.append(b"a\n")
    assert not writer.append(b"b\n")
    assert writer.dropped == 2
    (tmp_path / "run").unlink()
    assert writer.append(b"c\n")
    writer.close()


def test_threads_do_not_tear_records(tmp_path, writer):
    """Sixteen threads on one writer: every record is there once, whole."""
    records = [[f"{t}-{i}-{'x' * (i % 50)}\n".encode() for i in range(200)] for t in range(16)]
    threads = [threading.Thread(target=lambda mine=mine: [writer.append(r) for r in mine]) for mine in records]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = (tmp_path / "run/metrics.jsonl").read_bytes().splitlines(keepends=True)
    assert sorted(lines) == sorted(record for mine in records for record in mine)


def test_copies_open_their_own_file(tmp_path, writer):
    """A pickled or copied writer writes on in a file of its own."""
    writer.append(b"a\n")
    for copied in (pickle.loads(pickle.dumps(writer)), copy.deepcopy(writer)):
        assert copied.append(b"b\n")
        copied.close()
    assert list(files(tmp_path).values()) == [b"a\n", b"b\n", b"b\n"]


def test_forked_child_writes_its_own_file(tmp_path, writer):
    """After a fork parent and child never share a file, and the child's copy does not keep the parent's lock alive."""
    writer.append(b"parent\n")
    ready, go = multiprocessing.get_context("fork").Pipe()

    def child():
        writer.append(b"child\n")
        ready.send("written")
        ready.recv()

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    assert go.recv() == "written"
    writer.append(b"parent again\n")
    assert files(tmp_path) == {"metrics.1.jsonl": b"child\n", "metrics.jsonl": b"parent\nparent again\n"}
    writer.close()
    assert not is_being_written(str(tmp_path / "run/metrics.jsonl"))
    assert is_being_written(str(tmp_path / "run/metrics.1.jsonl"))
    go.send("leave")
    process.join(20)
    assert process.exitcode == 0


KILLED = """
import sys
from ml_logger.spool import StreamWriter
writer = StreamWriter(sys.argv[1], "metrics.jsonl")
number = 0
while True:
    if writer.append(b"%d\\n" % number):
        sys.stdout.buffer.write(b"%d\\n" % number)
        sys.stdout.buffer.flush()
    number += 1
"""


def test_kill_leaves_every_acknowledged_record(tmp_path):
    """After kill -9 the file holds every record whose append had returned, and nobody holds its lock."""
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE)
    acknowledged = [process.stdout.readline() for _ in range(300)]
    process.send_signal(signal.SIGKILL)
    acknowledged += [line for line in process.stdout.read().splitlines(keepends=True) if line.endswith(b"\n")]
    process.wait(20)
    process.stdout.close()
    lines = (tmp_path / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    assert lines[: len(acknowledged)] == acknowledged
    assert len(lines) <= len(acknowledged) + 1
    assert not is_being_written(str(tmp_path / "metrics.jsonl"))


def test_whole_file_appears_at_once(tmp_path):
    """A whole file replaces its predecessor by rename and leaves no temporary name."""
    path = tmp_path / "images/a/0001.png"
    write_whole(str(path), b"old")
    write_whole(str(path), b"new" * 100000)
    assert path.read_bytes() == b"new" * 100000
    assert [p.name for p in path.parent.iterdir()] == ["0001.png"]


def test_failed_whole_file_leaves_the_old_one(tmp_path, monkeypatch):
    """If the rename fails the old file stays and the temporary one goes."""
    path = tmp_path / "a.png"
    write_whole(str(path), b"old")
    monkeypatch.setattr(spool.os, "replace", lambda a, b: (_ for _ in ()).throw(OSError(errno.EIO, "broken")))
    with pytest.raises(OSError, match="broken"):
        write_whole(str(path), b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
