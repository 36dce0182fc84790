"""Couriers: the threads that talk to the receiver, each over a connection of its own, one delivery at a time.

With more than one, the first takes only what is live, so that a metric line finds a free connection while the others carry
checkpoints. A courier that has finished rings; nobody waits for one.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from .agenda import Lane
from .delivery import Delivery, Report, Work


@dataclass(slots=True)
class Job:
    """One delivery: what was to be done, what came of it, and what ended it early."""

    lane: Lane
    work: Work
    report: Report = field(default_factory=Report)
    error: Exception | None = None

    def run(self, delivery: Delivery) -> None:
        """Deliver; an error is kept for the thread that decides."""
        try:
            delivery.deliver(self.work, self.report)
        except Exception as error:  # noqa: BLE001 - else its files would be on their way for ever
            self.error = error


class Staff(Protocol):
    """Whoever delivers."""

    def is_free(self, lane: Lane) -> bool:
        """Whether a job of `lane` could start now."""

    def start(self, job: Job) -> None:
        """Begin `job`; only after `is_free`."""

    def take_finished(self) -> list[Job]:
        """Return the jobs that were finished since the last call."""

    def close(self) -> None:
        """Take no more jobs."""


class OneAtATime:
    """Delivers at once, in the caller's thread."""

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery
        self._finished: list[Job] = []

    def is_free(self, lane: Lane) -> bool:  # noqa: ARG002 - it is the same for both
        """Whether the last job was looked at."""
        return not self._finished

    def start(self, job: Job) -> None:
        """Do `job`."""
        job.run(self._delivery)
        self._finished.append(job)

    def take_finished(self) -> list[Job]:
        """Return the job that was done since the last call."""
        finished, self._finished = self._finished, []
        return finished

    def close(self) -> None:
        """Do nothing."""


class Couriers:
    """A thread for each of `deliveries`; `ring` is called, from any of them, when a job is finished.

    The threads are daemons: at the end of a drain a request may be under way that will time out in minutes. What it would
    have brought is asked for at the next start.
    """

    def __init__(self, deliveries: Sequence[Delivery], ring: Callable[[], None]) -> None:
        self._ring = ring
        self._is_closed = False
        self._finished: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._jobs: list[queue.SimpleQueue[Job | None]] = [queue.SimpleQueue() for _ in deliveries]
        self._idle = set(range(len(deliveries)))
        self._carriers: dict[int, int] = {}  # id of a job under way to who has it
        for number, delivery in enumerate(deliveries):
            name = f"ml-logger-courier-{number}"
            threading.Thread(target=self._serve, args=(number, delivery), name=name, daemon=True).start()

    def is_free(self, lane: Lane) -> bool:
        """Whether a courier of `lane` is idle."""
        return self._choose(lane) is not None

    def _choose(self, lane: Lane) -> int | None:
        """Return the courier for the next job of `lane`: for what is live the first if it is idle, else any."""
        if lane == "live":
            return min(self._idle, default=None)
        first_bulk = 1 if len(self._jobs) > 1 else 0
        return max((number for number in self._idle if number >= first_bulk), default=None)

    def start(self, job: Job) -> None:
        """Hand `job` to an idle courier."""
        number = self._choose(job.lane)
        if number is None:
            raise RuntimeError(f"no courier is free for what is {job.lane}")
        self._idle.discard(number)
        self._carriers[id(job)] = number
        self._jobs[number].put(job)

    def take_finished(self) -> list[Job]:
        """Return the jobs that were finished since the last call, whose couriers are idle again."""
        finished = []
        while not self._finished.empty():
            job = self._finished.get()
            self._idle.add(self._carriers.pop(id(job)))
            finished.append(job)
        return finished

    def close(self) -> None:
        """Take no more jobs; one under way is not waited for, and does not ring any more."""
        self._is_closed = True
        for jobs in self._jobs:
            jobs.put(None)

    def _serve(self, number: int, delivery: Delivery) -> None:
        while (job := self._jobs[number].get()) is not None:
            job.run(delivery)
            self._finished.put(job)
            del job  # its payload; the next one may be long in coming
            if not self._is_closed:
                self._ring()
