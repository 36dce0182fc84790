"""The queue of images: bounded in bytes, slower when full, never lost, in order for each file."""

import os
import sys
import threading
import time

import pytest

from ml_logger.encoder import Encoder

DEADLINE_S = 30


class Gate:
    """A job that waits until it is opened, and notes where it ran."""

    def __init__(self):
        self.started = threading.Event()
        self.opened = threading.Event()

    def __call__(self):
        self.started.set()
        assert self.opened.wait(DEADLINE_S)


@pytest.fixture
def gate():
    made = Gate()
    yield made
    made.opened.set()


def test_jobs_run_in_order_off_the_calling_thread():
    """Jobs run one after another in one thread, which is not the caller's."""
    encoder, seen = Encoder(), []
    for number in range(100):
        encoder.submit(str(number), 1, lambda n=number: seen.append((n, threading.get_ident())))
    assert encoder.wait(DEADLINE_S) == 0
    assert [n for n, _ in seen] == list(range(100))
    assert {thread for _, thread in seen} - {threading.get_ident()}
    assert len({thread for _, thread in seen}) == 1


def test_a_full_queue_makes_the_caller_work(gate):
    """What finds no room runs at once in the calling thread, and nothing is lost."""
    encoder, here = Encoder(queue_bytes=10), []
    encoder.submit("gate", 6, gate)
    encoder.submit("fits", 4, lambda: here.append("queued"))
    encoder.submit("late", 1, lambda: here.append(threading.get_ident()))
    assert here == [threading.get_ident()]
    gate.opened.set()
    assert encoder.wait(DEADLINE_S) == 0
    assert here[1:] == ["queued"]


def test_a_job_larger_than_the_queue_runs_at_once():
    """An image that would never fit does not wait for ever."""
    encoder, here = Encoder(queue_bytes=10), []
    encoder.submit("a", 11, lambda: here.append(threading.get_ident()))
    assert here == [threading.get_ident()]


def test_room_comes_back():
    """Bytes are given back when their job is done."""
    encoder, seen = Encoder(queue_bytes=10), []
    for _ in range(5):
        encoder.submit("a", 10, lambda: seen.append(threading.get_ident()))
        assert encoder.wait(DEADLINE_S) == 0
    assert threading.get_ident() not in seen


def test_the_wait_is_bounded(gate):
    """Waiting ends at its bound and says how many jobs are left."""
    encoder = Encoder()
    encoder.submit("gate", 1, gate)
    encoder.submit("b", 1, lambda: None)
    assert gate.started.wait(DEADLINE_S)
    assert encoder.wait(0.01) == 2


def test_a_later_job_for_one_file_wins(gate):
    """When the caller runs a job itself, an earlier one for the same file that still waits is withdrawn."""
    encoder, file = Encoder(queue_bytes=3), []
    encoder.submit("gate", 1, gate)
    encoder.submit("a", 2, lambda: file.append("old"))
    encoder.submit("a", 2, lambda: file.append("new"))
    gate.opened.set()
    assert encoder.wait(DEADLINE_S) == 0
    assert file == ["new"]


def test_a_later_job_waits_for_the_one_under_way(gate):
    """When the earlier job for the same file is under way, the caller waits for its end."""
    encoder, order = Encoder(queue_bytes=1), []

    def slow():
        gate()
        order.append("old")

    encoder.submit("a", 1, slow)
    assert gate.started.wait(DEADLINE_S)
    threading.Timer(0.01, gate.opened.set).start()
    encoder.submit("a", 1, lambda: order.append("new"))
    assert order == ["old", "new"]


def test_an_idle_thread_leaves(monkeypatch):
    """A thread without work ends, and the next job gets another."""
    monkeypatch.setattr(sys.modules["ml_logger.encoder"], "_IDLE_S", 0.001)
    encoder, seen = Encoder(), []
    for _ in range(2):
        encoder.submit("a", 1, lambda: seen.append(threading.current_thread()))
        assert encoder.wait(DEADLINE_S) == 0
        seen[-1].join(DEADLINE_S)
        assert not seen[-1].is_alive()
    assert seen[0] is not seen[1]


def test_no_thread_can_be_started(monkeypatch):
    """Where no thread can be started, as while the interpreter shuts down, the caller works."""
    monkeypatch.setattr(threading.Thread, "start", lambda self: (_ for _ in ()).throw(RuntimeError("no more threads")))
    encoder, here = Encoder(), []
    encoder.submit("a", 1, lambda: here.append(threading.get_ident()))
    assert here == [threading.get_ident()]
    assert encoder.wait(DEADLINE_S) == 0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_dead_thread_is_replaced(monkeypatch):
    """A job that tears its thread down costs itself: the ones behind it are still done, and it is reported."""
    told = []
    monkeypatch.setattr(threading, "excepthook", lambda arguments: told.append(arguments.exc_type))
    encoder, seen = Encoder(), []
    encoder.submit("a", 1, lambda: (_ for _ in ()).throw(MemoryError))
    encoder.submit("b", 1, lambda: seen.append("b"))
    deadline = time.monotonic() + DEADLINE_S
    while not seen and time.monotonic() < deadline:
        encoder.wait(0.1)
    assert seen == ["b"]
    assert told == [MemoryError]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_starts_empty(gate, tmp_path):
    """The child neither repeats what the parent has queued nor waits for a thread that it does not have."""
    encoder = Encoder()
    encoder.submit("gate", 1, gate)
    assert gate.started.wait(DEADLINE_S)
    encoder.submit("a", 1, lambda: (tmp_path / f"from {os.getpid()}").touch())
    child = os.fork()
    if child == 0:
        encoder.after_fork()
        encoder.submit("b", 1, lambda: (tmp_path / "childs").touch())
        os._exit(encoder.wait(DEADLINE_S))
    assert os.waitpid(child, 0)[1] == 0
    gate.opened.set()
    assert encoder.wait(DEADLINE_S) == 0
    assert {p.name for p in tmp_path.iterdir()} == {"childs", f"from {os.getpid()}"}
