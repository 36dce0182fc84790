"""What a training script calls: records at the call, tables as people know them, and never an exception."""

import argparse
import copy
import dataclasses
import io
import json
import multiprocessing
import os
import pickle
import re
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from PIL import Image

import ml_logger
from ml_logger import Color, LogDirectoryError, ML_Logger, percent, red
from ml_logger.reader import Run

GOLDEN = """\
╒════════════════════╤════════════════════╕
│        some        │        0.1         │
╘════════════════════╧════════════════════╛
╒════════════════════╤════════════════════╕
│        some        │     28.57100%      │
╘════════════════════╧════════════════════╛
╒════════════════════╤════════════════════╕
│        some        │       85.0%        │
╘════════════════════╧════════════════════╛
╒════════════════════╤════════════════════╕
│  some var/smooth   │         10         │
├────────────────────┼────────────────────┤
│        some        │       85.0%        │
╘════════════════════╧════════════════════╛
"""

LAST = """\
╒════════════════════╤════════════════════╕
│        some        │         10         │
╘════════════════════╧════════════════════╛
"""


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch):
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def run(tmp_path):
    made = ML_Logger(tmp_path / "run")
    yield made
    made.close()


def records(tmp_path, name="metrics.jsonl", run="run"):
    return [json.loads(line) for line in (tmp_path / run / name).read_text().splitlines()]


def without_time(record):
    return {key: value for key, value in record.items() if key != "_timestamp"}


def python(code, *arguments, **options):
    """Run `code` in a process of its own."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **options)


def log_golden(run):
    run.log(0, some=Color(0.1, "yellow"))
    run.log(1, some=Color(0.28571, "yellow", lambda v: f"{v * 100:.5f}%"))
    run.log(2, some=Color(0.85, "yellow", percent))
    run.log(3, {"some_var/smooth": 10}, some=Color(0.85, "yellow", percent))
    run.log(4, some=Color(10, "yellow"))


# --- records and tables


def test_golden_tables(tmp_path, run, capsys):
    """The tables of each step are printed when the step changes, the last one with the flush, and all go to text.log."""
    log_golden(run)
    assert capsys.readouterr().out == GOLDEN
    run.flush()
    run.flush()
    assert capsys.readouterr().out == LAST
    assert (tmp_path / "run/text.log").read_text() == GOLDEN + LAST


def test_colour_is_asked_for(tmp_path, run, capsys, monkeypatch):
    """With FORCE_COLOR the terminal gets codes around the padded cells; the file stays plain."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    log_golden(run)
    out = capsys.readouterr().out
    assert "│\x1b[33m        0.1         \x1b[0m│" in out
    assert re.sub(r"\x1b\[[0-9;]*m", "", out) == GOLDEN == (tmp_path / "run/text.log").read_text()


def test_record_is_there_when_the_call_returns(tmp_path, run):
    """Each call is one record with step, time and the values, raw and not as they are shown."""
    log_golden(run)
    run.log(5, flush=True)
    assert [without_time(r) for r in records(tmp_path)] == [
        {"_step": 0, "some": 0.1},
        {"_step": 1, "some": 0.28571},
        {"_step": 2, "some": 0.85},
        {"_step": 3, "some_var/smooth": 10, "some": 0.85},
        {"_step": 4, "some": 10},
        {"_step": 5},
    ]
    assert [list(r)[:2] for r in records(tmp_path)] == [["_step", "_timestamp"]] * 6


def test_same_step_is_merged_in_the_table(run, capsys):
    """Calls of one step share a table: a later value wins, and its key keeps its place."""
    run.log(1, a=1, b=2)
    run.log(1, b=3, c=4)
    run.log(1, a=5, flush=True)
    assert re.findall(r"│\s+(\w)\s+│\s+(\w)\s+│", capsys.readouterr().out) == [("a", "5"), ("b", "3"), ("c", "4")]


def test_silent_keys(tmp_path, run, capsys):
    """Silent keys are stored but not shown, all of a call or those that are named."""
    run.log(1, a=1, silent=True)
    run.log(1, b=2, c=3, silent=["b"])
    run.log(1, d=4, silent="d", flush=True)
    assert re.findall(r"│\s+(\w)\s+│", capsys.readouterr().out) == ["c"]
    assert [set(r) - {"_step", "_timestamp"} for r in records(tmp_path)] == [{"a"}, {"b", "c"}, {"d"}]


