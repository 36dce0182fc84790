"""When rounds happen: back-off with jitter, the doorbell, and nothing that ends the loop but a stop."""

import logging
import threading

import pytest
from processes import wait_until

from ml_logger.agent.config import AgentConfig, RetrySettings
from ml_logger.agent.loop import Backoff, Loop
from ml_logger.agent.scanner import Problem
from ml_logger.agent.shipper import Round
from ml_logger.agent.watcher import Doorbell, Watcher
from ml_logger.errors import BadAnswer, BatchRefused, StopSending, TryAgain


def test_backoff_doubles_to_the_cap_with_full_jitter():
    """The limit doubles to max_s and stays there; the wait is a random part of it, at the cap too."""
    backoff = Backoff(RetrySettings(initial_s=1.0, max_s=8.0), jitter=lambda: 0.5)
    assert [backoff.next_s(TryAgain("x")) for _ in range(6)] == [0.5, 1.0, 2.0, 4.0, 4.0, 4.0]
    assert backoff.reset()
    assert backoff.next_s(TryAgain("x")) == 0.5
    many = Backoff(RetrySettings(initial_s=1.0, max_s=8.0))
    waits = [many.next_s(TryAgain("x")) for _ in range(2000)][10:]
    assert len(set(waits)) > 1000
    assert 0 <= min(waits) < 1
    assert 7 < max(waits) <= 8


def test_backoff_honours_retry_after_and_waits_long_for_a_person():
    """What the receiver asks for is the least; a refused token is asked about at the slowest pace from the start."""
    backoff = Backoff(RetrySettings(initial_s=1.0, max_s=8.0), jitter=lambda: 0.5)
    assert backoff.next_s(TryAgain("x", retry_after_s=30.0)) == 30.0
    assert backoff.next_s(StopSending("x")) == 4.0


SHIPPED = Round(1, 1, is_answered=True)


class FakeShipper:
    """Does what it is told in each round: raise an error or return a round."""

    def __init__(self, *script):
        self.script = list(script)
        self.rounds = 0
        self.has_reached_aim = False

    def aim(self):
        self.has_reached_aim = False

    def ship_once(self, complete_paths=(), folders=None):
        self.rounds += 1
        step = self.script.pop(0) if self.script else Round(next_look_in_s=60.0)
        if isinstance(step, Exception):
            raise step
        return step

    def unshipped(self):
        return [Problem("left", "not shipped yet")] if self.script else []


@pytest.fixture
def make_loop(tmp_path):
    doorbell = Doorbell()

    def make(shipper, **settings):
        defaults = {
            "scan_interval_s": 60.0,
            "min_interval_s": 0.0,
            "settle_s": 0.0,
            "retry": RetrySettings(0.001, 0.002),
        }
        config = AgentConfig(spool=tmp_path, server="http://unused", **{**defaults, **settings})
        return Loop([shipper], Watcher([tmp_path], doorbell), doorbell, config)

    yield make
    doorbell.close()


def run_until(loop, condition):
    results = []
    thread = threading.Thread(target=lambda: results.append(loop.run()))
    thread.start()
    try:
        wait_until(condition, 20)
    finally:
        loop.stop()
        thread.join(20)
    return results[0]


def test_no_error_ends_the_loop(make_loop, caplog):
    """Network errors, refused tokens, wrong answers and bugs are survived, and each is said."""
    errors = [StopSending("401"), BadAnswer("html"), BatchRefused("too many paths"), ValueError("a bug")]
    shipper = FakeShipper(TryAgain("no route"), Round(is_answered=True), *errors, Round(5, 1, is_answered=True))
    total = run_until(make_loop(shipper, scan_interval_s=0.001), lambda: shipper.rounds >= 7)
    assert (total.shipped_bytes, total.left) == (5, ())
    said = caplog.text
    assert all(text in said for text in ("no route", "401", "html", "too many paths", "a bug"))


