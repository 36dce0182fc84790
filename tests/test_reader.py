"""What was written is read back, up to the last whole line, whatever else is in the files."""

import json
import math
import os
import subprocess
import sys

import pytest
from watched import MemoryFiles

from ml_logger import ML_Logger
from ml_logger.cli import main
from ml_logger.files import LocalFiles
from ml_logger.origin import host_name
from ml_logger.reader import Run, as_numbers, find_runs, read_records
from ml_logger.reader.records import MOST_DEPTH


def test_only_whole_lines_count(tmp_path):
    """At every length of a growing file exactly its whole lines are read."""
    data = b'{"a": 1}\n{"a": 2}\n{"a": 3}\n'
    path = tmp_path / "metrics.jsonl"
    for size in range(len(data) + 1):
        path.write_bytes(data[:size])
        assert [r["a"] for r in read_records(path)] == list(range(1, data[:size].count(b"\n") + 1))


def test_bad_lines_are_passed_over_and_told(tmp_path):
    """Lines that are no JSON object are told to the caller and hide none of the others."""
    path, bad = tmp_path / "metrics.jsonl", []
    path.write_bytes(b'{"a": 1}\n{"a": 2\n\x00\xff\n[3]\n\n{"a": 4}\n')
    assert [r["a"] for r in read_records(path, bad.append)] == [1, 4]
    assert bad == [b'{"a": 2\n', b"\x00\xff\n", b"[3]\n", b"\n"]


def test_long_integers_are_exact(tmp_path):
    """Integers keep every digit, also past 64 bits."""
    numbers = [2**53 + 1, 2**64 - 1, 2**64, -(2**63) - 1, 10**300]
    with ML_Logger(tmp_path) as run:
        for number in numbers:
            run.log(1, n=number, silent=True)
    assert [r["n"] for r in Run(tmp_path).records()] == numbers


HUGE = b"1" + b"0" * 400
DEEP_LIST, DEEP_DICT = b"[" * 900 + b"]" * 900, b'{"a":' * 900 + b"1" + b"}" * 900
HALF = rb'{"x\ud800":"\udfff","n":%b}'
START = b'{"event":"start","_timestamp":%b}'
ODD_RUNS = {  # the lines of metrics, parameters and events
    "time": (b'{"_step":0,"_timestamp":%b,"loss":1}' % HUGE, b"", START % HUGE),
    "far": (b"", b"", START % b"-1e308" + b'\n{"event":"end","state":"finished","_timestamp":1e308}'),
    "number": (b'{"loss":%b}' % HUGE, b'{"a":{"b":%b}}' % HUGE, b""),
    "deep list": (b'{"loss":1,"deep":%b}' % DEEP_LIST, b'{"a":{"b":%b}}' % DEEP_LIST, b""),
    "deep dict": (b'{"deep":%b}' % DEEP_DICT, DEEP_DICT, b""),
    "half": (HALF % HUGE, rb'{"a\ud800":%b}' % (HALF % HUGE), START % rb'0,"host":"\ud83d"'),
}


@pytest.fixture
def odd_runs(tmp_path):
    """Return a directory of runs with what no client writes, each beside a plain record."""
    for name, (metrics, params, events) in ODD_RUNS.items():
        folder = tmp_path / "odd" / name
        folder.mkdir(parents=True)
        plain = b'{"_step":1,"_timestamp":1.8e9,"loss":0.5}\n'
        (folder / "metrics.jsonl").write_bytes(metrics + b"\n" + plain)
        (folder / "parameters.jsonl").write_bytes(params + b'\n{"seed":7}\n')
        (folder / "run.jsonl").write_bytes(events + b"\n")
    return tmp_path / "odd"


def test_nothing_raises_for_what_is_in_the_files(odd_runs):
    """Values too large, too deep, or of half characters hide nothing else of a run, and can all be shown."""
    for run in find_runs(odd_runs, cache=None):
        assert run.series("loss").values[-1] == 0.5
        assert run.last_values()["loss"] == 0.5
        assert run.flat_params["seed"] == 7
        assert len(run.records()) == len(run.to_pandas())
        assert run.started is None or math.isfinite(run.started)
        json.dumps([run.last_values(), run.flat_params, run.events, run.records()])
        assert "loss" in run._repr_html_().encode().decode()


@pytest.mark.parametrize("words", [["ls"], ["ls", "--sort", "n"], ["ls", "--json"]])
def test_odd_runs_do_not_break_the_list(odd_runs, words, capsys):
    """Every run is listed, whatever one of them holds."""
    assert main([*words, str(odd_runs)]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in ODD_RUNS)


@pytest.mark.parametrize("name", ODD_RUNS)
def test_odd_runs_are_shown(odd_runs, name, capsys):
    """Each of them can be shown, followed and drawn by itself."""
    for words in (["show"], ["show", "--json"], ["tail"], ["tail", "--json"]):
        assert main([*words, str(odd_runs / name)]) == 0
    assert main(["plot", str(odd_runs / name), "loss", "--x", "time"]) == 0
    assert "loss" in capsys.readouterr().out


