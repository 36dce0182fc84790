"""`drain` ships all there is and shows how far it is; where an agent runs already, it waits for that one."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import threading
import time
from pathlib import Path

import pytest
from processes import BIN, Commands, Receiver, Running, assert_trees_equal, clean_environment, read_spool, wait_until

from ml_logger.agent import drain
from ml_logger.agent.drain import Gauge, showing
from ml_logger.agent.progress import Progress
from ml_logger.agent.status_file import maybe_said
from ml_logger.layout import AGENT_DIR


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    spool = tmp_path / "spool"
    spool.mkdir()
    for number in range(20):
        (spool / f"{number}.bin").write_bytes(os.urandom(1000))
    return spool


@pytest.fixture
def receiver(commands: Commands, tmp_path: Path) -> Receiver:
    return commands.start_receiver(tmp_path / "mirror")


def start_drain(commands: Commands, config: Path, *extra: str) -> Running:
    return commands.start("ml-logger-agent", "drain", "--config", config, *extra)


def spoke_of(spool: Path, files: int) -> bool:
    """Whether the agent has said that it shipped so many files and that nothing is left."""
    said = maybe_said(spool / AGENT_DIR, 0.0)
    return said is not None and said.progress.shipped_files >= files and not said.progress.backlog_files


# --- what is shown


def test_lines_say_bytes_files_rate_and_time_left() -> None:
    """Off a terminal there is a line every few seconds, none twice, and a last one."""
    out, clock = io.StringIO(), [100.0]
    gauge = Gauge(out, lambda: clock[0])
    gauge.show(Progress())
    for done in range(11):
        clock[0] += 1.0
        gauge.show(Progress(backlog_files=10 - done, backlog_bytes=1024 * (10 - done), shipped_bytes=1024 * done))
    gauge.close(Progress(shipped_bytes=10240, shipped_files=10))
    gauge.close(Progress(shipped_bytes=10240, shipped_files=10))
    lines = out.getvalue().splitlines()
    assert len(lines) == 3
    assert re.fullmatch(r"4\.0 KiB of 10\.0 KiB shipped, 6 files left, [\d.]+ B/s, about [\d.]+ s to go", lines[0])
    assert lines[-1].startswith("10.0 KiB of 10.0 KiB shipped, 0 files left, ")


def test_nothing_to_ship_shows_nothing() -> None:
    """An empty spool needs no line."""
    out = io.StringIO()
    with showing(Progress, out):
        pass
    assert out.getvalue() == ""


def test_what_is_shown_follows_what_is_shipped() -> None:
    """The display asks again and again by itself, and once more at the end."""
    out, asked = io.StringIO(), threading.Event()
    shipped = [0]

    def latest() -> Progress:
        asked.set()
        return Progress(shipped_bytes=shipped[0], backlog_bytes=2048 - shipped[0], backlog_files=1)

    with showing(latest, out):
        assert asked.wait(20)
        shipped[0] = 2048
    assert out.getvalue().splitlines()[-1].startswith("2.0 KiB of 2.0 KiB shipped")


# --- with real processes


def test_drain_ships_all_and_says_so(commands: Commands, receiver: Receiver, spool: Path) -> None:
    """Plain lines where there is no terminal; the trees are equal; nobody misses an agent afterwards."""
    running = start_drain(commands, commands.write_agent_config(spool, receiver.url, log={"level": "warning"}))
    assert running.wait() == 0, running.tail()
    assert_trees_equal(spool, receiver.data_dir)
    assert running.stderr.splitlines()[-1].startswith("19.5 KiB of 19.5 KiB shipped, 0 files left, ")
    assert b'"once":true' in (spool / AGENT_DIR / "status.json").read_bytes()


def on_a_terminal(config: Path, columns: int) -> bytes:
    """Return what a drain, which must end with 0, shows on a terminal of so many columns."""
    screen, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        [BIN / "ml-logger-agent", "drain", "--config", config], stderr=theirs, env=clean_environment({"TERM": "xterm"})
    )
    os.close(theirs)
    shown = b""
    try:
        while piece := _read(screen):
            shown += piece
        assert process.wait(60) == 0, shown
    finally:
        os.close(screen)
        process.kill()
        process.wait()
    return shown


def test_drain_draws_a_bar_on_a_terminal(commands: Commands, receiver: Receiver, spool: Path) -> None:
    """Bytes, rate and the files that are left, drawn over and over in one line."""
    shown = on_a_terminal(commands.write_agent_config(spool, receiver.url), 100)
    assert re.search(rb"\r2\d{3}-[^\r]* INFO +shipping [^\r]*\r\n", shown), shown  # what is logged stands above it
    last = [line for line in shown.split(b"\r") if b"shipping: " in line][-1]
    assert last.startswith(b"shipping: 100%"), shown
    assert b"19.5k/19.5k" in last
    assert b"B/s, 0 files left" in last
    assert_trees_equal(spool, receiver.data_dir)


def test_a_terminal_without_a_width_gets_lines(commands: Commands, receiver: Receiver, spool: Path) -> None:
    """A terminal of 0 columns, as some containers have, would show an empty bar."""
    shown = on_a_terminal(commands.write_agent_config(spool, receiver.url, log={"level": "warning"}), 0)
    assert b"19.5 KiB of 19.5 KiB shipped" in shown


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 65536)
    except OSError:  # EIO: the other side has ended
        return b""


def test_drain_waits_for_the_agent_that_runs(commands: Commands, receiver: Receiver, spool: Path) -> None:
    """It names the agent, ships nothing itself, and ends with 0 once that one has shipped all."""
    config = commands.write_agent_config(spool, receiver.url)
    agent = commands.start_agent(config)
    wait_until(lambda: spoke_of(spool, 20), what=f"the agent at work\n{agent.tail()}")
    receiver.kill()
    (spool / "late.bin").write_bytes(b"x" * 5000)
    running = start_drain(commands, config)
    wait_until(lambda: "waiting for it" in running.stderr, what=running.tail())
    assert f"pid {agent.process.pid} on " in running.stderr
    wait_until(lambda: "1 file left" in running.stderr, what=running.tail())
    assert running.is_alive
    receiver.restart()
    assert running.wait() == 0, running.tail()
    assert agent.is_alive
    assert_trees_equal(spool, receiver.data_dir)


def test_drain_beside_a_training_waits_for_what_was_there(commands: Commands, receiver: Receiver, spool: Path) -> None:
    """A run that goes on logging is never shipped whole; what was written before the drain is, and that is enough."""
    agent = commands.start_agent(commands.write_agent_config(spool, receiver.url))
    config = commands.work_dir / "agent.yaml"
    wait_until(lambda: spoke_of(spool, 20), what=f"the agent at work\n{agent.tail()}")
    is_over = threading.Event()

    def log() -> None:
        with (spool / "metrics.jsonl").open("ab", buffering=0) as file:
            while not is_over.wait(0.002):
                file.write(b'{"loss":1}\n')

    training = threading.Thread(target=log)
    training.start()
    try:
        wait_until(lambda: (spool / "metrics.jsonl").exists())
        before = (spool / "metrics.jsonl").stat().st_size
        running = start_drain(commands, config)
        assert running.wait() == 0, running.tail() + agent.tail()
        assert (receiver.data_dir / "metrics.jsonl").stat().st_size >= before
        assert "waiting for it" in running.stderr
    finally:
        is_over.set()
        training.join()


def test_drain_gives_up_after_its_time(commands: Commands, spool: Path) -> None:
    """Without a receiver it ends with 1 and says what is left, alone and beside an agent; the spool is as it was."""
    config = commands.write_agent_config(spool, "http://127.0.0.1:1", drain_timeout_s=1.0)
    alone = start_drain(commands, config)
    assert alone.wait() == 1
    assert "20 not shipped" in alone.stderr
    agent = commands.start_agent(config)
    wait_until(lambda: (spool / AGENT_DIR / "agent.lock").read_text().startswith(f"pid {agent.process.pid} "))
    beside = start_drain(commands, config)
    assert beside.wait() == 1, beside.tail()
    assert "20 files, 19.5 KiB not shipped yet" in beside.stderr
    assert len(read_spool(spool)) == 20


def test_drain_ends_where_the_agent_does(commands: Commands, spool: Path) -> None:
    """An agent that is killed while it is waited for leaves nobody to wait for."""
    config = commands.write_agent_config(spool, "http://127.0.0.1:1", drain_timeout_s=600.0)
    agent = commands.start_agent(config)
    wait_until(lambda: maybe_said(spool / AGENT_DIR, 0.0), what=agent.tail())
    running = start_drain(commands, config)
    wait_until(lambda: "waiting for it" in running.stderr, what=running.tail())
    agent.kill()
    assert running.wait() == 1
    assert "no agent runs any more" in running.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_wait(commands: Commands, spool: Path, number: signal.Signals) -> None:
    """Ctrl-C stops waiting, not the agent."""
    config = commands.write_agent_config(spool, "http://127.0.0.1:1", drain_timeout_s=600.0)
    agent = commands.start_agent(config)
    wait_until(lambda: maybe_said(spool / AGENT_DIR, 0.0), what=agent.tail())
    running = start_drain(commands, config)
    wait_until(lambda: "waiting for it" in running.stderr and "left" in running.stderr, what=running.tail())
    begun_s = time.monotonic()
    running.process.send_signal(number)
    assert running.wait() == 1
    assert time.monotonic() - begun_s < drain.LINE_EVERY_S + 10
    assert agent.is_alive
