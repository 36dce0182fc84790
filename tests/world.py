"""Two machines that log, their agents, and one receiver, in one process and without a socket: a world in which all may fail.

All parts are the real ones; the layers of `ml_logger.testing` stand between them and the system. A world has methods for what
happens in it, and `drain` and `check` for what must hold then (`promises`). Clocks are its own, so nothing waits.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from processes import read_spool
from promises import History, Said, Tree, Witness, check_trees, mirror_of, require

from ml_logger import spool, wire
from ml_logger.agent import ledger as agent_ledger
from ml_logger.agent.config import AgentConfig
from ml_logger.agent.couriers import OneAtATime
from ml_logger.agent.delivery import Delivery
from ml_logger.agent.ledger import Ledger
from ml_logger.agent.settling import Clock
from ml_logger.agent.shipper import Shipper
from ml_logger.errors import MLLoggerError, StoreFull
from ml_logger.server import local_round
from ml_logger.server.lineage import Marks
from ml_logger.server.local_store import LocalStore
from ml_logger.testing import calls, connection, disk
from ml_logger.testing.calls import faulty_calls
from ml_logger.testing.connection import FaultyConnect
from ml_logger.testing.disk import Left, PowerCutDisk, let_go
from ml_logger.testing.faults import Died, Faults, is_full, never
from ml_logger.testing.line import Answering, Direct, FaultyLine, Mishap
from ml_logger.wire import Crc, Item, Manifest, Offset

BATCH_BYTES = 400
"""What an agent sends at once: small, so that a file of a few lines takes several batches and a larger one is staged."""

LOGGED_BYTES = 200
"""What a receiver writes to its redo log in full; a larger piece goes straight to its file."""

HOSTILE_PATHS = ("../evil", "a/../../evil", "/evil", "a//evil", ".ml-logger/tmp/evil", "link/evil")
"""What a stranger sends; ``link`` is a symbolic link in the data directory that leads out of it."""

DRAIN_STEP_S = 700.0  # longer than anything is set aside for
_MOST_ROUNDS = 40


@contextmanager
def small_scale() -> Iterator[None]:
    """Let what is large for a receiver be large for the world's small files, look at every write, and start no threads."""
    settings = [
        (local_round, "MAX_LOGGED_BYTES", LOGGED_BYTES),
        (local_round, "_SYNC_THREADS", 1),
        (spool, "LOOK_EVERY_S", 0.0),
        (agent_ledger.log, "disabled", True),
    ]
    before = [getattr(owner, name) for owner, name, _ in settings]
    try:
        for owner, name, value in settings:
            setattr(owner, name, value)
        yield
    finally:
        for (owner, name, _), value in zip(settings, before, strict=True):
            setattr(owner, name, value)


