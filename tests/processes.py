"""The installed commands as real processes: start, wait, kill, restart; and the comparison of two trees.

Every process is started by `Commands`, which ends all of them by id when its test is over. Output goes to files, so a
chatty process never blocks on a full pipe, and a failing test shows the end of them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from ml_logger.layout import is_hidden

TOKEN = "a-token-for-tests"
BIN = Path(sys.executable).parent

START_DEADLINE_S = 60.0
STOP_DEADLINE_S = 20.0
DRAIN_DEADLINE_S = 60.0
_POLL_S = 0.01


def wait_until(
    condition: Callable[[], object], deadline_s: float = DRAIN_DEADLINE_S, what: str = "", poll_s: float = _POLL_S
) -> None:
    """Return once `condition()` is true; raises TimeoutError after `deadline_s` seconds, naming `what`."""
    end = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {deadline_s:.0f} s: {what or getattr(condition, '__name__', condition)}")
        time.sleep(poll_s)


@dataclass
class Running:
    """One started command and its output files."""

    name: str
    process: subprocess.Popen[bytes]
    stdout_path: Path
    stderr_path: Path

    @property
    def stdout(self) -> str:
        return self.stdout_path.read_text(encoding="utf-8", errors="replace")

    @property
    def stderr(self) -> str:
        return self.stderr_path.read_text(encoding="utf-8", errors="replace")

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        """End it as `kill -9` does and wait until it is gone."""
        self.process.kill()
        self.process.wait(STOP_DEADLINE_S)

    def freeze(self) -> None:
        """Stop it as it is (SIGSTOP): its sockets stay open and nothing answers."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on after `freeze`."""
        self.process.send_signal(signal.SIGCONT)

    def die_aloud(self) -> str:
        """End it by SIGABRT and return the end of its output, where a Python program shows what each thread was at."""
        self.process.send_signal(signal.SIGABRT)
        self.process.wait(STOP_DEADLINE_S)
        return self.tail(8000)

    def terminate(self, deadline_s: float = STOP_DEADLINE_S) -> int:
        """Ask it to end (SIGTERM) and return its exit code; raises subprocess.TimeoutExpired."""
        self.process.terminate()
        return self.process.wait(deadline_s)

    def wait(self, deadline_s: float = DRAIN_DEADLINE_S) -> int:
        """Return its exit code once it ends; raises TimeoutError with the end of its output."""
        try:
            return self.process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{self.name} has not ended after {deadline_s:.0f} s\n{self.tail()}") from None

    def tail(self, size: int = 2000) -> str:
        return f"--- {self.name} stdout\n{self.stdout[-size:]}\n--- {self.name} stderr\n{self.stderr[-size:]}"


@dataclass
class Receiver:
    """A receiver on a data directory that can die and come back on the same port."""

    commands: Commands
    data_dir: Path
    extra: tuple[str, ...]
    running: Running
    url: str
    before: tuple[str, ...] = ()

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        assert parts.port is not None
        return parts.hostname, parts.port

    def kill(self) -> None:
        self.running.kill()

    def restart(self) -> None:
        """Start it again on the same port and data directory; it must not be running."""
        assert not self.running.is_alive
        self.running, self.url = self.commands.start_receiver_process(
            self.data_dir, self.address[1], self.extra, self.before
        )


def workers_of(receiver: Receiver) -> list[int]:
    """Return the ids of the receiver's workers, in the order of their start."""
    parent = receiver.running.process.pid
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


