"""The fleet: all processes of a soak, each of which can die and be started again, and the links and disks between them.

Nothing waits here for a process to be ready: whoever needs it has to cope, that is what is tried. Where setpriv(1) is
there, the kernel ends them with this process, however it ends. Start them from the main thread: when the thread that
started one ends, that counts too.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from processes import Commands, Running, wait_first_line
from proxy import Proxy
from shifted_clock import set_clock

from . import ROOT
from .disks import Place
from .habits import HABITS
from .plan import Victim

MACHINES = 4
SHIFTED_AGENT = ROOT / "tests" / "shifted_agent.py"
SHARED = tuple(HABITS)[: len(HABITS) // 2]
"""Habits whose two trainers use one run name, on two machines."""


@dataclass
class Role:
    """A process of the fleet: how it is started, its lives, and whether it should be alive now."""

    name: str
    start: Callable[[], Running]
    machine: int | None
    lives: list[Running] = field(default_factory=list)
    is_wanted: bool = False

    @property
    def running(self) -> Running:
        """Return its last life."""
        return self.lives[-1]

    def begin(self) -> None:
        """Start it."""
        self.lives.append(self.start())
        self.is_wanted = True

    def kill(self) -> None:
        """End it as `kill -9` does."""
        self.is_wanted = False
        self.running.kill()


@dataclass(frozen=True)
class Trainer:
    """Who trains where: its name, its habit, the machine's number and the run's name."""

    name: str
    habit: str
    machine: int
    run: str


def trainers() -> list[Trainer]:
    """Return two trainers a habit, on two machines; those of the first half of all habits share a run's name."""
    made = []
    for copy in range(2):
        for number, habit in enumerate(HABITS):
            machine = (number + 2 * copy) % MACHINES
            run = f"shared/{habit}" if habit in SHARED else f"m{machine}/{habit}"
            made.append(Trainer(f"t{len(made):02}", habit, machine, run))
    return made


class Fleet:
    """Starts and ends all of it; `spool_place` and `mirror_place` make the folders of the agents and of the receiver."""

    def __init__(
        self, work_dir: Path, spool_place: Callable[[Path], Place], mirror_place: Callable[[Path], Place]
    ) -> None:
        self.commands = Commands(work_dir / "output")
        self.commands.work_dir.mkdir(parents=True)
        self.lists = work_dir / "lists"
        self._clocks = work_dir / "clocks"
        self.lists.mkdir()
        self._clocks.mkdir()
        self._stack = ExitStack()
        self.spools: list[Place] = []
        self.links: list[Proxy] = []
        self.roles: dict[str, Role] = {}
        try:
            self._make(work_dir, spool_place, mirror_place)
        except BaseException:
            self.end()
            raise

    def _make(
        self, work_dir: Path, spool_place: Callable[[Path], Place], mirror_place: Callable[[Path], Place]
    ) -> None:
        self.mirror = self._placed(mirror_place, work_dir / "mirror")
        self._server = self.commands.work_dir / "server.yaml"
        self._server.write_text(yaml.safe_dump({"min_free_bytes": 1 << 20}))
        self._port = 0
        self._add(Role("receiver", self._start_receiver, None))
        self.roles["receiver"].begin()
        self._port = int(wait_first_line(self.roles["receiver"].running).rpartition(":")[2])
        for machine in range(MACHINES):
            self.spools.append(self._placed(spool_place, work_dir / f"machine-{machine}"))
            self.links.append(Proxy(("127.0.0.1", self._port)))
            self._stack.callback(self.links[-1].close)
            self._add(self._agent(machine))
        for trainer in trainers():
            self._add(self._trainer(trainer))

    def _placed(self, make: Callable[[Path], Place], folder: Path) -> Place:
        place = make(folder)
        self._stack.callback(place.end)
        return place

    def _add(self, role: Role) -> None:
        self.roles[role.name] = role

    def _start(self, name: str, place: Place, command: str, *args: object) -> Running:
        before = (*place.enter, *_DIE_WITH_US)
        return self.commands.start(command, *args, before=before, name=name, env={"PYTHONPATH": str(ROOT)})

    def _start_receiver(self) -> Running:
        args = ("--data-dir", self.mirror.path, "--port", self._port, "--token-file", self.commands.token_file())
        return self._start("receiver", self.mirror, "ml-logger-server", *args, "--config", self._server)

    def _agent(self, machine: int) -> Role:
        place, name = self.spools[machine], f"agent-{machine}"
        config = self.commands.write_agent_config(
            place.path,
            self.links[machine].url,
            file_name=f"{name}.yaml",
            timeouts={"connect_s": 2.0, "read_s": 3.0, "request_s": 6.0},  # shorter than some faults are
            drain_timeout_s=600.0,
        )
        clock = self.clock(name)
        set_clock(clock, 0)
        return Role(name, lambda: self._start(name, place, "python", SHIFTED_AGENT, clock, "--config", config), machine)

    def _trainer(self, trainer: Trainer) -> Role:
        place, clock = self.spools[trainer.machine], self.clock(trainer.name)
        set_clock(clock, 0)
        args = ("-m", "soak.trainer", trainer.name, trainer.habit, place.path / trainer.run, self.lists, clock)
        return Role(trainer.name, lambda: self._start(trainer.name, place, "python", *args), trainer.machine)

    def clock(self, name: str) -> Path:
        """Return the file that holds how many seconds the wall clock of a process is off."""
        return self._clocks / name

    def begin(self) -> None:
        """Start the agents and the trainers; the receiver is there."""
        for role in self.roles.values():
            if not role.is_wanted:
                role.begin()

    def of(self, kind: str) -> list[Role]:
        """Return the roles of trainers (``t``) or agents (``agent``), by the beginning of their names."""
        return [role for role in self.roles.values() if role.name.rstrip("-0123456789") == kind]

    def silent(self) -> list[str]:
        """Return the names of the trainers that have logged nothing, and of the agents that have said nothing yet."""
        heard = {path.name.partition(".")[0] for path in self.lists.iterdir() if path.stat().st_size}
        heard |= {role.name for role in self.of("agent") if role.running.stderr}
        return [role.name for role in [*self.of("t"), *self.of("agent")] if role.name not in heard]

    def victims(self) -> list[Victim]:
        """Return whom faults can hit."""
        links = [Victim("link", f"link-{machine}", machine) for machine in range(MACHINES)]
        disks = [Victim("spool disk", f"disk-{m}", m) for m, place in enumerate(self.spools) if place.disk]
        mirror = [Victim("receiver disk", "disk", None)] if self.mirror.disk else []
        roles = [Victim(sort, role.name, role.machine) for sort, kind in _SORTS.items() for role in self.of(kind)]
        return [*roles, *links, *disks, *mirror]

    def check_mirror(self) -> Running:
        """Let the receiver's own check look over the mirror, and return it when it has."""
        check = self._start("check", self.mirror, "ml-logger-server", "check", "--data-dir", self.mirror.path)
        check.wait(600)
        return check

    def end(self) -> None:
        """End every process that is left, close the links, let the disks go."""
        with self._stack:
            self.commands.end_all()


_DIE_WITH_US = ("setpriv", "--pdeathsig", "KILL") if shutil.which("setpriv") else ()
_SORTS = {"trainer": "t", "trainer clock": "t", "agent": "agent", "agent clock": "agent", "receiver": "receiver"}
