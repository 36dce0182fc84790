"""Heartbeats: every `heartbeat_s` the agent says to the receiver who it is and how far it is.

In a thread of its own, over connections of its own. Whatever happens to a heartbeat, shipping goes on as if there were none,
and nobody is told but the debug log. A receiver that does not know the call is asked again after ten minutes.
"""

from __future__ import annotations

import logging
import os
import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import wire
from ..errors import BadPath, MLLoggerError
from ..layout import check_path, plain_name
from ..source import source_of
from ..version import __version__
from ..wire import AsideFile, Heartbeat, SpoolBeat
from .amounts import plain_text
from .call import Caller
from .status_file import StatusFile

log = logging.getLogger(__name__)

MOST_NAMED = 20
"""So many of the files that are set aside are named, the others counted."""

UNKNOWN_REST_S = 600.0
"""How long a receiver is left alone that does not know the call."""

FIRST_S = 1.0
CALL_TIMEOUT_S = 10.0
_JOIN_S = 0.5
_JITTER = 0.1  # a thousand agents that were started together should not beat together for ever


@dataclass(frozen=True, slots=True)
class Pulse:
    """One spool and what is known of it."""

    spool: Path
    remote_prefix: str
    status: StatusFile


class Heart:
    """Beats from `start` to `stop`."""

    def __init__(self, pulses: Sequence[Pulse], caller: Caller, interval_s: float) -> None:
        self._pulses = tuple(pulses)
        self._caller = caller
        self._interval_s = interval_s
        self._is_stopped = threading.Event()
        self._thread = threading.Thread(target=self._beat_on, name="ml-logger-heart", daemon=True)

    def start(self) -> None:
        """Begin, unless the interval is 0."""
        if self._interval_s > 0:
            self._thread.start()

    def stop(self) -> None:
        """End; a call under way is hardly waited for, its thread ends with it or with the process."""
        self._is_stopped.set()
        if self._thread.is_alive():
            self._thread.join(_JOIN_S)

    def _beat_on(self) -> None:
        wait_s = min(FIRST_S, self._interval_s)
        while not self._is_stopped.wait(wait_s * random.uniform(1 - _JITTER, 1 + _JITTER)):  # noqa: S311 - no secret
            wait_s = self.beat_once()

    def beat_once(self) -> float:
        """Send one heartbeat; return in how many seconds the next is due. Never raises a `MLLoggerError`."""
        try:
            reply = self._caller.call("POST", "/v1/heartbeat", wire.encode_heartbeat(self._beat()))
        except MLLoggerError as error:
            log.debug("no heartbeat: %s", error.one_line())
            return self._interval_s
        if reply.status in (404, 405, 501):
            log.debug("the receiver takes no heartbeats (%d)", reply.status)
            return max(self._interval_s, UNKNOWN_REST_S)
        if reply.status != 200:
            log.debug("no heartbeat: the receiver answered %d", reply.status)
        return self._interval_s

    def _beat(self) -> Heartbeat:
        return Heartbeat(
            source=source_of(self._pulses[0].spool),
            host=os.uname().nodename[:300],
            agent=__version__,
            pid=os.getpid(),
            started_at=self._pulses[0].status.started_at,
            spools=tuple(self._spool_beat(pulse) for pulse in self._pulses),
        )

    def _spool_beat(self, pulse: Pulse) -> SpoolBeat:
        progress = pulse.status.latest()
        return SpoolBeat(
            spool=plain_text(str(pulse.spool)),
            source=source_of(pulse.spool),
            backlog_files=progress.backlog_files,
            backlog_bytes=progress.backlog_bytes,
            shipped_files=progress.shipped_files,
            shipped_bytes=progress.shipped_bytes,
            errors=progress.errors,
            aside=len(progress.aside),
            bytes_per_s=round(pulse.status.bytes_per_s(), 1),
            oldest_unshipped_s=progress.oldest_unshipped_s,
            last_ack_at=progress.last_ack_at,
            last_error=None if progress.last_error is None else plain_text(progress.last_error),
            runs_alive=tuple(_remote_names(progress.runs_alive, pulse.remote_prefix)),
            aside_files=tuple(AsideFile(plain_text(p.path), plain_text(p.reason)) for p in progress.aside[:MOST_NAMED]),
        )


def _remote_names(runs: Sequence[str], remote_prefix: str) -> list[str]:
    """Return the runs as the receiver knows them; one whose name it can't store is left out."""
    names = []
    for run in runs:
        name = plain_name(run, remote_prefix) if run else remote_prefix
        try:
            names.append(check_path(name) if name else name)
        except BadPath:
            continue
    return names
