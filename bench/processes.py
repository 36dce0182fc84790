"""Real processes and what they cost: wall time, CPU seconds with all their children's, and the most memory they had in RAM.

The CPU of a command that ends is what the kernel hands to its parent, in µs; that of a server that goes on is the difference
of two looks into ``/proc``, in hundredths of a second. Memory is looked at every few ms, since what the kernel hands over at
the end starts with the memory of this process, which made them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_LOOK_S = 0.02
START_DEADLINE_S = 30.0
STOP_DEADLINE_S = 30.0


class Failed(Exception):
    """A process that is measured ended with an error, or did not start."""


@dataclass(frozen=True)
class Cost:
    """What a process cost: `wall_s` from its start to its end, `cpu_s` and `rss_bytes` at most, children included."""

    wall_s: float
    cpu_s: float
    rss_bytes: int


def run(command: Sequence[str], log: Path) -> Cost:
    """Run `command` to its end with its output in `log`; raises `Failed` with the end of that unless it exits with 0."""
    with log.open("wb") as output:
        began = time.perf_counter()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        with _watching(process.pid) as memory:
            _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise Failed(f"{command[0]} ended with {process.returncode}: {log.read_text(errors='replace')[-2000:]}")
    return Cost(wall_s, usage.ru_utime + usage.ru_stime, memory.most_bytes)


@dataclass
class Server:
    """A process that goes on while others are measured."""

    process: subprocess.Popen[bytes]
    log: Path
    port: int = 0

    def cpu_s(self) -> float:
        """Return the CPU seconds it and its children have had so far."""
        return cpu_s(self.process.pid)

    def rss_bytes(self) -> int:
        """Return the most memory it ever had, the largest of its living children included."""
        return max((rss_bytes(pid) for pid in family(self.process.pid)), default=0)


@contextlib.contextmanager
def serving(command: Sequence[str], log: Path, port: int = 0) -> Iterator[Server]:
    """Run `command` until the block ends; if `port` is given, from when it accepts connections there."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    server = Server(process, log, port)
    try:
        if port:
            _wait_listening(server)
        yield server
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_DEADLINE_S)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait(STOP_DEADLINE_S)


def _wait_listening(server: Server) -> None:
    end = time.monotonic() + START_DEADLINE_S
    while not _accepts(server.port):
        require_running(server, end)
        time.sleep(0.01)


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def wait_first_line(server: Server) -> str:
    """Return the first whole line a server says; raises `Failed` if it ends before that."""
    end = time.monotonic() + START_DEADLINE_S
    while b"\n" not in (said := server.log.read_bytes()):
        require_running(server, end)
        time.sleep(0.01)
    return said.partition(b"\n")[0].decode()


def require_running(server: Server, deadline_s: float) -> None:
    """Raise `Failed` with the end of what the server said if it has ended, or if `deadline_s` (monotonic) is over."""
    if server.process.poll() is not None or time.monotonic() > deadline_s:
        raise Failed(f"{server.process.args!r} is not there: {server.log.read_text(errors='replace')[-2000:]}")


def free_port() -> int:
    """Return a TCP port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# --- looking into /proc


def family(pid: int) -> list[int]:
    """Return a process and all its living descendants."""
    return [pid, *(member for child in children(pid) for member in family(child))]


def children(pid: int) -> list[int]:
    """Return the living children of a process; none if it is gone."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text(encoding="ascii").split())
    return found


def cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process, its living descendants, and the ended ones that were waited for."""
    return sum(_times_s(member) for member in family(pid))


def _times_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) * _TICK_S  # utime, stime, cutime, cstime: see proc(5)


def rss_bytes(pid: int) -> int:
    """Return the most memory a process had in RAM since it started its program; 0 if it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM")), 0)


@dataclass
class _Memory:
    most_bytes: int = 0


@contextlib.contextmanager
def _watching(pid: int) -> Iterator[_Memory]:
    memory, is_over = _Memory(), threading.Event()

    def watch() -> None:
        while not is_over.wait(_LOOK_S):
            memory.most_bytes = max(memory.most_bytes, *(rss_bytes(member) for member in family(pid)))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield memory
    finally:
        is_over.set()
        thread.join()
