"""One agent a spool: a lock in the state directory that the kernel drops with the process, and who holds it.

Whoever only wants to know (status, doctor, drain) asks for the lock shared, without waiting, and gives it back at once: that
fails exactly while an agent runs. An agent that starts in this very moment finds the lock shared, and tries again.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from ..errors import ConfigError, SpoolTaken
from ..layout import AGENT_LOCK

_TRIES = 200
_PAUSE_S = 0.005
_LINE = re.compile(r"pid (\d{1,10}) on (\S{1,300}) since (\S{1,40})\Z")


@dataclass(frozen=True, slots=True)
class Holder:
    """The agent that runs on a spool: its process, its machine, and since when (UTC, ISO 8601), as far as it is known."""

    pid: int | None = None
    host: str | None = None
    since: str | None = None

    def __str__(self) -> str:
        return "unknown" if self.pid is None else f"pid {self.pid} on {self.host} since {self.since}"


@contextmanager
def only_agent(state_dir: Path, spool: Path) -> Iterator[None]:
    """Hold the lock that says this spool has an agent.

    Raises `SpoolTaken` if another process holds it, `ConfigError` if the state directory can't be written or locked.
    """
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        fd = os.open(state_dir / AGENT_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise _unusable(state_dir, "written", error) from None
    try:
        try:
            is_ours = _try_take(fd)
            if is_ours:
                _write_holder(fd)
        except OSError as error:
            raise _unusable(state_dir, "locked", error) from None
        if not is_ours:
            raise SpoolTaken(
                f"spool {spool} already has an agent ({_holder_in(fd)})", path=str(spool), hint="stop that one first"
            )
        yield
    finally:
        os.close(fd)


def _unusable(state_dir: Path, what: str, error: OSError) -> ConfigError:
    return ConfigError(
        f"state directory {state_dir} can't be {what}: {error.strerror}", hint="set 'state_dir' to one that can"
    )


def _try_take(fd: int) -> bool:
    """Take the lock, waiting out those who only look; return False if an agent holds it."""
    for _ in range(_TRIES):
        if _try_flock(fd, fcntl.LOCK_EX):
            return True
        if not _try_flock(fd, fcntl.LOCK_SH):
            return False
        fcntl.flock(fd, fcntl.LOCK_UN)
        time.sleep(_PAUSE_S)
    return False


def _try_flock(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write_holder(fd: int) -> None:
    since = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    with contextlib.suppress(OSError):  # a full disk: the lock holds, it is only not said who has it
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{Holder(os.getpid(), os.uname().nodename, since)}\n".encode(), 0)


def maybe_holder(state_dir: Path) -> Holder | None:
    """Return the agent that runs with this state directory, or None; changes nothing.

    Raises OSError where that can't be told (no rights, a file system without locks).
    """
    try:
        fd = os.open(state_dir / AGENT_LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return None if _try_flock(fd, fcntl.LOCK_SH) else _holder_in(fd)
    finally:
        os.close(fd)


def _holder_in(fd: int) -> Holder:
    match = _LINE.match(os.pread(fd, 400, 0).decode("utf-8", "replace").strip())
    return Holder(int(match[1]), match[2], match[3]) if match else Holder()