@dataclass
class Commands:
    """Starts the installed commands in `work_dir`, and ends whatever of them is left."""

    work_dir: Path
    started: list[Running] = field(default_factory=list)

    def start(
        self,
        command: str,
        *args: object,
        env: Mapping[str, str] | None = None,
        before: Sequence[str] = (),
        name: str | None = None,
    ) -> Running:
        """Start an installed command, or the Python that runs the tests for ``python``.

        `before` holds the words of a command that becomes it, such as nsenter's. Its output goes to files called after
        `name`, the command's own by default, with a number.
        """
        program = sys.executable if command == "python" else str(BIN / command)
        name = f"{name or command}-{len(self.started)}"
        out, err = self.work_dir / f"{name}.out", self.work_dir / f"{name}.err"
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(
                [*before, program, *map(str, args)],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                cwd=self.work_dir,
                env=clean_environment(env or {}),
            )
        running = Running(name, process, out, err)
        self.started.append(running)
        return running

    def run(self, command: str, *args: object, env: Mapping[str, str] | None = None, deadline_s: float = 60) -> Running:
        """Start a command and return once it has ended."""
        running = self.start(command, *args, env=env)
        running.wait(deadline_s)
        return running

    def start_receiver(self, data_dir: Path, *extra: str, before: Sequence[str] = ()) -> Receiver:
        """Start a receiver on a free port with the tests' token; returns once it accepts connections."""
        running, url = self.start_receiver_process(data_dir, 0, extra, before)
        return Receiver(self, data_dir, extra, running, url, tuple(before))

    def start_receiver_process(
        self, data_dir: Path, port: int, extra: Sequence[str], before: Sequence[str] = ()
    ) -> tuple[Running, str]:
        token_file = self.token_file()
        args = ("--data-dir", data_dir, "--port", port, "--token-file", token_file, *extra)
        running = self.start("ml-logger-server", *args, before=before)
        return running, wait_first_line(running)

    def token_file(self) -> Path:
        """Return the file that holds the tests' token."""
        path = self.work_dir / "token"
        if not path.exists():
            path.write_text(TOKEN + "\n", encoding="utf-8")
            path.chmod(0o600)
        return path

    def write_agent_config(
        self,
        spool: Path | str | Sequence[Path] | None,
        server: str | None,
        *,
        file_name: str = "agent.yaml",
        **settings: object,
    ) -> Path:
        """Write an agent config with short waits, `settings` over them, and return its path; None leaves a key out."""
        config = {
            "spool": str(spool)
            if isinstance(spool, Path)
            else [str(s) for s in spool]
            if isinstance(spool, list)
            else spool,
            "server": server,
            "token_file": str(self.token_file()),
            "settle_s": 0.05,
            "scan_interval_s": 0.1,
            "min_interval_s": 0.01,
            "retry": {"initial_s": 0.05, "max_s": 0.3},
            "timeouts": {"connect_s": 2.0, "read_s": 10.0},
            **settings,
        }
        path = self.work_dir / file_name
        path.write_text(yaml.safe_dump({k: v for k, v in config.items() if v is not None}), encoding="utf-8")
        return path

    def start_agent(self, config: Path, *extra: str, before: Sequence[str] = ()) -> Running:
        return self.start("ml-logger-agent", "--config", config, *extra, before=before)

    def drain(self, config: Path, deadline_s: float = DRAIN_DEADLINE_S, before: Sequence[str] = ()) -> Running:
        """Run ``ml-logger-agent --once`` and require that it says all is shipped."""
        agent = self.start_agent(config, "--once", before=before)
        code = agent.wait(deadline_s)
        assert code == 0, f"--once ended with {code}\n{agent.tail()}"
        return agent

    def end_all(self) -> None:
        """End every process that is left, each by its id."""
        left = [r for r in self.started if r.is_alive]
        for running in left:
            running.process.send_signal(signal.SIGKILL)
        for running in left:
            running.process.wait(STOP_DEADLINE_S)

    def tracebacks(self) -> list[str]:
        """Return the output of every command (not Python scripts) that shows a traceback."""
        return [
            r.tail() for r in self.started if "Traceback" in r.stdout + r.stderr and not r.name.startswith("python")
        ]


