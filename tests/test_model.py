"""The promises as one model: a machine of random events in a `World`, after each run of which all of them are checked."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from world import HOSTILE_PATHS, World, small_scale

from ml_logger.testing.disk import Left
from ml_logger.testing.line import Mishap

STREAMS = ("run/metrics.jsonl", "run/histograms.jsonl")
FOREIGN = ("run/text.log", "events.out.tfevents.1")
WHOLES = ("run/w.npy", "deep/er/picture.png", "model.pt")
MISHAPS: tuple[Mishap, ...] = ("lost", "unanswered", "doubled", "late", "old answer", "damaged", "cut off")

# B less often: most runs have one machine at a time at a name
names = st.sampled_from("AAB")
maybe_dies = st.none() | st.integers(1, 60)
client_dies = st.none() | st.integers(1, 6)
some_news = st.sampled_from(["nothing", "line", "lines", "small", "large"])
some_mishap = st.sampled_from(MISHAPS)
lefts: st.SearchStrategy[Left] = st.sampled_from(("nothing", "names", "sizes"))


@cache
def _fast_disk() -> str | None:
    """Return a folder in memory, where it can do what a receiver needs of a disk; what is durable is in the world's hands."""
    try:
        with tempfile.TemporaryFile(dir="/dev/shm") as file:
            os.setxattr(file.fileno(), "user.probe", b"")
    except OSError:
        return None
    return "/dev/shm"


