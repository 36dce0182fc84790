"""A real agent as whoever runs it sees it: what it says while it runs, how it is ended, and what its exit code means."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from processes import TOKEN, Commands, Receiver, Running, assert_trees_equal, read_mirror, wait_until

from ml_logger.agent.lock import maybe_holder, only_agent
from ml_logger.agent.status_file import maybe_said
from ml_logger.layout import AGENT_DIR, AGENT_LOCK
from ml_logger.server.auth import Caller
from ml_logger.server.tokens import add_token

LINE = b'{"n": 1}\n'


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    (tmp_path / "spool/run").mkdir(parents=True)
    return tmp_path / "spool"


@pytest.fixture
def receiver(commands: Commands, tmp_path: Path) -> Receiver:
    return commands.start_receiver(tmp_path / "mirror")


def append(spool: Path, content: bytes = LINE) -> None:
    with (spool / "run/metrics.jsonl").open("ab") as file:
        file.write(content)


def held(receiver: Receiver) -> bytes:
    return read_mirror(receiver.data_dir).get(b"run/metrics.jsonl", b"")


@contextmanager
def busy_writer(spool: Path) -> Iterator[None]:
    """Let a thread append a line every few milliseconds."""
    is_over = threading.Event()

    def write() -> None:
        while not is_over.wait(0.003):
            append(spool)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def wait_shipped(agent: Running, receiver: Receiver, least_bytes: int = 1) -> None:
    wait_until(lambda: len(held(receiver)) >= least_bytes, what=agent.tail())


# --- a spool that is made anew


@pytest.mark.parametrize("gone", ["", ".ml-logger-agent"])
def test_a_spool_made_anew_is_locked_anew(
    commands: Commands, receiver: Receiver, spool: Path, tmp_path: Path, gone: str
) -> None:
    """Deleted with all in it, or only the agent's own folder: what comes is shipped, and a second agent finds the first."""
    config = commands.write_agent_config(spool, receiver.url)
    append(spool)
    agent = commands.start_agent(config)
    wait_shipped(agent, receiver)
    old = spool.stat().st_ino
    shutil.rmtree(spool / gone)
    (spool / "run").mkdir(parents=True, exist_ok=True)
    assert gone or spool.stat().st_ino != old
    append(spool, LINE * 5)
    wait_until(lambda: "opened anew" in agent.stderr and maybe_holder(spool / AGENT_DIR) is not None, what=agent.tail())
    wait_until(lambda: len(held(receiver)) >= len(LINE) * 5, what=agent.tail())
    other = commands.write_agent_config(spool, receiver.url, file_name="other.yaml", state_dir=str(tmp_path / "other"))
    second = commands.run("ml-logger-agent", "--config", other, "--once")
    assert second.wait() == 2
    assert f"pid {agent.process.pid} on" in second.stderr
    assert agent.stderr.count("opened anew") == 1
    assert agent.terminate() == 0


def test_a_spool_that_is_another_agents_by_now_ends_this_one(
    commands: Commands, receiver: Receiver, spool: Path
) -> None:
    """One line says who has it, and the exit code that a person must look."""
    agent = commands.start_agent(commands.write_agent_config(spool, receiver.url))
    wait_until(lambda: maybe_holder(spool / AGENT_DIR) is not None, what=agent.tail())
    made = spool.with_name("made")
    made.mkdir()
    with only_agent(made / AGENT_DIR, made):
        spool.rename(spool.with_name("away"))
        made.rename(spool)
        assert agent.wait() == 2
    assert "already has an agent" in agent.stderr


def test_a_spool_that_comes_back_is_the_same(tmp_path: Path) -> None:
    """While it is not there nothing stands in its place; moved back it is the one that was locked."""
    spool, state = tmp_path / "spool", tmp_path / "state"
    spool.mkdir()
    with only_agent(state, spool) as footing:
        spool.rename(tmp_path / "away")
        assert footing.maybe_replaced() is None
        (tmp_path / "away").rename(spool)
        assert footing.maybe_replaced() is None
        (state / AGENT_LOCK).unlink()
        assert footing.maybe_replaced() == state


# --- a token file that is replaced


def test_a_token_that_covers_the_folder_frees_what_was_refused(commands: Commands, spool: Path, tmp_path: Path) -> None:
    """One for another folder is said once, not for each file; with another token all is shipped, long before the next try."""
    tokens, own = tmp_path / "tokens", tmp_path / "own-token"
    good = [add_token(tokens, Caller(name, prefix=name)) for name in ("other", "team")]
    receiver = commands.start_receiver(tmp_path / "mirror", "--token-file", str(tokens))
    own.write_text(good[0])
    names = {f"run/{number}.bin" for number in range(5)} | {"run/metrics.jsonl"}
    for name in names:
        (spool / name).write_bytes(LINE)
    agent = commands.start_agent(
        commands.write_agent_config(
            spool, receiver.url, token_file=str(own), remote_prefix="team", heartbeat_s=0.1, batch_files=2
        )
    )

    def count_aside() -> int:
        said = maybe_said(spool / AGENT_DIR, time.time())
        return 0 if said is None else len(said.progress.aside)

    wait_until(lambda: count_aside() == len(names), what=agent.tail())
    assert agent.stderr.count("set aside") == agent.stderr.count("the token is for another folder") == 1
    own.with_name("new").write_text(good[1])
    own.with_name("new").rename(own)
    wait_until(lambda: len(read_mirror(receiver.data_dir)) == len(names), what=agent.tail())
    assert agent.terminate() == 0


