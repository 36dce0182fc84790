"""The agent keeps its promise: real processes, real faults, and in the end the mirror holds the spool, once, byte for byte.

Each fault is a test or a row. What takes minutes is marked `soak`; `make soak` runs it. The faults of single requests, and
kills at fixed places in them, are in `test_end_to_end.py`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from network import FAR_HOST, Network
from processes import Commands, Running, wait_until
from proxy import HTML, Behaviour, Delay, DelayAnswer, DoubleAnswer, Drip, Drop, Duplicate, LoseAnswer, OldAnswer, Pass
from proxy import Proxy as HttpProxy
from relay import Relay
from scene import SHORT_TIMEOUTS, Scene

soak = pytest.mark.soak

BEYOND_DEADLINES_S = 1.0  # with SHORT_TIMEOUTS

OpenProxy = Callable[[tuple[str, int]], HttpProxy]


@pytest.fixture
def scene(commands: Commands, tmp_path: Path) -> Iterator[Scene]:
    """Return an empty spool, a receiver, and a relay between."""
    spool = tmp_path / "spool"
    spool.mkdir()
    receiver = commands.start_receiver(tmp_path / "mirror")
    with closing(Relay(receiver.address)) as relay:
        yield Scene(commands, spool, receiver, relay)


# --- killed, frozen


def kill_some(scene: Scene, victim: str, times: int) -> Running:
    """Kill the `victim` as often, each time after some random bytes more have gone over the line; return the last agent."""
    dice = random.Random(f"{victim} {times}")
    agent = scene.start_agent()
    for _ in range(times):
        scene.wait_passed(dice.randrange(60_000), agent)
        victims = {"agent": [agent], "receiver": [scene.receiver.running]}.get(victim) or dice.sample(
            [agent, scene.receiver.running], 2
        )
        for running in victims:
            running.kill()
        if not scene.receiver.running.is_alive:
            scene.receiver.restart()
        if not agent.is_alive:
            agent = scene.start_agent()
    return agent


@pytest.mark.parametrize("times", [3, pytest.param(100, marks=soak)])
@pytest.mark.parametrize("victim", ["agent", "receiver", "both"])
def test_killed_at_random_moments(scene: Scene, victim: str, times: int) -> None:
    """SIGKILL at any moment, of either or both, while two programs write: the tree arrives, nothing twice."""
    writers = [scene.train(), scene.scribble()]
    agent = kill_some(scene, victim, times)
    for writer in writers:
        writer.kill()
    scene.wait_equal(agent)
    scene.assert_kept(agent)


@pytest.mark.parametrize("times", [1, pytest.param(30, marks=soak)])
@pytest.mark.parametrize("frozen", ["receiver", "agent"])
def test_frozen_for_longer_than_any_deadline(scene: Scene, frozen: str, times: int) -> None:
    """SIGSTOP until the other side's deadlines have passed: what was sent twice meanwhile is stored once."""
    dice = random.Random(times)
    training = scene.train()
    agent = scene.start_agent(timeouts=SHORT_TIMEOUTS)
    for _ in range(times):
        scene.wait_passed(dice.randrange(60_000), agent)
        stopped = agent if frozen == "agent" else scene.receiver.running
        stopped.freeze()
        last(BEYOND_DEADLINES_S)
        stopped.thaw()
    training.kill()
    scene.wait_equal(agent)
    scene.assert_kept(agent)


def last(duration_s: float) -> None:
    """Return after `duration_s` seconds: for faults of which the time is all there is to wait for."""
    end_s = time.monotonic() + duration_s
    wait_until(lambda: time.monotonic() >= end_s, duration_s + 10)


# --- the line


@pytest.fixture
def network() -> Iterator[Network]:
    """Return two machines on a wire."""
    with ExitStack() as stack:
        made = Network()
        stack.callback(made.end)
        yield made