def test_step_in_every_spelling(tmp_path, run):
    """A step comes first, as step= or as index=, from numpy too, may go down, and may be missing."""
    run.log(np.int64(7), a=1)
    run.log(step=3, a=1)
    run.log(index=2, a=1)
    run.log({"b": 1}, {"c": 2})
    run.log(a=1)
    steps = [r.get("_step", "none") for r in records(tmp_path)]
    assert steps == [7, 3, 2, "none", "none"]
    assert without_time(records(tmp_path)[3]) == {"b": 1, "c": 2}


def test_step_said_twice(tmp_path, run):
    """A step by position and by name is no error that could stop a script: the first is the step, the other a value."""
    run.log(3, a=1, step=4)
    run.log({"a": 1}, step=5)
    assert [without_time(r) for r in records(tmp_path)] == [{"_step": 3, "a": 1, "step": 4}, {"_step": 5, "a": 1}]


def test_keys_that_python_uses(tmp_path, run):
    """A dict may hold keys that are also names of arguments."""
    run.log(1, {"self": 1, "step": 2, "silent": 3, "": 4, "a b/c": 5})
    assert without_time(records(tmp_path)[0]) == {"_step": 1, "self": 1, "step": 2, "silent": 3, "": 4, "a b/c": 5}


def test_values_are_as_they_were_at_the_call(tmp_path, run, capsys):
    """What is changed after the call changes neither the record nor the table."""
    values, array = {"a": 1}, np.array([1.0, 2.0])
    run.log(1, values, b=array)
    values["a"] = array[0] = 99
    run.flush()
    assert without_time(records(tmp_path)[0]) == {"_step": 1, "a": 1, "b": [1.0, 2.0]}
    assert "99" not in capsys.readouterr().out


def test_long_values_are_cut_on_the_terminal_only(tmp_path, run, capsys, monkeypatch):
    """A long value is cut at the width of the terminal and whole in the files."""
    monkeypatch.setenv("COLUMNS", "60")
    run.log(1, key="x" * 100, flush=True)
    assert "x" * 100 in capsys.readouterr().out  # a pipe
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    run.log(1, key="x" * 100, flush=True)
    assert {len(line) for line in capsys.readouterr().out.splitlines()} == {60}
    assert "x" * 100 in (tmp_path / "run/text.log").read_text()
    assert records(tmp_path)[0]["key"] == "x" * 100


def test_a_formatter_that_fails(run, capsys):
    """A formatter that does not fit the value costs the format, and the value is shown plainly."""
    run.log(1, a=Color("text", "red", percent), flush=True)
    assert "text" in capsys.readouterr().out
    assert not run.failures


@pytest.mark.parametrize(
    "error", [RuntimeError, OSError, KeyError, RecursionError, AssertionError, StopIteration, Warning]
)
def test_a_formatter_that_raises_anything(run, capsys, error):
    """Whatever a formatter raises, its own cell shows the value as it is, and the others are as ever."""

    def fails(value):
        raise error("not today")

    bad = Color(np.float32(0.5), "red", fails)
    run.log(0, before=Color(0.5, "red", percent), bad=bad, after=1, flush=True)
    run.print(bad)
    shown = capsys.readouterr().out
    assert [line.split("│")[2].strip() for line in shown.splitlines() if "│" in line] == ["50.0%", "0.5", "1"]
    assert shown.endswith("\n0.5\n")
    assert not run.failures


def test_an_interrupt_in_a_formatter_passes(run):
    """Ctrl-C while a cell is written reaches the script, and the record is on disk."""

    def interrupted(value):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.log(0, a=Color(1, "red", interrupted))
    assert [record["a"] for record in run.load_metrics()] == [1]
    with pytest.raises(KeyboardInterrupt):
        str(Color(1, "red", interrupted))


def test_unstorable_value_is_warned_about_once(tmp_path, run, caplog):
    """A value without a JSON form is stored as its repr, with one warning per key."""
    for step in range(3):
        run.log(step, a=1, b=object(), silent=True)
    assert [message for message in caplog.messages if "'b'" in message] == caplog.messages
    assert len(caplog.messages) == 1
    assert all(r["a"] == 1 and r["b"].startswith("<object") for r in records(tmp_path))


@dataclasses.dataclass
class Settings:
    rate: float = 0.1


class Args:
    """Parameters written as a class."""

    seed = None
    layers = (64, 64)


