"""One agent a spool: locks that the kernel drops with the process, and who holds them.

An agent locks the spool directory itself, a file in its state directory, and, where the two are apart, the same file in the
spool's own state directory, if it may write there. The first keeps a second agent away, whatever its state directory; the
second keeps two spools' memories apart; the files say who it is.

Whoever only wants to know (status, doctor, drain) asks for the lock shared, without waiting, and gives it back at once: that
fails exactly while an agent runs. An agent that starts in this very moment finds the lock shared, and tries again.

A lock is on what was opened, not on its name: `Footing` tells whether the two are still the same.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from ..errors import ConfigError, SpoolTaken
from ..layout import AGENT_DIR, AGENT_LOCK

log = logging.getLogger(__name__)

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


class Footing:
    """What an agent has locked, by its name: the spool, and the lock file of its state directory.

    They are held open, so no other file can get their inode numbers.
    """

    def __init__(self, spool: Path, state_dir: Path) -> None:
        self._spool, self._state_dir = spool, state_dir
        self._spool_id, self._lock_id = _identity(spool), _identity(state_dir / AGENT_LOCK)

    def maybe_replaced(self) -> Path | None:
        """Return the directory that is no longer the one that was locked, if there is one.

        A spool that is not there at all may come back as it was; its state directory would not come back by itself.
        """
        spool_id = _identity(self._spool)
        if spool_id is None:
            return None
        if spool_id != self._spool_id:
            return self._spool
        return None if _identity(self._state_dir / AGENT_LOCK) == self._lock_id else self._state_dir


def _identity(path: Path) -> tuple[int, int] | None:
    """Return device and inode; None where nothing is to be seen."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


@contextmanager
def only_agent(state_dir: Path, spool: Path) -> Iterator[Footing]:
    """Hold the locks that say this spool has an agent, and that this is its state directory; yield what is locked.

    Raises `SpoolTaken` if the spool has an agent, `ConfigError` if the state directory is another agent's, or can't be written
    or locked.
    """
    with ExitStack() as stack:
        if _is_spool_taken(spool, stack):
            raise _taken(spool, state_dir)
        is_own = state_dir == spool / AGENT_DIR
        try:
            is_ours = _try_hold(state_dir, stack)
        except OSError as error:
            raise _unusable(state_dir, error) from None
        if not is_ours and is_own:
            raise _taken(spool, state_dir)
        if not is_ours:
            raise ConfigError(
                f"state directory {state_dir} is already used by an agent ({maybe_holder(state_dir) or Holder()})",
                hint="give each agent a 'state_dir' of its own",
            )
        if not is_own:
            _sign(spool, state_dir, stack)
        yield Footing(spool, state_dir)


def _is_spool_taken(spool: Path, stack: ExitStack) -> bool:
    """Lock the spool itself until `stack` closes; return whether another agent has it locked.

    So two agents find each other whatever state directories they use, also in a spool that they can't write to. Where a
    directory can't be locked (NFS) only the state directories' locks are left, which is said.
    """
    try:
        fd = os.open(spool, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(f"spool {spool} can't be read: {error.strerror}", hint="is it gone?") from None
    stack.callback(os.close, fd)
    try:
        return not _try_flock(fd, fcntl.LOCK_EX)
    except OSError as error:
        log.warning(
            "spool %s can't be locked (%s): a second agent with another state_dir would not be noticed",
            spool,
            error.strerror,
        )
        return False


def _sign(spool: Path, state_dir: Path, stack: ExitStack) -> None:
    """Hold the lock in the spool's own state directory too, if that can be: there people and programs look for an agent.

    Raises `SpoolTaken` if an agent has it, which was not to be seen by the spool's lock.
    """
    with contextlib.suppress(OSError):
        if not _try_hold(spool / AGENT_DIR, stack):
            raise _taken(spool, state_dir)


def _taken(spool: Path, state_dir: Path) -> SpoolTaken:
    return SpoolTaken(
        f"spool {spool} already has an agent ({_who_has(spool, state_dir)})",
        path=str(spool),
        hint="stop that one first",
    )


def _unusable(state_dir: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"state directory {state_dir} can't be written or locked: {error.strerror}",
        hint="set 'state_dir' to one that can",
    )


def _try_hold(state_dir: Path, stack: ExitStack) -> bool:
    """Hold the lock in `state_dir`, which is made if need be, until `stack` closes; False if an agent holds it."""
    state_dir.mkdir(parents=True, exist_ok=True)
    fd = os.open(state_dir / AGENT_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    stack.callback(os.close, fd)
    is_ours = _try_take(fd)
    if is_ours:
        _write_holder(fd)
    return is_ours


def _who_has(spool: Path, state_dir: Path) -> Holder:
    """Return who holds a lock of `spool`: as it signed, or as the kernel tells where it could not."""
    for folder in (spool / AGENT_DIR, state_dir):
        with contextlib.suppress(OSError):
            if (holder := maybe_holder(folder)) is not None:
                return holder
    return _holder_by_kernel(spool)


def _holder_by_kernel(spool: Path) -> Holder:
    """Return the process of this machine that has the directory locked, by ``/proc/locks``; see ``proc_locks(5)``."""
    with contextlib.suppress(OSError, ValueError):
        status = spool.stat()
        place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            _, kind, _, _, pid, where, *_ = line.split()
            if (kind, where) == ("FLOCK", place):
                return Holder(int(pid), os.uname().nodename, "a time unknown")
    return Holder()


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