def test_a_token_file_may_be_missing_for_a_moment(commands: Commands, receiver: Receiver, spool: Path) -> None:
    """Missing, then empty: each is said once in one line, nothing ends, and all is shipped once the token is back."""
    config = commands.write_agent_config(spool, receiver.url)
    append(spool)
    agent = commands.start_agent(config)
    wait_shipped(agent, receiver)
    token = commands.token_file()
    token.unlink()
    append(spool)
    wait_until(lambda: "can't be read" in agent.stderr, what=agent.tail())
    token.write_bytes(b"")
    wait_until(lambda: "is empty: put the token on its first line; nothing is lost" in agent.stderr, what=agent.tail())
    token.write_text(TOKEN)
    wait_shipped(agent, receiver, 2 * len(LINE))
    wait_until(lambda: "answers again" in agent.stderr, what=agent.tail())
    assert agent.terminate() == 0
    assert agent.stderr.count("can't be read") == agent.stderr.count("is empty") == 1
    assert "unexpectedly" not in agent.stderr


# --- how it is ended


def test_once_beside_a_busy_writer_ships_what_was_there(commands: Commands, receiver: Receiver, spool: Path) -> None:
    """It ends with 0 when that is shipped, long before its time, whatever a living writer adds."""
    append(spool, LINE * 1000)
    config = commands.write_agent_config(spool, receiver.url, drain_timeout_s=1000.0)
    with busy_writer(spool):
        commands.drain(config)
    assert len(held(receiver)) >= 1000 * len(LINE)


def test_an_agent_that_is_told_to_end_ships_on_while_lines_come(
    commands: Commands, receiver: Receiver, spool: Path
) -> None:
    """What a busy writer still writes after SIGTERM is shipped; the agent ends by itself when the writer stops."""
    config = commands.write_agent_config(spool, receiver.url, drain_timeout_s=1000.0, settle_s=2.0)
    with busy_writer(spool):
        agent = commands.start_agent(config)
        wait_shipped(agent, receiver)
        agent.process.send_signal(signal.SIGTERM)
        size = (spool / "run/metrics.jsonl").stat().st_size
        wait_shipped(agent, receiver, size + 300 * len(LINE))
        assert agent.is_alive
    assert agent.wait() == 0, agent.tail()
    assert_trees_equal(spool, receiver.data_dir)


def test_a_closed_terminal_ends_it_as_sigterm_does(commands: Commands, receiver: Receiver, spool: Path) -> None:
    """SIGHUP ships what is left, and the exit code says so."""
    config = commands.write_agent_config(spool, receiver.url, settle_s=1.0)
    agent = commands.start_agent(config)
    (spool / "run/m.pt").write_bytes(b"x" * 1000)
    wait_until(lambda: "shipping" in agent.stderr, what=agent.tail())
    agent.process.send_signal(signal.SIGHUP)
    assert agent.wait() == 0, agent.tail()
    assert "shipped 1000 bytes of 1 files" in agent.stderr
    assert_trees_equal(spool, receiver.data_dir)


def test_nohup_is_honoured(commands: Commands, receiver: Receiver, spool: Path) -> None:
    """Started with SIGHUP ignored it goes on ignoring it."""
    config = commands.write_agent_config(spool, receiver.url)
    ignoring = (
        "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    )
    agent = commands.start_agent(config, before=(sys.executable, "-c", ignoring))
    wait_until(lambda: "shipping" in agent.stderr, what=agent.tail())
    status = Path(f"/proc/{agent.process.pid}/status").read_text(encoding="utf-8")
    ignored = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigIgn:"))
    assert ignored & 1 << signal.SIGHUP - 1
    assert agent.terminate() == 0


# --- the last words


def json_lines(running: Running) -> list[str]:
    """Return the messages on stderr, each of which has to be a JSON line."""
    return [json.loads(line)["message"] for line in running.stderr.splitlines()]


def test_the_last_words_are_json_where_the_log_is(commands: Commands, receiver: Receiver, spool: Path) -> None:
    """A refused token, a token file that is not there, and the list of what is left are lines for the collector."""
    append(spool)
    log = {"format": "json", "level": "error"}
    config = commands.write_agent_config(spool, receiver.url, log=log, token="wrong-token", token_file=None)
    refused = commands.run("ml-logger-agent", "--config", config)
    assert (refused.wait(), len(json_lines(refused))) == (2, 1), refused.tail()
    assert "401" in json_lines(refused)[0]
    config = commands.write_agent_config(spool, receiver.url, log=log, token_file=str(spool / "no-token"))
    tokenless = commands.run("ml-logger-agent", "--config", config)
    assert (tokenless.wait(), len(json_lines(tokenless))) == (2, 1), tokenless.tail()
    config = commands.write_agent_config(spool, "http://127.0.0.1:1", log=log, drain_timeout_s=0.3)
    left = commands.run("ml-logger-agent", "--config", config, "--once")
    assert left.wait() == 1, left.tail()
    assert [m for m in json_lines(left) if "run/metrics.jsonl: not shipped yet" in m] != []
