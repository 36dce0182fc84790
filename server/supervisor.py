"""The parent of several workers: it serves nothing and stores nothing, it forks, watches, starts again, and stops.

One thread, no event loop, so that a fork copies nothing that runs. A worker says by a pipe that it accepts. It holds the end
of another, the lifeline, whose other end only the parent has: when the parent is gone, by whatever death, the worker stops by
itself.

A worker that ends unasked is started again, later and later while it dies young. Nothing acknowledged is lost with it: the redo
log has what its files lack, and the others, or the next start, take that over.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Literal

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 30.0
GROWN_UP_S = 60.0
"""A worker that lived so long is started again almost at once, however it died."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_GRACE_S = 2.0
_LOOK_S = 1.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Post:
    """What a worker gets: its number from 0 on, and the ends of its two pipes."""

    number: int
    ready_fd: int
    lifeline_fd: int

    def say_ready(self) -> None:
        """Tell the parent that this worker accepts connections."""
        os.write(self.ready_fd, b"!")


@dataclass(slots=True)
class _Worker:
    number: int
    pid: int = 0
    ready_fd: int = -1
    started_at: float = 0.0
    start_at: float = 0.0
    pause_s: float = 0.0
    is_ready: bool = False


class Supervisor:
    """Keeps `count` processes at `work`, which returns the exit code of each, until SIGTERM or SIGINT.

    `on_ready` is called once all accept, `on_stop` when the end begins, in which they have `stop_timeout_s`; `refresh` every
    second and before each start, so that a worker begins with what is good then, not with what was when the parent began.
    """

    def __init__(
        self,
        count: int,
        work: Callable[[Post], int],
        *,
        stop_timeout_s: float,
        on_ready: Callable[[], None],
        on_stop: Callable[[], None],
        refresh: Callable[[], None],
    ) -> None:
        self._work, self._stop_timeout_s = work, stop_timeout_s
        self._on_ready, self._on_stop, self._refresh = on_ready, on_stop, refresh
        self._workers = [_Worker(number) for number in range(count)]
        self._is_up = False
        self._signals = 0
        self._stage: Literal["running", "stopping", "killing"] = "running"
        self._deadline_s = 0.0
        self._first_failure = 0
        self._is_in_order = True

    def run(self) -> int:
        """Return the exit code: 0 after a stop in order, else 1; that of a worker which fails before all were up."""
        self._lifeline_fd, self._lifeline_end_fd = os.pipe()
        self._bell_fd, self._bell_end_fd = os.pipe()
        for fd in (self._bell_fd, self._bell_end_fd):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(self._bell_end_fd, warn_on_full_buffer=False)
        for number in _SIGNALS:
            signal.signal(number, self._on_signal)
        signal.signal(signal.SIGCHLD, _do_nothing)
        while self._stage == "running" or any(worker.pid for worker in self._workers):
            self._refresh()
            self._start_due()
            self._wait()
            self._hear_ready()
            self._reap()
            self._maybe_stop()
        return self._first_failure or int(not self._is_in_order)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._signals += 1

    # --- starting

    def _start_due(self) -> None:
        now_s = time.monotonic()
        for worker in self._workers:
            if self._stage == "running" and worker.pid == 0 and worker.start_at <= now_s:
                self._start(worker)

    def _start(self, worker: _Worker) -> None:
        ready_fd, ready_end_fd = os.pipe()
        # Held back until the new process has handlers of its own: it would take a signal for its parent's, and forget it.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        pid = os.fork()
        if pid == 0:
            self._be_worker(Post(worker.number, ready_end_fd, self._lifeline_fd))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        os.close(ready_end_fd)
        worker.pid, worker.ready_fd, worker.is_ready = pid, ready_fd, False
        worker.started_at = time.monotonic()

    def _be_worker(self, post: Post) -> None:
        """Work, and end the process; nothing of the parent's goes on in it."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in (*_SIGNALS, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            for fd in (self._lifeline_end_fd, self._bell_fd, self._bell_end_fd):
                os.close(fd)
            for sibling in self._workers:
                if sibling.ready_fd >= 0:
                    os.close(sibling.ready_fd)
            code = self._work(post)
        except BaseException:  # noqa: BLE001  # the traceback is all that can be left of it, and no parent's code may follow
            _log.exception("worker %d failed", post.number)
        finally:
            os._exit(code)

    # --- watching

    def _wait(self) -> None:
        """Wait for a signal, a word of a worker, or until something is due."""
        fds = [self._bell_fd, *(w.ready_fd for w in self._workers if w.ready_fd >= 0 and not w.is_ready)]
        due_s = min((w.start_at - time.monotonic() for w in self._workers if w.pid == 0), default=_LOOK_S)
        with contextlib.suppress(InterruptedError):
            select.select(fds, [], [], min(_LOOK_S, max(0.0, due_s)) if self._stage == "running" else _LOOK_S)
        with contextlib.suppress(BlockingIOError):
            os.read(self._bell_fd, 4096)

    def _hear_ready(self) -> None:
        waiting = [w for w in self._workers if w.ready_fd >= 0 and not w.is_ready]
        heard, _, _ = select.select([w.ready_fd for w in waiting], [], [], 0)
        for worker in waiting:
            worker.is_ready = worker.ready_fd in heard and bool(os.read(worker.ready_fd, 1))
        if not self._is_up and all(worker.is_ready for worker in self._workers):
            self._is_up = True
            self._on_ready()

    def _reap(self) -> None:
        for worker in self._workers:
            if worker.pid:
                pid, status = os.waitpid(worker.pid, os.WNOHANG)
                if pid:
                    self._note_end(worker, os.waitstatus_to_exitcode(status))

    def _note_end(self, worker: _Worker, code: int) -> None:
        lived_s = time.monotonic() - worker.started_at
        pid, worker.pid = worker.pid, 0
        os.close(worker.ready_fd)
        worker.ready_fd = -1
        if self._stage != "running":
            self._is_in_order &= code == 0
        elif not self._is_up and not worker.is_ready and code > 0:
            self._first_failure = code
            self._signals += 1  # what fails at the first start would fail again
        else:
            longer_s = 0.0 if lived_s > GROWN_UP_S else 2 * worker.pause_s
            worker.pause_s = min(longer_s or FIRST_PAUSE_S, LONGEST_PAUSE_S)
            worker.start_at = time.monotonic() + worker.pause_s
            _log.error(
                "worker %d (pid %d) ended with %s: started again in %g s",
                worker.number,
                pid,
                _how(code),
                worker.pause_s,
            )

    # --- stopping

    def _maybe_stop(self) -> None:
        if self._signals and self._stage == "running":
            self._stage = "stopping"
            self._deadline_s = time.monotonic() + self._stop_timeout_s + _GRACE_S
            self._on_stop()
            self._send(signal.SIGTERM)
        elif self._stage == "stopping" and (self._signals > 1 or time.monotonic() > self._deadline_s):
            self._stage = "killing"
            _log.warning("workers that have not ended are killed")
            self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        for worker in self._workers:
            if worker.pid:
                os.kill(worker.pid, number)


def _how(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {-code}"


def _do_nothing(_number: int, _frame: FrameType | None) -> None:
    """Ring the bell alone."""
