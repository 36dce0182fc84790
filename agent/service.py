"""The agent as a whole: locks, ledgers, connections, shippers and the loop put together, and taken apart in order."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from .config import AgentConfig, current_token
from .ledger import Ledger
from .lock import only_agent
from .loop import Loop
from .settling import Clock
from .shipper import Shipper
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
        shippers = [_open_shipper(config, environ, spool, stack) for spool in config.spools()]
        yield Loop(shippers, Watcher(config.spools(), doorbell), doorbell, config)


def _open_shipper(config: AgentConfig, environ: Mapping[str, str], spool: Path, stack: contextlib.ExitStack) -> Shipper:
    state_dir = config.state_dir_of(spool)
    stack.enter_context(only_agent(state_dir, spool))
    ledger = Ledger(state_dir / "ledger.sqlite")
    stack.callback(ledger.close)
    transport = Transport(
        config.server,
        token=lambda: current_token(config, environ),
        timeouts=config.timeouts,
        compress=config.compression == "zstd",
    )
    stack.callback(transport.close)
    return Shipper(spool, config, ledger, transport, Clock(time.time_ns, time.monotonic))


@contextmanager
def stopping_on_signals(loop: Loop) -> Iterator[None]:
    """Let SIGTERM and SIGINT stop `loop` inside the block; the handlers before are put back."""
    before = {s: signal.signal(s, lambda *_: loop.stop()) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
