"""What a run logs can be followed: new parts, streams written anew, a receiver that is away, a reader that has seen enough."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import BIN, Commands, Running, clean_environment, wait_until
from terminal import on_terminal, plain

from ml_logger import ML_Logger
from ml_logger.cli import main
from ml_logger.cli.tail import last_lines
from ml_logger.files import OpenFile
from ml_logger.table import columns


@pytest.fixture
def logger(tmp_path: Path) -> Iterator[ML_Logger]:
    with ML_Logger(tmp_path / "run") as run:
        for step in range(30):
            run.log(step, loss=step / 2, note="x" * 100, silent=True)
        yield run


def seen(running: Running) -> list[Any]:
    """Return what was printed as JSON lines, but for the times."""
    whole = running.stdout.rpartition("\n")[0]
    return [{k: v for k, v in json.loads(line).items() if k != "_timestamp"} for line in whole.splitlines()]


@pytest.fixture
def follow(commands: Commands) -> Callable[..., Running]:
    """Follow a run as JSON lines; returns once the records there are were printed."""

    def start(*words: object, first: int = 1) -> Running:
        running = commands.start("ml-logger", "tail", "-f", "--json", "-n", first, *words)
        wait_until(lambda: len(seen(running)) >= first or not running.is_alive, what="the last records")
        assert running.is_alive, running.tail()
        return running

    return start


def wait_seen(running: Running, expected: list[Any]) -> None:
    """Wait until these are the last lines; raises TimeoutError with all that was printed."""
    try:
        wait_until(lambda: seen(running)[-len(expected) :] == expected, 30)
    except TimeoutError as error:
        raise TimeoutError(f"{error}\n{running.tail()}") from None


def test_last_records(logger: ML_Logger, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The last records come as a table a step, like those of training; as JSON as they were logged."""
    logger.log(30, loss=1.0, silent=True)
    logger.log(30, accuracy=0.5, silent=True)
    capsys.readouterr()
    assert main(["tail", str(tmp_path / "run"), "-n", "3"]) == 0
    out = capsys.readouterr().out
    assert out.count("╒") == 2
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines() if line.startswith("│")]
    assert rows[-3:] == [["step", "30"], ["loss", "1"], ["accuracy", "0.5"]]
    assert main(["tail", str(tmp_path / "run"), "-n", "2", "--json"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(r["_step"], r.get("loss"), r.get("accuracy")) for r in records] == [(30, 1.0, None), (30, None, 0.5)]
    assert main(["tail", str(tmp_path / "run"), "-n", "0"]) == 0
    assert capsys.readouterr().out == ""


def test_records_without_a_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each is a table of its own, as it was printed."""
    with ML_Logger(tmp_path / "run") as run:
        for number in range(19):
            run.log(loss=number, silent=True)
    capsys.readouterr()
    assert main(["tail", str(tmp_path / "run"), "-n", "5"]) == 0
    out = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines() if line.startswith("│")]
    assert rows == [["loss", str(number)] for number in range(14, 19)]
    assert out.count("╒") == 5


def test_names_that_begin_with_an_underscore(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What somebody logged under such a name is shown, by tail as by ls; only step and time are the record's own."""
    with ML_Logger(tmp_path / "run") as run:
        run.log(3, {"_loss": 0.25, "_private/grad": 7.5}, silent=True)
    capsys.readouterr()
    assert main(["tail", str(tmp_path / "run")]) == 0
    out = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines() if line.startswith("│")]
    assert rows == [["step", "3"], ["loss", "0.25"], ["private/grad", "7.5"]]
    assert main(["ls", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["last"] == {"_loss": 0.25, "_private/grad": 7.5}


class Counted(OpenFile):
    """A file of `data`, of which is counted how many bytes were read."""

    def __init__(self, data: bytes) -> None:
        self._data, self.size, self.bytes_read = data, len(data), 0

    def close(self) -> None:
        pass

    def read(self, offset: int, length: int) -> bytes:
        self.bytes_read += length
        return self._data[offset : offset + length]


@pytest.mark.parametrize(("data", "count", "expected"), [
    (b"a\nb\nc\nto", 2, ([b"b\n", b"c\n"], 6)),
    (b"a\rb\nc\r\n", 2, ([b"a\rb\n", b"c\r\n"], 7)),
    (b"a\n" + b"z" * (1 << 20), 1, ([b"a\n"], 2)),
    (b"a\n" + b"z" * (1 << 20) + b"\n", 1, ([b"z" * (1 << 20) + b"\n"], (1 << 20) + 3)),
    (b"z" * (1 << 20), 1, ([], 0)),
    (b"a\nb\n", 0, ([], 4)),
    (b"", 1, ([], 0)),
])  # fmt: skip
def test_last_lines(data: bytes, count: int, expected: tuple[list[bytes], int]) -> None:
    """The last whole lines come, and where they end, at any length; a newline alone ends a line."""
    assert last_lines(Counted(data), count) == expected


def test_a_long_line_is_gone_through_once() -> None:
    """Zeros that a crash left where a line was to be are read once, and held once at most."""
    file = Counted(b'{"loss":1}\n' + bytes(32 << 20))
    tracemalloc.start()
    try:
        assert last_lines(file, 10) == ([b'{"loss":1}\n'], 11)
        held = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert file.bytes_read == file.size
    assert held < file.size


def test_more_than_a_look_brings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Long lines and many of them: exactly as many as asked for, also where there are fewer."""
    with ML_Logger(tmp_path / "run") as run:
        for step in range(9):
            run.log(step, text="y" * 100_000, silent=True)
    for count, expected in ((1, 1), (8, 8), (9, 9), (10, 9)):
        assert main(["tail", str(tmp_path / "run"), "-n", str(count), "--json"]) == 0
        steps = [json.loads(line)["_step"] for line in capsys.readouterr().out.splitlines()]
        assert steps == list(range(9))[-expected:]


def test_tables_fit_the_terminal(logger: ML_Logger, tmp_path: Path) -> None:
    """A value that is wider than the terminal is cut."""
    code, shown = on_terminal("tail", "run", "-n", "1", cwd=tmp_path, columns=60)
    assert code == 0
    assert max(map(columns, plain(shown).splitlines())) <= 60


def test_following(logger: ML_Logger, tmp_path: Path, follow: Callable[..., Running]) -> None:
    """What comes is printed, from a new part too, and a stream that was written anew from its begin."""
    following = follow(tmp_path / "run", first=2)
    logger.log(30, loss=1, silent=True)
    wait_seen(following, [{"_step": 30, "loss": 1}])
    with ML_Logger(tmp_path / "run") as other:
        other.log(31, loss=2, silent=True)
    wait_seen(following, [{"_step": 30, "loss": 1}, {"_step": 31, "loss": 2}])
    (tmp_path / "run/metrics.1.jsonl").write_text('{"_step":0,"loss":5}\n{"_step":1,"lo')
    wait_seen(following, [{"_step": 31, "loss": 2}, {"_step": 0, "loss": 5}])
    with (tmp_path / "run/metrics.1.jsonl").open("a") as file:
        file.write('ss":6}\n')
    wait_seen(following, [{"_step": 0, "loss": 5}, {"_step": 1, "loss": 6}])
    assert len(seen(following)) == 6
    following.process.send_signal(signal.SIGINT)
    assert following.wait() == 130
    assert following.stderr == ""


def test_a_receiver_that_is_away(commands: Commands, tmp_path: Path, follow: Callable[..., Running]) -> None:
    """From afar what comes is printed too; a receiver that dies is waited for, and nothing is lost or shown twice."""
    stream = tmp_path / "data/team/run/metrics.jsonl"
    stream.parent.mkdir(parents=True)
    stream.write_text('{"_step":0}\n')
    receiver = commands.start_receiver(tmp_path / "data")
    following = follow(f"{receiver.url}/team/run", "--token-file", commands.token_file())
    receiver.kill()
    with stream.open("a") as file:
        file.write('{"_step":1}\n')
    receiver.restart()
    wait_seen(following, [{"_step": 0}, {"_step": 1}])
    with stream.open("a") as file:
        file.write('{"_step":2}\n')
    wait_seen(following, [{"_step": 0}, {"_step": 1}, {"_step": 2}])
    assert len(seen(following)) == 3
    assert following.stderr == ""


def test_a_reader_that_has_seen_enough(logger: ML_Logger, tmp_path: Path) -> None:
    """`tail -f RUN | head` ends when head does, though nothing more is logged."""
    command = [str(BIN / "ml-logger"), "tail", "-f", "-n", "1", str(tmp_path / "run")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=clean_environment({}))
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout, process.stderr:
        try:
            assert "╒" in process.stdout.readline().decode()
            process.stdout.close()
            assert process.wait(30) == 0
        finally:
            process.kill()
        assert process.stderr.read() == b""


def test_what_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder without streams and one that is not there are code 3, in one line each."""
    os.mkdir(tmp_path / "empty")
    for name in ("empty", "missing"):
        assert main(["tail", str(tmp_path / name)]) == 3
        assert capsys.readouterr().err.count("\n") == 1
