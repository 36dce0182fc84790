"""The benchmark beside other trackers, tried with the only one that is always here: ML_Logger."""

from __future__ import annotations

import pytest

from bench.processes import Failed
from bench.trackers import OURS, Held, Tracker
from bench.trackers.kills import Killed, kill_once
from bench.trackers.runs import Place
from bench.tracking import Bench, Plan, log_once

PLAN = Plan(rounds=1, records=20, images=2, seconds=30.0)


@pytest.mark.parametrize(("case", "calls"), [("records", 20), ("images", 2)])
def test_all_that_is_logged_is_timed_and_found(tmp_path, case, calls):
    """Every call has a duration, and the reader of the library finds them and those before the clock started."""
    answer = log_once(OURS, case, PLAN, Place(tmp_path / "place"))
    assert (len(answer["durations_us"]), answer["logged"]) == (calls, calls + 10)
    assert answer["durable_s"] >= sum(answer["durations_us"]) / 1e6
    assert min(answer["cpu_s"], answer["bytes_per_call"], answer["rss_bytes"], answer["import_s"]) > 0


def test_a_kill_loses_nothing(tmp_path):
    """All records of calls that had returned are found after SIGKILL."""
    killed = kill_once(OURS, 20, Place(tmp_path / "place"), with_helpers=True)
    assert killed.returned >= 20
    assert (killed.lost, killed.had_helpers) == (0, False)


def test_what_is_lost_is_counted():
    """A record more than were acknowledged, written when the kill came, makes up for none."""
    assert [Killed(300, found, had_helpers=False).lost for found in (0, 299, 300, 301)] == [300, 1, 0, 0]


def test_a_tracker_that_fails_is_left_out_and_ours_is_not(tmp_path):
    """One that can't be measured is named with its reason, and not asked again; the benchmark does not go on without ours."""
    broken = Tracker("broken", "no_such_module")
    bench = Bench([OURS, broken], tmp_path)

    def work(tracker):
        if tracker is broken:
            log_once(tracker, "records", PLAN, bench.new_place())

    bench.each(work)
    assert bench.trackers == [OURS]
    assert bench.left_out == {"broken": "ModuleNotFoundError: No module named 'bench.trackers.no_such_module'"}
    with pytest.raises(Failed):
        Bench([OURS], tmp_path).each(lambda _tracker: _fail())


def _fail():
    raise Failed("no")


def test_a_run_that_is_not_found_whole_fails(tmp_path, monkeypatch):
    """Figures of a run in which the tracker's own reader misses a record are not believed."""
    monkeypatch.setattr("bench.tracking.Held", lambda records, images: Held(records - 1, images))
    with pytest.raises(Failed, match=r"of 30 records its reader finds Held\(records=29"):
        log_once(OURS, "records", PLAN, Place(tmp_path / "place"))
