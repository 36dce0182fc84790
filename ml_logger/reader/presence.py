"""Presence: whether the process that wrote a part of ``run.jsonl`` lives, as far as that can be known."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from ..errors import NotHeld
from ..files import Files
from ..origin import host_name
from .records import Record


def maybe_alive(files: Files, path: str, events: Sequence[Record]) -> bool | None:
    """Return whether the process lives that said these `events` in the part at `path`, and no end; None if nobody can know."""
    try:
        is_alive = files.is_being_written(path)
    except NotHeld:  # deleted since it was listed
        return None
    return False if is_alive is None and files.is_of_this_machine and is_gone(events) else is_alive


def is_gone(events: Sequence[Record]) -> bool:
    """Return whether the process that said these `events` ran on this machine and is not there any more.

    That nobody holds the lock of its file is not enough: a copy of a run, or a receiver's, has none.
    """
    start = last_start(events)
    if start.get("host") != host_name() or sys.platform == "win32":
        return False
    pid = start.get("pid")
    return isinstance(pid, int) and pid > 0 and not _is_there(pid)


def last_start(events: Sequence[Record]) -> Record:
    """Return what the process said when it began last, an empty record if it did not."""
    return next((event for event in reversed(events) if event.get("event") == "start"), {})


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # somebody else's
        return True
    return True
