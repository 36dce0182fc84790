"""The whole path on one machine in half a minute: train, log, ship, lose the receiver on the way, and compare.

    make demo

Starts the installed commands on loopback in a temporary directory, which is kept. Exit code 0 only if the receiver's tree
is, byte for byte, what the training wrote; else 1, with the log to look at. Ctrl-C ends everything and removes the directory.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from tqdm import tqdm

BIN = Path(sys.executable).parent
TRAIN = Path(__file__).parent / "train.py"

STEPS = 600
KILL_AT_STEP = 200
DEAD_S = 4.0
START_DEADLINE_S = 30.0
TRAIN_DEADLINE_S = 120.0
DRAIN_DEADLINE_S = 60.0
POLL_S = 0.05


class DemoFailed(Exception):
    """Something did not work; `log` is the file that says more."""

    def __init__(self, message: str, log: Path) -> None:
        super().__init__(message)
        self.log = log


@dataclass(frozen=True)
class Place:
    """The demo's directory and what is in it; each process has a log file there."""

    root: Path
    spool: Path
    run: Path
    mirror: Path
    token_file: Path
    agent_config: Path

    @classmethod
    def below(cls, root: Path) -> Place:
        """Return the place whose directory is `root`."""
        spool = root / "spool"
        return cls(root, spool, spool / "digits", root / "mirror", root / "token", root / "agent.yaml")

    def log(self, name: str) -> Path:
        """Return the log file of the process `name`."""
        return self.root / f"{name}.log"


class Processes:
    """What the demo has started; each in a session of its own, so that Ctrl-C reaches the demo alone."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._all: list[subprocess.Popen[bytes]] = []

    def start(self, name: str, *command: object, stdout: int | None = None) -> subprocess.Popen[bytes]:
        """Start `command`; its errors, and its output unless `stdout` says otherwise, are added to its log file."""
        with self._place.log(name).open("ab") as log:
            process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=log if stdout is None else stdout,
                stderr=log,
                start_new_session=True,
            )
        self._all.append(process)
        return process

    def end_all(self) -> None:
        """Kill what is still running."""
        for process in self._all:
            if process.poll() is None:
                process.kill()
                process.wait()


class Receiver:
    """The receiver, which dies in the middle and comes back on the same port."""

    def __init__(self, place: Place, processes: Processes) -> None:
        self._place = place
        self._processes = processes
        self._start(port=0)

    def _start(self, port: int) -> None:
        options = ("--data-dir", self._place.mirror, "--token-file", self._place.token_file, "--port", port)
        command = (BIN / "ml-logger-server", *options)
        self._process = self._processes.start("receiver", *command, stdout=subprocess.PIPE)
        self.url = self._wait_url()

    def _wait_url(self) -> str:
        assert self._process.stdout is not None
        line: list[bytes] = []
        reader = threading.Thread(
            target=lambda out: line.append(out.readline()), args=(self._process.stdout,), daemon=True
        )
        reader.start()
        reader.join(START_DEADLINE_S)
        if not line or not line[0].startswith(b"http"):
            raise DemoFailed("the receiver did not start", self._place.log("receiver"))
        return line[0].decode().strip()

    def kill(self) -> None:
        """End it as a power cut would: no signal handler, nothing flushed."""
        self._process.kill()
        self._process.wait()

    def bring_back(self) -> None:
        """Start it again on the same port."""
        self._start(port=urlsplit(self.url).port or 0)


@dataclass(frozen=True)
class Outage:
    """The steps at which the receiver died and was back, and for how many seconds it was dead."""

    first_step: int
    last_step: int
    dead_s: float


def main() -> int:
    """Run the demo and return its exit code."""
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    place = Place.below(Path(tempfile.mkdtemp(prefix="ml_logger_demo_")))
    processes = Processes(place)
    try:
        show(place, processes)
    except DemoFailed as failure:
        processes.end_all()
        print(f"\nthe demo failed: {failure}; look at {failure.log}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        processes.end_all()
        shutil.rmtree(place.root, ignore_errors=True)
        print("\ninterrupted: everything is stopped and removed", file=sys.stderr)
        return 130
    finally:
        processes.end_all()
    return 0


def stop(*_: object) -> NoReturn:
    """End the demo: the handler of SIGINT and SIGTERM, also where the shell has them ignored."""
    raise KeyboardInterrupt


def show(place: Place, processes: Processes) -> None:
    """Do the whole demo; raises DemoFailed."""
    place.spool.mkdir()
    place.token_file.write_text(secrets.token_urlsafe(24) + "\n")
    place.token_file.chmod(0o600)
    say(f"everything happens in {place.root}")
    receiver = Receiver(place, processes)
    agent = start_agent(place, processes, receiver.url)
    say(f"a receiver listens on {receiver.url}, an agent watches {place.spool}")
    outage = train(place, processes, receiver)
    drain(place, agent)
    verify(place)
    sum_up(place, outage)


def say(text: str) -> None:
    """Print a line of the demo itself, above the progress bar if there is one."""
    tqdm.write(f"[demo] {text}", file=sys.stdout)
    sys.stdout.flush()


def start_agent(place: Place, processes: Processes, url: str) -> subprocess.Popen[bytes]:
    """Write the agent's config and start it."""
    place.agent_config.write_text(
        f"spool: {place.spool}\n"
        f"server: {url}\n"
        f"token_file: {place.token_file}\n"
        "settle_s: 0.5\n"
        "scan_interval_s: 1.0\n"
        "retry: {initial_s: 0.2, max_s: 1.0}\n"
        f"drain_timeout_s: {DRAIN_DEADLINE_S / 2}\n"
    )
    return processes.start("agent", BIN / "ml-logger-agent", "--config", place.agent_config)