def test_values_are_as_deep_as_a_program_can_take(tmp_path):
    """Of a list that is nested too deep the upper part is read, by columns as by records; one less deep is whole."""
    for depth in (MOST_DEPTH - 1, MOST_DEPTH, 1000):
        (tmp_path / "metrics.jsonl").write_bytes(b'{"deep":%b}\n' % (b"[" * depth + b"]" * depth))
        run, levels = Run(tmp_path, cache=None), 0
        assert run.last_values() == run.records()[-1]
        value = run.last_values()["deep"]
        while isinstance(value, list) and value:
            value, levels = value[0], levels + 1
        assert (levels, value) == ((depth - 1, []) if depth < MOST_DEPTH else (MOST_DEPTH - 1, "…"))


def test_special_floats():
    """The three names become floats, at any depth; any other text stays text."""
    numbers = as_numbers({"a": "NaN", "b": ["Infinity", {"c": "-Infinity"}], "d": "nan", "e": "Infinity "})
    assert math.isnan(numbers["a"])
    assert numbers["b"] == [math.inf, {"c": -math.inf}]
    assert (numbers["d"], numbers["e"]) == ("nan", "Infinity ")


def test_parts_come_in_the_order_of_their_numbers(tmp_path):
    """Part 10 follows part 9, and a file that only looks like a part is left alone."""
    for number in (10, 0, 9, 2):
        name = f"metrics.{number}.jsonl" if number else "metrics.jsonl"
        (tmp_path / name).write_text(f'{{"part": {number}}}\n')
    (tmp_path / "metrics.x.jsonl").write_text('{"part": "no"}\n')
    assert [r["part"] for r in Run(tmp_path).records()] == [0, 2, 9, 10]


def test_what_was_kept_beside_is_read_too(tmp_path):
    """Parts with a digest in their names follow those without, the earlier first; names that only look alike do not."""
    parts = {
        "metrics~ffffffff.jsonl": 3.5,
        "metrics~0123abcd.1.jsonl": 5.5,
        "metrics~0123abcd.jsonl": 4.5,
        "metrics.1.jsonl": 9.5,
        "metrics.jsonl": 8.5,
        "metrics~0123abcde.jsonl": 0.5,
        "metrics~0123ABCD.jsonl": 0.5,
        "metrics~0123abcd.x.jsonl": 0.5,
        "metrics~.jsonl": 0.5,
    }
    for name, time_s in parts.items():
        (tmp_path / name).write_text(f'{{"_timestamp": {time_s}}}\n')
    assert [r["_timestamp"] for r in Run(tmp_path).records()] == [8.5, 9.5, 3.5, 4.5, 5.5]


def test_a_run_of_nothing_but_what_was_kept_beside(tmp_path):
    """Where the plain names are gone the others are a run still; one without any time or record is no error."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run/metrics~0123abcd.jsonl").write_text('{"a": 1}\n')
    (tmp_path / "run/metrics~1123abcd.jsonl").write_text('{"a": 2, "_timest')
    (tmp_path / "run/episodes~0123abcd.jsonl").write_text("5\n")
    (run,) = find_runs(tmp_path)
    assert run.records() == [{"a": 1}]
    assert run.data("episodes") == [5]


def test_a_folder_is_no_part(tmp_path):
    """A folder of a stream's name, whoever made it, keeps nobody from reading the stream."""
    (tmp_path / "metrics.1.jsonl").mkdir()
    with ML_Logger(tmp_path) as run:
        run.log(1, a=2)
        assert [r["a"] for r in run.load_metrics()] == [2]


def test_a_stream_whose_name_ends_in_a_number(tmp_path):
    """A user's stream called a.1 is no part of the one called a, and is read back by the name it was given."""
    with ML_Logger(tmp_path) as run:
        for value, name in enumerate(["a", "a.1", "a.1.jsonl", "v1.2/b", "v1.2"]):
            run.log_data(name, value)
        run.log_text("x", "notes.1.txt", silent=True)
        assert [run.reader.data(name) for name in ("a", "a.1", "v1.2/b", "v1.2", "v1")] == [[0], [1, 2], [3], [4], []]
        assert not run.failures
    assert (tmp_path / "notes%2E1.txt").read_text() == "x\n"


def test_params_are_merged(tmp_path):
    """Sections of several calls are merged, a later key over an earlier one."""
    with ML_Logger(tmp_path) as run:
        run.log_params(G={"a": 1, "b": 2}, lr=0.1)
        run.log_params(G={"b": 3}, H={"c": None})
    assert Run(tmp_path).params == {"G": {"a": 1, "b": 3}, "lr": 0.1, "H": {"c": None}}


def test_last_values(tmp_path):
    """The last value of each key is found, also of keys that not every step logs."""
    with ML_Logger(tmp_path) as run:
        run.log(1, a=1, b=math.inf, silent=True)
        run.log(2, a=2, silent=True)
    last = Run(tmp_path).last_values()
    assert (last["_step"], last["a"], last["b"]) == (2, 2, math.inf)


