"""The agent keeps its promise: real processes, real faults, and in the end the mirror holds the spool, once, byte for byte.

Each fault is a test or a row. What takes minutes is marked `soak`; `make soak-tests` runs it. The faults of single requests,
and kills at fixed places in them, are in `test_end_to_end.py`; copies of either tree in `test_agent_copies.py`.
"""

from __future__ import annotations

import fcntl
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from network import FAR_HOST, Network
from processes import Commands, Running, assert_trees_equal, read_mirror, read_spool, wait_until
from proxy import (
    HTML,
    Behaviour,
    Delay,
    DelayAnswer,
    DoubleAnswer,
    Drip,
    Drop,
    Duplicate,
    LoseAnswer,
    OldAnswer,
    Pass,
    Proxy,
    Strand,
)
from relay import Relay
from scene import SHORT_TIMEOUTS, Scene, scribble_at
from shifted_clock import set_clock
from small_disk import SmallDisk

from ml_logger import ML_Logger

SHIFTED_AGENT = Path(__file__).parent / "shifted_agent.py"

soak = pytest.mark.soak


BEYOND_DEADLINES_S = 1.0  # with SHORT_TIMEOUTS

OpenProxy = Callable[[tuple[str, int]], Proxy]


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
        if not agent.is_alive:  # first, since it need not wait for the receiver
            agent = scene.start_agent()
        if not scene.receiver.running.is_alive:
            scene.receiver.restart()
    return agent


@pytest.mark.parametrize("times", [2, pytest.param(100, marks=soak)])
@pytest.mark.parametrize("victim", ["agent", "receiver", "both"])
def test_killed_at_random_moments(scene: Scene, victim: str, times: int) -> None:
    """SIGKILL at any moment, of either or both, while two programs write: the tree arrives, nothing twice."""
    # no faster: whatever a hundred short lives of the agent leave behind has to be shipped in the end
    writers = [scene.train(step_s=0.01), scene.scribble(pause_s=0.1)]
    agent = kill_some(scene, victim, times)
    for writer in writers:
        writer.kill()
    scene.wait_equal(agent, 60 + 6 * times)
    scene.assert_kept(agent)


@pytest.mark.parametrize("times", [1, pytest.param(30, marks=soak)])
@pytest.mark.parametrize("frozen", ["receiver", "agent"])
def test_frozen_for_longer_than_any_deadline(scene: Scene, frozen: str, times: int) -> None:
    """SIGSTOP until the other side's deadlines have passed: what was sent twice meanwhile is stored once."""
    dice = random.Random(times)
    writers = [scene.train(), scene.scribble()]
    agent = scene.start_agent(timeouts=SHORT_TIMEOUTS)
    for _ in range(times):
        scene.wait_passed(dice.randrange(60_000), agent)
        stopped = agent if frozen == "agent" else scene.receiver.running
        stopped.freeze()
        last(BEYOND_DEADLINES_S)
        stopped.thaw()
    for writer in writers:
        writer.kill()
    scene.wait_equal(agent, 60 + 6 * times)
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


@pytest.mark.parametrize(
    ("end", "dark_s"), [("far", 2), *(pytest.param(end, 60, marks=soak) for end in ("near", "far"))]
)
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


# answers, requests, and answers of which no single byte is late
LATE = (DelayAnswer(BEYOND_DEADLINES_S), Pass(), Delay(BEYOND_DEADLINES_S), Pass(), Drip(0.01))
WRONG = (DoubleAnswer(), Pass(), DoubleAnswer(), OldAnswer(), OldAnswer(), Pass(), HTML, HTML, HTML)


@pytest.fixture
def proxied(scene: Scene, open_proxy: OpenProxy) -> tuple[Scene, Proxy]:
    """Return a scene whose relay leads to a proxy, and that proxy."""
    proxy = open_proxy(scene.receiver.address)
    scene.relay.target = ("127.0.0.1", int(proxy.url.rpartition(":")[2]))
    return scene, proxy


