"""The client misses its agent in one warning, after a minute, and only where one is expected."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

from ml_logger import ML_Logger, sidecar
from ml_logger.agent.progress import Progress
from ml_logger.agent.status_file import StatusFile
from ml_logger.layout import AGENT_DIR, AGENT_LOCK, AGENT_STATUS
from ml_logger.spool import StreamWriter

LATER = 1e6
"""Seconds of the steady clock at which every run of these tests is old enough."""


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, empty in (("_expected", set()), ("_due_s", {}), ("_told", set())):
        monkeypatch.setattr(sidecar, name, empty)


@pytest.fixture
def run(tmp_path: Path) -> str:
    folder = tmp_path / "spool" / "team" / "run"
    folder.mkdir(parents=True)
    return str(folder)


def state_dir(tmp_path: Path) -> Path:
    made = tmp_path / "spool" / AGENT_DIR
    made.mkdir(exist_ok=True)
    return made


def spoke(tmp_path: Path, ago_s: float, *, is_once: bool = False) -> None:
    StatusFile(state_dir(tmp_path), is_once=is_once).tell(Progress)
    path = state_dir(tmp_path) / AGENT_STATUS
    at = path.stat().st_mtime - ago_s
    os.utime(path, (at, at))


@contextlib.contextmanager
def lock_held(tmp_path: Path) -> Iterator[None]:
    with (state_dir(tmp_path) / AGENT_LOCK).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def warnings_of(run: str, caplog: pytest.LogCaptureFixture) -> int:
    """Look as a run does that logs for hours; return how often it was warned."""
    for now_s in range(0, 7200, 30):
        sidecar.maybe_look(run, LATER + now_s)
    return sum("no agent has been seen" in record.getMessage() for record in caplog.records)


def test_an_agent_that_fell_silent_is_missed_once(tmp_path, run, caplog):
    """Its state directory is there, but it said nothing for more than a minute and holds no lock: one warning, no more."""
    spoke(tmp_path, ago_s=90)
    assert warnings_of(run, caplog) == 1
    assert str(tmp_path / "spool") in caplog.text
    assert warnings_of(str(tmp_path / "spool/other"), caplog) == 1


def test_an_agent_that_never_came_is_missed_where_a_receiver_was_named(tmp_path, run, caplog):
    """A run named by a receiver's URL expects an agent on its spool, though none was ever there."""
    sidecar.expect(str(tmp_path / "spool"))
    assert warnings_of(run, caplog) == 1


def test_a_spawned_worker_misses_the_agent_too(tmp_path, monkeypatch, caplog):
    """A logger of a receiver's URL that was pickled to another process expects there what it expected here."""
    monkeypatch.setenv("ML_LOGGER_SPOOL", str(tmp_path / "spool"))
    with ML_Logger("http://storage:8081", prefix="run") as logger, ML_Logger(tmp_path / "local") as local:
        sent = pickle.dumps([logger, local])
    monkeypatch.setattr(sidecar, "_expected", set())
    with contextlib.ExitStack() as stack:
        there, also_there = (stack.enter_context(one) for one in pickle.loads(sent))
        assert warnings_of(there.log_directory, caplog) == 1
        assert warnings_of(also_there.log_directory, caplog) == 1


def test_an_agent_that_died_before_it_said_anything_is_missed(tmp_path, run, caplog):
    """A state directory without a status and with a free lock."""
    (state_dir(tmp_path) / AGENT_LOCK).touch()
    assert warnings_of(run, caplog) == 1


def test_where_no_agent_is_expected_none_is_missed(run, caplog):
    """Plain local logging says nothing of agents."""
    assert warnings_of(run, caplog) == 0


def test_an_agent_that_spoke_lately_is_not_missed(tmp_path, run, caplog):
    """The time of its status is sign enough."""
    spoke(tmp_path, ago_s=30)
    assert warnings_of(run, caplog) == 0


def test_an_agent_that_holds_its_lock_is_not_missed(tmp_path, run, caplog):
    """Busy or asleep between two looks: the lock says that it lives."""
    spoke(tmp_path, ago_s=3600)
    with lock_held(tmp_path):
        assert warnings_of(run, caplog) == 0


def test_an_agent_that_was_to_end_is_not_missed(tmp_path, run, caplog):
    """Who ships now and then with --once expects no agent in between."""
    spoke(tmp_path, ago_s=3600, is_once=True)
    assert warnings_of(run, caplog) == 0


def test_a_young_run_looks_at_nothing(tmp_path, run, monkeypatch):
    """In its first minute a run makes no system call for this, and then one look a minute."""
    looks = []
    monkeypatch.setattr(sidecar, "_spool_of", lambda directory: looks.append(directory))
    for tenth in range(1200):
        sidecar.maybe_look(run, LATER + tenth / 10)
    assert len(looks) == 1


def test_what_cannot_be_looked_at_warns_of_nothing(tmp_path, run, caplog, monkeypatch):
    """An error of the file system stays inside: a record is written whatever became of the agent."""
    spoke(tmp_path, ago_s=3600)

    def refuse(*_args: object) -> None:
        raise PermissionError(13, "denied")

    monkeypatch.setattr(sidecar, "_is_missing", refuse)
    assert warnings_of(run, caplog) == 0


def test_a_stream_that_is_written_to_looks(tmp_path, run, caplog, monkeypatch):
    """The look is made by the writing itself, in the path that looks at the file: no record is delayed or lost by it."""
    caplog.set_level(logging.WARNING)
    spoke(tmp_path, ago_s=3600)
    clock = [LATER]
    monkeypatch.setattr("ml_logger.spool.monotonic", lambda: clock[0])
    writer = StreamWriter(run, "metrics.jsonl")
    for _ in range(100):
        clock[0] += 2.0
        assert writer.append(b"{}\n")
    writer.close()
    assert caplog.text.count("no agent has been seen") == 1
    assert Path(run, "metrics.jsonl").read_bytes() == b"{}\n" * 100


def test_the_number_of_directories_remembered_is_bounded(tmp_path):
    """A process that makes runs for ever does not fill its memory with them."""
    for number in range(5000):
        sidecar.maybe_look(f"{tmp_path}/{number}", LATER)
    assert len(sidecar._due_s) <= 1000
