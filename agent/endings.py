"""What ends an agent that was not told to stop: its training has ended, a file says so, or the machine will be taken away.

One thread looks; what it finds stops the loop, which drains. A signal may come at the same time, from whoever ended the
training: a second stop would end the drain early, so all of them go through `Endings`, and only a person's second signal does.

The instance metadata service is asked with `http.client`: it is one machine-local GET every few seconds, without a proxy, a
token of ours or a retry, and must work when nothing else does.
"""

from __future__ import annotations

import errno
import http.client
import logging
import os
import selectors
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import orjson

from .config import AgentConfig

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5
NOTICE_EVERY_S = 5.0
RARELY_S = 60.0
"""Seconds between looks: for a file or process, for a spot notice, and for one where nobody answers."""

FAILURES_BEFORE_RARELY = 3
REQUEST_TIMEOUT_S = 2.0
MAX_ANSWER_BYTES = 64 << 10
CLOSE_S = 0.5
TOKEN_TTL_S = 6 * 3600


class Ending(Protocol):
    """Something that may end the agent. `fd` becomes readable when it is worth a look; else it is looked at by time."""

    @property
    def fd(self) -> int | None:
        """A descriptor to wait for, if there is one."""

    @property
    def every_s(self) -> float:
        """How long to wait for the next look, in seconds."""

    def look(self) -> str | None:
        """Return why the agent is to end, or None."""

    def close(self) -> None:
        """Let go of what is open."""


class ProcessEnd:
    """The end of a process; one that is not there has ended already. Killed and not yet reaped counts as ended."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.fd: int | None = None
        self._is_over = False
        try:
            self.fd = os.pidfd_open(pid)  # bound to this very process, whoever gets the number later
        except ProcessLookupError:
            self._is_over = True
        except (OSError, AttributeError):  # a kernel before 5.3, a sandbox, or no Linux
            pass
        self._started = _start_of(pid)

    @property
    def every_s(self) -> float:
        """Seldom where the system tells."""
        return LOOK_EVERY_S if self.fd is None else RARELY_S

    def look(self) -> str | None:
        """Return that it has ended, or None."""
        return f"process {self._pid} has ended" if self._has_ended() else None

    def _has_ended(self) -> bool:
        if self._is_over or self.fd is None:
            return self._is_over or self._started is None or _start_of(self._pid) != self._started
        with selectors.DefaultSelector() as selector:
            selector.register(self.fd, selectors.EVENT_READ)
            return bool(selector.select(0))

    def close(self) -> None:
        """Close the descriptor."""
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None


def _start_of(pid: int) -> str | None:
    """Return when the process started, in ticks since the boot, None if it has ended; see ``proc_pid_stat(5)``."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if len(fields) < 20 or fields[0] in ("Z", "X") else fields[19]


class FileThere:
    """A file that appears, or was there at the start."""

    fd: int | None = None
    every_s = LOOK_EVERY_S

    def __init__(self, path: Path) -> None:
        self._path = path
        self._has_warned = False

    def look(self) -> str | None:
        """Return that it is there, or None."""
        try:
            self._path.stat()
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR) and not self._has_warned:
                self._has_warned = True
                log.warning("until_file %s can't be looked at (%s): it is tried again", self._path, error.strerror)
            return None
        return f"{self._path} is there"

    def close(self) -> None:
        """Do nothing."""


class _Unexpected(Exception):
    """An answer of the metadata service that says nothing."""


