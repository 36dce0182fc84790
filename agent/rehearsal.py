"""``--dry-run``: what retention would delete now, and why; deletes nothing, holds no lock, and may run beside the agent.

It knows what the last agent's ledger says, walks the spool, asks the receiver, and looks at each file as the agent would.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from ..errors import ConfigError
from .config import AgentConfig
from .deletion import Broom, Stat
from .ledger import peek
from .retention import Retention
from .scanner import Walk
from .settling import Clock
from .survey import LEDGER_NAME


def rehearse(config: AgentConfig, stat: Stat) -> Iterator[str]:
    """Yield, line by line, what retention would delete and what it would keep of what is due, and the sums of each spool.

    Raises `ConfigError` if retention is off, `ShipError` or `BadAnswer` if the receiver can't be asked.
    """
    if not config.retention.is_on:
        raise ConfigError("retention is off", hint="set retention.keep_s or retention.max_spool_bytes")
    for spool in config.spools():
        yield from _rehearse(config, spool, stat)


def _rehearse(config: AgentConfig, spool: Path, stat: Stat) -> Iterator[str]:
    entries = peek(config.state_dir_of(spool) / LEDGER_NAME, config.remote_prefix)
    walk = Walk.of(config, spool)
    walk.look(None)
    clock = Clock(time.time_ns, time.monotonic)
    retention = Retention(config.retention, config.settle_s, entries or {}, walk, clock, every_s=0.0, is_silent=True)
    broom = Broom(spool, stat, clock.wall_ns)
    files, size_bytes = 0, 0
    while (errand := retention.select()) is not None:
        swept = broom.sweep(errand, is_rehearsal=True)
        retention.note(swept)
        for gone in swept.deleted:
            yield f"would delete {ascii(gone.file.path)[1:-1]}, {gone.file.signature.size} bytes: {gone.reason}"
        for kept in swept.kept:
            yield f"would keep {ascii(kept.path)[1:-1]}: {kept.reason}"
        files, size_bytes = files + len(swept.deleted), size_bytes + swept.deleted_bytes
    if entries is None:
        yield f"{spool}: no ledger tells what was shipped; an agent has to run first"
    yield f"{spool}: would delete {files} files, {size_bytes} bytes, and leave {walk.size_bytes} bytes"
