"""Heartbeats: the receiver learns who ships what and how far it is, and nothing that happens to one disturbs shipping."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from processes import TOKEN, Commands, assert_trees_equal, wait_until
from proxy import HTML, Answer, Behaviour, Drip, Drop, Hold, Proxy
from serving import Site, serving

from ml_logger.agent.call import Caller
from ml_logger.agent.causes import unanswered
from ml_logger.agent.config import AgentConfig, TlsSettings
from ml_logger.agent.heart import UNKNOWN_REST_S, Heart, Pulse
from ml_logger.agent.progress import Progress
from ml_logger.agent.scanner import Problem
from ml_logger.agent.status_file import StatusFile
from ml_logger.errors import ConfigError, TryAgain
from ml_logger.server.local_store import LocalStore
from ml_logger.source import source_of
from ml_logger.version import __version__

OpenProxy = Callable[[tuple[str, int]], Proxy]

FAR = Progress(
    backlog_files=2,
    backlog_bytes=300,
    oldest_unshipped_s=4.0,
    shipped_bytes=5,
    shipped_files=6,
    errors=7,
    last_ack_at=1795363200.5,
    last_error="no\nroute",
    aside=(Problem("a", "b"),),
    runs_alive=("", "run", "odd\udcff", "x" * 3000),
)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    store = LocalStore(tmp_path / "data")
    with serving(store, token=TOKEN) as site:
        yield site
    store.close()


def config_of(tmp_path: Path, url: str, **settings: object) -> AgentConfig:
    return AgentConfig(spool=(tmp_path,), server=url, **settings)  # type: ignore[arg-type]


def caller_of(config: AgentConfig, token: str | None = TOKEN, timeout_s: float = 5.0) -> Caller:
    return Caller(config, lambda: token, timeout_s)


def heart_of(
    tmp_path: Path, url: str, *, progress: Progress = FAR, token: str | None = TOKEN, prefix: str = ""
) -> Heart:
    status = StatusFile(tmp_path, steady_s=lambda: 100.0)
    status.tell(lambda: progress)
    return Heart([Pulse(tmp_path, prefix, status)], caller_of(config_of(tmp_path, url), token), 30.0)


def agents(site: Site) -> list[dict[str, object]]:
    return site.get("/v1/agents").json()["agents"]  # type: ignore[no-any-return]


# --- what is said


def test_the_receiver_learns_how_far_the_agent_is(tmp_path: Path, site: Site) -> None:
    """Who, since when, and of each spool what its status says; runs by the names they have on the receiver."""
    assert heart_of(tmp_path, site.url, prefix="team").beat_once() == 30.0
    (agent,) = agents(site)
    (spool,) = agent.pop("spools")  # type: ignore[misc, call-overload]
    assert (agent["source"], agent["agent"]) == (source_of(tmp_path), __version__)
    assert spool.pop("runs_alive") == ["team", "team/run", "team/odd%FF~" + spool_digest(b"odd\xff")]
    assert spool == {
        "spool": str(tmp_path),
        "source": source_of(tmp_path),
        "backlog_files": 2,
        "backlog_bytes": 300,
        "oldest_unshipped_s": 4.0,
        "shipped_bytes": 5,
        "shipped_files": 6,
        "errors": 7,
        "last_ack_at": 1795363200.5,
        "last_error": "no\\nroute",
        "aside": 1,
        "aside_files": [{"path": "a", "reason": "b"}],
        "bytes_per_s": 0.0,
    }


def spool_digest(name: bytes) -> str:
    import hashlib

    return hashlib.sha256(name).hexdigest()[:8]


@pytest.mark.parametrize("status", [404, 405, 501])
def test_a_receiver_without_the_call_is_left_alone(tmp_path: Path, open_proxy: OpenProxy, status: int) -> None:
    """It is asked again after ten minutes only."""
    proxy = open_proxy(("127.0.0.1", 1))
    proxy.default = Answer(status, b'{"error":"not found"}', "application/json")
    assert heart_of(tmp_path, proxy.url).beat_once() == UNKNOWN_REST_S


@pytest.mark.parametrize(
    "behaviour", [Answer(500), Answer(401), Answer(200), HTML, Drop(), Drop(reset=True), Answer(302)], ids=str
)
def test_a_heartbeat_that_fails_is_only_tried_again(
    tmp_path: Path, open_proxy: OpenProxy, caplog: pytest.LogCaptureFixture, behaviour: Behaviour
) -> None:
    """Whatever is answered, nothing is raised or said, and the next one comes at its time."""
    caplog.set_level("INFO")
    proxy = open_proxy(("127.0.0.1", 1))
    proxy.default = behaviour
    assert heart_of(tmp_path, proxy.url).beat_once() == 30.0
    assert not caplog.records


def test_no_receiver_is_no_trouble(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A refused connection and an unknown name are silent."""
    caplog.set_level("INFO")
    for url in ("http://127.0.0.1:1", "http://no.such.host.invalid"):
        assert heart_of(tmp_path, url).beat_once() == 30.0
    assert not caplog.records


