"""An agent ends by itself when it should, once all is shipped, and never because a question went unanswered."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from processes import Commands, Running, assert_trees_equal, read_mirror, wait_until

from ml_logger.agent import endings
from ml_logger.agent.config import AgentConfig
from ml_logger.agent.endings import Endings, FileThere, ProcessEnd, SpotNotice
from ml_logger.agent.loop import Loop
from ml_logger.agent.shipper import Round
from ml_logger.agent.watcher import Doorbell, Watcher

TRAINING = Path(__file__).parent / "training.py"


# --- processes


@contextmanager
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdin is not None
        process.stdin.close()


def no_pidfd(pid: int) -> int:
    raise PermissionError(1, "Operation not permitted")


@pytest.fixture(params=["pidfd", "proc"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Use what the system tells, and, as in a sandbox or on an old kernel, what /proc shows."""
    if request.param == "proc":
        monkeypatch.setattr(os, "pidfd_open", no_pidfd)
    return str(request.param)


def test_a_process_ends(way: str) -> None:
    """A living process is no end; a killed one is, also before its parent has asked for its exit code."""
    with sleeper() as process, closing(ProcessEnd(process.pid)) as end:
        assert (end.fd is None) == (way == "proc")
        assert end.look() is None
        process.kill()
        wait_until(lambda: end.look() is not None, 20)
        process.wait()
        assert end.look() == f"process {process.pid} has ended"


def test_a_process_that_is_not_there_has_ended(way: str) -> None:
    """A pid that nobody has any more means that the training was quicker than the agent."""
    with sleeper() as process:
        process.kill()
        process.wait()
        with closing(ProcessEnd(process.pid)) as end:
            assert end.look() == f"process {process.pid} has ended"


def test_a_number_that_is_given_again_is_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a pidfd the time of its start tells a process from a later one with its number."""
    monkeypatch.setattr(os, "pidfd_open", no_pidfd)
    with sleeper() as process, closing(ProcessEnd(process.pid)) as end:
        assert end.look() is None
        monkeypatch.setattr(endings, "_start_of", lambda pid: "1")
        assert end.look() is not None


# --- files


def test_a_file_appears(tmp_path: Path) -> None:
    """The file may be of any kind, and its folder need not be there yet."""
    end = FileThere(tmp_path / "later" / "done")
    assert end.look() is None
    (tmp_path / "later" / "done").mkdir(parents=True)
    assert end.look() == f"{tmp_path / 'later' / 'done'} is there"


def test_a_file_that_can_not_be_looked_at_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Missing rights, or a link that leads to itself, are no end; a person hears of it once."""
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    end = FileThere(tmp_path / "loop")
    assert [end.look() for _ in range(3)] == [None] * 3
    assert caplog.text.count("can't be looked at") == 1


# --- spot notices


class Metadata(BaseHTTPRequestHandler):
    """A fake instance metadata service; `script` holds what the next questions for a notice are answered with."""

    script: ClassVar[list[tuple[int, bytes]]] = []
    tokens: ClassVar[list[str]] = []
    asked: ClassVar[list[str]] = []
    token_status: ClassVar[int] = 200
    release: ClassVar[threading.Event] = threading.Event()

    def do_PUT(self) -> None:
        self.asked.append(f"PUT {self.path} {self.headers['X-aws-ec2-metadata-token-ttl-seconds']}")
        if self.token_status == 200:
            self.tokens.append(f"token-{len(self.tokens)}")
        self.answer(self.token_status, self.tokens[-1].encode() if self.tokens else b"")

    def do_GET(self) -> None:
        self.asked.append(f"GET {self.path}")
        if not self.tokens or self.headers["X-aws-ec2-metadata-token"] != self.tokens[-1]:
            self.answer(401, b"")
            return
        status, body = self.script.pop(0) if self.script else (404, b"")
        if status == 0:
            self.release.wait(30)
        else:
            self.answer(status, body)

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


NOTICE = (200, b'{"action": "terminate", "time": "2026-11-22T21:00:00Z"}')


