"""The drain at the end of a soak: trainers, agents, receiver, one after the other, as an orderly shutdown would.

No time is judged: as long as anything moves it may take what it takes, within reason. What stands still is given up.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from .fleet import Role
from .run import Soak

STALL_S = 120.0
MOST_S = 1200.0
"""How long even what moves may take: a soak has an end, whatever is wrong."""
_POLL_S = 0.1
_STARTING = -15
"""The exit code of a trainer that had only just begun, and knew no SIGTERM yet."""


def drain(soak: Soak) -> None:
    """Let all of them end; agents ship what is left before they do, and say by their exit code whether that is all."""
    soak.note("drain begins")
    _end(soak, soak.fleet.of("t"), (0, _STARTING))
    _end(soak, soak.fleet.of("agent"), (0,))
    _end(soak, soak.fleet.of("receiver"), (0,))
    soak.note("drain ends")
    check = soak.fleet.check_mirror()
    if check.process.returncode != 0:
        soak.find(f"ml-logger-server check ended with {check.process.returncode}\n{check.tail()}")
    for tail in soak.fleet.commands.tracebacks():
        soak.find(f"a traceback\n{tail}")


def _end(soak: Soak, roles: Sequence[Role], good: tuple[int, ...]) -> None:
    told: set[str] = set()
    began_s = moved_s = time.monotonic()
    before = (0, 0)
    while left := [role for role in roles if role.running.is_alive]:
        _tell(left, told)
        now = (len(left), _stored_bytes(soak))
        if now != before:
            moved_s, before = time.monotonic(), now
        if time.monotonic() > min(moved_s + STALL_S, began_s + MOST_S):
            _give_up(soak, left)
        time.sleep(_POLL_S)
    for role in roles:
        role.is_wanted = False
        if role.running.process.returncode not in good:
            soak.find(f"{role.name} ended with {role.running.process.returncode}\n{role.running.tail()}")


def _tell(roles: Sequence[Role], told: set[str]) -> None:
    """Send SIGTERM: once, since a second one is a wish of its own, and not before it is heard; to trainers again and again."""
    for role in roles:
        is_trainer = role.name.startswith("t")  # one that starts itself anew may miss it
        if is_trainer or (role.name not in told and (role.running.stderr or role.running.stdout)):
            told.add(role.name)
            role.running.process.terminate()


def _stored_bytes(soak: Soak) -> int:
    """Return the size of all that the receiver holds; only whether it changes counts."""
    return sum(
        _size(os.path.join(folder, name)) for folder, _, names in os.walk(soak.fleet.mirror.seen) for name in names
    )


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def _give_up(soak: Soak, roles: Sequence[Role]) -> None:
    for role in roles:
        soak.find(f"{role.name} does not end\n{role.running.die_aloud()}")