def test_the_same_failure_is_said_once(make_loop, caplog):
    """A long outage is one line when it begins and one when it ends."""
    caplog.set_level(logging.INFO)
    shipper = FakeShipper(*[TryAgain("no route")] * 50, SHIPPED)
    run_until(make_loop(shipper), lambda: shipper.rounds >= 51)
    assert caplog.text.count("no route") == 1
    assert caplog.text.count("answers again") == 1


def test_the_same_bug_is_said_once(make_loop, caplog):
    """An unexpected error comes with its trace when it begins, not with every round."""
    shipper = FakeShipper(*[ValueError("a bug")] * 20, SHIPPED)
    run_until(make_loop(shipper), lambda: shipper.rounds >= 21)
    assert caplog.text.count("Traceback") == 1


def test_a_bug_in_one_spool_lets_the_others_ship(make_loop, tmp_path):
    """Every spool has its round, whatever goes wrong in another."""
    bad, good = FakeShipper(*[ValueError("a bug")] * 1000), FakeShipper(*[SHIPPED] * 3)
    loop = make_loop(bad, drain_timeout_s=0.2)
    loop._shippers = [bad, good]
    total = run_until(loop, lambda: good.rounds >= 3)
    assert [p.path for p in total.left] == ["left"], "a bug does not cut the drain short, nor the list at its end"


def test_a_round_that_heard_nothing_is_no_answer(make_loop, caplog):
    """What was to be sent has gone, so nothing was: the trouble stands, and nobody was let in."""
    caplog.set_level(logging.INFO)

    class Stopping(FakeShipper):
        def ship_once(self, complete_paths=(), folders=None):
            if self.rounds == 2:
                loop.stop()
            return super().ship_once()

    loop = make_loop(Stopping(TryAgain("no route"), Round(next_look_in_s=0.001), StopSending("401")))
    with pytest.raises(StopSending):
        loop.run()
    assert "answers again" not in caplog.text


def test_an_event_in_the_spool_starts_a_round(make_loop, tmp_path):
    """With a walk once a minute a new file is noticed at once, and a closed one is known to be complete."""
    noted = []

    class Noting(FakeShipper):
        def ship_once(self, complete_paths=(), folders=None):
            noted.extend(complete_paths)
            return super().ship_once()

    def write_and_look():
        (tmp_path / "model.pt").write_bytes(b"x")
        return str(tmp_path / "model.pt") in noted

    run_until(make_loop(Noting()), write_and_look)


def test_hidden_files_ring_no_bell(tmp_path):
    """The agent's own ledger in the spool does not wake it."""
    doorbell = Doorbell()
    watcher = Watcher([tmp_path], doorbell)
    watcher.ensure_alive()
    doorbell.wait(0)
    doorbell.take()
    (tmp_path / ".ml-logger-agent").mkdir()
    (tmp_path / ".ml-logger-agent" / "ledger.sqlite").write_bytes(b"x")
    (tmp_path / "seen").write_bytes(b"x")
    wait_until(lambda: str(tmp_path / "seen") in doorbell._complete)
    heard = doorbell.take()
    assert heard.complete == {str(tmp_path / "seen")}
    assert heard.folders == {str(tmp_path)}
    watcher.stop()
    doorbell.close()


def test_a_dead_observer_is_replaced(tmp_path):
    """An observer thread that ended is started anew, and files are noticed again."""
    doorbell = Doorbell()
    watcher = Watcher([tmp_path], doorbell)
    watcher.ensure_alive()
    watcher._observer.stop()
    watcher._observer.join()
    watcher.ensure_alive()
    (tmp_path / "f").write_bytes(b"x")
    wait_until(lambda: str(tmp_path / "f") in doorbell.take().complete)
    watcher.stop()
    doorbell.close()


def test_without_watches_the_timer_is_left(tmp_path, monkeypatch, caplog):
    """An exhausted inotify limit is said once and stops nothing."""
    from watchdog.observers.api import BaseObserver

    def refuse(self, *args, **kwargs):
        raise OSError(28, "inotify watch limit reached")

    monkeypatch.setattr(BaseObserver, "start", refuse)
    doorbell = Doorbell()
    watcher = Watcher([tmp_path], doorbell)
    watcher.ensure_alive()
    watcher.ensure_alive()
    assert caplog.text.count("inotify watch limit reached") == 1
    watcher.stop()
    doorbell.close()


