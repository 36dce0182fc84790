"""The agent beside the training: looked for now and then, and missed in one warning.

One is expected where its state directory stands at the root of the spool, or where the run was named by a receiver's URL
(`expect`); not after an agent that was started to ship once. It is there if it spoke within `SILENT_S` (the time of its
``status.json``) or holds its lock. The client looks only when it looks at its own file anyway, at most once a minute, and never
before the run is a minute old; so what is missed has waited for that long.
"""

from __future__ import annotations

import logging
import math
import os
import sys
import time

from .layout import AGENT_DIR, AGENT_LOCK, AGENT_STATUS

if sys.platform != "win32":
    import fcntl

LOOK_EVERY_S = 60.0
SILENT_S = 60.0

ENDED_BY_ITSELF = b'"once":true'
"""What stands in the status of an agent that was to ship what there is and end: nobody waits for it."""

_MAX_DIRECTORIES = 1000
_MAX_STATUS_BYTES = 1 << 20

_log = logging.getLogger("ml_logger")
_expected: set[str] = set()
_due_s: dict[str, float] = {}  # by run directory: when to look next, of a clock that never jumps
_told: set[str] = set()


def expect(spool: str) -> None:
    """Expect an agent on the directory `spool`, whether there was ever one or not."""
    _expected.add(spool)


def maybe_expected(directory: str) -> str | None:
    """Return the spool around `directory` that was given to `expect`, None if none was: what a spawned child is to be told."""
    return next((spool for spool in _expected if directory == spool or directory.startswith(f"{spool}{os.sep}")), None)


def maybe_look(directory: str, now_s: float) -> None:
    """Look for the agent of the run in `directory`, if that is due at `now_s`, and warn once if it is missed.

    Never raises; where nothing is due it costs one look into a dict.
    """
    due_s = _due_s.get(directory)
    if due_s is not None and now_s < due_s:
        return
    if len(_due_s) >= _MAX_DIRECTORIES:
        _due_s.clear()
    _due_s[directory] = now_s + LOOK_EVERY_S
    if due_s is None:
        return
    try:
        spool = _spool_of(directory)
        if spool is not None and _is_missing(spool):
            _due_s[directory] = math.inf
            _tell(spool)
    except (OSError, ValueError):
        return


def _spool_of(directory: str) -> str | None:
    """Return the spool around `directory` on which an agent is expected, None if none is."""
    folder = directory
    while True:
        if folder in _expected or os.path.isdir(os.path.join(folder, AGENT_DIR)):  # noqa: PTH112, PTH118 - plain strings
            return folder
        above = os.path.dirname(folder)  # noqa: PTH120 - the same
        if above == folder:
            return None
        folder = above


def _is_missing(spool: str) -> bool:
    state_dir = os.path.join(spool, AGENT_DIR)  # noqa: PTH118 - the same
    status = os.path.join(state_dir, AGENT_STATUS)  # noqa: PTH118 - the same
    try:
        age_s = time.time() - os.stat(status).st_mtime  # noqa: PTH116 - the same
        with open(status, "rb") as file:
            is_over = ENDED_BY_ITSELF in file.read(_MAX_STATUS_BYTES)
    except FileNotFoundError:
        age_s, is_over = math.inf, False
    return age_s > SILENT_S and not is_over and not _is_locked(os.path.join(state_dir, AGENT_LOCK))  # noqa: PTH118


def _is_locked(path: str) -> bool:
    """Whether an agent holds the lock; asked for shared and given back at once, which an agent that starts waits out."""
    if sys.platform == "win32":
        return False
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _tell(spool: str) -> None:
    if spool not in _told:
        _told.add(spool)
        _log.warning(
            "no agent has been seen on %s for a minute: what is logged is safe there, but stays on this machine until one runs "
            "(ml-logger-agent --config agent.yaml)",
            spool,
        )