@pytest.mark.parametrize("faults", [LATE, WRONG], ids=["late", "to something else"])
def test_an_answer_counts_only_for_its_question(proxied: tuple[Scene, Proxy], faults: tuple[Behaviour, ...]) -> None:
    """Answers that come twice, too late, to another question or from somebody else acknowledge nothing."""
    scene, proxy = proxied
    for path in ("/v1/batch", "/v1/stat"):
        proxy.script(path, *faults)
    writers = [scene.train(), scene.scribble()]
    agent = scene.start_agent(timeouts=SHORT_TIMEOUTS)
    wait_until(lambda: proxy.is_done("/v1/batch"), what=f"all faults\n{agent.tail()}")
    for writer in writers:
        writer.kill()
    scene.wait_equal(agent)
    scene.assert_kept(agent)


LATE_REQUESTS: dict[str, tuple[bytes, ...]] = {
    "stream.log": (b"1\n", b"1\n2\n", b"1\n2\n3\n"),
    "whole.pt": (b"1", b"2", b"3"),
    "emptied.pt": (b"1", b""),
}
"""A file and its versions; the request with the last but one comes through after that with the last."""


@pytest.mark.parametrize("name", LATE_REQUESTS)
def test_a_request_that_arrives_after_later_ones(proxied: tuple[Scene, Proxy], name: str) -> None:
    """What was sent, given up and sent again changes nothing when it comes through after all, long after newer versions."""
    scene, proxy = proxied
    agent, strand = scene.start_agent(), Strand()
    versions = LATE_REQUESTS[name]
    for number, version in enumerate(versions):
        if number == len(versions) - 2:
            proxy.script("/v1/batch", strand)
        aside = scene.spool / ".aside"
        aside.write_bytes(version)
        aside.rename(scene.spool / name)
        scene.wait_equal(agent)
    assert proxy.count(Strand) == 1
    strand.release.set()
    assert strand.is_delivered.wait(30)
    scene.assert_kept(agent)


@soak
def test_an_hour_of_bad_line_in_minutes(proxied: tuple[Scene, Proxy]) -> None:
    """A thousand requests, of which two in three go wrong in any way: the tree arrives, nothing twice."""
    scene, proxy = proxied
    dice = random.Random(5)
    bad = [*LATE, *WRONG, LoseAnswer(), Duplicate(), Drop(), Drop(reset=True)]
    proxy.script("/v1/", *(Pass() if dice.random() < 0.33 else dice.choice(bad) for _ in range(1000)))
    writers = [scene.train(), scene.scribble()]
    agent = scene.start_agent(timeouts=SHORT_TIMEOUTS)
    wait_until(lambda: proxy.is_done("/v1/"), 1800, f"a thousand requests\n{agent.tail()}")
    for writer in writers:
        writer.kill()
    scene.wait_equal(agent, 300)
    scene.assert_kept(agent)


def test_two_spools_after_an_outage(commands: Commands, tmp_path: Path) -> None:
    """What happens in either spool while the receiver is down is shipped when it is back, without waiting for a timer."""
    first, second = tmp_path / "first", tmp_path / "second"
    folders = [second / f"run {number}" for number in range(12)]
    for folder in (first, *folders):
        folder.mkdir(parents=True)
    receiver = commands.start_receiver(tmp_path / "mirror")
    config = commands.write_agent_config(
        [first, second], receiver.url, scan_interval_s=60.0, state_dir=str(tmp_path / "state")
    )
    agent = commands.start_agent(config)
    (first / "0.bin").write_bytes(b"0")
    wait_until(lambda: (receiver.data_dir / "0.bin").exists(), what=agent.tail())
    receiver.kill()
    (first / "1.bin").write_bytes(b"1")
    wait_until(lambda: "WARNING" in agent.stderr, what=agent.tail())
    for folder in folders:
        (folder / f"{folder.name}.bin").write_bytes(b"2")
        last(0.1)
    receiver.restart()
    expected = {**read_spool(first), **read_spool(second)}
    wait_until(lambda: read_mirror(receiver.data_dir) == expected, 15, f"both spools\n{agent.tail()}")
    assert agent.terminate() == 0, agent.tail()


# --- what is in the spool


