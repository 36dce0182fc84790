"""The synchronous core: `Shipper.ship_once` does one round and returns what it did.

A round looks where something has changed in the spool, asks the receiver about files it does not know, reads what is due and
sends it in batches, streams before whole files. A position moves only when the receiver has answered that the bytes are
durable, and is then saved; a crash anywhere in between costs a resend, which the receiver answers with `already`.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from .. import layout
from ..errors import BadPath, BatchRefused, TooLarge, TryAgain
from ..version import __version__
from ..wire import NOTHING, PAYLOAD_CORRUPT, Held, Manifest, Outcome
from . import local_file
from .agreement import agree_on_stream, agree_on_whole, own_name, plain_name, source_of, try_agree
from .aside import Aside
from .config import AgentConfig
from .ledger import Entry, Ledger
from .pieces import Piece, PieceReader, Task
from .planner import Plan, kind_of, make_plan
from .scanner import LocalFile, Problem, Walk
from .settling import Clock, Settling
from .transport import Transport

T = TypeVar("T")

ROUND_S = 2.0
"""A round with backlog ends after this time, so that files which appeared meanwhile get their turn."""

MIN_BATCH_BYTES = 1 << 10
MAX_STALLS = 3


@dataclass(frozen=True)
class Round:
    """What one round did and what it left.

    `shipped_bytes` were acknowledged; `left` could not be shipped, and why; `settles_in_s` says when a file that is still
    being written may be ready; `has_backlog` asks for the next round at once; `next_look_in_s` says when a folder is due again.
    """

    shipped_bytes: int = 0
    shipped_files: int = 0
    left: tuple[Problem, ...] = ()
    settles_in_s: float | None = None
    has_backlog: bool = False
    next_look_in_s: float = 0.0


@dataclass
class _Tally:
    bytes: int = 0
    files: int = 0


class Shipper:
    """Ships one spool to one receiver. `ship_once` raises `ShipError` or `BadAnswer` where a round had to end early."""

    def __init__(self, spool: Path, config: AgentConfig, ledger: Ledger, transport: Transport, clock: Clock) -> None:
        self._spool = spool
        self._config = config
        self._ledger = ledger
        self._transport = transport
        self._clock = clock
        self._source = source_of(spool)
        self._batch_bytes = config.batch_bytes
        self._settling = Settling(clock)
        self._aside = Aside(clock)
        self._reader = PieceReader(self._settling, config.settle_s)
        self._open: dict[str, LocalFile] = {}  # what there may be something to do for; all else is done
        self._has_looked = False
        self._walk = Walk(
            spool,
            include=config.include,
            exclude=config.exclude,
            interval_s=config.scan_interval_s,
            quiet_interval_s=config.quiet_scan_interval_s,
            steady_s=clock.steady_s,
        )

    # --- one round

    def ship_once(self, complete_paths: Iterable[str] = (), folders: Iterable[str] | None = None) -> Round:
        """Do one round; all paths are absolute.

        `complete_paths` are files known to be whole, which need not settle first. `folders` are those in which something has
        happened; they and those that are due are looked into. None looks everywhere.
        """
        problems = self._look(folders)
        plan = self._plan({os.path.relpath(p, self._spool) for p in complete_paths})
        tally = _Tally()
        try:
            self._adopt(plan)
            has_backlog = self._ship(self._tasks(plan.streams), self._tasks(plan.wholes), tally)
        finally:
            self._ledger.save()
            self._open = {path: file for path, file in self._open.items() if not self._is_done(path)}
        waits_s = [s for s in (plan.settles_in_s, self._reader.tails_settle_in_s()) if s is not None]
        next_look_in_s = self._walk.next_look_in_s()
        return Round(
            tally.bytes, tally.files, self._left(problems), min(waits_s, default=None), has_backlog, next_look_in_s
        )

    def unshipped(self) -> list[Problem]:
        """Return every file that holds something the receiver has not acknowledged, by a new walk; sends nothing."""
        left = {p.path: p for p in self._left(self._look(None))}
        for path in self._open:
            left.setdefault(path, Problem(path, "not shipped yet"))
        return sorted(left.values(), key=lambda p: p.path)

    def _look(self, folders: Iterable[str] | None) -> tuple[Problem, ...]:
        """Take note of what has changed in the spool; return what can't be looked into."""
        found = self._walk.look(None if folders is None else list(self._inside(folders)))
        for path in found.gone:
            self._open.pop(path, None)
            for memory in (self._ledger, self._reader, self._aside, self._settling):
                memory.forget(path)
        for file in found.changed:
            self._take_up(file)
        if not self._has_looked and not found.problems:
            self._ledger.forget_all_but(self._walk.paths())  # what went away while no agent ran
            self._has_looked = True
        return found.problems

    def _inside(self, folders: Iterable[str]) -> Iterator[str]:
        root = os.fspath(self._spool)
        for folder in folders:
            if folder == root:
                yield ""
            elif folder.startswith(root + "/"):
                yield folder[len(root) + 1 :]

    def _take_up(self, file: LocalFile) -> None:
        entry = self._ledger.get(file.path)
        if entry is not None and entry.is_done:
            if entry.seen == file.signature:
                return
            self._ledger.put(file.path, replace(entry, is_done=False))
        self._open[file.path] = file

    def _plan(self, complete: set[str]) -> Plan:
        return make_plan(
            [f for f in self._open.values() if not self._aside.is_resting(f)],
            age_s_of=lambda f: float("inf") if f.path in complete else self._settling.age_s(f),
            streams=self._config.streams,
            settle_s=self._config.settle_s,
        )

    def _left(self, problems: Sequence[Problem]) -> tuple[Problem, ...]:
        return (*problems, *self._aside.problems(), *self._reader.tail_problems())

    def _is_done(self, path: str) -> bool:
        entry = self._ledger.get(path)
        return entry is not None and entry.is_done

    def _tasks(self, files: Iterable[LocalFile]) -> deque[Task]:
        known = (
            f for f in files if f.path not in self._aside and self._ledger.get(f.path) and not self._is_done(f.path)
        )
        return deque(Task(f, kind_of(f.path, self._config.streams)) for f in known)

    def _ship(self, streams: deque[Task], wholes: deque[Task], tally: _Tally) -> bool:
        """Send what the tasks hold until all is sent or the round's time is over; return whether something is left."""
        deadline_s = self._clock.steady_s() + ROUND_S
        while streams or wholes:
            queue = streams or wholes
            for task in self._send(self._next_batch(queue), tally):
                # A stream goes behind the other streams; a large file is finished before the next one is begun.
                if task.kind == "stream":
                    queue.append(task)
                else:
                    queue.appendleft(task)
            if self._clock.steady_s() > deadline_s:
                break
        return bool(streams or wholes)

    def _visit(self, file: LocalFile, action: Callable[[int], T]) -> T | None:
        """Return what `action` makes of the open file; one that can't be read is set aside, one that is gone passed over."""
        try:
            with local_file.open_regular(self._spool / file.path) as fd:
                return action(fd)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._aside.put(file, f"can't be read: {error.strerror or error}")
            return None

    # --- first contact

    def _adopt(self, plan: Plan) -> None:
        """Ask the receiver about the files of which too little is known, and start each where the two sides agree."""
        asked = [f for f in plan.streams if self._ledger.get(f.path) is None and self._has_name(f)]
        asked += [f for f in plan.wholes if self._is_worth_asking(f) and self._has_name(f)]
        if not asked:
            return
        before = [self._entry(f) for f in asked]
        for file, entry, held in zip(asked, before, self._transport.stat([e.remote for e in before]), strict=True):
            self._visit(file, lambda fd, f=file, e=entry, h=held: self._adopt_file(f, fd, e, h))  # type: ignore[misc]

    def _is_worth_asking(self, file: LocalFile) -> bool:
        """Whether it costs less to ask about a whole file than to send it in vain, should its last answer have been lost."""
        if self._ledger.get(file.path) is None:
            return True
        return file.signature.size > self._batch_bytes and not self._reader.is_uploading(file)

    def _adopt_file(self, file: LocalFile, fd: int, before: Entry, held: Held | None) -> None:
        if kind_of(file.path, self._config.streams) == "whole":
            self._ledger.put(file.path, agree_on_whole(file, fd, before, held))
            return
        entry = try_agree(file, fd, before.remote, held)
        if entry is None:
            self._agree_anew(file, fd, refused=before.remote)
        else:
            self._ledger.put(file.path, entry)

    def _agree_anew(self, file: LocalFile, fd: int, refused: str | None = None) -> None:
        entry = agree_on_stream(
            file, fd, self._plain_name(file), self._source, refused=refused, stat=self._transport.stat
        )
        if entry is None:
            self._aside.put(
                file,
                "the receiver holds other bytes under every name it may have; a file that is rewritten as a whole "
                "should match none of the patterns in 'streams'",
            )
        else:
            self._ledger.put(file.path, entry)

    def _plain_name(self, file: LocalFile) -> str:
        return plain_name(file.path, self._config.remote_prefix)

    def _has_name(self, file: LocalFile) -> bool:
        try:
            layout.check_path(self._plain_name(file))
        except BadPath as error:
            self._aside.put(file, str(error))
            return False
        return True

    # --- reading

    def _next_batch(self, queue: deque[Task]) -> list[Piece]:
        """Take tasks off the queue and return what is ready of them, as much as fits one batch."""
        pieces: list[Piece] = []
        room = self._batch_bytes
        while queue and room > 0 and len(pieces) < self._config.batch_files:
            if pieces and not _goes_with(pieces[0].task, queue[0], room):
                break
            piece = self._read(queue.popleft(), room)
            if piece is not None:
                pieces.append(piece)
                room -= len(piece.payload)
        return pieces

    def _read(self, task: Task, room: int) -> Piece | None:
        return self._visit(task.file, lambda fd: self._read_open(task, fd, room))

    def _read_open(self, task: Task, fd: int, room: int) -> Piece | None:
        entry = self._entry(task.file)
        if task.kind == "stream":
            if not local_file.begins_with(fd, entry.acked, entry.mark):
                self._agree_anew(task.file, fd)
                entry = self._entry(task.file)
            now = local_file.signature_now(fd)
            if now.size == entry.acked.size > 0:  # only its times or inode have changed
                self._ledger.put(task.file.path, replace(entry, seen=now, is_done=True))
                return None
        return None if task.file.path in self._aside else self._reader.read(task, entry, fd, room)

    def _entry(self, file: LocalFile) -> Entry:
        entry = self._ledger.get(file.path)
        return Entry(self._plain_name(file), NOTHING) if entry is None else entry

    # --- sending, and learning from the answer

    def _send(self, pieces: Sequence[Piece], tally: _Tally) -> list[Task]:
        """Send `pieces` as one batch and return the tasks that need another turn.

        Where the receiver refuses the batch it is sent in halves, until the one piece it can't take is found.
        """
        if not pieces:
            return []
        manifest = Manifest(self._source, tuple(p.item for p in pieces), os.uname().nodename, __version__)
        compressible = not layout.is_compressed(pieces[0].task.file.path)
        try:
            outcomes = self._transport.send(manifest, [p.payload for p in pieces], compressible=compressible)
        except BatchRefused as error:
            return self._send_refused(pieces, error, tally)
        again = [p.task for p, o in zip(pieces, outcomes, strict=True) if self._learn(p, o, tally)]
        if any(o.result == "rejected" and (o.reason or "").startswith(PAYLOAD_CORRUPT) for o in outcomes):
            raise TryAgain(
                "bytes were damaged on the way", hint="the receiver's CRC does not match; they are sent again"
            )
        return again

    def _send_refused(self, pieces: Sequence[Piece], error: BatchRefused, tally: _Tally) -> list[Task]:
        if len(pieces) > 1:
            half = len(pieces) // 2
            return self._send(pieces[:half], tally) + self._send(pieces[half:], tally)
        if isinstance(error, TooLarge) and len(pieces[0].payload) > MIN_BATCH_BYTES:
            self._batch_bytes = len(pieces[0].payload) // 2
            return [pieces[0].task]
        self._aside.put(pieces[0].task.file, str(error))
        return []

    def _learn(self, piece: Piece, outcome: Outcome, tally: _Tally) -> bool:
        """Move the file's position by what the receiver says of it; return whether the file needs another turn."""
        task = piece.task
        if outcome.result == "rejected":
            if not (outcome.reason or "").startswith(PAYLOAD_CORRUPT):
                self._aside.put(task.file, f"the receiver refuses it: {outcome.reason}")
            return False
        if outcome.result in ("stored", "already"):
            task.stalls = 0
            tally.bytes += piece.item.length
            tally.files += piece.is_last
            self._acknowledge(piece, Held(piece.item.end, piece.item.crc), piece.mark)
            return not piece.is_last
        task.stalls += 1
        if task.stalls > MAX_STALLS:
            self._aside.put(task.file, f"receiver and spool do not agree: {outcome.result} at {piece.item.offset}")
        else:
            self._visit(task.file, lambda fd: self._reposition(piece, outcome, fd))
        return task.file.path not in self._aside and not self._is_done(task.file.path)

    def _acknowledge(self, piece: Piece, held: Held, mark: local_file.Mark | None) -> None:
        file = piece.task.file
        if piece.item.op == "stage":
            self._reader.note_staged(file, held)
            return
        self._reader.end_upload(file.path)
        is_done = held.size == piece.signature.size
        self._ledger.put(
            file.path,
            replace(self._entry(piece.task.file), acked=held, seen=piece.signature, is_done=is_done, mark=mark),
        )

    def _reposition(self, piece: Piece, outcome: Outcome, fd: int) -> None:
        """Deal with a receiver that holds something else than was assumed: less, more, or other bytes."""
        held = outcome.held or NOTHING
        if piece.item.op == "append":
            self._reposition_stream(piece, outcome, held, fd)
        elif piece.item.op == "commit" and outcome.result == "diverged":
            self._ship_under_own_name(piece)
        elif held.size <= piece.signature.size and local_file.holds_prefix(fd, held):
            self._reader.note_staged(piece.task.file, held)
        else:
            self._reader.restart_upload(piece.task.file, piece.task.stalls)

    def _reposition_stream(self, piece: Piece, outcome: Outcome, held: Held, fd: int) -> None:
        if outcome.result == "ahead" and held.size > piece.signature.size:
            # The receiver compared: it holds all there is here, and more (an older copy of the spool ships).
            self._acknowledge(piece, Held(piece.item.end, piece.item.crc), piece.mark)
        elif outcome.result != "diverged" and held.size <= piece.signature.size and local_file.holds_prefix(fd, held):
            self._acknowledge(piece, held, local_file.mark_of(fd, held.size))
        else:
            self._agree_anew(piece.task.file, fd, refused=self._entry(piece.task.file).remote)

    def _ship_under_own_name(self, piece: Piece) -> None:
        task = piece.task
        name = own_name(self._plain_name(task.file), self._source)
        if self._entry(task.file).remote == name:
            self._aside.put(task.file, f"the receiver holds other bytes under {name}")
            return
        self._reader.end_upload(task.file.path)
        self._ledger.put(task.file.path, Entry(name, NOTHING, piece.signature))


def _goes_with(first: Task, task: Task, room: int) -> bool:
    """Whether `task` may share a batch: both compress or neither, and a whole file is not split without need."""
    if layout.is_compressed(first.file.path) != layout.is_compressed(task.file.path):
        return False
    return task.kind == "stream" or task.file.signature.size <= room
