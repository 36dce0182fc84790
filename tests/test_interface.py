"""The rest of the interface: single values, data, text, and reading back what was written."""

import json
import math

import numpy as np
import pytest

import ml_logger
from ml_logger import ML_Logger, red


@pytest.fixture
def run(tmp_path):
    made = ML_Logger(tmp_path / "run")
    yield made
    made.close()


def test_import_line():
    """Everything people import is there, and every public method says what it does."""
    from ml_logger import (  # noqa: F401
        Color,
        ML_Logger,
        blue,
        brown,
        cyan,
        default,
        gray,
        green,
        grey,
        logger,
        magenta,
        ms,
        percent,
        red,
        sec,
        white,
        yellow,
    )

    public = [name for name in dir(ML_Logger) if not name.startswith("_")]
    assert [name for name in public if not getattr(ML_Logger, name).__doc__] == []
    assert isinstance(logger, ML_Logger)
    assert set(ml_logger.__all__) <= set(dir(ml_logger))


def test_log_key_value(run):
    """One value in every order of its arguments, under both names; the step may be missing."""
    run.log_key_value(3, "loss", 0.5, silent=True)
    run.log_keyvalue("loss", 0.5, 3, silent=True)
    run.log_key_value("loss", 0.5, step=3, silent=True)
    run.log_key_value("loss", 0.5, index=3, silent=True)
    run.log_key_value(np.int64(3), "loss", np.float32(0.5), silent=True)
    run.log_key_value("loss", 0.5, silent=True)
    records = [{k: v for k, v in r.items() if k != "_timestamp"} for r in run.load_metrics()]
    assert records == [{"_step": 3, "loss": 0.5}] * 5 + [{"loss": 0.5}]


def test_log_key_value_in_the_table(run, capsys):
    """A single value joins the table of its step, and can print it."""
    run.log(3, a=1)
    run.log_key_value(3, "b", red(2), flush=True)
    assert capsys.readouterr().out.count("╒") == 1


@pytest.mark.parametrize("arguments", [(), (1,), ("key",), (1, 2, 3, 4), ("a", "b", "c", "d")])
def test_log_key_value_without_sense(run, arguments):
    """A call that makes no sense is counted and stops nothing."""
    run.log_key_value(*arguments)
    assert run.failures.total() == 1


def test_step_may_be_coloured(run):
    """A coloured step is its value."""
    run.log(red(3), a=1, silent=True)
    assert run.load_metrics()[0]["_step"] == 3


def test_log_data(tmp_path, run):
    """Each call appends one line of JSON to a stream of its own: dicts, lists, numbers, text, None."""
    values = [{"a": 1, "b": {"c": [1, 2]}}, [1, 2.5], 3, "text", None, math.inf, np.arange(2)]
    for value in values:
        run.log_data("debug/batches", value)
    run.log_data("debug/batches.jsonl", True)
    assert run.reader.data("debug/batches") == [*values[:-1], [0, 1], True]
    lines = (tmp_path / "run/debug/batches.jsonl").read_text().splitlines()
    assert json.loads(lines[0]) == values[0]
    assert lines[5] == '"Infinity"'


def test_log_data_of_two_loggers(tmp_path, run):
    """Two loggers on one directory append to parts of their own, which are read together."""
    other = ML_Logger(tmp_path / "run")
    run.log_data("a", 1)
    other.log_data("a", 2)
    other.close()
    assert sorted(run.reader.data("a")) == [1, 2]
    assert (tmp_path / "run/a.1.jsonl").exists()


@pytest.mark.parametrize("path", ["/abs", "../up", "a/../b", "", "metrics.jsonl", "metrics", "run.3.jsonl", ".hidden"])
def test_data_paths_that_are_refused(tmp_path, run, caplog, path):
    """A path that leads out, is hidden or belongs to the logger is refused with a warning, and nothing is written."""
    run.log_data(path, {"a": 1})
    run.log_text("text", path)
    refused = 2 if path not in ("metrics", "", "run.3.jsonl", "metrics.jsonl") else 1
    assert run.failures.total() >= refused
    assert "refus" in caplog.text or "path" in caplog.text
    assert not list(tmp_path.glob("*.jsonl"))
    assert not list((tmp_path / "run").glob("metrics*.jsonl"))


def test_unstorable_data_is_told_once(run, caplog):
    """A value without a JSON form is warned about once a stream."""
    for _ in range(3):
        run.log_data("a", {"b": object()})
    assert len(caplog.messages) == 1


def test_log_text(tmp_path, run, capsys, monkeypatch):
    """Text is a line of its own in text.log, printed unless silent, or goes to a stream of its own."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    run.log_text("one")
    run.log_text(red("two"))
    run.log_text("three\n", silent=True)
    run.log_text("a,b", "table.csv", silent=True)
    run.log_text("c,d", "table.csv", silent=True)
    run.log_text("note", "notes", silent=True)
    assert capsys.readouterr().out == "one\n\x1b[31mtwo\x1b[0m\n"
    assert (tmp_path / "run/text.log").read_text() == "one\ntwo\nthree\n"
    assert (tmp_path / "run/table.csv").read_text() == "a,b\nc,d\n"
    assert (tmp_path / "run/notes.txt").read_text() == "note\n"


def test_reading_back(tmp_path, run):
    """The reader shows what was written so far, also while the run goes on; load_metrics picks keys."""
    assert (run.reader.records(), run.reader.params, run.load_metrics()) == ([], {}, [])
    run.log(1, loss=math.nan, acc=0.5, silent=True)
    run.log(2, acc=0.6, silent=True)
    run.log_params(G={"a": 1})
    assert run.reader.params == {"G": {"a": 1}}
    assert run.reader.state == "running"
    (only,) = run.load_metrics("loss")
    assert only.keys() == {"_step", "_timestamp", "loss"}
    assert math.isnan(only["loss"])
    assert [r["acc"] for r in run.load_metrics("acc", "other")] == [0.5, 0.6]


def test_nothing_to_read_back():
    """A logger without a directory has an empty run to read."""
    run = ML_Logger()
    assert (run.reader.records(), run.load_metrics("a"), run.reader.data("a"), run.reader.histograms()) == (
        [],
        [],
        [],
        [],
    )


def test_configure_again(tmp_path):
    """configure closes the run and begins another with settings of its own; timers go on."""
    run = ML_Logger(tmp_path / "a", image_queue_bytes=5)
    run.start("x")
    run.log_image(1, a=np.zeros((2, 2)))
    run.configure(tmp_path / "b", prefix="c", exit_timeout_s=None)
    run.log_image(1, a=np.zeros((2, 2)))
    run.close()
    assert run.since("x") > 0
    assert (tmp_path / "a/images/a/0001.png").exists()
    assert (tmp_path / "b/c/images/a/0001.png").exists()