@pytest.fixture
def metadata() -> Iterator[tuple[str, type[Metadata]]]:
    class Own(Metadata):
        script: ClassVar[list[tuple[int, bytes]]] = []
        tokens: ClassVar[list[str]] = []
        asked: ClassVar[list[str]] = []
        release: ClassVar[threading.Event] = threading.Event()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Own)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", Own
    Own.release.set()
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_notice_is_heard(metadata: tuple[str, type[Metadata]], caplog: pytest.LogCaptureFixture) -> None:
    """No notice is 404, with one token for all questions; a notice says what and when. No token is ever logged."""
    caplog.set_level(logging.DEBUG)
    url, service = metadata
    service.script += [(404, b""), (404, b""), NOTICE]
    end = SpotNotice(url)
    assert [end.look() for _ in range(2)] == [None, None]
    assert end.every_s == 5.0
    assert end.look() == "spot notice: terminate of this instance at '2026-11-22T21:00:00Z'"
    path = "GET /latest/meta-data/spot/instance-action"
    assert service.asked == ["PUT /latest/api/token 21600", path, path, path]
    assert "token-" not in caplog.text
    assert len([r for r in caplog.records if r.levelno >= logging.WARNING]) == 0


def test_a_token_that_has_expired_is_asked_for_anew(metadata: tuple[str, type[Metadata]]) -> None:
    """A 401 costs one more request, not a notice."""
    url, service = metadata
    end = SpotNotice(url)
    assert end.look() is None
    service.tokens.append("another")
    service.script.append(NOTICE)
    assert end.look() is not None


