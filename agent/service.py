"""The agent as a whole: locks, ledgers, connections, shippers and the loop put together, and taken apart in order."""

from __future__ import annotations

import contextlib
import logging
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..layout import AGENT_DIR
from ..source import source_of
from .call import Caller
from .config import AgentConfig, current_token
from .couriers import Couriers
from .deletion import Broom
from .delivery import Delivery
from .heart import CALL_TIMEOUT_S, Heart, Pulse
from .hiding import recover
from .ledger import Ledger
from .live_token import LiveToken
from .lock import only_agent
from .loop import Loop
from .metrics import offering_metrics
from .progress import Progress, sum_of
from .scanner import Problem
from .secret import Secrets
from .settling import Clock
from .status_file import StatusFile
from .survey import LEDGER_NAME
from .telling import TellingShipper
from .throttle import Throttle
from .transport import Transport
from .watcher import Doorbell, Watcher

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Service:
    """A loop that is ready to run, and where it says how far it is, by spool."""

    loop: Loop
    statuses: tuple[tuple[Path, StatusFile], ...]

    def latest(self) -> Progress:
        """Return how far all spools are together; for any thread."""
        return sum_of([status.latest() for _, status in self.statuses])


@contextmanager
def open_service(
    config: AgentConfig, environ: Mapping[str, str], secrets: Secrets, *, is_once: bool
) -> Iterator[Service]:
    """Yield the service over all spools of `config`; what it stands on is closed with the block.

    Raises `SpoolTaken` if a spool has an agent already, `ConfigError` for what stands in the config and can't be used.
    """
    with contextlib.ExitStack() as stack:
        doorbell = Doorbell()
        stack.callback(doorbell.close)
        throttle = None if config.max_bytes_per_s is None else Throttle(config.max_bytes_per_s)
        token = LiveToken(partial(current_token, config, environ), secrets)
        ways = partial(_open_way, config, token, throttle, stack)
        statuses = tuple((spool, _status_file(config, spool, secrets, is_once=is_once)) for spool in config.spools())
        footings = [stack.enter_context(only_agent(config.state_dir_of(spool), spool)) for spool, _ in statuses]
        shippers = [_open_shipper(config, spool, status, ways, doorbell, stack) for spool, status in statuses]
        for shipper in shippers:
            token.tell_of_new(shipper.note_new_token)
        _tell_outside(config, token, statuses, stack)
        loop = Loop(shippers, Watcher(config.spools(), doorbell), doorbell, config, footings)
        yield Service(loop, statuses)


def _status_file(config: AgentConfig, spool: Path, secrets: Secrets, *, is_once: bool) -> StatusFile:
    return StatusFile(config.state_dir_of(spool), also=spool / AGENT_DIR, is_once=is_once, hide=secrets.hide)


def _tell_outside(
    config: AgentConfig,
    token: Callable[[], str | None],
    statuses: Sequence[tuple[Path, StatusFile]],
    stack: contextlib.ExitStack,
) -> None:
    """Start what says outside how far the agent is: metrics and heartbeats, as the config wants them."""
    url = stack.enter_context(offering_metrics(config.prometheus, statuses))
    if url is not None:
        log.info("metrics at %s", url)
    caller = Caller(config, token, CALL_TIMEOUT_S)
    pulses = [Pulse(spool, config.remote_prefix, status) for spool, status in statuses]
    heart = Heart(pulses, caller, config.heartbeat_s)
    heart.start()
    stack.callback(heart.stop)


def _open_shipper(
    config: AgentConfig,
    spool: Path,
    status: StatusFile,
    open_way: Callable[..., Transport],
    doorbell: Doorbell,
    stack: contextlib.ExitStack,
) -> TellingShipper:
    ledger = Ledger(config.state_dir_of(spool) / LEDGER_NAME)
    stack.callback(ledger.close)
    ways = [open_way(is_urgent=number == 0) for number in range(config.connections)]
    source = source_of(spool)
    couriers = Couriers([Delivery(spool, source, way) for way in ways], doorbell.ring)
    stack.callback(couriers.close)
    shipper = TellingShipper(spool, config, ledger, couriers, Clock(time.time_ns, time.monotonic), status)
    shipper.note_lost(_recover(spool))
    if config.retention.is_on:
        broom = Broom(spool, open_way(is_urgent=False).stat, time.time_ns)
        stack.callback(shipper.hire_janitor(broom, doorbell.ring).close)
    return shipper


def _recover(spool: Path) -> list[Problem]:
    lost = recover(spool)
    for problem in lost:
        log.warning(
            "%s can't have its name back after a deletion that was cut short: it %s",
            ascii(problem.path),
            problem.reason,
        )
    return lost


def _open_way(
    config: AgentConfig,
    token: Callable[[], str | None],
    throttle: Throttle | None,
    stack: contextlib.ExitStack,
    *,
    is_urgent: bool,
) -> Transport:
    way = Transport(config, token=token, throttle=throttle, is_urgent=is_urgent)
    stack.callback(way.close)
    return way


@contextmanager
def stopping_on_signals(stop: Callable[[], None], hang_up: Callable[[], None]) -> Iterator[None]:
    """Let SIGTERM and SIGINT call `stop` inside the block, and SIGHUP `hang_up`; the handlers before are put back.

    Where SIGHUP is ignored it stays so: that is what ``nohup`` is for.
    """
    before = {s: signal.signal(s, lambda *_: stop()) for s in (signal.SIGTERM, signal.SIGINT)}
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, lambda *_: hang_up())
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
