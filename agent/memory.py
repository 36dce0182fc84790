"""The memory of the core: all that is known of the files of one spool. Nothing is decided here.

It belongs to the thread that decides, and every room of the core works on it: `lookout` and `comparisons` bring files in,
`places` moves them, `dispatch` hands out, `intake` and `recalls` take in, `backlog` counts what is left.
"""

from __future__ import annotations

from pathlib import Path

from .. import layout
from .agenda import Agenda
from .alive import RunsAlive
from .aside import Aside
from .config import AgentConfig
from .doubts import Doubts
from .goal import Goal
from .grown import Grown
from .ledger import Entry, Ledger
from .pieces import PieceReader
from .planner import Kind, kind_of
from .scanner import LocalFile, Walk
from .settling import Clock, Settling
from .stalls import Stalls


class Memory:
    """What was seen of each file, what was acknowledged, and what waits for what.

    `goal` is None while all that comes is to be shipped.
    """

    def __init__(self, spool: Path, config: AgentConfig, ledger: Ledger, clock: Clock) -> None:
        self.spool = spool
        self.config = config
        self.clock = clock
        self.ledger = ledger
        self.walk = Walk.of(config, spool, clock.steady_s)
        self.agenda = Agenda(clock.steady_s)
        self.settling = Settling(clock)
        self.aside = Aside(clock)
        self.reader = PieceReader(self.settling, config.settle_s)
        self.grown = Grown(spool, self.settling, clock)
        self.alive = RunsAlive(spool, clock)
        self.doubts = Doubts()
        self.stalls = Stalls()
        self.goal: Goal | None = None

    def forget(self, path: str) -> None:
        """Drop all that is remembered of `path`, which is gone."""
        self.let_go(path)
        self.ledger.forget(path)
        self.alive.forget(path)

    def let_go(self, path: str) -> None:
        """Drop what there was to do with `path`."""
        self.agenda.drop(path)
        for part in (self.settling, self.aside, self.reader, self.grown, self.doubts, self.stalls):
            part.forget(path)

    def kind(self, file: LocalFile) -> Kind:
        """Return whether `file` is a stream or a whole file."""
        return kind_of(file.path, self.config.streams)

    def entry(self, file: LocalFile) -> Entry:
        """Return what is known of `file`, which may be no more than its name."""
        entry = self.ledger.get(file.path)
        return Entry(self.plain_name(file), None) if entry is None else entry

    def plain_name(self, file: LocalFile) -> str:
        """Return the name of `file` on the receiver unless other bytes are there; raises `BadPath` if it can't have one."""
        return layout.plain_name(file.path, self.config.remote_prefix)