def test_an_agent_that_starts_after_the_end(scene: Scene) -> None:
    """Runs that ended well or were killed before any agent was there are shipped to the last byte."""
    ended, killed = scene.train("ended", 60, 0), scene.train("killed")
    assert ended.wait() == 0, ended.tail()
    stored = scene.spool / "killed/metrics.jsonl"
    wait_until(lambda: stored.exists() and stored.stat().st_size > 5_000, what="some records")
    killed.kill()
    agent = scene.start_agent()
    scene.wait_equal(agent)
    scene.assert_kept(agent)


@pytest.mark.parametrize("count", [5_600, pytest.param(20_000, marks=soak)])
def test_more_files_than_events_while_the_agent_is_stopped(scene: Scene, count: int) -> None:
    """More new files than the kernel keeps events of (16,384, three a file) are found when the stopped agent goes on."""
    (scene.spool / "run").mkdir()
    agent = scene.start_agent(batch_bytes=1 << 20, batch_files=1000)
    (scene.spool / "run/first.bin").write_bytes(b"first")
    scene.wait_equal(agent)
    agent.freeze()
    for number in range(count):
        (scene.spool / f"run/{number}.bin").write_bytes(b"%d" % number)
    agent.thaw()
    wait_until(scene.is_equal, count / 30, f"equal trees\n{agent.tail()}", poll_s=1.0)
    scene.assert_kept(agent)


def test_a_line_of_fifty_megabytes(scene: Scene) -> None:
    """A line of many batches is shipped when it is whole and not before; the next ones follow."""
    half = os.urandom(12_500_000).hex().encode()
    agent = scene.start_agent(batch_bytes=4 << 20)
    with (scene.spool / "metrics.jsonl").open("ab", buffering=0) as writer:
        fcntl.flock(writer, fcntl.LOCK_SH)  # as the client does for as long as it lives
        writer.write(b'{"_step":0}\n{"_step":1,"text":"' + half)
        stored = scene.mirror / "metrics.jsonl"
        wait_until(lambda: stored.exists() and stored.read_bytes() == b'{"_step":0}\n', what=f"a line\n{agent.tail()}")
        (scene.spool / "mark.log").write_bytes(b"what is ready is not held up\n")
        wait_until(lambda: (scene.mirror / "mark.log").exists(), what=f"another file\n{agent.tail()}")
        assert stored.stat().st_size == 12
        writer.write(half + b'"}\n{"_step":2}\n')
        scene.wait_equal(agent)
    scene.assert_kept(agent)


ENDS: dict[str, tuple[bytes, bytes]] = {
    "torn": (b'{"a":1}\n{"b":', b"2}\n"),
    "torn in a character": ("{'größe':1}\n{'grö".encode()[:-1], b"\xb6"),
    "padded with NUL": (b'{"a":1}\n' + b"\0" * 5000, b'{"b":2}\n'),
    "torn and padded": (b'{"a":1}\n{"b"' + b"\0" * 100, b"\n" + b"\0" * 100),
    "nothing but NUL": (b"\0" * 4096, b"\0"),
    "no line at all": (b"no end", b" yet"),
    "carriage returns": (b"1 %\r2 %\r3 %", b"\r100 %\r\n"),
    "empty": (b"", b"\n"),
}
"""What a crash or a power cut leaves of a stream, and what a writer that is not ours adds to it later."""


def test_torn_and_padded_tails(scene: Scene) -> None:
    """Tails that no writer will end, and those that one goes on with, arrive as they are."""
    for name, (left, _) in ENDS.items():
        (scene.spool / f"{name}.jsonl").write_bytes(left)
    agent = scene.start_agent()
    scene.wait_equal(agent)
    for name, (_, more) in ENDS.items():
        with (scene.spool / f"{name}.jsonl").open("ab") as file:
            file.write(more)
    scene.wait_equal(agent)
    scene.assert_kept(agent)


FACE = "\N{FACE WITH TEARS OF JOY}"

