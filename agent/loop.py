"""The thin loop: waits, calls `ship_once`, backs off. All that has to be right is in the core; here is only when.

Back-off is exponential with full jitter, at the cap too, so that a thousand agents do not come back in step; a receiver's
Retry-After is honoured. Nothing is ever given up: rounds go on until somebody stops the agent.
"""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from ..errors import BadAnswer, MLLoggerError, ShipError, SpoolReplaced, StopSending, TryAgain
from .config import AgentConfig, RetrySettings
from .lock import Footing
from .scanner import Problem
from .shipper import Round, Shipper
from .watcher import Doorbell, Heard, Watcher

log = logging.getLogger(__name__)

MAX_EXPONENT = 30

DRAIN_LOOKS = 2
"""A drain looks at all of the spool, ships what it found, and looks again: the training may have written meanwhile.

With a living writer that could go on for ever. ``--once`` ends when all that there was at its start is shipped, and that
decides its exit code. An agent that is told to end (a signal, a spot notice, the end of the training) goes on looking until
nothing has come for `settle_s`, or its time is up; then whatever is left counts.
"""

MIN_LOOK_PAUSE_S = 0.02
"""The least time between the looks of a drain that waits for what may still come."""

MAX_FLIGHT_WAIT_S = 1.0
"""How long a drain waits for the bell of a courier before it looks around."""


class Backoff:
    """Counts failures in a row and says how long to wait after each."""

    def __init__(self, settings: RetrySettings, jitter: Callable[[], float] = random.random) -> None:
        self._settings = settings
        self._jitter = jitter
        self._failures = 0

    def next_s(self, error: MLLoggerError) -> float:
        """Return the seconds to wait after `error`: random up to the doubled limit, or what the receiver asked for."""
        limit_s = min(self._settings.max_s, self._settings.initial_s * 2.0 ** min(self._failures, MAX_EXPONENT))
        self._failures += 1
        asked_s = error.retry_after_s if isinstance(error, TryAgain) else None
        if isinstance(error, StopSending):
            limit_s = self._settings.max_s
        return max(limit_s * self._jitter(), asked_s or 0.0)

    def reset(self) -> bool:
        """Begin anew after a success; return whether there had been failures."""
        had_failed, self._failures = self._failures > 0, 0
        return had_failed


@dataclass(frozen=True)
class _Pause:
    """How long until the next round; a deaf pause is not ended by the bell."""

    seconds: float
    is_deaf: bool = False


@dataclass(frozen=True)
class Total:
    """What a run of the agent did: bytes and files acknowledged, and what is left, with the reasons."""

    shipped_bytes: int
    shipped_files: int
    left: tuple[Problem, ...]


