"""Encoder: turns images into files off the training thread, behind a queue that is bounded in bytes.

Slower, never lost: when the queue has no room, the caller runs its own job. The thread is a daemon, so it never keeps a process
alive by itself; who ends a run waits for the queue, for as long as it likes. An idle thread leaves, and the next job starts
another. Jobs are told apart by the file they make: a later one for the same file is never overtaken by an earlier one.
After a fork the child starts empty: the jobs that are queued are the parent's, and so is its thread.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

QUEUE_BYTES = 64 << 20
"""How many bytes of copied images may wait, by default."""

_IDLE_S = 5.0


class _Job(NamedTuple):
    name: str
    size_bytes: int
    run: Callable[[], None]


class Encoder:
    """Runs jobs in order in one thread of its own. `run` functions must not raise: they tell what goes wrong themselves."""

    def __init__(self, queue_bytes: int = QUEUE_BYTES) -> None:
        self.queue_bytes = queue_bytes
        self._is_closed = False
        self._begin()

    def _begin(self) -> None:
        self._changed = threading.Condition()
        self._queue: deque[_Job] = deque()
        self._held_bytes = 0
        self._under_way: str | None = None
        self._thread: threading.Thread | None = None

    def submit(self, name: str, size_bytes: int, run: Callable[[], None]) -> None:
        """Queue `run`, which makes the file `name` and holds `size_bytes` of copies; or run it now if there is no room."""
        with self._changed:
            has_room = self._held_bytes + size_bytes <= self.queue_bytes
            if has_room and not self._is_closed and self._has_thread():
                self._queue.append(_Job(name, size_bytes, run))
                self._held_bytes += size_bytes
                self._changed.notify_all()
                return
            self._withdraw(name)
            if threading.current_thread() is not self._thread:
                self._changed.wait_for(lambda: self._under_way != name or not self._is_alive())
        run()

    def wait(self, timeout_s: float | None) -> int:
        """Wait until the queue is empty, at most `timeout_s` (None: as long as it takes); return how many jobs are left."""
        if (
            threading.current_thread() is self._thread
        ):  # a garbage collection ended a run in here; the rest comes after it
            return 0
        with self._changed:
            self._changed.wait_for(self._is_done, timeout_s)
            if self._is_alive():
                return len(self._queue) + (self._under_way is not None)
        while self._queue:  # there is no thread and there can be none
            self._queue.popleft().run()
        return 0

    def close(self) -> None:
        """From now on every job is run by its caller: nobody will wait for the queue again."""
        with self._changed:
            self._is_closed = True

    def after_fork(self) -> None:
        """In the child: begin with an empty queue, and with a lock that nobody holds."""
        self._begin()

    def _is_done(self) -> bool:
        is_empty = not self._queue and self._under_way is None
        return is_empty or not self._has_thread()

    def _is_alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _has_thread(self) -> bool:
        """Start the thread if it is not there (or died of something that is no Exception); False if none can be started."""
        if self._is_alive():
            return True
        self._under_way = None
        thread = threading.Thread(target=self._work, name="ml_logger encoder", daemon=True)
        self._thread = thread
        try:
            thread.start()
        except RuntimeError:  # no more threads, or the interpreter is shutting down
            self._thread = None
            return False
        return True

    def _withdraw(self, name: str) -> None:
        kept = deque(job for job in self._queue if job.name != name)
        self._held_bytes -= sum(job.size_bytes for job in self._queue) - sum(job.size_bytes for job in kept)
        self._queue = kept

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue, _IDLE_S)
                if not self._queue:
                    self._thread = None
                    return
                job = self._queue.popleft()
                self._under_way = job.name
            try:
                job.run()
            finally:
                with self._changed:
                    self._under_way = None
                    self._held_bytes -= job.size_bytes
                    self._changed.notify_all()
                del job