class Receiver:
    """A data directory, the disk below it and whoever answers. `line` leads to it, through all its lives."""

    def __init__(self, home: Path, world: World) -> None:
        self._home, self._world = home, world
        self._number = 0
        self._outside = home / "outside"
        self._outside.mkdir(parents=True)
        (self._outside / "victim").write_bytes(b"not the receiver's")
        self.data_dir = home / "data-0"
        self.data_dir.mkdir()
        (self.data_dir / "link").symlink_to(self._outside)
        self._untouched = self._look_outside()
        self.said = Said()
        self.disk = PowerCutDisk()
        self.is_restored = self.is_full = False
        self._backup: tuple[Path, Said] | None = None
        self._store: LocalStore | None = None
        self._marks: Marks | None = None
        self._end: Answering | None = None
        self.start()
        self.line = FaultyLine(self._living())

    # --- its lives

    @property
    def is_up(self) -> bool:
        return self._end is not None and not self._end.is_dead

    @property
    def has_backup(self) -> bool:
        return self._backup is not None

    def _living(self) -> Answering:
        assert self._end is not None
        return self._end

    def start(self, dies_in: int | None = None) -> None:
        """Start on what is there; it may die in the middle of that, or find that the disk is full, and is down then."""
        self.disk.fault = is_full(disk.NEEDS_ROOM) if self.is_full else never
        if dies_in is not None:
            self.disk.die_in(dies_in)
        try:
            self._store = LocalStore(self.data_dir, disk=self.disk, settle_s=0.0, keeps_house=False)
        except (Died, StoreFull):
            self._end_process()
            return
        self._marks = Marks(self.data_dir, steady_s=self._world.read_clock)
        self._end = Answering(Witness(self._store, self.said), self._marks)  # type: ignore[arg-type]  # all that is asked
        if hasattr(self, "line"):
            self.line.connect(self._end)
        if dies_in is None:
            self.said.check(mirror_of(self.data_dir))

    def _end_process(self) -> None:
        if self._end is not None:
            self._end.is_dead = True
        self._store = self._marks = None
        self.disk.let_go(self.data_dir)

    def stop(self) -> None:
        """Stop in order, if it is up."""
        if self._store is None or self._marks is None or not self.is_up:
            self._end_process()
            return
        self._marks.close()
        with suppress(Died):
            self._store.close()
        self._end_process()

    def kill(self) -> None:
        """End the process; what it wrote stays in the page cache."""
        self._end_process()

    def cut_power(self, left: Left) -> None:
        """End the machine: what was not fsynced is gone, but for what is `left`."""
        target = self._next_folder()
        self._end_process()
        self.disk.restore(self.data_dir, target, left)
        self._take(target)

    def keep_house(self) -> None:
        """Do what it does between the requests."""
        if self._store is not None and self.is_up:
            try:
                self._store.keep_house()
            except Died:
                self._end_process()

    def back_up(self) -> None:
        """Copy all that it has, while it is down."""
        folder = self._next_folder()
        self.kill()
        shutil.copytree(self.data_dir, folder, symlinks=True)
        self._backup = (folder, self.said.copy())
        self.start()

    def restore(self) -> None:
        """Put the last copy in the place of all that it has."""
        if self._backup is None:
            return
        self.kill()
        self.disk.close()
        folder, said = self._backup
        target = self._next_folder()
        shutil.copytree(folder, target, symlinks=True)
        self.said, self.is_restored = said.copy(), True
        self._take(target)
        self.start()

    def _take(self, folder: Path) -> None:
        """Go on with another data directory, which is durable as it is."""
        self.data_dir, self.disk = folder, PowerCutDisk()
        self.disk.trust(folder)

    def _next_folder(self) -> Path:
        self._number += 1
        return self._home / f"data-{self._number}"

    def fill_up(self, *, is_full_now: bool) -> None:
        """Let its disk be full, or have room again."""
        self.is_full = is_full_now
        self.disk.fault = is_full(disk.NEEDS_ROOM) if is_full_now else never

    # --- what is outside

    def _look_outside(self) -> dict[str, tuple[bytes, int]]:
        files = [path for path in self._outside.rglob("*") if path.is_file()]
        return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}

    def check_outside(self) -> None:
        """Require that nothing beside the data directory has changed."""
        strange = [name for name in os.listdir(self._home) if name != "outside" and not name.startswith("data-")]
        require("nothing outside is touched", not strange, f"{strange}")
        require("nothing outside is touched", self._look_outside() == self._untouched, str(self._outside))

    def close(self) -> None:
        self._end_process()
        self.disk.close()