class SpotNotice:
    """The notice that EC2 will take this instance away, from the instance metadata service (IMDSv2) at `url`.

    A rebalance recommendation is no notice. A machine where nobody answers is asked rarely, and that is said once.
    """

    fd: int | None = None

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._url = url
        self._is_tls = parts.scheme == "https"
        self._host, self._port, self._path = parts.hostname or "", parts.port, parts.path.rstrip("/")
        self._token: str | None = None
        self._failures = 0
        self._has_answered = False
        self._has_warned = False

    @property
    def every_s(self) -> float:
        """Soon, or rarely where nobody has ever answered."""
        return RARELY_S if self._failures >= FAILURES_BEFORE_RARELY and not self._has_answered else NOTICE_EVERY_S

    def look(self) -> str | None:
        """Return the notice, or None."""
        try:
            notice = self._ask()
        except (OSError, http.client.HTTPException, ValueError, _Unexpected) as error:  # a ValueError: an odd host name
            self._note_failure(str(error) or type(error).__name__)
            return None
        if not self._has_answered or self._has_warned:
            log.info("asking %s for a spot notice every %.0f s", self._url, NOTICE_EVERY_S)
        self._has_answered, self._has_warned, self._failures = True, False, 0
        return notice

    def _ask(self) -> str | None:
        if self._token is None:
            self._token = self._new_token()
        status, body = self._get_action(self._token)
        if status == 401:  # the token has expired
            self._token = self._new_token()
            status, body = self._get_action(self._token)
        if status == 404:
            return None
        if status != 200:
            self._token = None
            raise _Unexpected(f"it answered {status}")
        return _notice_in(body)

    def _new_token(self) -> str:
        status, body = self._request(
            "PUT", "/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_TTL_S)}
        )
        token = body.decode("ascii", "replace").strip()
        if status != 200 or not token.isprintable() or "\ufffd" in token or not token:
            raise _Unexpected(f"it answered {status} when asked for a token")
        return token

    def _get_action(self, token: str) -> tuple[int, bytes]:
        return self._request("GET", "/latest/meta-data/spot/instance-action", {"X-aws-ec2-metadata-token": token})

    def _request(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        kind = http.client.HTTPSConnection if self._is_tls else http.client.HTTPConnection
        with closing(kind(self._host, self._port, timeout=REQUEST_TIMEOUT_S)) as connection:
            connection.request(method, self._path + path, headers=headers)
            response = connection.getresponse()
            return response.status, response.read(MAX_ANSWER_BYTES)

    def close(self) -> None:
        """Do nothing."""

    def _note_failure(self, reason: str) -> None:
        self._failures += 1
        if self._has_warned or (self._failures < FAILURES_BEFORE_RARELY and not self._has_answered):
            return
        self._has_warned = True
        if self._has_answered:
            log.warning("%s no longer answers (%s): a spot notice may be missed until it does", self._url, reason)
        else:
            log.warning("no spot notices from %s (%s): is this an EC2 instance?", self._url, reason)


def _notice_in(body: bytes) -> str:
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        said = None
    if not isinstance(said, dict) or not isinstance(said.get("action"), str):
        raise _Unexpected("its answer is no spot notice")
    return f"spot notice: {ascii(said['action'])[1:-1]} of this instance at {ascii(said.get('time'))[:60]}"


def endings_of(config: AgentConfig) -> list[Ending]:
    """Return what the config says may end the agent."""
    found: list[Ending] = []
    if config.until_pid is not None:
        found.append(ProcessEnd(config.until_pid))
    if config.until_file is not None:
        found.append(FileThere(config.until_file))
    if config.spot_notice:
        found.append(SpotNotice(config.spot_notice_url))
    return found


class Endings:
    """Calls `stop` (safe in any thread) once, when one of the endings in `config` has come.

    Signals are to call `Endings.stop`. The thread is a daemon, and none is started where there is nothing to watch.
    """

    def __init__(self, config: AgentConfig, stop: Callable[[], None]) -> None:
        self._stop = stop
        self._endings = endings_of(config)  # now: a process that ends before `start` is not another one
        self._is_stopped = False
        self._gate = threading.RLock()  # a signal's handler may come into that of another one
        self._closing, self._close = os.pipe()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to watch."""
        if self._endings:
            self._thread = threading.Thread(target=self._watch, name="ml-logger-endings", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Stop, whatever else has stopped it: as a signal asks for."""
        with self._gate:
            self._is_stopped = True
            self._stop()

    def hang_up(self) -> None:
        """Stop, unless something has: a closed terminal may say so twice, and a drain under way goes on."""
        with self._gate:
            if not self._is_stopped:
                self.stop()

    def close(self) -> None:
        """End the watch. A request under way is not waited for: it ends with the process."""
        os.write(self._close, b"!")
        if self._thread is not None:
            self._thread.join(CLOSE_S)
            if self._thread.is_alive():
                return
        for ending in self._endings:
            ending.close()
        os.close(self._closing)
        os.close(self._close)

    def _watch(self) -> None:
        with selectors.DefaultSelector() as selector:
            for fd in (self._closing, *(e.fd for e in self._endings)):
                if fd is not None:
                    selector.register(fd, selectors.EVENT_READ)
            due_s = dict.fromkeys(self._endings, 0.0)
            while (reason := _first_reason(self._endings, due_s)) is None:
                ready = selector.select(max(0.0, min(due_s.values()) - time.monotonic()))
                rung = {key.fd for key, _ in ready}
                if self._closing in rung:
                    return
                due_s.update((ending, 0.0) for ending in self._endings if ending.fd in rung)
        self._end(reason)

    def _end(self, reason: str) -> None:
        with self._gate:
            if self._is_stopped:
                return
            self._is_stopped = True
            log.info("%s: what is left is shipped, then the agent ends", reason)
            self._stop()


def _first_reason(endings: Sequence[Ending], due_s: dict[Ending, float]) -> str | None:
    """Look at what is due, and note when it is again; return the first reason to end."""
    for ending in endings:
        if due_s[ending] <= time.monotonic():
            reason = ending.look()
            if reason is not None:
                return reason
            due_s[ending] = time.monotonic() + ending.every_s
    return None