@pytest.mark.parametrize("dark_s", [2, pytest.param(60, marks=soak)])
@pytest.mark.parametrize("end", ["near", "far"])
def test_the_link_goes_down_without_a_word(
    commands: Commands, network: Network, tmp_path: Path, end: str, dark_s: int
) -> None:
    """With a wire pulled at either end no packet says so; when it is back, what was logged in the dark arrives."""
    spool = tmp_path / "spool"
    spool.mkdir()
    receiver = commands.start_receiver(tmp_path / "mirror", "--host", FAR_HOST, before=network.far.enter)
    config = commands.write_agent_config(spool, receiver.url, batch_bytes=20_000, timeouts=SHORT_TIMEOUTS)
    with closing(Relay(receiver.address)) as unused:
        scene = Scene(commands, spool, receiver, unused)
        agent = commands.start_agent(config, before=network.near.enter)
        training = scene.train()
        stored = scene.mirror / "run/metrics.jsonl"
        wait_until(lambda: stored.exists() and stored.stat().st_size > 10_000, what=f"some records\n{agent.tail()}")
        pulled = network.near if end == "near" else network.far
        network.pull(pulled)
        last(dark_s)
        size = stored.stat().st_size
        network.plug(pulled)
        wait_until(lambda: stored.stat().st_size > size, 20, f"news after the dark\n{agent.tail()}")
        training.kill()
        scene.wait_equal(agent)
        scene.assert_kept(agent)


LATE = DelayAnswer(BEYOND_DEADLINES_S)

LINE_FAULTS: dict[str, tuple[Behaviour, ...]] = {
    "doubled answers": (DoubleAnswer(), Pass(), DoubleAnswer(), DoubleAnswer()),
    "answers after the deadline": (LATE, Pass(), LATE),
    "requests after the deadline": (Delay(BEYOND_DEADLINES_S), Pass(), Delay(BEYOND_DEADLINES_S)),
    "answers that drip": (Drip(0.01), Pass(), Drip(0.01)),
    "answers out of a cache": (Pass(), OldAnswer(), OldAnswer(), Pass(), OldAnswer()),
    "a sign-in page for all": (HTML,) * 8,
}


@pytest.fixture
def proxied(scene: Scene, open_proxy: OpenProxy) -> tuple[Scene, HttpProxy]:
    """Return a scene whose relay leads to a proxy, and that proxy."""
    proxy = open_proxy(scene.receiver.address)
    scene.relay.target = ("127.0.0.1", int(proxy.url.rpartition(":")[2]))
    return scene, proxy


@pytest.mark.parametrize("name", LINE_FAULTS)
def test_an_answer_counts_only_for_its_question(proxied: tuple[Scene, HttpProxy], name: str) -> None:
    """Answers that come twice, too late, to another question or from somebody else acknowledge nothing."""
    scene, proxy = proxied
    for path in ("/v1/batch", "/v1/stat"):
        proxy.script(path, *LINE_FAULTS[name])
    training, scribbler = scene.train(steps=200), scene.scribble()
    agent = scene.start_agent(timeouts=SHORT_TIMEOUTS)
    wait_until(lambda: proxy.is_done("/v1/batch"), what=f"all faults\n{agent.tail()}")
    assert training.wait() == 0, training.tail()
    scribbler.kill()
    scene.wait_equal(agent)
    scene.assert_kept(agent)


@soak
def test_an_hour_of_bad_line_in_minutes(proxied: tuple[Scene, HttpProxy]) -> None:
    """A thousand requests, of which two in three go wrong in any way: the tree arrives, nothing twice."""
    scene, proxy = proxied
    dice = random.Random(5)
    bad = [fault for faults in LINE_FAULTS.values() for fault in faults]
    bad += [LoseAnswer(), Duplicate(), Drop(), Drop(reset=True)]
    proxy.script("/v1/", *(Pass() if dice.random() < 0.33 else dice.choice(bad) for _ in range(1000)))
    writers = [scene.train(), scene.scribble()]
    agent = scene.start_agent(timeouts=SHORT_TIMEOUTS)
    wait_until(lambda: proxy.is_done("/v1/"), 1800, f"a thousand requests\n{agent.tail()}")
    for writer in writers:
        writer.kill()
    scene.wait_equal(agent, 300)
    scene.assert_kept(agent)