class Machine:
    """A spool with those who write to it, and an agent that ships it."""

    def __init__(self, home: Path, name: str, world: World) -> None:
        self.name = name
        self.spool, self._state_dir = home / "spool", home / "state"
        for folder in (self.spool, self._state_dir):
            folder.mkdir(parents=True)
        self._world = world
        self.client, self.agent = Faults(), Faults()
        self.is_full = False
        self._writers: dict[str, spool.StreamWriter] = {}
        self._histories: dict[str, History] = {}
        self._count = 0
        self._connect: FaultyConnect | None = None
        self._shipper: Shipper | None = None
        self._ledger: Ledger | None = None
        self.start_agent()

    # --- what is in the spool

    def tree(self) -> dict[str, bytes]:
        return {os.fsdecode(path): content for path, content in read_spool(self.spool).items()}

    def histories(self) -> list[History]:
        return list(self._histories.values())

    def _history(self, path: str) -> History:
        return self._histories.setdefault(path, History(path))

    def _take_note(self) -> None:
        """Note what the files are now, after something was done to them."""
        for path, content in self.tree().items():
            self._history(path).note(content)

    def check_spool(self) -> None:
        """Require that nobody but its writers has touched the spool."""
        for path, content in self.tree().items():
            require("the spool is only read", self._history(path).contents[-1:] == [content], path)

    def _line(self, length: int) -> bytes:
        self._count += 1
        return b'{"%s":%d,"x":"%s"}\n' % (self.name.encode(), self._count, b"-" * length)

    # --- who writes

    def log(self, path: str, lengths: Sequence[int], dies_in: int | None = None) -> None:
        """Append lines to a stream as the client does; it may die at any of its calls."""
        folder, _, name = path.rpartition("/")
        writer = self._writers.setdefault(path, spool.StreamWriter(str(self.spool / folder), name))
        with self._client_at_work(dies_in):
            for length in lengths:
                line = self._line(length)
                is_written = writer.append(line)
                file = writer.path()
                is_there = file is not None and Path(file).read_bytes().endswith(line)
                require("a record is there or dropped", is_written == is_there, f"{file}: {line!r}")

    def save(self, path: str, size: int, dies_in: int | None = None) -> None:
        """Write a whole file as the client does, in the place of what is there."""
        self._count += 1
        content = f"{self.name}{self._count}:".encode().ljust(size, b"%d" % (self._count % 10))
        with self._client_at_work(dies_in), suppress(OSError):
            spool.write_whole(str(self.spool / path), content)

    @contextmanager
    def _client_at_work(self, dies_in: int | None) -> Iterator[None]:
        before = self.client.fault
        if dies_in is not None:
            self.client.die_in(dies_in)
        try:
            with faulty_calls(self.client):
                yield
        except Died:
            self._drop_writers()
        finally:
            self.client.fault = before
            self._take_note()

    def end_writers(self) -> None:
        """End the processes that log, in order: the next record of a stream begins a new part."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def _drop_writers(self) -> None:
        let_go(self.spool)
        self._writers.clear()

    def scribble(self, path: str, parts: Sequence[str]) -> None:
        """Append to a stream as a foreign program does: whole lines, and "half" ones."""
        target = self.spool / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("ab") as file:
            for part in parts:
                line = self._line(30)
                file.write(line[:-9] if part == "half" else line)
        self._take_note()

    def begin_anew(self, path: str) -> None:
        """Put another stream in the place of one, as log rotation does."""
        self._edit(path, self._line(20) + self._line(90))

    def cut_stream(self, path: str) -> None:
        """Cut a stream to about half, at a line's end."""
        content = (self.spool / path).read_bytes() if (self.spool / path).exists() else b""
        self._edit(path, content[: content.rfind(b"\n", 0, len(content) // 2) + 1])

    def _edit(self, path: str, content: bytes) -> None:
        """Change a stream in place, as a foreign program; the same one twice at most, as there are so many names for it."""
        target, history = self.spool / path, self._history(path)
        if not target.exists() or len(history.contents) > 2 or target.read_bytes() == content:
            return
        history.is_edited = True
        self._await_tick()
        target.write_bytes(content)
        self._take_note()

    def delete(self, path: str) -> None:
        """Delete a file of the spool."""
        if (self.spool / path).exists():
            self._history(path).is_edited = True
            self._await_tick()
            (self.spool / path).unlink()

    def _await_tick(self) -> None:
        """Let the clock of the file system move on: two states in one of its ticks look alike."""
        probe = self._state_dir / "tick"
        probe.write_bytes(b"")
        before = probe.stat().st_mtime_ns
        while probe.stat().st_mtime_ns == before:
            probe.write_bytes(b"")

    def fill_up(self, *, is_full_now: bool) -> None:
        """Let its disk be full, for the client and the agent's ledger, or have room again."""
        self.is_full = is_full_now
        self.client.fault = is_full(calls.NEEDS_ROOM) if is_full_now else never
        self.agent.fault = is_full(connection.NEEDS_ROOM) if is_full_now else never

    # --- the agent

    def start_agent(self) -> None:
        """Start an agent on what its ledger says, if none is at work."""
        if self._shipper is not None:
            return
        self._connect = FaultyConnect(self.agent)
        self._ledger = Ledger(self._state_dir / "ledger.sqlite", connect=self._connect)
        config = AgentConfig(spool=self.spool, server="http://nowhere", batch_bytes=BATCH_BYTES)
        clock = Clock(wall_ns=lambda: int(self._world.now_s * 1e9), steady_s=self._world.read_clock)
        way = Direct(self._world.receiver.line, self.agent)
        staff = OneAtATime(Delivery(self.spool, f"machine-{self.name}", way))
        self._shipper = Shipper(self.spool, config, self._ledger, staff, clock)

    def kill_agent(self) -> None:
        """End the agent's process: what it has not saved is gone."""
        if self._connect is not None:
            self._connect.let_go()
        self._shipper = self._ledger = None

    def stop_agent(self) -> None:
        """End the agent in order."""
        if self._ledger is not None:
            self._ledger.close()
        self.kill_agent()

    def lose_ledger(self) -> None:
        """End the agent, and delete what it remembered."""
        self.kill_agent()
        for part in self._state_dir.iterdir():
            part.unlink()

    def ship(self, dies_in: int | None = None, *, is_told: bool = False) -> bool:
        """Do one round of the agent, started if need be, which may die at any of its calls; return whether all is shipped.

        If it `is_told` that all files are whole, as the system tells by inotify, it need not wait until they settle.
        """
        before = self.agent.fault
        if dies_in is not None:
            self.agent.die_in(dies_in)
        try:
            self.start_agent()
            assert self._shipper is not None
            done = self._shipper.ship_once([f"{self.spool}/{path}" for path in self.tree()] if is_told else ())
            return not done.has_backlog and not self._shipper.unshipped()
        except Died:
            self.kill_agent()
            return False
        except MLLoggerError as error:
            if not error.can_retry:
                raise
            return False
        finally:
            self.agent.fault = before


class World:
    """The machines A and B, and the receiver."""

    def __init__(self, home: Path) -> None:
        self.now_s = 1000.0
        self.receiver = Receiver(home / "receiver", self)
        self.machines = {name: Machine(home / name, name, self) for name in "AB"}

    def read_clock(self) -> float:
        return self.now_s

    def ship(
        self,
        name: str,
        mishaps: Sequence[Mishap] = (),
        agent_dies_in: int | None = None,
        receiver_dies_in: int | None = None,
        *,
        is_told: bool = False,
    ) -> None:
        """Let a second pass and one agent do a round, while something goes wrong on the line or with either side.

        A receiver that is down is started first.
        """
        receiver = self.receiver
        if not receiver.is_up:
            receiver.start()
        self.now_s += 1.0
        receiver.line.mishaps = iter(mishaps)
        before = receiver.disk.fault
        if receiver_dies_in is not None and receiver.is_up:
            receiver.disk.die_in(receiver_dies_in)
        try:
            self.machines[name].ship(agent_dies_in, is_told=is_told)
        finally:
            receiver.line.mishaps = iter(())
            if receiver.is_up:
                receiver.disk.fault = before
            else:
                receiver.kill()

    def intrude(self, path: str) -> None:
        """Let a stranger send a file to a path that no receiver may store."""
        payload = b"evil"
        for op in ("append", "commit"):
            upload = None if op == "append" else "upload"
            item = Item(path, op, Offset(0), len(payload), Crc(0), wire.crc32(payload), upload=upload)  # type: ignore[arg-type]
            body = wire.encode_batch(Manifest("stranger", (item,)), [payload], compress=False)
            with suppress(MLLoggerError):
                (outcome,) = wire.decode_answer(self.receiver.line.exchange("batch", body), [item]).outcomes
                require("hostile paths are refused", outcome.result == "rejected", f"{path!r}: {outcome}")

    # --- the end

    def drain(self) -> None:
        """Let everything be well again, and everybody work until nothing is left to do."""
        receiver = self.receiver
        receiver.fill_up(is_full_now=False)
        if not receiver.is_up:
            receiver.start()
        for machine in self.machines.values():
            machine.fill_up(is_full_now=False)
        receiver.line.deliver_late()
        quiet = 0
        for _ in range(_MOST_ROUNDS):
            self.now_s += DRAIN_STEP_S
            is_done = [machine.ship() for machine in self.machines.values()]
            quiet = quiet + 1 if all(is_done) else 0
            if quiet == 2:
                return
        require("all is shipped", False, f"not drained after {_MOST_ROUNDS} rounds")

    def check(self) -> None:
        """Require every promise of what is there after `drain`."""
        receiver, machines = self.receiver, self.machines.values()
        mirror = mirror_of(receiver.data_dir)
        receiver.said.check(mirror)
        for machine in machines:
            machine.check_spool()
        spools: list[Tree] = [machine.tree() for machine in machines]
        histories = [history for machine in machines for history in machine.histories()]
        check_trees(spools, histories, mirror, is_restored=receiver.is_restored)
        receiver.check_outside()

    def close(self) -> None:
        self.receiver.close()
        for machine in self.machines.values():
            machine.kill_agent()
            machine.end_writers()