def test_log_params(tmp_path, run, capsys):
    """Sections may be dicts, dataclasses, namespaces, classes, or single values."""
    run.log_params(
        G={"a": {"nested": 1}}, S=Settings(), N=argparse.Namespace(x=1), C=Args, V=vars(Args), lr=Color(1e-3, "red")
    )
    assert without_time(records(tmp_path, "parameters.jsonl")[0]) == {
        "G": {"a": {"nested": 1}},
        "S": {"rate": 0.1},
        "N": {"x": 1},
        "C": {"seed": None, "layers": [64, 64]},
        "V": {"seed": None, "layers": [64, 64]},
        "lr": 0.001,
    }
    out = capsys.readouterr().out
    assert "            layers             │ (64, 64)            \n" in out
    assert out == (tmp_path / "run/text.log").read_text()


def test_print_goes_to_text_log(tmp_path, run, capsys, monkeypatch):
    """print() prints as the built-in does and keeps the text, without the codes of coloured values."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    run.print("a", 1, red("late"), sep="-", end="!\n")
    assert capsys.readouterr().out == "a-1-\x1b[31mlate\x1b[0m!\n"
    assert (tmp_path / "run/text.log").read_text() == "a-1-late!\n"


# --- images, tensors, histograms


def test_images(tmp_path, run):
    """Images are PNG files named by key and step, with the pixels that were logged."""
    rgb = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    run.log_image(7, view=rgb, **{"a/b": rgb / 255})
    rgb_was = rgb.copy()
    rgb[:] = 0
    run.flush()
    for name in ("images/view/0007.png", "images/a%2Fb/0007.png"):
        assert np.array_equal(np.asarray(Image.open(tmp_path / "run" / name)), rgb_was)
    run.log_image(8, "samples", grey=rgb[:, :, 0])
    run.flush()
    assert (tmp_path / "run/samples/grey/0008.png").exists()


def test_a_bad_image_does_not_stop_the_others(tmp_path, run, caplog):
    """An image without pixels is refused with its shape; the others of the call are stored."""
    run.log_image(1, bad=np.zeros((0, 4)), good=np.zeros((2, 2)))
    run.flush()
    assert "0×4" in caplog.text
    assert (tmp_path / "run/images/good/0001.png").exists()


def test_tensors(tmp_path, run):
    """Arrays are stored as .npy; one that would need pickle is refused and harms nothing."""
    run.log_tensor(3, w=np.eye(3, dtype=np.float32), bad=np.array([object()]), v=[1, 2])
    loaded = np.load(tmp_path / "run/tensors/w/0003.npy", allow_pickle=False)
    assert loaded.dtype == np.float32
    assert np.array_equal(loaded, np.eye(3))
    assert np.load(tmp_path / "run/tensors/v/0003.npy").tolist() == [1, 2]
    assert sum(run.failures.values()) == 1


def test_histograms(tmp_path, run):
    """A histogram is counts and edges; what is not finite is counted apart."""
    run.log_histogram(2, bins=2, w=[0.0, 1.0, 1.0, np.nan])
    run.log_histogram(3, bins=[0, 1, 2], w=np.array([0, 1, 2], dtype=np.int8))
    first, second = records(tmp_path, "histograms.jsonl")
    assert first["w"] == {"counts": [1, 2], "edges": [0.0, 0.5, 1.0], "not_finite": 1}
    assert second["w"] == {"counts": [1, 2], "edges": [0, 1, 2]}


# --- directories


def test_directory_is_fixed_at_construction(tmp_path, monkeypatch):
    """A relative directory does not move with a later chdir, and the prefix is a folder in it."""
    monkeypatch.chdir(tmp_path)
    with ML_Logger("logs", prefix="a/b") as run:
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        run.log(1, a=1, silent=True)
    assert records(tmp_path / "logs", run="a/b")[0]["a"] == 1


def test_home_and_file_url(tmp_path, monkeypatch):
    """`~` is the home directory, and a file:// URL its path, percent-escapes undone."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert ML_Logger("~/run").log_directory == str(tmp_path / "run")
    assert ML_Logger(f"file://{tmp_path}/a%20b").log_directory == str(tmp_path / "a b")


@pytest.mark.parametrize("prefix", ["/absolute", "..", "a/../b", "a/..", "..\\b", "nul\0"])
def test_prefix_that_leads_out(tmp_path, prefix):
    """A prefix can't leave the log directory."""
    with pytest.raises(LogDirectoryError, match="prefix"):
        ML_Logger(tmp_path, prefix=prefix)


