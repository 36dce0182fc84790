"""The agenda: each file is in one place at a time, and comes back from each of them."""

import pytest

from ml_logger.agent.agenda import Agenda, Timers
from ml_logger.agent.planner import kind_of, lane_of
from ml_logger.agent.scanner import LocalFile, Signature
from ml_logger.layout import STREAM_PATTERNS


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def agenda(clock):
    return Agenda(clock)


def local(path, size=1):
    return LocalFile(path, Signature(size, 0, 0, 1, 1))


def take_all(agenda, lane):
    return [file.path for file in iter(lambda: agenda.take(lane), None)]


def test_the_pattern_decides_the_kind_and_the_backlog_the_lane():
    """Whole files and streams with more than a batch to ship are bulk."""
    assert [kind_of(path, STREAM_PATTERNS) for path in ("a/m.jsonl", "a/m.png")] == ["stream", "whole"]
    lanes = [lane_of("stream", 100, 100), lane_of("stream", 101, 100), lane_of("whole", 1, 100)]
    assert lanes == ["live", "bulk", "bulk"]


def test_each_lane_is_first_in_first_out(agenda):
    """What is put back, or put first, comes before the others."""
    for path, lane in (("a", "bulk"), ("b", "bulk"), ("m", "live"), ("c", "bulk")):
        assert agenda.note(local(path))
        agenda.queue(path, lane)
    assert agenda.take("bulk").path == "a"
    agenda.put_back("a", "bulk")
    assert take_all(agenda, "live") == ["m"]
    assert take_all(agenda, "bulk") == ["a", "b", "c"]
    assert (agenda.out, agenda.is_ready("bulk")) == (4, False)


def test_news_of_a_file_on_its_way_is_kept_until_it_is_back(agenda):
    """It is not queued a second time, and its newest state is there when it comes back."""
    agenda.note(local("a", 1))
    agenda.queue("a", "bulk")
    agenda.take("bulk")
    assert not agenda.note(local("a", 2))
    assert not agenda.is_ready("bulk")
    assert agenda.come_back("a") == local("a", 2)


def test_a_file_that_goes_while_it_is_on_its_way_does_not_come_back(agenda):
    """Dropped, it is neither found nor put back; a new file of its name is another."""
    agenda.note(local("a"))
    agenda.queue("a", "live")
    agenda.take("live")
    agenda.drop("a")
    agenda.put_back("a", "live")
    assert agenda.come_back("a") is None
    assert not agenda.is_ready("live")
    assert list(agenda) == []


def test_a_file_changes_its_lane(agenda):
    """It is taken once, from the lane it was put into last."""
    agenda.note(local("a"))
    agenda.queue("a", "bulk")
    agenda.queue("a", "live")
    assert take_all(agenda, "bulk") == []
    assert take_all(agenda, "live") == ["a"]


@pytest.mark.parametrize("wait", [Agenda.settle, Agenda.rest, lambda agenda, path, _: agenda.hold(path)])
def test_a_file_that_has_to_wait_leaves_its_queue(agenda, clock, wait):
    """One that is written to while it is queued settles again; it is not sent meanwhile, nor a second time when it is due."""
    agenda.note(local("a"))
    agenda.queue("a", "bulk")
    wait(agenda, "a", 2.0)
    assert agenda.take("bulk") is None
    clock.now_s += 2.0
    for file in agenda.take_due() + agenda.take_held():
        agenda.queue(file.path, "bulk")
    assert take_all(agenda, "bulk") == ["a"]


def test_settling_resting_and_held_files_come_back(agenda, clock):
    """Each at its time; one that is queued meanwhile does not come back a second time."""
    for path in "abcd":
        agenda.note(local(path))
    agenda.settle("a", 2.0)
    agenda.rest("b", 5.0)
    agenda.hold("c")
    agenda.settle("d", 1.0)
    agenda.queue("d", "bulk")
    assert agenda.settles_in_s() == 2.0
    clock.now_s += 2.0
    assert [file.path for file in agenda.take_due()] == ["a"]
    assert agenda.settles_in_s() is None
    clock.now_s += 3.0
    assert [file.path for file in agenda.take_due()] == ["b"]
    assert [file.path for file in agenda.take_held()] == ["c"]
    assert agenda.take_held() == []


def test_a_timer_that_is_set_again_counts_from_then(clock):
    """Only the last setting counts; a discarded one never comes."""
    timers = Timers(clock)
    timers.set("a", 1.0)
    timers.set("a", 3.0)
    timers.set("b", 1.0)
    timers.discard("b")
    clock.now_s += 1.0
    assert timers.take_due() == []
    assert timers.next_in_s() == 2.0
    clock.now_s += 2.0
    assert timers.take_due() == ["a"]
    assert timers.next_in_s() is None