def test_draining_goes_on_while_there_is_something_to_wait_for(make_loop):
    """Backlog, unsettled files and an absent receiver are waited for; then what is left is empty."""
    shipper = FakeShipper(
        TryAgain("x"),
        Round(1, 1, has_backlog=True, is_answered=True),
        Round(1, 1, settles_in_s=0.001, is_answered=True),
        SHIPPED,
    )
    total = make_loop(shipper).drain()
    assert (total.shipped_bytes, total.left, shipper.rounds) == (3, (), 4)


def test_draining_ends_beside_a_writer_once_its_aim_is_reached(make_loop):
    """What was there when it began is shipped, so that more comes and settles is no reason to go on."""

    class Busy(FakeShipper):
        def ship_once(self, complete_paths=(), folders=None):
            self.has_reached_aim = self.rounds >= 3
            return super().ship_once()

    shipper = Busy(*[Round(1, 1, settles_in_s=0.001)] * 10**4)
    make_loop(shipper, drain_timeout_s=1000.0).drain()
    assert shipper.rounds == 4


def test_an_agent_that_is_told_to_end_ships_what_still_comes(make_loop):
    """A second look that finds nothing is no end while something came a moment ago; then it ends before its time."""
    shipper = FakeShipper(SHIPPED, *[Round()] * 3, SHIPPED, Round())
    loop = make_loop(shipper, drain_timeout_s=1000.0, settle_s=0.5)
    loop.stop()
    assert loop.run().shipped_bytes == 2
    assert shipper.rounds > 6


def test_draining_ends_at_its_time_with_a_list(make_loop):
    """Without a receiver a drain ends after drain_timeout_s and says what is left."""
    shipper = FakeShipper(*[TryAgain("x")] * 10**6)
    total = make_loop(shipper, drain_timeout_s=0.05).drain()
    assert [p.path for p in total.left] == ["left"]


def test_draining_with_a_refused_token_raises(make_loop):
    """`StopSending` reaches the command, which exits with 2."""
    with pytest.raises(StopSending):
        make_loop(FakeShipper(StopSending("401"))).drain()


def test_a_token_that_never_worked_ends_the_agent(make_loop):
    """Refused from the start and with no token file that could be mended, the agent says so and ends."""
    with pytest.raises(StopSending):
        make_loop(FakeShipper(TryAgain("x"), StopSending("401"))).run()


def test_a_token_file_is_looked_at_again(make_loop, tmp_path):
    """Refused from the start, but with a token file, the agent waits for it to be mended."""
    shipper = FakeShipper(StopSending("401"), StopSending("401"), SHIPPED)
    total = run_until(make_loop(shipper, token_file=tmp_path / "token"), lambda: shipper.rounds >= 3)
    assert total.shipped_bytes == 1


def test_a_token_that_is_refused_at_the_end_still_lists_what_is_left(make_loop):
    """An agent that was let in before and is not while it drains ends with a list, as with any other failure."""
    shipper = FakeShipper(SHIPPED, *[StopSending("401")] * 10**4)
    total = run_until(make_loop(shipper), lambda: shipper.rounds >= 1)
    assert [p.path for p in total.left] == ["left"]


def test_a_stop_ends_a_drain_early(make_loop):
    """Ctrl-C while draining, or a second SIGTERM, ends the wait; what is left is listed."""
    shipper = FakeShipper(*[TryAgain("x")] * 10**6)
    loop = make_loop(shipper, drain_timeout_s=1000.0, retry=RetrySettings(500.0, 500.0))
    results = []
    thread = threading.Thread(target=lambda: results.append(loop.drain()))
    thread.start()
    wait_until(lambda: shipper.rounds == 1)
    loop.stop()
    thread.join(20)
    assert [p.path for p in results[0].left] == ["left"]