class Events(RuleBasedStateMachine):
    """What may happen, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self._stack = ExitStack()
        home = Path(tempfile.mkdtemp(prefix="ml-logger-model-", dir=_fast_disk()))
        self._stack.callback(shutil.rmtree, home)
        self._stack.enter_context(small_scale())
        self.world = World(home)
        self._stack.callback(self.world.close)

    @initialize(
        lengths=st.lists(st.integers(0, 300), min_size=1, max_size=4),
        size=st.integers(8, 1500),
        path=st.sampled_from(HOSTILE_PATHS),
    )
    def begin(self, lengths: list[int], size: int, path: str) -> None:
        """Let there be something to begin with: a stranger, files of one name on both machines, and some of one alone."""
        self.world.intrude(path)
        for name, machine in self.world.machines.items():
            machine.log(STREAMS[0], lengths)
            machine.scribble(FOREIGN["AB".index(name)], ["whole", "half", "whole"])
            machine.save(WHOLES["AB".index(name)], size)

    # --- the machines

    @rule(
        name=names, path=st.sampled_from(STREAMS), lengths=st.lists(st.integers(0, 300), max_size=4), dies_in=maybe_dies
    )
    def log(self, name: str, path: str, lengths: list[int], dies_in: int | None) -> None:
        self.world.machines[name].log(path, lengths, dies_in)

    @rule(name=names, path=st.sampled_from(WHOLES), size=st.integers(8, 1500), dies_in=client_dies)
    def save(self, name: str, path: str, size: int, dies_in: int | None) -> None:
        self.world.machines[name].save(path, size, dies_in)

    @rule(name=names, path=st.sampled_from(FOREIGN), parts=st.lists(st.sampled_from(["whole", "half"]), max_size=4))
    def scribble(self, name: str, path: str, parts: list[str]) -> None:
        self.world.machines[name].scribble(path, parts)

    @rule(name=names)
    def end_writers(self, name: str) -> None:
        self.world.machines[name].end_writers()

    @rule(name=names, path=st.sampled_from(FOREIGN), is_cut=st.booleans())
    def edit(self, name: str, path: str, is_cut: bool) -> None:
        machine = self.world.machines[name]
        (machine.cut_stream if is_cut else machine.begin_anew)(path)

    @rule(name=names, path=st.sampled_from(STREAMS + FOREIGN + WHOLES))
    def delete(self, name: str, path: str) -> None:
        self.world.machines[name].delete(path)

    @rule(name=names)
    def fill_spool_or_free_it(self, name: str) -> None:
        machine = self.world.machines[name]
        machine.fill_up(is_full_now=not machine.is_full)

    # --- the agents

    def _make(self, name: str, news: str) -> None:
        """Let there be something to ship."""
        machine = self.world.machines[name]
        if news == "line":
            machine.log(STREAMS[0], [10])
        elif news == "lines":
            machine.log(STREAMS[1], [150, 150, 300])
        elif news != "nothing":
            machine.save(WHOLES[1], 100 if news == "small" else 1100)

    @rule(name=names)
    def ship(self, name: str) -> None:
        self.world.ship(name)

    @rule(
        name=names, news=some_news, goes_well=st.integers(0, 2), mishaps=st.lists(some_mishap, min_size=1, max_size=4)
    )
    def ship_by_a_bad_line(self, name: str, news: str, goes_well: int, mishaps: list[Mishap]) -> None:
        self._make(name, news)
        self.world.ship(name, [*["none"] * goes_well, *mishaps], is_told=True)

    @rule(name=names, news=some_news, dies_in=st.integers(1, 20))
    def ship_until_the_agent_dies(self, name: str, news: str, dies_in: int) -> None:
        self._make(name, news)
        self.world.ship(name, agent_dies_in=dies_in, is_told=True)

    @rule(name=names, news=some_news, dies_in=st.integers(1, 60), left=st.none() | lefts)
    def ship_until_the_receiver_dies(self, name: str, news: str, dies_in: int, left: Left | None) -> None:
        self._make(name, news)
        self.world.ship(name, receiver_dies_in=dies_in, is_told=True)
        if left is not None:
            self.world.receiver.cut_power(left)

    @rule(seconds=st.sampled_from([3.0, 70.0]))
    def wait(self, seconds: float) -> None:
        self.world.now_s += seconds

    @rule(name=names, how=st.sampled_from(["kill", "stop", "lose ledger"]))
    def end_agent(self, name: str, how: str) -> None:
        machine = self.world.machines[name]
        {"kill": machine.kill_agent, "stop": machine.stop_agent, "lose ledger": machine.lose_ledger}[how]()

    @precondition(lambda self: self.world.receiver.line.has_late)
    @rule()
    def deliver_late(self) -> None:
        self.world.receiver.line.deliver_late()

    # --- the receiver

    @rule(how=st.sampled_from(["stop", "kill"]), dies_in=maybe_dies)
    def restart(self, how: str, dies_in: int | None) -> None:
        receiver = self.world.receiver
        (receiver.stop if how == "stop" else receiver.kill)()
        receiver.start(dies_in)

    @rule(left=lefts, dies_in=maybe_dies)
    def cut_power(self, left: Left, dies_in: int | None) -> None:
        self.world.receiver.cut_power(left)
        self.world.receiver.start(dies_in)

    @rule()
    def keep_house(self) -> None:
        self.world.receiver.keep_house()

    @rule()
    def back_up(self) -> None:
        self.world.receiver.back_up()

    @precondition(lambda self: self.world.receiver.has_backup)
    @rule()
    def restore(self) -> None:
        self.world.receiver.restore()

    @rule()
    def fill_receiver_or_free_it(self) -> None:
        self.world.receiver.fill_up(is_full_now=not self.world.receiver.is_full)

    @rule(path=st.sampled_from(HOSTILE_PATHS))
    def intrude(self, path: str) -> None:
        self.world.intrude(path)

    # --- what must hold

    @rule()
    def drain(self) -> None:
        self.world.drain()
        self.world.check()

    def teardown(self) -> None:
        try:
            if (
                sys.exc_info()[0] is None
            ):  # else what is broken already is to be told of, and nothing that follows from it
                self.end()
        finally:
            self._stack.close()

    def end(self) -> None:
        """Check all promises, once more after a power cut in which nothing else is left, and after one that leaves sizes."""
        world = self.world
        self.drain()
        world.receiver.cut_power("nothing")
        self.drain()
        world.receiver.cut_power("sizes")
        world.receiver.start()
        world.check()


def try_out(machine: type[RuleBasedStateMachine], *, examples: int, steps: int = 25, is_random: bool = False) -> None:
    """Run a machine and raise what it finds: in the same examples every time, unless `is_random`, which tells how to repeat."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            derandomize=not is_random,
            database=None,
            deadline=None,
            phases=[Phase.generate, Phase.shrink] if is_random else [Phase.generate],
            print_blob=is_random,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_no_promise_is_broken() -> None:
    """Whatever happens: what was acknowledged is held, and what is in the spools is there once, when all is well again."""
    try_out(Events, examples=100)


@pytest.mark.soak
def test_no_promise_is_broken_for_long() -> None:
    """The same, thousands of times and at random."""
    try_out(Events, examples=3000, steps=50, is_random=True)
