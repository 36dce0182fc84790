"""The frame of the agent's promises: a spool and a receiver with a relay between, and the one end that all have.

Programs write into the spool, something goes wrong, and in the end `Scene.assert_kept` says whether the mirror holds the spool,
byte for byte and nothing twice.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from processes import Commands, Receiver, Running, assert_trees_equal, differences, read_mirror, read_spool, wait_until
from relay import Relay

from ml_logger.layout import is_hidden, remote_path

TRAINING = Path(__file__).parent / "training.py"
SCRIBBLING = Path(__file__).parent / "scribbling.py"

BATCH_BYTES = 20_000  # small, so that some hundred kilobytes are many batches
SHORT_TIMEOUTS = {"connect_s": 0.4, "read_s": 0.4, "request_s": 0.8}
FOREVER = 1_000_000
"""Steps of a training that the test ends."""


def wire_name(path: bytes) -> bytes:
    """Return the name a file of the spool has in the mirror."""
    return os.fsencode(remote_path(os.fsdecode(path)))


@dataclass
class Scene:
    """A spool, a receiver on a mirror, and a relay between the agents to come and the receiver."""

    commands: Commands
    spool: Path
    receiver: Receiver
    relay: Relay

    @property
    def mirror(self) -> Path:
        return self.receiver.data_dir

    def config(self, **settings: object) -> Path:
        """Write an agent config with small batches, `settings` over it."""
        return self.commands.write_agent_config(self.spool, self.relay.url, **{"batch_bytes": BATCH_BYTES, **settings})

    def start_agent(self, **settings: object) -> Running:
        return self.commands.start_agent(self.config(**settings))

    def train(self, name: str = "run", steps: int = FOREVER, step_s: float = 0.003) -> Running:
        """Start a training in the spool that logs some of everything."""
        return self.commands.start("python", TRAINING, self.spool / name, steps, step_s)

    def scribble(self, name: str = "foreign", pause_s: float = 0.02) -> Running:
        """Start a program that knows nothing of us and writes into the spool until it is killed."""
        return self.commands.start("python", SCRIBBLING, self.spool / name, pause_s)

    def wait_passed(self, size_bytes: int, agent: Running) -> None:
        """Return once that many more bytes have gone over the line, either way."""
        target = self.relay.passed_bytes + size_bytes
        what = f"{size_bytes} bytes on the line\n{agent.tail()}"
        wait_until(lambda: self.relay.passed_bytes >= target, what=what, poll_s=0.001)

    def is_equal(self) -> bool:
        """Whether the mirror holds the spool; the contents are read only where the sizes agree."""
        spool = {wire_name(path): size for path, size in _sizes(self.spool).items()}
        if spool != _sizes(self.mirror):
            return False
        return {wire_name(p): content for p, content in read_spool(self.spool).items()} == read_mirror(self.mirror)

    def wait_equal(self, agent: Running, deadline_s: float = 60.0) -> None:
        """Return once the mirror holds the spool, by what the agent at work does alone.

        Raises TimeoutError with the differences, and where each thread of the agent stood, which has ended then.
        """
        try:
            wait_until(self.is_equal, deadline_s, "equal trees", poll_s=0.05)
        except TimeoutError as error:
            spool = {wire_name(path): content for path, content in read_spool(self.spool).items()}
            lines = differences(spool, read_mirror(self.mirror))
            raise TimeoutError("\n".join([str(error), *lines[:20], agent.die_aloud()])) from None

    def assert_kept(self, agent: Running | None = None, **settings: object) -> None:
        """Let the agent at work end, or run one, and assert that it says all is shipped, and that it is."""
        if agent is None:
            self.commands.drain(self.config(**settings))
        else:
            wait_until(lambda: agent.stderr, what="the agent's first words")  # until then it takes no SIGTERM
            assert agent.terminate(90) == 0, agent.tail()
        assert_trees_equal(self.spool, self.mirror, rename=wire_name)


def scribble_at(folder: Path, number: int, offset_s: float) -> None:
    """Write a stream, a new file, and one of always the same size anew, as if the clock were `offset_s` seconds from now."""
    folder.mkdir(exist_ok=True)
    with (folder / "text.log").open("a") as file:
        file.write(f"line {number}\n")
    for name in (f"{number}.bin", "model.pt"):
        aside = folder / f".{name}.tmp-1"
        aside.write_bytes(b"%04d" % number)
        aside.rename(folder / name)
    then_s = time.time() + offset_s
    for name in ("text.log", f"{number}.bin", "model.pt"):
        os.utime(folder / name, (then_s, then_s))


def _sizes(root: Path) -> dict[bytes, int]:
    """Return the size of every file below `root` on whose path no name is hidden."""
    top, found = os.fsencode(root), {}
    for folder, folders, names in os.walk(top):
        folders[:] = [name for name in folders if not is_hidden(os.fsdecode(name))]
        for name in names:
            path = os.path.join(folder, name)
            if not is_hidden(os.fsdecode(name)):
                found[os.path.relpath(path, top)] = _maybe_size(path)
    return found


def _maybe_size(path: bytes) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return -1