@pytest.mark.parametrize("directory", ["/dev/null/run", "ftp://host:1", "file://other/run", "nul\0"])
def test_directory_that_cannot_be(directory):
    """A directory that can't be written is refused at construction, in one line."""
    with pytest.raises(LogDirectoryError) as caught:
        ML_Logger(directory)
    assert "\n" not in caught.value.one_line()
    assert caught.value.hint


def test_no_directory(caplog, capsys):
    """Without a directory tables are printed, nothing is stored, and one warning says so."""
    run = ML_Logger()
    assert not caplog.messages
    for step in range(3):
        run.log(step, a=step)
    run.log_image(1, a=np.zeros((2, 2)))
    run.flush()
    assert len(caplog.messages) == 1
    assert "configure" in caplog.text
    assert capsys.readouterr().out.count("╒") == 3
    assert not run.failures


def test_module_logger_is_configured(tmp_path):
    """The module's logger can be pointed at one directory after another; each run is closed."""
    logger = ml_logger.logger
    for name in ("one", "two"):
        logger.configure(tmp_path / name)
        logger.log(1, name=name, silent=True)
    logger.configure()
    for name in ("one", "two"):
        assert records(tmp_path, run=name)[0]["name"] == name
        assert [r["event"] for r in records(tmp_path, "run.jsonl", run=name)] == ["start", "end"]


# --- the life of a run


def test_start_and_end(tmp_path):
    """run.jsonl tells where the run comes from and that it finished; it exists only once something is logged."""
    with ML_Logger(tmp_path / "run") as run:
        assert not list((tmp_path / "run").iterdir())
        run.log(1, a=1, silent=True)
    start, end = records(tmp_path, "run.jsonl")
    assert start["event"] == "start"
    assert {"host", "pid", "user", "argv", "python", "_timestamp"} <= start.keys()
    assert (end["event"], end["state"]) == ("end", "finished")


def test_exception_in_the_context(tmp_path):
    """An exception that passes the context manager makes the run a failed one, and goes on."""
    with pytest.raises(ZeroDivisionError), ML_Logger(tmp_path / "run") as run:
        run.log(1, a=1, silent=True)
        raise ZeroDivisionError("of all things")
    end = records(tmp_path, "run.jsonl")[-1]
    assert (end["state"], end["error"]) == ("failed", "ZeroDivisionError: of all things")


@pytest.mark.parametrize(("last", "state"), [("pass", "finished"), ("1 / 0", "failed")])
def test_end_of_the_script(tmp_path, last, state):
    """A script that just ends has its last table printed and its end written, as failed if it raised."""
    code = f"import sys, ml_logger\nrun = ml_logger.ML_Logger(sys.argv[1])\nrun.log(1, a=1)\n{last}"
    result = python(code, tmp_path / "run")
    assert "│         a          │" in result.stdout
    assert records(tmp_path, "run.jsonl")[-1]["state"] == state


def test_logging_after_close_goes_on_in_new_files(tmp_path, run):
    """A stream that was closed is final: logging again starts the next number, with a start of its own."""
    run.log(1, a=1, silent=True)
    run.close()
    run.log(2, a=2, silent=True)
    assert records(tmp_path, "metrics.1.jsonl")[0]["a"] == 2
    assert records(tmp_path, "run.1.jsonl")[0]["event"] == "start"


def test_logging_at_exit_and_from_threads(tmp_path):
    """What is logged in atexit functions and by threads that outlive the main one is stored."""
    code = """if True:
        import atexit, sys, threading, time, ml_logger
        run = ml_logger.ML_Logger(sys.argv[1])
        atexit.register(lambda: run.log(2, where="atexit", silent=True))
        main = threading.main_thread()
        threading.Thread(target=lambda: (main.join(), run.log(1, where="thread", silent=True))).start()
    """
    assert not python(code, tmp_path / "run").stderr
    assert [r["where"] for r in records(tmp_path)] == ["thread", "atexit"]
    assert [r["event"] for r in records(tmp_path, "run.jsonl")] == ["start", "end"]


def test_forgotten_logger_is_closed(tmp_path, capsys):
    """A logger that nobody holds any more prints its last table and ends its run."""
    ML_Logger(tmp_path / "run").log(1, a=1)
    assert "│         a          │" in capsys.readouterr().out
    assert records(tmp_path, "run.jsonl")[-1]["event"] == "end"


def test_two_loggers_on_one_directory(tmp_path, run):
    """Two loggers on one directory write streams of their own."""
    with ML_Logger(tmp_path / "run") as other:
        run.log(1, a=1, silent=True)
        other.log(1, a=2, silent=True)
    assert records(tmp_path)[0]["a"] == 1
    assert records(tmp_path, "metrics.1.jsonl")[0]["a"] == 2