def clean_environment(changes: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment without this project's variables, `changes` applied."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("ML_LOGGER")}
    return {**kept, "PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1", **changes}


def wait_first_line(running: Running, deadline_s: float = START_DEADLINE_S) -> str:
    """Return the first whole line of its stdout; raises AssertionError if it ends before that."""

    def is_there() -> bool:
        assert running.is_alive or "\n" in running.stdout, f"{running.name} ended early\n{running.tail()}"
        return "\n" in running.stdout

    try:
        wait_until(is_there, deadline_s, f"the first line of {running.name}")
    except TimeoutError as error:
        raise TimeoutError(f"{error}\n{running.die_aloud()}") from None
    return running.stdout.split("\n", 1)[0].strip()


# --- the one assertion


def read_tree(root: Path, *, hidden: Callable[[bytes, bool], bool], is_at_rest: bool = False) -> dict[bytes, bytes]:
    """Return every file below `root` by its relative path; `hidden(name, is_top)` says which entries to pass over.

    What vanishes while it is read is not there. In a tree that `is_at_rest` nothing may: it raises OSError.
    """
    top = os.fsencode(root)
    files: dict[bytes, bytes] = {}
    for folder, folders, names in os.walk(top, onerror=_raise if is_at_rest else None):
        is_top = folder == top
        folders[:] = [f for f in folders if not hidden(f, is_top)]
        for name in names:
            path = os.path.join(folder, name)
            content = None if hidden(name, is_top) else _maybe_read(path, is_at_rest)
            if content is not None:
                files[os.path.relpath(path, top)] = content
    return files


def _maybe_read(path: bytes, is_at_rest: bool) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        if is_at_rest or os.path.islink(path):  # a link to nowhere is there
            raise
        return None


def _raise(error: OSError) -> None:
    raise error


def read_spool(spool: Path, *, is_at_rest: bool = False) -> dict[bytes, bytes]:
    """Return the spool's files as a scanner sees them: no dotfiles, no temporary names."""
    return read_tree(spool, hidden=lambda name, _: is_hidden(os.fsdecode(name)), is_at_rest=is_at_rest)


def read_mirror(mirror: Path, *, is_at_rest: bool = False) -> dict[bytes, bytes]:
    """Return the receiver's files without its own directory at the top."""
    return read_tree(mirror, hidden=lambda name, is_top: is_top and name == b".ml-logger", is_at_rest=is_at_rest)


def differences(spool: Mapping[bytes, bytes], mirror: Mapping[bytes, bytes]) -> list[str]:
    """Return one line for each file that is missing, too much or different; empty if the trees are equal."""
    lines = [f"missing in the mirror: {path!r}" for path in sorted(spool.keys() - mirror.keys())]
    lines += [f"only in the mirror: {path!r}" for path in sorted(mirror.keys() - spool.keys())]
    for path in sorted(spool.keys() & mirror.keys()):
        if spool[path] != mirror[path]:
            lines.append(f"differs: {path!r} {_first_difference(spool[path], mirror[path])}")
    return lines


def _first_difference(ours: bytes, theirs: bytes) -> str:
    at = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs)))
    return (
        f"({len(ours)} and {len(theirs)} bytes, first at byte {at}: {ours[at : at + 40]!r}, {theirs[at : at + 40]!r})"
    )


def assert_trees_equal(spool: Path, mirror: Path, rename: Callable[[bytes], bytes] = lambda path: path) -> None:
    """Assert that the mirror holds the spool byte for byte, by our own walk and by the product's `compare_trees`.

    Nobody may change either any more. `rename` turns a spool path into the one it must have in the mirror.
    """
    expected = {rename(path): content for path, content in read_spool(spool, is_at_rest=True).items()}
    found = differences(expected, read_mirror(mirror, is_at_rest=True))
    assert not found, "\n".join(found)
    _assert_product_agrees(spool, mirror)


def _assert_product_agrees(spool: Path, mirror: Path) -> None:
    from ml_logger.verify import compare_trees  # here, so that the harness works where the reader is broken

    comparison = compare_trees(spool, mirror)
    assert comparison.is_equal, str(comparison)