# --- training, and the outage in the middle of it


def train(place: Place, processes: Processes, receiver: Receiver) -> Outage:
    """Train to the end while the receiver dies and comes back; return what happened meanwhile."""
    say(f"training: {STEPS} steps, of which every one is logged and every 100th printed\n")
    command = (sys.executable, "-u", TRAIN, "--log-directory", place.run, "--steps", STEPS)
    with coloured_like_us():
        training = processes.start("training", *command, stdout=subprocess.PIPE)
    deadline_s = time.monotonic() + TRAIN_DEADLINE_S
    with progress(STEPS, "training", "step") as bar, shown_above(training, bar):
        wait_step(place, training, bar, KILL_AT_STEP, deadline_s)
        outage = break_receiver(place, training, receiver, bar)
        wait_step(place, training, bar, STEPS, deadline_s)
        training.wait()
    if training.returncode != 0:
        raise DemoFailed("the training did not end well", place.log("training"))
    return outage


def break_receiver(place: Place, training: subprocess.Popen[bytes], receiver: Receiver, bar: tqdm[object]) -> Outage:
    """Kill the receiver, let the training go on without it for some seconds, and bring it back."""
    first_step = steps_done(place)
    begin_s = time.monotonic()
    receiver.kill()
    say(f"step {first_step}: the receiver is killed (SIGKILL)")
    while time.monotonic() < begin_s + DEAD_S:
        move(bar, steps_done(place))
        time.sleep(POLL_S)
    last_step, dead_s = steps_done(place), time.monotonic() - begin_s
    if training.poll() is not None or last_step <= first_step:
        raise DemoFailed("the training stopped while the receiver was dead", place.log("training"))
    receiver.bring_back()
    say(
        f"step {last_step}: the receiver is back after {dead_s:.1f} s; training did {last_step - first_step} steps meanwhile"
    )
    return Outage(first_step, last_step, dead_s)


def wait_step(place: Place, training: subprocess.Popen[bytes], bar: tqdm[object], step: int, deadline_s: float) -> None:
    """Return once the training has done `step` or ended; raises DemoFailed after `deadline_s`."""
    while (done := steps_done(place)) < step and training.poll() is None:
        if time.monotonic() > deadline_s:
            raise DemoFailed(f"the training is only at step {done}", place.log("training"))
        move(bar, done)
        time.sleep(POLL_S)
    move(bar, steps_done(place))


def steps_done(place: Place) -> int:
    """Return how many steps have reached the spool: the training is not asked, its files are."""
    metrics = place.run / "metrics.jsonl"
    return metrics.read_bytes().count(b'"train/loss"') - 1 if metrics.exists() else 0