def test_copies_log_on(tmp_path, run):
    """A pickled or copied logger logs into the same run, in files of its own."""
    run.log(1, a=1, silent=True)
    for copied in (pickle.loads(pickle.dumps(run)), copy.deepcopy(run)):
        copied.log(2, a=2, silent=True)
        copied.close()
    assert len(list((tmp_path / "run").glob("metrics*.jsonl"))) == 3


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_worker_processes(tmp_path, run, capfd, method):
    """Workers of multiprocessing write their own streams and do not print the parent's table; the run still finishes."""
    run.log(1, parents=1)
    context = multiprocessing.get_context(method)
    workers = [context.Process(target=run.log, args=(2,), kwargs={"worker": i}) for i in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert capfd.readouterr().out.count("parents") == 0
    run.close()
    assert capfd.readouterr().out.count("parents") == 1
    stored = Run(tmp_path / "run")
    assert sorted(r.get("worker", -1) for r in stored.records()) == [-1, 0, 1]
    assert [r["event"] for r in stored.events] == ["start", "end"] * 3
    assert stored.state == "finished"


def test_threads_share_a_logger(tmp_path, run, capsys):
    """Sixteen threads logging at once: no record is lost, doubled or torn."""
    threads = [
        threading.Thread(target=lambda t=t: [run.log(i, thread=t, i=i, flush=i % 7 == 0) for i in range(50)])
        for t in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = sorted((t, i) for t in range(16) for i in range(50))
    assert sorted((r["thread"], r["i"]) for r in records(tmp_path)) == expected
    assert not run.failures


def test_kill_keeps_what_returned(tmp_path):
    """A script killed with SIGKILL in the middle of a step leaves every record whose call returned."""
    code = """if True:
        import os, signal, sys, ml_logger
        run = ml_logger.ML_Logger(sys.argv[1])
        for step in range(100):
            run.log(step, loss=1 / (step + 1))
        os.kill(os.getpid(), signal.SIGKILL)
    """
    assert python(code, tmp_path / "run").returncode == -signal.SIGKILL
    assert [r["_step"] for r in records(tmp_path)] == list(range(100))
    assert Run(tmp_path / "run").state == "killed"


# --- nothing reaches training


def test_directory_deleted_in_the_middle(tmp_path, run):
    """Training goes on when somebody deletes the directory, and so does logging."""
    run.log(1, a=1, silent=True)
    for path in (tmp_path / "run").iterdir():
        path.unlink()
    (tmp_path / "run").rmdir()
    run.log(2, a=2, silent=True)
    assert records(tmp_path, "metrics.1.jsonl")[0]["a"] == 2


def test_place_that_stops_taking_files(tmp_path, run, caplog):
    """When nothing can be written any more, every method returns, one warning a stream says why, and losses are counted."""
    (tmp_path / "run").rmdir()
    (tmp_path / "run").write_text("in the way")
    for step in range(3):
        run.log(step, a=1)
        run.log_params(G={"a": 1})
        run.log_image(step, a=np.zeros((2, 2)))
        run.log_tensor(step, a=np.zeros(2))
        run.log_histogram(step, a=np.zeros(2))
        run.print("x")
    assert run.dropped >= 12
    assert len(caplog.messages) <= 8
    assert run.failures


def test_wrong_calls_do_not_raise(run, caplog):
    """A call that makes no sense is told once per kind and counted, and training goes on."""
    for _ in range(3):
        run.log(1, "not a dict")
        run.log_image(1, "images", "one too many", a=1)
    assert sum(run.failures.values()) == 6
    assert len(caplog.messages) == 2


def test_interrupt_passes(run, monkeypatch):
    """Ctrl-C is the user's: it is not swallowed."""
    module = sys.modules["ml_logger.recording"]
    monkeypatch.setattr(module, "encode_record", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        run.log(1, a=1)


@pytest.mark.parametrize("closed", [True, False])
def test_standard_output_is_gone(tmp_path, run, monkeypatch, closed):
    """A closed or missing standard output costs the printed table and nothing else."""
    stream = io.StringIO() if closed else None
    if closed:
        stream.close()
    monkeypatch.setattr(sys, "stdout", stream)
    run.log(1, a=1, flush=True)
    run.print("x", flush=True)
    run.flush()
    assert records(tmp_path)[0]["a"] == 1
    assert (tmp_path / "run/text.log").read_text().endswith("x\n")
    assert not run.failures


def test_standard_output_that_knows_only_ascii(tmp_path):
    """A terminal without Unicode gets question marks; the file gets the table."""
    code = "import sys, ml_logger\nrun = ml_logger.ML_Logger(sys.argv[1])\nrun.log(1, a=1, flush=True)\n"
    result = python(code, tmp_path / "run", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert "?         a          ?" in result.stdout
    assert not result.stderr
    assert "│         a          │" in (tmp_path / "run/text.log").read_text(encoding="utf-8")


def test_signal_handlers_are_not_touched(tmp_path):
    """Importing and logging leave every signal handler as it was."""
    code = """if True:
        import signal, sys
        before = [signal.getsignal(s) for s in signal.valid_signals()]
        import ml_logger
        with ml_logger.ML_Logger(sys.argv[1]) as run:
            run.log(1, a=1)
        assert before == [signal.getsignal(s) for s in signal.valid_signals()]
    """
    assert python(code, tmp_path / "run").returncode == 0


def test_import_is_light():
    """Importing the client imports neither numpy nor Pillow nor a network library, nor the agent or the server."""
    code = "import sys, ml_logger; print(*sys.modules)"
    modules = set(python(code).stdout.split())
    heavy = {
        "numpy",
        "PIL",
        "requests",
        "aiohttp",
        "watchdog",
        "yaml",
        "tqdm",
        "socket",
        "ssl",
        "http.client",
        "asyncio",
    }
    assert not modules & heavy
    assert not [m for m in modules if m.startswith(("ml_logger.agent", "ml_logger.server", "ml_logger.settings"))]


# --- forms of a call that nothing may get lost in


def test_an_index_beside_a_step_is_a_value(run):
    """Of a step and an index=, or a step= and an index=, the second is kept as a value."""
    run.log(3, index=5, a=1)
    run.log(index=5, step=3)
    run.log(index=5)
    shown = [{k: v for k, v in record.items() if k != "_timestamp"} for record in run.load_metrics()]
    assert shown == [{"_step": 3, "a": 1, "index": 5}, {"_step": 3, "index": 5}, {"_step": 5}]


def test_what_is_no_dict_costs_the_others_nothing(run, caplog):
    """None in the place of a dict is passed over, and anything else is told, without loss of the record."""
    run.log(3, None, a=1)
    assert not run.failures
    run.log(4, 5, {"b": 2}, a=1)
    assert [record.get("a") for record in run.load_metrics()] == [1, 1]
    assert run.load_metrics("b")[0]["b"] == 2
    assert run.failures["log: TypeError"] == 1


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((), {"key": "a", "value": 1, "step": 3}),
        ((3,), {"key": "a", "value": 1}),
        ((3, "a"), {"value": 1}),
        ((3, 1), {"key": "a"}),
        (("a",), {"value": 1, "index": 3}),
    ],
)
def test_key_and_value_by_name(run, arguments, named):
    """log_key_value takes its arguments by name as well."""
    run.log_key_value(*arguments, **named)
    assert not run.failures
    assert [(record["_step"], record["a"]) for record in run.load_metrics()] == [(3, 1)]


def test_parameters_and_histograms_in_a_dict(run):
    """A dict holds sections of log_params, and arrays of log_histogram, as it holds values of log."""
    run.log_params({"a": 1, "model": {"lr": 0.1}}, argparse.Namespace(seed=7), b=2)
    run.log_histogram(3, {"w": [0.0, 1.0]}, bins=2)
    run.log_histogram({"w": [0.0, 1.0]}, step=4, bins=2)
    assert run.reader.params == {"a": 1, "model": {"lr": 0.1}, "seed": 7, "b": 2}
    assert [(one.step, one.counts.tolist()) for one in run.reader.histograms("w")] == [(3, [1, 1]), (4, [1, 1])]
    assert not run.failures


def test_print_as_the_built_in_does(run, capsys):
    """None is the default of sep and end, file= is another place, and a formatter that fails costs no text in text.log."""
    file = io.StringIO()
    run.print("a", "b", sep=None, end=None)
    run.print("to a file", file=file, flush=True)
    run.print(Color(None, "red", percent))
    assert (capsys.readouterr().out, file.getvalue()) == ("a b\nNone\n", "to a file\n")
    with open(f"{run.log_directory}/text.log") as kept:
        assert kept.read() == "a b\nto a file\nNone\n"
    assert not run.failures
