"""Couriers: one delivery each, the first kept for what is live, and nobody waits for one; and what bounds their bandwidth."""

import threading

import pytest
from processes import wait_until

from ml_logger.agent.couriers import Couriers, Job
from ml_logger.agent.delivery import Questions
from ml_logger.agent.throttle import Throttle
from ml_logger.errors import TryAgain


class Gate:
    """A delivery that ends when it is told to, or fails as it is told to."""

    def __init__(self):
        self.may_end = threading.Event()
        self.error = None
        self.jobs = []

    def deliver(self, work, report):
        self.jobs.append(work)
        assert self.may_end.wait(20)
        if self.error is not None:
            raise self.error


@pytest.fixture
def gates():
    made = [Gate() for _ in range(3)]
    yield made
    for gate in made:
        gate.may_end.set()


def job(lane):
    return Job(lane, Questions(()))


def test_bulk_leaves_the_first_courier_free(gates):
    """However many checkpoints are under way, what is live goes at once; live work may use any that is idle."""
    rung = threading.Event()
    couriers = Couriers(gates, rung.set)
    for _ in range(2):
        assert couriers.is_free("bulk")
        couriers.start(job("bulk"))
    assert not couriers.is_free("bulk")
    assert couriers.is_free("live")
    live = job("live")
    couriers.start(live)
    assert not couriers.is_free("live")
    wait_until(lambda: gates[0].jobs)
    gates[0].may_end.set()
    assert rung.wait(20)
    assert couriers.take_finished() == [live]
    assert couriers.is_free("live")
    assert not couriers.is_free("bulk")
    couriers.close()


def test_one_courier_takes_turns(gates):
    """With one connection both lanes use it."""
    couriers = Couriers(gates[:1], lambda: None)
    assert couriers.is_free("bulk")
    couriers.start(job("bulk"))
    assert not couriers.is_free("live")
    couriers.close()


def test_an_error_comes_back_with_the_job(gates):
    """Whatever a delivery raises is kept for the thread that decides, and the courier works on."""
    couriers = Couriers(gates[:1], lambda: None)
    gates[0].may_end.set()
    for error in (TryAgain("x"), ValueError("a bug"), None):
        gates[0].error = error
        couriers.start(job("live"))
        finished = []
        wait_until(lambda f=finished: f.extend(couriers.take_finished()) or f)
        assert [done.error for done in finished] == [error]
    couriers.close()


def test_the_bandwidth_is_bounded_and_what_is_urgent_goes_first():
    """Bytes are paid for at the set rate by all together; an urgent one waits only for what is owed beyond a second."""
    now_s, slept = [0.0], []
    throttle = Throttle(1000, steady_s=lambda: now_s[0], sleep=slept.append)
    throttle.wait(500)
    throttle.wait(1000)
    throttle.wait(250, is_urgent=True)
    assert slept == [0.5, 0.5]
    now_s[0] = 10.0
    throttle.wait(1)
    assert slept == [0.5, 0.5]
