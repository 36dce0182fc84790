"""Two spools of one name, copied spools, and receivers that hold less than they acknowledged.

What comes back and what stays away: a receiver that lost data is refilled, a finished file that a person deletes stays deleted.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from machine import Machine
from processes import read_mirror, read_spool, wait_until
from scene import TRAINING, Scene, scribble_at

from ml_logger import ML_Logger
from ml_logger.reader import Run

NOTICED_S = 20.0


# --- several machines, several copies


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Callable[[str], Machine]]:
    """Make machines of given names that all have a spool of their own at the same path."""
    with ExitStack() as stack:

        def make(name: str) -> Machine:
            (tmp_path / name).mkdir(exist_ok=True)
            places = f"{shlex.quote(str(tmp_path / name))} {shlex.quote(str(tmp_path / 'spool'))}"
            machine = Machine("mount", "name", script=f"hostname {name}\nmount --bind {places}")
            stack.callback(machine.end)
            return machine

        yield make


def named_contents(tree: dict[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    """Return path and content of every file, the digests taken out of the names that have one."""
    return sorted((re.sub(rb"~[0-9a-f]{8}", b"", path), content) for path, content in tree.items())


def test_two_machines_with_one_run_name(scene: Scene, machines: Callable[[str], Machine], tmp_path: Path) -> None:
    """Streams and files of both are kept, told apart, and none is there twice, also when both agents start anew."""
    both = [machines("one"), machines("two")]
    config = scene.config()
    agents = [scene.commands.start_agent(config, before=machine.enter) for machine in both]

    def is_kept() -> bool:
        files = {pair for name in ("one", "two") for pair in named_contents(read_spool(tmp_path / name))}
        return named_contents(read_mirror(scene.mirror)) == sorted(files)

    for round_number in range(2):
        run = (TRAINING, scene.spool / "run", 50, 0.001)
        trainings = [scene.commands.start("python", *run, before=machine.enter) for machine in both]
        for number, name in enumerate(("one", "two")):
            scribble_at(tmp_path / name, 10 * round_number + number, 0)
        assert [training.wait() for training in trainings] == [0, 0]
        wait_until(is_kept, what=f"both kept\n{agents[0].tail()}\n{agents[1].tail()}", poll_s=0.05)
    assert [agent.terminate() for agent in agents] == [0, 0]
    shutil.rmtree(both[1].see(scene.spool) / ".ml-logger-agent")
    for machine in both:
        scene.commands.drain(config, before=machine.enter)
    assert is_kept()
    run = Run(scene.mirror / "run")
    assert sorted(record["_step"] for record in run.records()) == sorted([*range(50)] * 4)
    assert (len(run.histograms(attempts=True)), len(run.events), run.state, run.bad_lines) == (12, 8, "finished", 0)
    listed = scene.commands.run("ml-logger", "ls", scene.mirror)
    assert [line.split()[:2] for line in listed.stdout.splitlines()[1:]] == [["run", "finished"]]


@pytest.mark.parametrize("is_all_shipped", [True, False], ids=["all shipped", "a part shipped"])
def test_a_copied_spool_is_shipped_from_elsewhere(
    scene: Scene, machines: Callable[[str], Machine], tmp_path: Path, is_all_shipped: bool
) -> None:
    """A spool that was copied to another machine and path, with the agent's memory or without, ships what is missing alone."""
    training = scene.train("run", 150, 0.002)
    agent = scene.start_agent()
    if not is_all_shipped:
        scene.wait_passed(20_000, agent)
        agent.kill()
    assert training.wait() == 0
    if is_all_shipped:
        scene.wait_equal(agent)
        scene.assert_kept(agent)
    before = scene.relay.up_bytes
    scene.spool = copy_tree(scene.spool, tmp_path / "copy")
    (tmp_path / "spool").mkdir()  # where the machine mounts its own
    scene.commands.drain(scene.config(), before=machines("elsewhere").enter)
    middle = scene.relay.up_bytes
    scene.spool = copy_tree(scene.spool, tmp_path / "bare copy", ".ml-logger-agent")
    scene.assert_kept()
    assert scene.relay.up_bytes - middle < 40_000
    assert middle - before < 40_000 or not is_all_shipped


def copy_tree(tree: Path, copy: Path, *left_out: str) -> Path:
    """Copy a tree and remove the first one."""
    shutil.copytree(tree, copy, ignore=shutil.ignore_patterns(*left_out))
    shutil.rmtree(tree)
    return copy


# --- the receiver's tree


def restore(scene: Scene, backup: Path) -> None:
    """Put an older copy in the place of all that the receiver has, itself included, while it is down."""
    scene.receiver.kill()
    shutil.rmtree(scene.mirror)
    shutil.copytree(backup, scene.mirror)
    scene.receiver.restart()


def back_up(scene: Scene, backup: Path) -> None:
    """Copy all that the receiver has while it is down; a copy taken while it writes is what a killed receiver leaves."""
    scene.receiver.kill()
    shutil.copytree(scene.mirror, backup)
    scene.receiver.restart()


def log_some(logger: ML_Logger, steps: range, *, with_pictures: bool) -> None:
    for step in steps:
        logger.log(step, loss=1 / (step + 1), silent=True)
        if with_pictures and step % 25 == 0:
            logger.log_image(step, noise=np.random.default_rng(step).integers(0, 256, (32, 32, 3), dtype=np.uint8))
            logger.flush()