class Loop:
    """Drives shippers until `stop` is called, then drains."""

    def __init__(
        self,
        shippers: Sequence[Shipper],
        watcher: Watcher,
        doorbell: Doorbell,
        config: AgentConfig,
        footings: Sequence[Footing] = (),
    ) -> None:
        self._shippers = shippers
        self._footings = footings
        self._watcher = watcher
        self._doorbell = doorbell
        self._config = config
        self._backoff = Backoff(config.retry)
        self._stops = 0
        self._has_been_let_in = False
        self._shipped_bytes = 0
        self._shipped_files = 0
        self._last_shipped_s = -math.inf
        self._last_said = ""
        self._next_hearing_s = 0.0
        self._next_walk_s = 0.0
        self._next_flush_s = 0.0
        self._looked_in_watch: int | None = -1
        self._has_flights = False

    def stop(self) -> None:
        """End `run`, or, when it is draining already, `drain`, after the round under way; safe in a signal handler."""
        self._stops += 1
        self._doorbell.ring()

    @property
    def _is_stopping(self) -> bool:
        return self._stops > 0

    def run(self) -> Total:
        """Ship until `stop`, then until nothing comes any more or `drain_timeout_s` is over; return what was done and is left.

        Raises `StopSending` if the very first answer refuses the token and no token file is there to be mended,
        `SpoolReplaced` if a directory is another one than was locked: then the locks keep no second agent away.
        """
        while not self._is_stopping:
            self._watcher.ensure_alive()
            self._pause(self._try_round())
            self._check_footings()
        self._watcher.stop()
        try:
            return self._drain(self._has_settled)
        except StopSending as error:
            # it was let in before, or waits for its token file: say what is left, as at any end
            log.warning("%s", error.one_line())
            return self._total()

    def _check_footings(self) -> None:
        replaced = next(filter(None, (footing.maybe_replaced() for footing in self._footings)), None)
        if replaced is not None and not self._is_stopping:
            self._watcher.stop()
            raise SpoolReplaced(f"{replaced} was deleted or replaced by another folder", path=str(replaced))

    def drain(self) -> Total:
        """Ship all there is now, waiting for files to settle and for the receiver, at most `drain_timeout_s` seconds.

        A `stop` meanwhile ends it early. Raises `StopSending` if no request will succeed until a person acts.
        """
        for shipper in self._shippers:
            shipper.aim()
        return self._drain(lambda pause: pause is None or all(s.has_reached_aim for s in self._shippers))

    def _drain(self, is_over: Callable[[_Pause | None], bool]) -> Total:
        """Look and ship until, behind the second look, nothing is under way and `is_over`, which is told the pause due."""
        stops, looks, is_busy = self._stops, 0, False
        deadline_s = time.monotonic() + self._config.drain_timeout_s
        while self._stops == stops and time.monotonic() < deadline_s:
            looks += not is_busy  # what a look found is shipped before the next one
            pause, is_busy = self._try_drain_round(is_everywhere=not is_busy)
            if looks >= DRAIN_LOOKS and not is_busy:
                if is_over(pause):
                    break
                pause = pause or _Pause(max(self._config.min_interval_s, MIN_LOOK_PAUSE_S))
            if pause is not None:
                self._pause(replace(pause, seconds=min(pause.seconds, deadline_s - time.monotonic())), stops)
        return self._total()

    def _has_settled(self, pause: _Pause | None) -> bool:
        """Whether nothing is waited for and nothing has come for so long that no more is expected."""
        return pause is None and time.monotonic() - self._last_shipped_s >= self._config.settle_s

    def _total(self) -> Total:
        left = tuple(p for shipper in self._shippers for p in shipper.unshipped())
        return Total(self._shipped_bytes, self._shipped_files, left)

    def _try_drain_round(self, *, is_everywhere: bool) -> tuple[_Pause | None, bool]:
        """Do one round; return the pause before the next, None if nothing is waited for, and whether something is under way."""
        try:
            done = self._round(self._doorbell.take(), is_everywhere=is_everywhere)
        except StopSending:
            raise
        except (ShipError, BadAnswer) as error:
            return _Pause(self._note_failure(error), is_deaf=True), True
        except Exception as error:  # noqa: BLE001 - as in any round; the drain's time is bounded
            return _Pause(self._note_unexpected(error), is_deaf=True), True
        if done.has_backlog or done.in_flight:
            return _Pause(0.0 if done.has_backlog else MAX_FLIGHT_WAIT_S), True
        return (None if done.settles_in_s is None else _Pause(done.settles_in_s)), False

    def _try_round(self) -> _Pause:
        """Do one round; return the pause before the next."""
        heard = self._hear()
        try:
            done = self._round(heard, is_everywhere=self._is_everywhere_due())
        except (ShipError, BadAnswer) as error:
            if isinstance(error, StopSending) and not self._has_been_let_in and self._config.token_file is None:
                raise
            return _Pause(self._note_failure(error), is_deaf=True)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next round may be better
            return _Pause(self._note_unexpected(error), is_deaf=True)
        if done.has_backlog:
            return _Pause(0.0)
        # A dead observer is noticed, and a folder looked into, no later than after scan_interval_s.
        waits_s = (
            self._config.scan_interval_s,
            max(done.next_look_in_s, self._config.min_interval_s),
            done.settles_in_s,
        )
        return _Pause(min(wait_s for wait_s in waits_s if wait_s is not None))

    def _hear(self) -> Heard:
        """Return the news, but not more often than every `min_interval_s`, or as often as the receiver would like."""
        if time.monotonic() < self._next_hearing_s and not self._is_stopping:
            return Heard(frozenset(), frozenset())
        self._next_hearing_s = time.monotonic() + max(self._config.min_interval_s, self._next_flush_s)
        return self._doorbell.take()

    def _is_everywhere_due(self) -> bool:
        """Whether to look everywhere: once a watch has begun, and every `scan_interval_s` where nothing is watched."""
        watch = self._watcher.watches if self._watcher.is_watching else None
        if watch == self._looked_in_watch and (watch is not None or time.monotonic() < self._next_walk_s):
            return False
        self._looked_in_watch = watch
        self._next_walk_s = time.monotonic() + self._config.scan_interval_s
        return True

    def _pause(self, pause: _Pause, stops: int | None = None) -> None:
        """Wait until the pause is over or somebody rings; a deaf one is ended early by nothing but a stop."""
        stops = self._stops if stops is None else stops
        deadline_s = time.monotonic() + pause.seconds
        while self._stops == stops and (rest_s := deadline_s - time.monotonic()) > 0:
            if self._doorbell.has_news and not pause.is_deaf:
                rest_s = min(rest_s, self._next_hearing_s - time.monotonic())
            if rest_s <= 0 or (self._doorbell.wait(rest_s) and self._is_worth_a_round() and not pause.is_deaf):
                return

    def _is_worth_a_round(self) -> bool:
        """Whether what rang is more than news that are not due to be heard yet."""
        return not self._doorbell.has_news or time.monotonic() >= self._next_hearing_s or self._has_flights

    def _round(self, heard: Heard, *, is_everywhere: bool) -> Round:
        folders = None if is_everywhere else heard.folders
        rounds = self._ship_each(heard, folders)
        done = Round(
            sum(r.shipped_bytes for r in rounds),
            sum(r.shipped_files for r in rounds),
            tuple(p for r in rounds for p in r.left),
            min((r.settles_in_s for r in rounds if r.settles_in_s is not None), default=None),
            any(r.has_backlog for r in rounds),
            min(r.next_look_in_s for r in rounds),
            sum(r.in_flight for r in rounds),
            max(r.next_flush_s for r in rounds),
            any(r.is_answered for r in rounds),
        )
        self._shipped_bytes += done.shipped_bytes
        self._shipped_files += done.shipped_files
        if done.shipped_bytes or done.shipped_files:
            self._last_shipped_s = time.monotonic()
        self._next_flush_s = done.next_flush_s
        self._has_flights = done.in_flight > 0
        self._note_success(done)
        return done

    def _ship_each(self, heard: Heard, folders: Iterable[str] | None) -> list[Round]:
        """Let every spool have its round, also where that of another fails; then raise what failed first."""
        ends = [_try_ship(shipper, heard, folders) for shipper in self._shippers]
        errors = [end for end in ends if not isinstance(end, Round)]
        if errors:
            raise next((error for error in errors if isinstance(error, StopSending)), errors[0])
        return [end for end in ends if isinstance(end, Round)]

    def _note_success(self, done: Round) -> None:
        """Note that the receiver answered; a round that only sent, or did nothing, says nothing of it."""
        if not done.is_answered:
            return
        self._has_been_let_in = True
        if self._backoff.reset():
            log.info("the receiver answers again")
            self._last_said = ""

    def _note_unexpected(self, error: Exception) -> float:
        if repr(error) != self._last_said:
            log.error("a round failed unexpectedly; the next one follows", exc_info=error)
            self._last_said = repr(error)
        return self._backoff.next_s(TryAgain(str(error)))

    def _note_failure(self, error: MLLoggerError) -> float:
        wait_s = self._backoff.next_s(error)
        if error.one_line() != self._last_said:
            log.warning("%s; nothing is lost, the next try follows", error.one_line())
            self._last_said = error.one_line()
        return wait_s


def _try_ship(shipper: Shipper, heard: Heard, folders: Iterable[str] | None) -> Round | Exception:
    try:
        return shipper.ship_once(heard.complete, folders)
    except Exception as error:  # noqa: BLE001 - raised again when the other spools have had their rounds
        return error