NAMES: tuple[bytes, ...] = (
    *(b" ", b"  two  spaces ", b"new\nline", b"\n", b"tab\t", b"\x1b[31mred", b"back\\slash", b"a%0Ab", b"a\nb"),
    *(b"~", b"#", b"?q=1&r", b"a:b", b'"quoted"', b"$(reboot)", b"--once", b"NUL", b"*"),
    *(
        FACE.encode(),
        f"{FACE}\N{ZERO WIDTH JOINER}{FACE}".encode(),
        "日本語".encode(),
        "e\u0301".encode(),
        "é".encode(),
    ),
    *(b"x" * 251, (FACE * 62).encode(), b"\n" * 251, b"\xff" * 251, b"\xff\xfe", b"caf\xe9", b"\xed\xa0\x80"),
)
"""Names of files, before an ending of 4 bytes; the longest have 255 with it."""


def test_names_of_all_kinds(scene: Scene) -> None:
    """Spaces, newlines, 255 bytes, emoji, no UTF-8: streams, whole files and folders, before the agent and while it works."""
    fill_names(scene.spool, b"before")
    agent = scene.start_agent()
    scene.wait_equal(agent)
    fill_names(scene.spool, b"while it works")
    with open(os.fsencode(scene.spool) + b"/before/caf\xe9.log", "ab") as file:
        file.write(b"more\n")
    scene.wait_equal(agent)
    assert len(read_mirror(scene.mirror)) == 6 * len(NAMES)
    scene.assert_kept(agent)


def fill_names(spool: Path, folder: bytes) -> None:
    """Make a folder that holds each name as a stream, as a whole file and as a folder with a file."""
    top = os.path.join(os.fsencode(spool), folder)
    for name in NAMES:
        os.makedirs(os.path.join(top, name))
        for path in (name + b".log", name + b".bin", os.path.join(name, b"in it")):
            with open(os.path.join(top, path), "wb") as file:
                file.write(path + b"\n")


# --- the agent's own machine


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], SmallDisk]]:
    """Mount a small disk on a folder of the given name."""
    with ExitStack() as stack:

        def mounted(name: str) -> SmallDisk:
            disk = SmallDisk(tmp_path / name)
            stack.callback(disk.end)
            return disk

        yield mounted


MountDisk = Callable[[str], SmallDisk]


def test_the_agents_disk_fills_up_while_it_works(scene: Scene, small_disk: MountDisk, tmp_path: Path) -> None:
    """Without room for its memory the agent ships on, says so once, and repeats next to nothing when there is room again."""
    disk = small_disk("state")
    config = scene.config(state_dir=str(tmp_path / "state"))
    agent = scene.commands.start_agent(config, before=disk.machine.enter)
    assert scene.train("one", 100, 0).wait() == 0
    scene.wait_equal(agent)
    disk.fill()
    training, scribbler = scene.train("two", 300, 0), scene.scribble()
    assert training.wait() == 0
    scribbler.kill()
    scene.wait_equal(agent)
    scene.assert_kept(agent)
    disk.free()
    before = scene.relay.up_bytes
    scene.commands.drain(config, before=disk.machine.enter)
    assert scene.relay.up_bytes - before < 40_000
    scene.assert_kept(state_dir=str(tmp_path / "state"))


@pytest.mark.parametrize("name", ["state", "spool"])
def test_the_agents_disk_is_full_before_it_starts(
    scene: Scene, small_disk: MountDisk, tmp_path: Path, name: str
) -> None:
    """A disk that the training has filled to the last byte is no reason not to ship it."""
    disk = small_disk(name)
    if name == "spool":
        scene.spool = disk.seen
    training = scene.train("run", 200, 0)
    assert training.wait() == 0, training.tail()
    disk.fill()
    config = scene.commands.write_agent_config(tmp_path / "spool", scene.relay.url, state_dir=None)
    if name == "state":
        config = scene.config(state_dir=str(tmp_path / "state"))
    scene.commands.drain(config, before=disk.machine.enter)
    assert_trees_equal(scene.spool, scene.mirror)


def test_the_clock_is_set_back_an_hour(scene: Scene, tmp_path: Path) -> None:
    """Files from before and after the step, rewritten and appended to, arrive within seconds, not after an hour."""
    offset = tmp_path / "offset"
    set_clock(offset, 0)
    folder = scene.spool / "run"
    agent = scene.commands.start("python", SHIFTED_AGENT, offset, "--config", scene.config())
    scribble_at(folder, 1, 0)
    scene.wait_equal(agent)
    scribble_at(folder, 2, 0)
    set_clock(offset, -3600)
    scribble_at(folder, 3, -3600)  # older than what it replaces
    scribble_at(folder, 4, 0)  # an hour ahead of the clock
    scene.wait_equal(agent, 20)
    scribble_at(folder, 8, -3600)
    scene.wait_equal(agent, 20)
    scene.assert_kept(agent)
    assert "Traceback" not in agent.stderr


