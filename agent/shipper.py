"""The core that decides: `Shipper.ship_once` does one round and returns what it did. One thread, no waiting.

A round looks where something has changed in the spool, takes in what the couriers brought back, and hands out what is due,
streams before whole files. A position moves only when the receiver has answered that the bytes are durable, and is then
saved; a crash anywhere in between costs a resend, which the receiver answers with `already`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import StopSending
from .account import Account
from .agenda import LANES
from .backlog import Backlog
from .comparisons import Comparisons
from .config import AgentConfig
from .couriers import Job, Staff
from .deletion import Broom
from .dispatch import Dispatch
from .intake import Intake
from .janitor import Janitor
from .ledger import Ledger
from .lookout import Lookout
from .memory import Memory
from .pace import Pace
from .places import Places
from .progress import Progress
from .recalls import Recalls
from .retention import Retention
from .scanner import Problem
from .settling import Clock

log = logging.getLogger(__name__)

ROUND_S = 2.0
"""A round with backlog ends after this time, so that files which appeared meanwhile get their turn."""

SAVE_S = 1.0
"""How often the ledger is saved, at most. What a crash keeps out of it is sent again, and answered with `already`."""


@dataclass(frozen=True)
class Round:
    """What one round did and what it left.

    `shipped_bytes` were acknowledged; `left` could not be shipped, and why; `settles_in_s` says when a file that is still
    being written may be ready; `has_backlog` asks for the next round at once; `next_look_in_s` says when a folder is due
    again; `in_flight` files are on their way; `next_flush_s` is how long the receiver asks to wait between batches;
    `is_answered` says that the receiver was heard of: it did what it was asked.
    """

    shipped_bytes: int = 0
    shipped_files: int = 0
    left: tuple[Problem, ...] = ()
    settles_in_s: float | None = None
    has_backlog: bool = False
    next_look_in_s: float = 0.0
    in_flight: int = 0
    next_flush_s: float = 0.0
    is_answered: bool = False


class Shipper:
    """Ships one spool to one receiver, counting from `so_far` on.

    `ship_once` raises `ShipError` or `BadAnswer` where a delivery had to end early.
    """

    def __init__(
        self,
        spool: Path,
        config: AgentConfig,
        ledger: Ledger,
        staff: Staff,
        clock: Clock,
        so_far: Progress = Progress(),  # noqa: B008 - it can't be changed
    ) -> None:
        _note_prefix(spool, config, ledger)
        self._staff = staff
        self._steady_s = clock.steady_s
        self._memory = memory = Memory(spool, config, ledger, clock)
        self._agenda = memory.agenda
        self._pace = Pace(config.largest_batch_bytes())
        self._account = Account(clock, so_far)
        places = self._places = Places(memory, self._pace)
        self._lookout = Lookout(memory, places)
        self._comparisons = Comparisons(memory, places)
        self._recalls = Recalls(memory, places)
        self._dispatch = Dispatch(memory, places, self._pace)
        self._intake = Intake(memory, places, self._comparisons, self._recalls, self._pace, self._account)
        self._backlog = Backlog(memory)
        self._janitor: Janitor | None = None
        self._lost: tuple[Problem, ...] = ()
        self._has_new_token = False
        self._next_save_s = clock.steady_s()

    def hire_janitor(self, broom: Broom, ring: Callable[[], None]) -> Janitor:
        """Let retention delete with `broom` what is shipped, after each round; whoever calls closes the janitor returned."""
        memory, config = self._memory, self._memory.config
        retention = Retention(config.retention, config.settle_s, memory.ledger, memory.walk, memory.clock)
        self._janitor = Janitor(retention, broom, ring)
        return self._janitor

    def note_lost(self, problems: Iterable[Problem]) -> None:
        """Take note of files that lie under hidden names and can't have their own back; a person has to see to them."""
        self._lost = tuple(problems)

    def note_new_token(self) -> None:
        """Take note that the receiver is shown another token from now on; for any thread."""
        self._has_new_token = True

    # --- one round

    def ship_once(self, complete_paths: Iterable[str] = (), folders: Iterable[str] | None = None) -> Round:
        """Do one round; all paths are absolute.

        `complete_paths` are files known to be whole, which need not settle first. `folders` are those in which something has
        happened; they and those that are due are looked into. None looks everywhere.
        """
        self._account.begin_round()
        problems = self._lookout.look(folders)
        self._find_places(complete_paths, is_everywhere=folders is None)
        try:
            self._work()
            if self._janitor is not None:
                self._comparisons.compare(self._janitor.turn())
        finally:
            self._save_if_due()
        tally = self._account.end_round()
        return Round(
            tally.bytes,
            tally.files,
            self._backlog.left(problems),
            self._agenda.settles_in_s(),
            any(self._agenda.is_ready(lane) and self._staff.is_free(lane) for lane in LANES),
            self._memory.walk.next_look_in_s(),
            self._agenda.out + self._recalls.is_under_way,
            self._pace.next_flush_s,
            tally.is_answered,
        )

    def _find_places(self, complete_paths: Iterable[str], *, is_everywhere: bool) -> None:
        """Find places for files that have waited for long enough, or for something that has happened now."""
        for path in complete_paths:
            self._comparisons.note_complete(os.path.relpath(path, self._memory.spool))
        self._comparisons.compare_quiet()
        if self._has_new_token:
            self._has_new_token = False
            self._places.place_refused()
        self._places.place_due(is_everywhere=is_everywhere)

    def _work(self) -> None:
        """Take in what came back and hand out what can go, until nobody is free, nothing is left, or the round is over."""
        deadline_s = self._steady_s() + ROUND_S
        while True:
            errors = [error for job in self._staff.take_finished() if (error := self._intake.take_in(job)) is not None]
            if errors:
                raise next((e for e in errors if isinstance(e, StopSending)), errors[0])
            if self._steady_s() > deadline_s or not self._hand_out():
                return

    def _hand_out(self) -> bool:
        """Start what can be started; return whether anything was."""
        is_any = False
        if self._staff.is_free("live") and (recall := self._recalls.maybe_begin()) is not None:
            self._staff.start(Job("live", recall))
            is_any = True
        for lane in LANES:
            while self._staff.is_free(lane) and (work := self._dispatch.next_work(lane)) is not None:
                self._staff.start(Job(lane, work))
                is_any = True
        return is_any

    def _save_if_due(self) -> None:
        now_s = self._steady_s()
        if now_s >= self._next_save_s:
            self._memory.ledger.save()
            self._next_save_s = now_s + SAVE_S

    # --- what is left

    def aim(self) -> None:
        """Take all that is in the spool now, by a new walk, as what is to be shipped; what comes later is left alone."""
        self._lookout.look(None)
        self._backlog.aim()

    @property
    def has_reached_aim(self) -> bool:
        """Whether all that there was when it was told to `aim` is acknowledged."""
        return self._backlog.has_reached_aim

    def unshipped(self) -> list[Problem]:
        """Return every file that holds something the receiver has not acknowledged, by a new walk; sends nothing.

        After `aim` what came since does not count.
        """
        return self._backlog.unshipped(self._lookout.look(None))

    def progress(self) -> Progress:
        """Return how far this spool is; costs a look at each file that is not done."""
        return self._backlog.progress(self._account.so_far, self._lost)


def _note_prefix(spool: Path, config: AgentConfig, ledger: Ledger) -> None:
    if ledger.note_prefix(config.remote_prefix):
        log.warning(
            "remote_prefix is another than before: everything in %s is compared and shipped under %s from now on",
            spool,
            ascii(config.remote_prefix),
        )