@contextlib.contextmanager
def coloured_like_us() -> Iterator[None]:
    """Let a child whose output goes through us use colours if ours is a terminal."""
    if sys.stdout.isatty():
        os.environ.setdefault("FORCE_COLOR", "1")
    yield


@contextlib.contextmanager
def shown_above(training: subprocess.Popen[bytes], bar: tqdm[object]) -> Iterator[None]:
    """Print what the training prints, line by line, above the progress bar."""
    assert training.stdout is not None
    lines = training.stdout

    def show_lines() -> None:
        for line in lines:
            bar.write(line.decode("utf-8", "replace").rstrip("\n"), file=sys.stdout)

    reader = threading.Thread(target=show_lines, daemon=True)
    reader.start()
    yield
    reader.join(10)


def progress(total: int, what: str, unit: str, *, is_bytes: bool = False) -> tqdm[object]:
    """Return a progress bar on stderr; none where that is no terminal."""
    return tqdm(total=total, desc=what, unit=unit, unit_scale=is_bytes, disable=None, leave=False, dynamic_ncols=True)


def move(bar: tqdm[object], done: int) -> None:
    """Set the bar to `done`."""
    bar.update(done - bar.n)


# --- afterwards


def drain(place: Place, agent: subprocess.Popen[bytes]) -> None:
    """Ask the agent to ship what is left and end; raises DemoFailed if something stays."""
    total_bytes = size_bytes(place.spool)
    say("training has ended; the agent ships what is left and ends (SIGTERM)")
    agent.terminate()
    deadline_s = time.monotonic() + DRAIN_DEADLINE_S
    with progress(total_bytes, "draining", "B", is_bytes=True) as bar:
        while agent.poll() is None:
            if time.monotonic() > deadline_s:
                raise DemoFailed("the agent does not end", place.log("agent"))
            move(bar, size_bytes(place.mirror))
            time.sleep(POLL_S)
    if agent.returncode != 0:
        raise DemoFailed(f"the agent ended with {agent.returncode}: something is not shipped", place.log("agent"))


def verify(place: Place) -> None:
    """Compare the two trees byte for byte; raises DemoFailed if they differ."""
    command = [str(BIN / "ml-logger"), "verify", str(place.spool), str(place.mirror)]
    compared = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    place.log("verify").write_text(compared.stdout)
    if compared.returncode != 0:
        raise DemoFailed("the two trees differ", place.log("verify"))
    say(f"ml-logger verify: {compared.stdout.strip()}")


def sum_up(place: Place, outage: Outage) -> None:
    """Say what was shipped, what the outage did, and where to look."""
    shipped = files(place.mirror)
    records = sum(path.read_bytes().count(b"\n") for path in shipped if path.suffix == ".jsonl")
    image = max(p.relative_to(place.mirror) for p in shipped if p.suffix == ".png")
    run = place.run.relative_to(place.spool)
    print(
        f"""
shipped         {len(shipped)} files, {size_bytes(place.mirror):,} bytes, {records:,} records; byte for byte what training wrote
outage          {outage.dead_s:.1f} s without a receiver, in which training did {outage.last_step - outage.first_step} steps

look at
  the mirror    {place.mirror}
  a mistake     {place.mirror / image}
  a record      tail -n 1 {place.mirror / run / "metrics.jsonl"}
  the runs      {shown(BIN / "ml-logger")} ls {place.mirror}
  the logs      {place.log("agent")}, {place.log("receiver").name}
  clean up      rm -r {place.root}"""
    )


def files(root: Path) -> list[Path]:
    """Return the logged files below `root`; what agent and receiver keep for themselves is in dot-directories."""
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(folder, name) for name in names if not name.startswith(".")]
    return sorted(found)


def size_bytes(root: Path) -> int:
    """Return the size of the logged files below `root`."""
    total = 0
    for path in files(root):
        with contextlib.suppress(FileNotFoundError):  # renamed while we look
            total += path.stat().st_size
    return total


def shown(path: Path) -> Path:
    """Return `path` as a person in the current directory would type it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


if __name__ == "__main__":
    sys.exit(main())