# --- two lanes


def write_noise(path: Path, size_bytes: int) -> None:
    """Write a file that no compression makes smaller, by rename."""
    aside, noise = path.with_name(f".{path.name}.tmp-1"), os.urandom(1 << 24)
    with aside.open("wb") as file:
        for start in range(0, size_bytes, len(noise)):
            file.write(noise[: size_bytes - start])
    aside.rename(path)


SLOW: dict[str, tuple[int, float | None, int | None]] = {
    "slow line": (200_000_000, 5e6, None),
    "own bound": (60_000_000, None, 5_000_000),
}
"""The checkpoint's size, the line's bytes a second, the agent's `max_bytes_per_s`."""


@pytest.mark.parametrize(
    "slow", [*SLOW.values(), pytest.param((2_000_000_000, 5e7, None), marks=soak)], ids=[*SLOW, "2 GB"]
)
def test_a_metric_line_does_not_wait_for_a_checkpoint(
    scene: Scene, slow: tuple[int, float | None, int | None], record_property: Callable[[str, object], None]
) -> None:
    """With a large checkpoint under way a new line is stored within a second of its append."""
    size_bytes, scene.relay.bytes_per_s, bound = slow
    stored, checkpoint = scene.mirror / "run/metrics.jsonl", scene.mirror / "run/model.pt"
    agent = scene.start_agent(batch_bytes=4 << 20, max_bytes_per_s=bound)
    with ML_Logger(scene.spool / "run") as logger:
        logger.log(0, loss=1.0, silent=True)
        scene.wait_equal(agent)
        write_noise(scene.spool / "run/model.pt", size_bytes)
        scene.wait_passed(size_bytes // 100, agent)
        lags_s = []
        for step in range(1, 31):
            logger.log(step, loss=1 / step, silent=True)
            appended_s, size = time.monotonic(), (scene.spool / "run/metrics.jsonl").stat().st_size
            wait_until(lambda size=size: stored.stat().st_size == size, 20, f"a line\n{agent.tail()}", poll_s=0.002)
            lags_s.append(time.monotonic() - appended_s)
            assert not checkpoint.exists()
        figures = f"lag {sorted(lags_s)[15] * 1e3:.0f} ms p50, {max(lags_s) * 1e3:.0f} ms at most"
        record_property("lag", figures)
        print(figures)
        assert max(lags_s) < 1.0, figures
    if bound is not None:
        agent.kill()  # what is left would take as long as it is meant to
        scene.assert_kept(batch_bytes=4 << 20)
        return
    scene.relay.bytes_per_s = None
    wait_until(checkpoint.exists, 60 + size_bytes / 2e6, f"the checkpoint\n{agent.tail()}")
    scene.assert_kept(agent)


def test_bandwidth_is_bounded(scene: Scene, record_property: Callable[[str, object], None]) -> None:
    """Streams and files together stay below `max_bytes_per_s`, give or take a second's worth, and come near it."""
    bound, size_bytes = 2_000_000, 6_000_000
    write_noise(scene.spool / "model.pt", size_bytes // 2)
    write_noise(scene.spool / "noise.log", size_bytes // 2)
    scene.commands.drain(scene.config(max_bytes_per_s=bound, batch_bytes=250_000))
    took_s = scene.relay.up_at[-1][0] - scene.relay.up_at[0][0]
    figures = f"{size_bytes / took_s / 1e6:.2f} MB/s, {scene.relay.busiest_second_bytes() / 1e6:.2f} MB in one second"
    record_property("bandwidth", figures)
    print(figures)
    assert scene.relay.up_bytes < bound * (took_s + 1), figures
    assert scene.relay.busiest_second_bytes() < 2.2 * bound, figures
    assert size_bytes > 0.5 * bound * took_s, figures
    assert_trees_equal(scene.spool, scene.mirror)