def test_a_heart_stops_at_once(tmp_path: Path, open_proxy: OpenProxy) -> None:
    """With a heartbeat that nobody answers under way, the end of the agent is not delayed; none starts afterwards."""
    proxy = open_proxy(("127.0.0.1", 1))
    hold = Hold(0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        proxy.target = silent.getsockname()
        proxy.default = hold
        status = StatusFile(tmp_path)
        heart = Heart([Pulse(tmp_path, "", status)], caller_of(config_of(tmp_path, proxy.url)), 0.01)
        heart.start()
        assert hold.is_held.wait(20)
        begun_s = time.monotonic()
        heart.stop()
        assert time.monotonic() - begun_s < 5
        hold.release.set()


def test_no_heart_without_an_interval(tmp_path: Path) -> None:
    """`heartbeat_s: 0` starts no thread."""
    before = threading.active_count()
    heart = Heart(
        [Pulse(tmp_path, "", StatusFile(tmp_path))], caller_of(config_of(tmp_path, "http://127.0.0.1:1")), 0.0
    )
    heart.start()
    assert threading.active_count() == before
    heart.stop()


# --- the call


def test_a_call_is_bounded_as_a_whole(tmp_path: Path, site: Site, open_proxy: OpenProxy) -> None:
    """An answer that drips, no byte of it late, ends at the deadline."""
    parts = site.url.removeprefix("http://").split(":")
    proxy = open_proxy((parts[0], int(parts[1])))
    proxy.default = Drip(0.2)
    begun_s = time.monotonic()
    with pytest.raises(TryAgain):
        caller_of(config_of(tmp_path, proxy.url), timeout_s=1.0).call("GET", "/healthz")
    assert time.monotonic() - begun_s < 10


def test_a_call_goes_through_the_proxy_of_the_config(tmp_path: Path, site: Site) -> None:
    """The request is for the whole URL, with the proxy's password apart from the receiver's token."""
    seen = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            client, _ = listener.accept()
            with client:
                seen.append(client.recv(65536))
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

        thread = threading.Thread(target=answer)
        thread.start()
        proxy = f"http://me:p%40ss@127.0.0.1:{listener.getsockname()[1]}"
        config = config_of(tmp_path, "http://storage:8081/base", proxy=proxy)
        assert caller_of(config).call("GET", "/healthz").body == b"ok"
        thread.join()
    (head,) = seen
    assert head.startswith(b"GET http://storage:8081/base/healthz HTTP/1.1\r\n")
    assert b"Host: storage:8081\r\n" in head
    assert b"Proxy-Authorization: Basic bWU6cEBzcw==\r\n" in head
    assert f"Authorization: Bearer {TOKEN}\r\n".encode() in head


def test_what_goes_wrong_is_said_with_a_mend(tmp_path: Path) -> None:
    """Each kind of failure has its own words and hint; none is left to the standard library's."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        thread = threading.Thread(target=lambda: listener.accept()[0].close())
        thread.start()
        with pytest.raises(TryAgain, match=r"closed|reset") as caught:
            caller_of(config_of(tmp_path, f"http://127.0.0.1:{port}")).call("GET", "/")
        thread.join()
        assert caught.value.hint
    for url, words in (("http://127.0.0.1:1", "nobody listens"), ("http://no.such.host.invalid", "name")):
        with pytest.raises(TryAgain, match=words) as caught:
            caller_of(config_of(tmp_path, url)).call("GET", "/")
        assert caught.value.hint
    assert unanswered(TimeoutError(), "no answer within 3 s").one_line().startswith("no answer within 3 s")
    assert "OSError" not in unanswered(OSError(113, "No route to host"), "").one_line()


def test_files_of_tls_that_are_none_are_refused(tmp_path: Path) -> None:
    """A CA file without a certificate in it is named with the mend, before anything is sent."""
    (tmp_path / "ca.pem").write_text("no certificate\n")
    config = config_of(tmp_path, "https://127.0.0.1:1", tls=TlsSettings(ca_file=tmp_path / "ca.pem"))
    with pytest.raises(ConfigError, match="tls"):
        caller_of(config)


# --- with real processes


def test_an_agent_at_work_is_listed(commands: Commands, tmp_path: Path) -> None:
    """Within moments the receiver knows the agent, and what it says follows what is shipped; no token is in it."""
    receiver = commands.start_receiver(tmp_path / "mirror")
    spool = tmp_path / "spool"
    (spool / "run").mkdir(parents=True)
    (spool / "run/run.jsonl").write_bytes(b"{}\n")
    agent = commands.start_agent(
        commands.write_agent_config(spool, receiver.url, heartbeat_s=0.1, remote_prefix="team")
    )
    headers = {"Authorization": f"Bearer {TOKEN}"}

    def listed() -> dict[str, object] | None:
        answer = requests.get(receiver.url + "/v1/agents", headers=headers, timeout=10)
        assert TOKEN not in answer.text
        return next((spool for agent in answer.json()["agents"] for spool in agent["spools"]), None)

    wait_until(lambda: (said := listed()) and said["shipped_files"] == 1, what=f"a heartbeat\n{agent.tail()}")
    assert listed()["runs_alive"] == ["team/run"]  # type: ignore[index]
    assert agent.terminate() == 0


@pytest.mark.parametrize("behaviour", [Hold(0), Drop(), HTML, Answer(500), Answer(404)], ids=lambda b: type(b).__name__)
def test_heartbeats_never_disturb_shipping(
    commands: Commands, open_proxy: OpenProxy, tmp_path: Path, behaviour: Behaviour
) -> None:
    """Heartbeats that hang, are cut off, refused or answered by something else: all arrives, and no word is said of it."""
    receiver = commands.start_receiver(tmp_path / "mirror")
    proxy = open_proxy(receiver.address)
    proxy.script("/v1/heartbeat", *[behaviour] * 10_000)
    spool = tmp_path / "spool"
    spool.mkdir()
    agent = commands.start_agent(commands.write_agent_config(spool, proxy.url, heartbeat_s=0.05))
    is_held = (
        behaviour.is_held.is_set if isinstance(behaviour, Hold) else lambda: proxy.count(type(behaviour), "heartbeat")
    )
    wait_until(is_held, what=f"a heartbeat\n{agent.tail()}")
    for number in range(50):
        (spool / f"{number}.bin").write_bytes(bytes([number]) * 1000)
    assert agent.terminate() == 0, agent.tail()
    assert_trees_equal(spool, tmp_path / "mirror")
    assert [line.split()[1] for line in agent.stderr.splitlines()] == ["INFO", "INFO"]  # what it ships, what it shipped
    if isinstance(behaviour, Hold):
        behaviour.release.set()
