"""Counting what is not shipped while no agent runs: a walk over the spool, compared with the last agent's ledger.

Read-only: no lock is held, no file is opened, the receiver is not asked. What the ledger can't tell counts as not shipped: the
next agent will ask the receiver, and may find that it holds more.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..layout import RUN, part_of
from .alive import LATELY_S, with_those_above
from .config import AgentConfig
from .ledger import Entry, peek
from .planner import kind_of
from .progress import Progress
from .scanner import Findings, LocalFile, Walk

LEDGER_NAME = "ledger.sqlite"


@dataclass(frozen=True, slots=True)
class Survey:
    """What was counted; without a readable ledger (`is_ledger_known`) everything counts as not shipped."""

    progress: Progress
    is_ledger_known: bool


def survey(config: AgentConfig, spool: Path, now: float) -> Survey:
    """Return how far `spool` is at `now` (seconds since the epoch).

    The age of the oldest unshipped byte is taken from the files' times: it is at least that.
    """
    entries = peek(config.state_dir_of(spool) / LEDGER_NAME, config.remote_prefix)
    found = Walk.of(config, spool).look(None)
    waiting = [
        (f, size) for f in found.changed if (size := _unshipped(f, (entries or {}).get(f.path), config)) is not None
    ]
    oldest_ns = min((file.signature.mtime_ns for file, _ in waiting), default=None)
    progress = Progress(
        backlog_files=len(waiting),
        backlog_bytes=sum(size for _, size in waiting),
        oldest_unshipped_s=None if oldest_ns is None else max(0.0, now - oldest_ns / 1e9),
        aside=found.problems,
        runs_alive=_runs_alive(found, now),
        gone_files=sum(entry.is_gone for f in found.changed if (entry := (entries or {}).get(f.path)) is not None),
    )
    return Survey(progress, is_ledger_known=entries is not None)


def _unshipped(file: LocalFile, entry: Entry | None, config: AgentConfig) -> int | None:
    """Return how many bytes of `file` are not known to be shipped, or None if all of it is."""
    size = file.signature.size
    if entry is None:
        return size
    if entry.is_gone or (entry.is_done and entry.seen == file.signature):
        return None
    is_grown = kind_of(file.path, config.streams) == "stream" and entry.acked.size <= size
    return size - entry.acked.size if is_grown else size


def _runs_alive(found: Findings, now: float) -> tuple[str, ...]:
    """Return the folders with a ``run.jsonl`` in or below which something changed lately."""
    folders = {f.path.rpartition("/")[0] for f in found.changed if part_of(f.path.rpartition("/")[2], RUN) is not None}
    recent = {f.path.rpartition("/")[0] for f in found.changed if now - f.signature.mtime_ns / 1e9 < LATELY_S}
    return tuple(sorted(folders & {above for folder in recent for above in with_those_above(folder)}))
