"""The agent as a whole: locks, ledgers, connections, shippers and the loop put together, and taken apart in order."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from .agreement import source_of
from .config import AgentConfig, current_token
from .couriers import Couriers
from .delivery import Delivery
from .ledger import Ledger
from .lock import only_agent
from .loop import Loop
from .settling import Clock
from .shipper import Shipper
from .throttle import Throttle
from .transport import Transport
from .watcher import Doorbell, Watcher


@contextmanager
def open_loop(config: AgentConfig, environ: Mapping[str, str]) -> Iterator[Loop]:
    """Yield the loop over all spools of `config`, ready to run; what it stands on is closed with the block.

    Raises `SpoolTaken` if a spool has an agent already, `ConfigError` for a state directory that can't be used.
    """
    with contextlib.ExitStack() as stack:
        doorbell = Doorbell()
        stack.callback(doorbell.close)
        throttle = None if config.max_bytes_per_s is None else Throttle(config.max_bytes_per_s)
        ways = partial(_open_way, config, environ, throttle, stack)
        shippers = [_open_shipper(config, spool, ways, doorbell, stack) for spool in config.spools()]
        yield Loop(shippers, Watcher(config.spools(), doorbell), doorbell, config)


def _open_shipper(
    config: AgentConfig,
    spool: Path,
    open_way: Callable[..., Transport],
    doorbell: Doorbell,
    stack: contextlib.ExitStack,
) -> Shipper:
    state_dir = config.state_dir_of(spool)
    stack.enter_context(only_agent(state_dir, spool))
    ledger = Ledger(state_dir / "ledger.sqlite")
    stack.callback(ledger.close)
    ways = [open_way(is_urgent=number == 0) for number in range(config.connections)]
    source = source_of(spool)
    couriers = Couriers([Delivery(spool, source, way) for way in ways], doorbell.ring)
    stack.callback(couriers.close)
    return Shipper(spool, config, ledger, couriers, Clock(time.time_ns, time.monotonic))


def _open_way(
    config: AgentConfig,
    environ: Mapping[str, str],
    throttle: Throttle | None,
    stack: contextlib.ExitStack,
    *,
    is_urgent: bool,
) -> Transport:
    way = Transport(config, token=lambda: current_token(config, environ), throttle=throttle, is_urgent=is_urgent)
    stack.callback(way.close)
    return way


@contextmanager
def stopping_on_signals(loop: Loop) -> Iterator[None]:
    """Let SIGTERM and SIGINT stop `loop` inside the block; the handlers before are put back."""
    before = {s: signal.signal(s, lambda *_: loop.stop()) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