@pytest.mark.parametrize(
    "answer",
    [(500, b""), (503, NOTICE[1]), (302, b""), (200, b"<html>"), (200, b""), (200, b"[]"), (200, b"{}"), (0, b"")],
)
def test_a_bad_answer_is_no_notice(
    metadata: tuple[str, type[Metadata]],
    answer: tuple[int, bytes],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Errors, silence, redirects and pages of a middlebox end nothing; once it had answered it is asked as often as ever."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(endings, "REQUEST_TIMEOUT_S", 0.2)
    url, service = metadata
    end = SpotNotice(url)
    assert end.look() is None
    service.script += [answer] * 2
    assert [end.look() for _ in range(2)] == [None, None]
    assert end.every_s == 5.0
    assert caplog.text.count("no longer answers") == 1
    service.script.append(NOTICE)
    assert end.look() is not None
    assert caplog.text.count("asking") == 2


@pytest.mark.parametrize("token_status", [404, 403, 405, 500])
def test_a_machine_without_the_service_is_asked_rarely(
    metadata: tuple[str, type[Metadata]], token_status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Where no token is given this may be no EC2 instance: that is said once, and it is asked once a minute."""
    url, service = metadata
    service.token_status = token_status
    end = SpotNotice(url)
    for number in range(6):
        assert end.look() is None
        assert end.every_s == (5.0 if number < 2 else 60.0)
    assert caplog.text.count("is this an EC2 instance?") == 1
    assert len(service.asked) == 6
    service.token_status = 200
    assert end.look() is None
    assert end.every_s == 5.0


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://a..b", "http://[::1]:1/prefix/", "https://127.0.0.1:1"])
def test_nobody_there(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """A refused connection and an impossible name are said once."""
    end = SpotNotice(url)
    assert [end.look() for _ in range(5)] == [None] * 5
    assert caplog.text.count("is this an EC2 instance?") == 1


def test_a_prefix_in_the_url_is_kept(metadata: tuple[str, type[Metadata]]) -> None:
    """The service may be reached through a path of another server."""
    url, service = metadata
    SpotNotice(url + "/imds/").look()
    assert service.asked == ["PUT /imds/latest/api/token 21600", "GET /imds/latest/meta-data/spot/instance-action"]


# --- all of them


def config_of(tmp_path: Path, **given: object) -> AgentConfig:
    return AgentConfig(spool=tmp_path, server="http://unused", **given)  # type: ignore[arg-type]


def test_nothing_to_watch_is_no_thread(tmp_path: Path) -> None:
    """Without these keys no thread is started."""
    before = threading.active_count()
    with closing(Endings(config_of(tmp_path), lambda: None)) as watched:
        watched.start()
        assert threading.active_count() == before


def test_each_ending_stops_once(tmp_path: Path, metadata: tuple[str, type[Metadata]]) -> None:
    """Whichever comes first stops the agent, and what comes after it stops nothing again."""
    url, service = metadata
    stops: list[str] = []
    with sleeper() as process:
        given = {"until_pid": process.pid, "until_file": tmp_path / "done", "spot_notice": True, "spot_notice_url": url}
        with closing(Endings(config_of(tmp_path, **given), lambda: stops.append("stop"))) as watched:
            watched.start()
            wait_until(lambda: service.asked, 20)
            assert stops == []
            process.kill()
            wait_until(lambda: stops, 20)
            (tmp_path / "done").touch()
        assert stops == ["stop"]


def test_a_process_that_ended_before_the_start_of_the_watch(tmp_path: Path) -> None:
    """It is bound to the process from the first moment on."""
    stopped = threading.Event()
    with sleeper() as process:
        watched = Endings(config_of(tmp_path, until_pid=process.pid), stopped.set)
    with closing(watched):
        watched.start()
        assert stopped.wait(20)


def test_a_closed_terminal_is_one_stop(tmp_path: Path) -> None:
    """The shell and the system may both say so: the second time ends no drain early, a person's signal does."""
    stops: list[str] = []
    with closing(Endings(config_of(tmp_path), lambda: stops.append("stop"))) as watched:
        watched.hang_up()
        watched.hang_up()
        assert len(stops) == 1
        watched.stop()
        watched.hang_up()
        assert len(stops) == 2


def test_a_signal_and_an_ending_together_are_one_stop(tmp_path: Path) -> None:
    """Who ends the training often ends the agent too: the drain that has begun is not cut short; a second signal is."""
    stops: list[str] = []
    with sleeper() as process:
        watched = Endings(config_of(tmp_path, until_pid=process.pid), lambda: stops.append("stop"))
        with closing(watched):
            watched.start()
            watched.stop()
            process.kill()
            assert watched._thread is not None
            watched._thread.join(20)
            assert not watched._thread.is_alive()
            assert stops == ["stop"]
            watched.stop()
    assert stops == ["stop", "stop"]


def test_a_hanging_service_holds_up_nobody(
    tmp_path: Path, metadata: tuple[str, type[Metadata]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the metadata service does not answer, the agent can end all the same."""
    monkeypatch.setattr(endings, "REQUEST_TIMEOUT_S", 60.0)
    url, service = metadata
    service.script += [(0, b"")] * 10
    watched = Endings(config_of(tmp_path, spot_notice=True, spot_notice_url=url), lambda: None)
    watched.start()
    wait_until(lambda: len(service.asked) >= 2, 20)
    watched.close()
    assert watched._thread is not None
    assert watched._thread.is_alive()
    service.release.set()
    watched._thread.join(20)
    assert not watched._thread.is_alive()


def test_a_drain_is_not_cut_short_by_an_ending(tmp_path: Path) -> None:
    """With the loop itself: SIGTERM's drain goes on to its end when the training ends meanwhile."""

    class Slow:
        rounds = 0

        def ship_once(self, complete_paths: object = (), folders: object = None) -> Round:
            self.rounds += 1
            if self.rounds == 3:
                process.kill()
                assert watched._thread is not None
                watched._thread.join(20)
            return Round(has_backlog=self.rounds < 10)

        def unshipped(self) -> list[object]:
            return []

    doorbell, slow = Doorbell(), Slow()
    config = config_of(tmp_path, scan_interval_s=0.01, min_interval_s=0.0)
    loop = Loop([slow], Watcher([tmp_path], doorbell), doorbell, config)  # type: ignore[list-item]
    with sleeper() as process:
        watched = Endings(config_of(tmp_path, until_pid=process.pid), loop.stop)
        with closing(watched):
            watched.start()
            watched.stop()
            loop.run()
    assert slow.rounds >= 10
    doorbell.close()


# --- real agents


def start_training(commands: Commands, run: Path, steps: int, step_s: float) -> Running:
    return commands.start("python", TRAINING, run, steps, step_s)


@pytest.mark.parametrize("how", ["flag", "key"])
def test_the_agent_ends_after_its_training(commands: Commands, tmp_path: Path, how: str) -> None:
    """The training dies by SIGKILL: the agent ships the rest, torn tail included, and exits with 0 by itself."""
    spool = tmp_path / "spool"
    spool.mkdir()
    receiver = commands.start_receiver(tmp_path / "mirror")
    training = start_training(commands, spool / "run", 100_000, 0.001)
    given = {"until_pid": training.process.pid} if how == "key" else {}
    flags = ["--until-pid", str(training.process.pid)] if how == "flag" else []
    agent = commands.start_agent(commands.write_agent_config(spool, receiver.url, **given), *flags)
    wait_until(lambda: b"run/images/sample/0020.png" in read_mirror(receiver.data_dir), what=agent.tail())
    assert agent.is_alive
    training.kill()
    assert agent.wait() == 0, agent.tail()
    assert_trees_equal(spool, receiver.data_dir)
    assert f"process {training.process.pid} has ended" in agent.stderr


def test_an_agent_that_comes_too_late_ships_all_and_ends(commands: Commands, tmp_path: Path) -> None:
    """The training had ended before the agent was there: it drains, and exits with 0."""
    spool = tmp_path / "spool"
    spool.mkdir()
    receiver = commands.start_receiver(tmp_path / "mirror")
    training = start_training(commands, spool / "run", 30, 0.0)
    assert training.wait() == 0, training.tail()
    config = commands.write_agent_config(spool, receiver.url)
    agent = commands.start_agent(config, "--until-pid", str(training.process.pid))
    assert agent.wait() == 0, agent.tail()
    assert_trees_equal(spool, receiver.data_dir)


def test_the_agent_ends_at_the_file(commands: Commands, tmp_path: Path) -> None:
    """A file in a shared folder ends the sidecar of another container; one that is there at the start does at once."""
    spool = tmp_path / "spool"
    spool.mkdir()
    receiver = commands.start_receiver(tmp_path / "mirror")
    config = commands.write_agent_config(spool, receiver.url)
    agent = commands.start_agent(config, "--until-file", str(tmp_path / "done"))
    training = start_training(commands, spool / "run", 50, 0.001)
    assert training.wait() == 0, training.tail()
    assert agent.is_alive
    (tmp_path / "done").touch()
    assert agent.wait() == 0, agent.tail()
    assert_trees_equal(spool, receiver.data_dir)
    again = commands.start_agent(config, "--until-file", str(tmp_path / "done"))
    assert again.wait() == 0, again.tail()


def test_an_ending_without_a_receiver_says_what_is_left(commands: Commands, tmp_path: Path) -> None:
    """The drain decides the exit code: 1, with a list, if something could not be shipped in time."""
    spool = tmp_path / "spool"
    (spool / "run").mkdir(parents=True)
    (spool / "run/metrics.jsonl").write_bytes(b"{}\n")
    config = commands.write_agent_config(spool, "http://127.0.0.1:1", drain_timeout_s=0.5)
    agent = commands.start_agent(config, "--until-pid", str(2**31 - 1))
    assert agent.wait() == 1, agent.tail()
    assert "run/metrics.jsonl: not shipped yet" in agent.stderr


def test_the_agent_ends_at_a_spot_notice(
    commands: Commands, tmp_path: Path, metadata: tuple[str, type[Metadata]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the notice it ships what there is, says when the instance goes, and exits with 0; proxies are not asked."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    url, service = metadata
    spool = tmp_path / "spool"
    spool.mkdir()
    receiver = commands.start_receiver(tmp_path / "mirror")
    training = start_training(commands, spool / "run", 30, 0.0)
    assert training.wait() == 0, training.tail()
    service.script += [(404, b""), NOTICE]
    config = commands.write_agent_config(spool, receiver.url, spot_notice=True, spot_notice_url=url)
    agent = commands.start_agent(config)
    assert agent.wait() == 0, agent.tail()
    assert_trees_equal(spool, receiver.data_dir)
    assert "terminate of this instance at '2026-11-22T21:00:00Z'" in agent.stderr


def test_a_signal_ends_an_agent_that_waits_for_a_process(commands: Commands, tmp_path: Path) -> None:
    """SIGTERM counts as ever; the process it waits for goes on."""
    spool = tmp_path / "spool"
    spool.mkdir()
    receiver = commands.start_receiver(tmp_path / "mirror")
    with sleeper() as process:
        config = commands.write_agent_config(spool, receiver.url, until_pid=process.pid)
        agent = commands.start_agent(config)
        wait_until(lambda: "shipping" in agent.stderr, 30)
        agent.process.send_signal(signal.SIGTERM)
        assert agent.wait() == 0, agent.tail()
        assert process.poll() is None