def test_an_older_copy_under_a_live_run(scene: Scene, tmp_path: Path) -> None:
    """A receiver that comes back with an older copy of all it had is refilled while the run goes on."""
    agent = scene.start_agent(heartbeat_s=0.2)
    with ML_Logger(scene.spool / "run") as logger:
        log_some(logger, range(50), with_pictures=True)
        scene.wait_equal(agent)
        back_up(scene, tmp_path / "backup")
        log_some(logger, range(50, 150), with_pictures=True)
        scene.wait_equal(agent)
        restore(scene, tmp_path / "backup")
        log_some(logger, range(150, 200), with_pictures=True)
    scene.wait_equal(agent, NOTICED_S)
    scene.assert_kept(agent)


@pytest.mark.parametrize(
    ("holds", "is_at_work"), [("some", True), pytest.param("nothing", True, marks=pytest.mark.soak), ("some", False)]
)
def test_an_older_copy_after_the_end_of_a_run(scene: Scene, tmp_path: Path, holds: str, is_at_work: bool) -> None:
    """What was acknowledged, finished and lost with the receiver's disk comes back from the spool."""
    if holds == "some":
        assert scene.train("first", 20, 0).wait() == 0
    agent = scene.start_agent(heartbeat_s=0.2)
    scene.wait_equal(agent)
    back_up(scene, tmp_path / "backup")
    assert scene.train("second", 40, 0).wait() == 0
    scene.wait_equal(agent)
    if not is_at_work:
        assert agent.terminate() == 0
    restore(scene, tmp_path / "backup")
    if is_at_work:
        scene.wait_equal(agent, NOTICED_S)
    scene.assert_kept(agent if is_at_work else None)


@pytest.mark.parametrize("is_up", [True, pytest.param(False, marks=pytest.mark.soak)], ids=["both up", "both down"])
def test_what_a_person_deletes_stays_deleted(scene: Scene, is_up: bool) -> None:
    """A finished run that is removed from the storage host does not come back, whoever starts anew; others are shipped on."""
    assert scene.train("unwanted", 40, 0).wait() == 0
    agent = scene.start_agent(heartbeat_s=0.2)
    scene.wait_equal(agent)
    if not is_up:
        scene.assert_kept(agent)
        let_time_go_by(scene)
        scene.receiver.kill()
    shutil.rmtree(scene.mirror / "unwanted")
    if not is_up:
        scene.receiver.restart()
        agent = scene.start_agent(heartbeat_s=0.2)
    assert scene.train("wanted", 40, 0).wait() == 0
    wait_until(lambda: is_shipped_without(scene, b"unwanted/"), what=f"the second run\n{agent.tail()}")
    assert agent.terminate() == 0, agent.tail()
    scene.commands.drain(scene.config())
    assert is_shipped_without(scene, b"unwanted/")


def let_time_go_by(scene: Scene) -> None:
    """Make what is stored old news to both sides: what was stored just before a restart is asked for again after it."""
    for _ in range(3):
        scene.receiver.kill()
        scene.receiver.restart()
        scene.assert_kept()


def is_shipped_without(scene: Scene, prefix: bytes) -> bool:
    kept = {path: content for path, content in read_spool(scene.spool).items() if not path.startswith(prefix)}
    return kept == read_mirror(scene.mirror)


def test_a_live_run_that_is_deleted_comes_back(scene: Scene) -> None:
    """Streams that go on are refilled from their first byte; finished pictures of the run stay deleted."""
    agent = scene.start_agent(heartbeat_s=0.2)
    with ML_Logger(scene.spool / "run") as logger:
        log_some(logger, range(60), with_pictures=True)
        scene.wait_equal(agent)
        shutil.rmtree(scene.mirror / "run")
        log_some(logger, range(60, 75), with_pictures=False)
    wait_until(lambda: is_shipped_without(scene, b"run/images/"), 20, f"the streams\n{agent.tail()}")
    assert agent.terminate() == 0, agent.tail()
    assert is_shipped_without(scene, b"run/images/")


def test_a_quiet_stream_of_a_live_run_that_is_deleted_comes_back(scene: Scene) -> None:
    """A stream that its writer still holds is live, whether it has news or not."""
    agent = scene.start_agent(heartbeat_s=0.2, quiet_scan_interval_s=0.5)
    with ML_Logger(scene.spool / "run") as logger:
        logger.log_params(Args={"lr": 1e-3})
        logger.log(0, loss=1.0, silent=True)
        scene.wait_equal(agent)
        shutil.rmtree(scene.mirror / "run")
        logger.log(1, loss=1.0, silent=True)
        scene.wait_equal(agent, NOTICED_S)
    scene.wait_equal(agent, NOTICED_S)
    scene.assert_kept(agent)


def test_a_power_cut_of_the_receiver_leaves_zeros(scene: Scene) -> None:
    """A stored stream with a tail that nobody acknowledged and that is not ours goes on under its own name."""
    agent = scene.start_agent()
    with ML_Logger(scene.spool / "run") as logger:
        log_some(logger, range(50), with_pictures=False)
        scene.wait_equal(agent)
        scene.receiver.kill()
        with (scene.mirror / "run/metrics.jsonl").open("ab") as file:
            file.write(b"\0" * 4000)
        log_some(logger, range(50, 100), with_pictures=False)
        scene.receiver.restart()
    scene.wait_equal(agent, 3.0)
    scene.assert_kept(agent)
