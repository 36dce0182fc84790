"""Which parts are attempts of each other, what a newer one replaces, and what is new behind a cursor."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from watched import MemoryFiles

from ml_logger.reader import Run, news_since

METRICS, FIRST, SECOND = "metrics.jsonl", "metrics.1.jsonl", "metrics.2.jsonl"


def part(first_s: float, steps, **values: float) -> bytes:
    """Return records of `steps`, a second apart from `first_s` on, with the same `values` or, without, the time as the loss."""
    found = b""
    for number, step in enumerate(steps):
        record = {"_step": step, "_timestamp": first_s + number, **(values or {"loss": first_s + number})}
        found += json.dumps({key: value for key, value in record.items() if value is not None}).encode() + b"\n"
    return found


def run_of(**parts: bytes) -> Run:
    return Run("run", files=MemoryFiles({f"run/{name}": data for name, data in parts.items()}))


def steps(run: Run, key: str = "loss", **options: bool) -> list[float]:
    return run.series(key, **options).steps.tolist()


CASES = {
    "a resumed job": ([(0, range(5)), (100, range(3, 7))], [0, 1, 2, 3, 4, 5, 6], 2),
    "one resumed where it ended": ([(0, range(5)), (100, range(5, 7))], [0, 1, 2, 3, 4, 5, 6], 1),
    "a re-run": ([(0, range(5)), (100, range(2))], [0, 1], 2),
    "two ranks": ([(0, range(5)), (0.5, range(5))], [0, 1, 2, 3, 4, 0, 1, 2, 3, 4], 1),
    "a rank that begins with the other's last record": ([(0, range(5)), (4, range(5))], [0, 1, 2, 3, 4] * 2, 1),
    "two ranks in segments": (
        [(0, range(5)), (0.5, range(5)), (4.6, range(5, 9)), (5, range(4, 9))],
        [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 5, 6, 7, 8, 4, 5, 6, 7, 8],
        1,
    ),
    "two ranks that are resumed": ([(0, range(5)), (0.5, range(5)), (100, range(3, 5)), (100.5, range(3, 5))], None, 2),
    "three attempts": ([(0, range(9)), (100, range(5, 7)), (200, range(3, 4))], [0, 1, 2, 3], 3),
    "a later attempt that goes back less": ([(0, range(9)), (100, range(3, 6)), (200, range(5, 8))], [*range(8)], 3),
    "a clock that was set back": ([(1000, range(8)), (500, range(4, 6))], [0, 1, 2, 3, 4, 5], 2),
    "a clock that was set back, and a job resumed twice": (
        [(1000, range(8)), (500, range(8, 10)), (600, range(4, 6))],
        [0, 1, 2, 3, 4, 5],
        2,
    ),
    "ranks that are resumed at steps of their own": ([(0, range(5)), (100, range(3, 5)), (101, range(2, 4))], None, 2),
    "no steps": ([(0, [None] * 3), (100, [None] * 2)], [math.nan] * 5, 1),
}


@pytest.mark.parametrize("case", CASES)
def test_attempts(case):
    """Every way in which parts may follow each other is told by their times and steps."""
    parts, expected, attempts = CASES[case]
    names = ["metrics.jsonl", *(f"metrics.{number}.jsonl" for number in range(1, len(parts)))]
    run = run_of(**{name: part(*of) for name, of in zip(names, parts, strict=True)})
    if expected is None:
        expected = [0, 1, 2, 0, 1, 2, 3, 4, 3, 4] if len(parts) == 4 else [0, 1, 3, 4, 2, 3]
    np.testing.assert_array_equal(steps(run), expected)
    assert len(run.columns().attempts) == attempts
    assert len(run.series("loss", attempts=True)) == sum(len(list(of)) for _, of in parts)
    assert run.keys()["loss"].points == len(run.metrics()["step"]) == len(expected)


def test_the_order_is_that_of_the_times():
    """What another machine wrote and the mirror keeps beside is put where it belongs in time, before it is compared."""
    run = run_of(
        **{METRICS: part(0, range(5)), FIRST: part(200, range(3, 5)), "metrics~0a1b2c3d.jsonl": part(100, range(2, 5))}
    )
    assert run.series("loss").values.tolist() == [0, 1, 100, 200, 201]
    assert run.last_values()["loss"] == 201


def test_what_lives_on_beside_changes_no_other_key():
    """Two attempts at a key are two, whatever a process that lived through both of them logs under another name."""
    train, resumed = part(1000, range(8), loss=1.0), part(1100, range(4, 8), loss=2.0)
    beside = part(1000.5, [0, 4], eval=1.0)
    for later in (b"", part(1200, [8], eval=1.0)):
        run = run_of(**{METRICS: train, FIRST: beside + later, SECOND: resumed})
        assert run.series("loss").values.tolist() == [1.0] * 4 + [2.0] * 4
        assert (len(run.columns().attempts), len(run.series("eval"))) == (2, 2 + bool(later))
        assert run.last_values()["loss"] == 2.0


def test_ranks_that_log_a_key_once_hide_nothing_of_each_other():
    """A process that ran already when another logged a key is no resumption of it, though it logs that key later."""
    ranks = [part(start, range(3), loss=1.0) + part(start + 5, [2], final=start) for start in (0, 0.5, 0.7)]
    run = run_of(**dict(zip((METRICS, FIRST, SECOND), ranks, strict=True)))
    assert run.series("final").values.tolist() == [0, 0.5, 0.7]


def test_the_last_values_are_of_the_newest_attempt_where_the_clock_was_set_back():
    """What was logged later by a clock that was wrong is not what was logged last."""
    run = run_of(**{METRICS: part(1000, range(8), loss=1.0), FIRST: part(500, range(4, 6), loss=2.0, b=0.0)})
    assert run.last_values() == {"_step": 5, "_timestamp": 501, "loss": 2.0, "b": 0.0}


def test_a_logger_that_goes_back_in_its_file_shows_all():
    """Steps that one file has again are shown again: cycles of steps look the same. A logger made anew replaces them."""
    again = part(0, [*range(8), *range(4, 8)])
    assert len(run_of(**{METRICS: again}).series("loss")) == 12
    assert steps(run_of(**{METRICS: part(0, range(8)), FIRST: part(8, range(4, 8))})) == [*range(8)]


def test_parts_without_times_replace_nothing():
    """Where nothing tells which part was earlier, all points are shown."""
    run = run_of(**{METRICS: b'{"_step":1,"loss":1}\n', FIRST: b'{"_step":1,"loss":2}\n'})
    assert run.series("loss").values.tolist() == [1, 2]


def test_what_is_logged_later_under_another_name_hides_nothing():
    """An evaluation of all checkpoints after the training replaces what has its name, from its first step on, and no more."""
    train = part(0, range(10), loss=1.0, quick=2.0)
    run = run_of(**{METRICS: train, FIRST: part(100, range(5, 10), final=3.0, quick=4.0)})
    assert (steps(run), steps(run, "final")) == ([*range(10)], [*range(5, 10)])
    assert run.series("quick").values.tolist() == [2.0] * 5 + [4.0] * 5
    table = run.metrics()
    assert len(table["step"]) == 15  # of no record all values were replaced
    assert np.isnan(table["quick"][5:10]).all()


def test_a_record_of_which_nothing_is_left_is_no_row():
    """The table has no rows of nothing but what was replaced; what had no number before stays until its step was replaced."""
    old = part(0, range(4)) + b'{"_step":2,"_timestamp":4.0,"note":"a"}\n{"_step":9,"_timestamp":5.0,"note":"b"}\n'
    run = run_of(**{METRICS: old, FIRST: part(100, range(3, 5))})
    assert run.metrics()["step"].tolist() == [0, 1, 2, 2, 3, 4]
    assert len(run.metrics(attempts=True)["step"]) == 8


def test_histograms_are_of_the_newest_attempt():
    """They are replaced as metrics are, and thinned to the first, the last and what lies evenly between."""
    one = b'{"_step":%d,"_timestamp":%d,"w":{"counts":[1],"edges":[0,%d]},"v":{"counts":[1,2],"edges":[0,1]}}\n'
    first = b"".join(one % (step, step, 1) for step in range(5))
    second = b"".join(one % (step, 100 + step, 2) for step in range(3, 100))
    run = run_of(**{"histograms.jsonl": first + b"bad\n", "histograms.1.jsonl": second})
    found = run.histograms("w")
    assert [histogram.step for histogram in found] == list(range(100))
    assert [histogram.edges[1] for histogram in found] == [1.0] * 3 + [2.0] * 97
    assert [histogram.step for histogram in run.histograms("w", most=4)] == [0, 33, 66, 99]
    assert (run.histogram_keys().keys(), run.histograms("v"), run.bad_lines) == ({"w", "v"}, [], 1)
    assert len(run.histograms(attempts=True)) == 102


# --- news


def seen(series) -> list[tuple[float, float, float]]:
    return sorted(zip(series.steps.tolist(), series.times.tolist(), series.values.tolist(), strict=True))


def test_news_are_the_new_points():
    """Behind a cursor there is nothing, then what came, by key; a cursor that is none tells of everything."""
    files = MemoryFiles({"run/metrics.jsonl": part(0, range(3))})
    run = Run("run", files=files)
    cursor = run.columns().cursor
    assert news_since(run.columns(), cursor).keys == []
    files.content["run/metrics.jsonl"] += part(3, range(3, 5)) + part(9, [9], other=1.0)
    news = news_since(run.columns(), cursor)
    assert (news.keys, news.is_everything, news.replaces("loss")) == (["loss", "other"], False, False)
    assert (news.series("loss").steps.tolist(), news.series("other").steps.tolist()) == ([3, 4], [9])
    for strange in (None, "", "x", "1-2", "zz-0", "1-2-3", "ffffffff-1", "-1-1"):
        assert news_since(run.columns(), strange).is_everything
        assert len(news_since(run.columns(), strange).series("loss")) == 5


def test_a_new_attempt_replaces_what_was_known():
    """A key of which points were replaced comes whole, once; the others only with what is new."""
    files = MemoryFiles({"run/metrics.jsonl": part(0, range(5), loss=1.0, first=1.0)})
    run = Run("run", files=files)
    cursor = run.columns().cursor
    files.content["run/metrics.1.jsonl"] = part(100, [3], loss=2.0)
    news = news_since(run.columns(), cursor)
    assert (news.keys, news.replaces("loss"), news.replaces("first")) == (["loss"], True, False)
    assert news.series("loss").steps.tolist() == [0, 1, 2, 3]
    cursor = run.columns().cursor
    files.content["run/metrics.1.jsonl"] += part(101, [4], loss=3.0)
    news = news_since(run.columns(), cursor)
    assert (news.replaces("loss"), news.series("loss").values.tolist()) == (False, [3.0])


def test_a_file_that_is_another_one_makes_everything_new():
    """A part that went, was cut or written anew leaves nothing of what was known."""
    files = MemoryFiles({"run/metrics.jsonl": part(0, range(5))})
    run = Run("run", files=files)
    cursor = run.columns().cursor
    for data in (part(0, range(4)), part(50, range(6))):
        files.content["run/metrics.jsonl"] = data
        assert news_since(run.columns(), cursor).is_everything
    del files.content["run/metrics.jsonl"]
    assert news_since(run.columns(), cursor).is_everything


NAMES = (METRICS, FIRST, SECOND, "metrics~0a1b2c3d.jsonl")
RECORD = st.fixed_dictionaries(
    {
        "part": st.integers(0, 3),  # which of `NAMES`
        "step": st.integers(0, 6) | st.none(),
        "key": st.sampled_from(["a", "b"]),
        "gap": st.integers(0, 2) | st.sampled_from([0, 1, 2, -9]),
        "is_timed": st.booleans() | st.just(True),
    }
)


@given(st.lists(st.lists(RECORD, max_size=4), max_size=8))
def test_who_follows_the_news_knows_what_is_there(rounds):
    """However parts grow, what was known and the news give together what a look at everything gives."""
    files = MemoryFiles({"run/run.jsonl": b""})
    run, cursor, known, now = Run("run", files=files), None, {"a": [], "b": []}, 0.0
    for records in rounds:
        for record in records:
            now += record["gap"] / 2
            path, data = f"run/{NAMES[record['part']]}", part(now, [record["step"]], **{record["key"]: now})
            data = data if record["is_timed"] else data.replace(b'"_timestamp"', b'"untimed"')
            files.content[path] = files.content.get(path, b"") + data
        columns = run.columns()
        news = news_since(columns, cursor)
        for key, points in known.items():
            if news.replaces(key):
                points.clear()
            assert (key in news.keys) == bool(len(news.series(key)))
            points += seen(news.series(key))
            assert repr(sorted(points, key=repr)) == repr(sorted(seen(columns.series(key)), key=repr))
        cursor = columns.cursor
