"""The thin loop: waits, calls `ship_once`, backs off. All that has to be right is in the core; here is only when.

Back-off is exponential with full jitter, at the cap too, so that a thousand agents do not come back in step; a receiver's
Retry-After is honoured. Nothing is ever given up: rounds go on until somebody stops the agent.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..errors import BadAnswer, MLLoggerError, ShipError, StopSending, TryAgain
from .config import AgentConfig, RetrySettings
from .scanner import Problem
from .shipper import Round, Shipper
from .watcher import Doorbell, Watcher

log = logging.getLogger(__name__)

MAX_EXPONENT = 30


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
class Total:
    """What a run of the agent did: bytes and files acknowledged, and what is left, with the reasons."""

    shipped_bytes: int
    shipped_files: int
    left: tuple[Problem, ...]


class Loop:
    """Drives shippers until `stop` is called, then drains."""

    def __init__(self, shippers: Sequence[Shipper], watcher: Watcher, doorbell: Doorbell, config: AgentConfig) -> None:
        self._shippers = shippers
        self._watcher = watcher
        self._doorbell = doorbell
        self._config = config
        self._backoff = Backoff(config.retry)
        self._stops = 0
        self._has_been_let_in = False
        self._shipped_bytes = 0
        self._shipped_files = 0
        self._last_said = ""

    def stop(self) -> None:
        """End `run`, or, when it is draining already, `drain`, after the round under way; safe in a signal handler."""
        self._stops += 1
        self._doorbell.ring()

    @property
    def _is_stopping(self) -> bool:
        return self._stops > 0

    def run(self) -> Total:
        """Ship until `stop`, then drain for at most `drain_timeout_s`; return what was done and what is left.

        Raises `StopSending` if the very first answer refuses the token and no token file is there to be mended.
        """
        while not self._is_stopping:
            self._watcher.ensure_alive()
            wait_s = self._try_round()
            self._wait(wait_s)
        self._watcher.stop()
        return self.drain()

    def drain(self) -> Total:
        """Ship all there is, waiting for files to settle and for the receiver, at most `drain_timeout_s` seconds.

        A `stop` meanwhile ends it early. Raises `StopSending` if no request will succeed until a person acts.
        """
        stops = self._stops
        deadline_s = time.monotonic() + self._config.drain_timeout_s
        while (
            (wait_s := self._try_drain_round()) is not None and time.monotonic() < deadline_s and self._stops == stops
        ):
            self._rest(min(time.monotonic() + wait_s, deadline_s), stops)
        left = tuple(p for shipper in self._shippers for p in shipper.unshipped())
        return Total(self._shipped_bytes, self._shipped_files, left)

    def _try_drain_round(self) -> float | None:
        """Do one round; return the seconds until the next one makes sense, or None when there is nothing to wait for."""
        try:
            done = self._round()
        except StopSending:
            raise
        except (ShipError, BadAnswer) as error:
            return self._note_failure(error)
        return 0.0 if done.has_backlog else done.settles_in_s

    def _try_round(self) -> float:
        """Do one round; return how many seconds to wait for the next if nobody rings. Negative: let nobody ring."""
        try:
            done = self._round()
        except (ShipError, BadAnswer) as error:
            if isinstance(error, StopSending) and not self._has_been_let_in and self._config.token_file is None:
                raise
            return -self._note_failure(error)
        except Exception as error:  # the agent's one guard: whatever it is, the next round may be better
            log.exception("a round failed unexpectedly; the next one follows")
            return -self._backoff.next_s(TryAgain(str(error)))
        if done.has_backlog:
            return 0.0
        # A dead observer is noticed, and a folder looked into, no later than after scan_interval_s.
        waits_s = (
            self._config.scan_interval_s,
            max(done.next_look_in_s, self._config.min_interval_s),
            done.settles_in_s,
        )
        return min(wait_s for wait_s in waits_s if wait_s is not None)

    def _wait(self, wait_s: float) -> None:
        """Wait for the bell, or, after a failure (negative), out the back-off; only a stop ends that early."""
        if wait_s < 0:
            self._rest(time.monotonic() - wait_s, self._stops)
        elif wait_s > 0 and self._doorbell.wait(wait_s) and not self._is_stopping:
            time.sleep(self._config.min_interval_s)

    def _rest(self, deadline_s: float, stops: int) -> None:
        """Wait until `deadline_s`, whoever rings; only a further stop ends it early."""
        while self._stops == stops and (rest_s := deadline_s - time.monotonic()) > 0:
            if self._doorbell.wait(rest_s) and self._stops == stops:
                time.sleep(min(rest_s, max(self._config.min_interval_s, 0.01)))  # files change, and ring, meanwhile

    def _round(self) -> Round:
        heard = self._doorbell.take()
        folders = heard.folders if self._watcher.is_watching and not self._is_stopping else None
        rounds = [shipper.ship_once(heard.complete, folders) for shipper in self._shippers]
        done = Round(
            sum(r.shipped_bytes for r in rounds),
            sum(r.shipped_files for r in rounds),
            tuple(p for r in rounds for p in r.left),
            min((r.settles_in_s for r in rounds if r.settles_in_s is not None), default=None),
            any(r.has_backlog for r in rounds),
            min(r.next_look_in_s for r in rounds),
        )
        self._shipped_bytes += done.shipped_bytes
        self._shipped_files += done.shipped_files
        self._has_been_let_in = True
        if self._backoff.reset():
            log.info("the receiver answers again")
            self._last_said = ""
        return done

    def _note_failure(self, error: MLLoggerError) -> float:
        wait_s = self._backoff.next_s(error)
        if error.one_line() != self._last_said:
            log.warning("%s; nothing is lost, the next try follows", error.one_line())
            self._last_said = error.one_line()
        return wait_s