@pytest.mark.parametrize(
    ("ending", "state"), [("", "finished"), ("1 / 0", "failed"), ("import os; os._exit(0)", "killed")]
)
def test_state_of_an_ended_run(tmp_path, ending, state):
    """A run that ended is finished, failed, or killed when its process went without a word."""
    code = f"import sys, ml_logger\nml_logger.logger.configure(sys.argv[1])\nml_logger.logger.log(1, a=1)\n{ending}"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, timeout=60)
    assert Run(tmp_path).state == state


def test_state_of_a_running_run(tmp_path):
    """A run whose process lives is running; of one without any event nothing is known."""
    assert Run(tmp_path).state == "silent"
    with ML_Logger(tmp_path) as run:
        run.log(1, a=1, silent=True)
        assert Run(tmp_path).state == "running"
    assert Run(tmp_path).state == "finished"


def test_killed_is_said_of_what_is_known(tmp_path):
    """A start without an end whose file nobody holds may be a copy: only a process of this machine that is gone was killed."""
    here = host_name()
    cases = [(None, 0, "silent"), ("elsewhere", 2**31, "silent"), (here, os.getpid(), "silent"), (here, None, "silent")]
    for host, pid, state in [*cases, (here, 2**31, "killed")]:
        event = {"event": "start", "_timestamp": 1.5, "host": host, "pid": pid}
        (tmp_path / "run.jsonl").write_text(json.dumps(event) + "\n")
        assert Run(tmp_path).state == state


def test_the_version_changes_with_the_metrics(tmp_path):
    """It changes with every record of `log`, and with nothing else."""
    with ML_Logger(tmp_path) as logger:
        versions = []
        for step in range(3):
            logger.log(step, a=1, silent=True)
            logger.log_params(G={"b": step})
            versions += [Run(tmp_path).version, Run(tmp_path).version]
    assert [versions.index(version) for version in versions] == [0, 0, 2, 2, 4, 4]


def test_a_re_run_decides_the_state(tmp_path):
    """A re-run in the same directory that finishes makes the run a finished one."""
    with pytest.raises(ValueError, match="first"), ML_Logger(tmp_path) as run:
        run.log(1, a=1, silent=True)
        raise ValueError("first")
    assert Run(tmp_path).state == "failed"
    with ML_Logger(tmp_path) as run:
        run.log(1, a=1, silent=True)
    assert Run(tmp_path).state == "finished"


def test_runs_are_found(tmp_path):
    """Every directory with a run's streams is a run, the root included; dot-directories are not looked into."""
    for name in ("b", "a/x", ".hidden"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "metrics.2.jsonl").touch()
    (tmp_path / "a/other.jsonl").touch()
    assert [run.path.relative_to(tmp_path).as_posix() for run in find_runs(tmp_path)] == ["a/x", "b"]


def test_runs_are_found_at_any_depth():
    """Folders may lie deeper within each other than a program may call itself."""
    deep = "/".join(["d"] * 1500)
    assert [run.folder for run in find_runs(files=MemoryFiles({f"{deep}/metrics.jsonl": b""}))] == [deep]


def test_links_to_folders_are_not_followed(tmp_path):
    """A run is found once, by its own path, whatever links lead to it or above it; a link to a stream is that stream."""
    (tmp_path / "team/run").mkdir(parents=True)
    (tmp_path / "team/run/metrics.jsonl").write_bytes(b"{}\n")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/metrics.jsonl").symlink_to("../team/run/metrics.jsonl")
    for link, target in (("self", "."), ("team/run/up", ".."), ("team/latest", "run"), ("other/team", "../team")):
        (tmp_path / link).symlink_to(target)
    assert [run.path.relative_to(tmp_path).as_posix() for run in find_runs(tmp_path)] == ["other", "team/run"]
    assert {entry.name: entry.is_link for entry in LocalFiles(tmp_path).list("team")} == {"latest": True, "run": False}


def test_a_series_is_the_records_that_have_the_key(tmp_path):
    """A NaN that was logged is a point, a record without the key is none; bools are numbers, text is not."""
    with ML_Logger(tmp_path) as run:
        run.log(1, a=math.nan, b=True, silent=True)
        run.log(2, b="text", silent=True)
        run.log(3, a=-math.inf, silent=True)
    series = Run(tmp_path).series("a")
    assert series.steps.tolist() == [1, 3]
    assert math.isnan(series.values[0])
    assert series.values[1] == -math.inf
    assert Run(tmp_path).series("b").values.tolist() == [1]
    assert len(Run(tmp_path).series("no such key").times) == 0


def test_the_newest_attempt_wins(tmp_path):
    """From the step at which a run was resumed its new values count, and those of keys that it did not log stay."""
    with ML_Logger(tmp_path) as run:
        for step in range(5):
            run.log(step, loss=step, first=step, silent=True)
    with ML_Logger(tmp_path) as run:
        for step in range(3, 6):
            run.log(step, loss=-step, silent=True)
    found = Run(tmp_path)
    assert found.series("loss").values.tolist() == [0, 1, 2, -3, -4, -5]
    assert found.series("first").values.tolist() == [0, 1, 2, 3, 4]
    assert found.series("loss", attempts=True).steps.tolist() == [0, 1, 2, 3, 4, 3, 4, 5]
    assert len(found.metrics(attempts=True)["step"]) == 8
