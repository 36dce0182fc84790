"""Timers, and the moving window."""

import math

import numpy as np
import pytest

from ml_logger import ML_Logger, Stream
from ml_logger import timers as timers_module


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is set."""

    class Clock:
        now = 100.0

        def perf_counter(self):
            return self.now

    made = Clock()
    monkeypatch.setattr(timers_module, "time", made)
    return made


def test_since_reads_and_split_starts_anew(clock):
    """`since` does not touch the stopwatch, `split` starts it again; each key has its own."""
    run = ML_Logger()
    run.start("epoch", "step")
    clock.now += 2
    assert (run.since("epoch"), run.since("epoch"), run.split("step")) == (2, 2, 2)
    clock.now += 1
    assert (run.since("epoch"), run.since("step"), run.split("step"), run.split("step")) == (3, 1, 1, 0)


def test_first_call_starts(clock):
    """A first call gives zero, so sums and tables work from the first step on; without a key there is a default one."""
    run = ML_Logger()
    assert (run.split(), run.since("other")) == (0, 0)
    clock.now += 5
    assert (run.since(), run.split(), run.since("other")) == (5, 5, 5)


def test_several_keys_at_one_moment(clock):
    """Several keys give a list; a key that is named twice gives the same twice."""
    run = ML_Logger()
    run.start("a", "b")
    clock.now += 1
    assert run.split("a", "b", "a") == [1, 1, 1]
    assert run.since("a", "b") == [0, 0]


def test_every():
    """True on each n-th call, or from `start_on` on; keys count apart; an n of 0 is never."""
    run = ML_Logger()
    assert [i for i in range(1, 10) if run.every(3)] == [3, 6, 9]
    assert [i for i in range(1, 10) if run.every(4, "b", start_on=1)] == [1, 5, 9]
    assert [i for i in range(1, 10) if run.every(2, "c", start_on=5)] == [5, 7, 9]
    assert [run.every(1, "d"), run.every(0, "e"), run.every(key="f")] == [True, False, True]


def test_moving_window():
    """The window holds the last values and tells latest, mean, largest and smallest."""
    stream = Stream(3)
    for value in (9, 1.0, np.float32(2), np.array([3])):
        stream.append(value)
    assert (len(stream), stream.latest, stream.mean, stream.max, stream.min) == (3, 3.0, 2.0, 3.0, 1.0)
    assert "latest=3.0" in repr(stream)


def test_empty_window():
    """An empty window is NaN all over, which can be logged like any number."""
    stream = Stream()
    assert all(math.isnan(value) for value in (stream.latest, stream.mean, stream.max, stream.min))
