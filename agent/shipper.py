"""The core that decides: `Shipper.ship_once` does one round and returns what it did. One thread, no waiting.

A round looks where something has changed in the spool, takes in what the couriers brought back, and hands out what is due,
streams before whole files. A position moves only when the receiver has answered that the bytes are durable, and is then
saved; a crash anywhere in between costs a resend, which the receiver answers with `already`.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .. import layout
from ..errors import BadAnswer, BadPath, MLLoggerError, StopSending, TimedOut, TryAgain
from ..wire import NOTHING, Held
from . import local_file
from .agenda import LANES, Agenda, Lane
from .alive import RunsAlive
from .aside import Aside
from .config import AgentConfig
from .couriers import Job, Staff
from .deletion import Broom
from .delivery import (
    Again,
    Agreed,
    Batch,
    Built,
    Gone,
    Missing,
    Question,
    Questions,
    Recall,
    Refused,
    Stored,
    Verdict,
    Work,
)
from .goal import Goal
from .grown import Grown
from .janitor import Janitor
from .ledger import Entry, Ledger
from .pieces import Piece, PieceReader
from .planner import Kind, kind_of, lane_of
from .progress import Progress
from .retention import Retention
from .scanner import LocalFile, Problem, Signature, Walk
from .settling import Clock, Settling

log = logging.getLogger(__name__)

ROUND_S = 2.0
"""A round with backlog ends after this time, so that files which appeared meanwhile get their turn."""

QUESTIONS = 1000
"""The most files of one question."""

QUESTION_BYTES = 100
"""What a question costs on the line, about, there and back: a request of them is no larger than one of `batch_bytes`."""

MIN_BATCH_BYTES = 64 << 10
"""What a batch shrinks to, at most, on a line on which larger ones take too long."""

UNASKED_BYTES = 64 << 10
"""A file that appears while the agent runs and is no larger is sent without asking first: the answer says what is held."""

RECALL_S = 60.0
"""How often the receiver is asked whether it was restored, where no heartbeats are sent whose interval this is."""

SAVE_S = 1.0
"""How often the ledger is saved, at most. What a crash keeps out of it is sent again, and answered with `already`."""

MAX_STALLS = 3


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


@dataclass
class _Tally:
    bytes: int = 0
    files: int = 0


class Shipper:
    """Ships one spool to one receiver. `ship_once` raises `ShipError` or `BadAnswer` where a delivery had to end early."""

    def __init__(self, spool: Path, config: AgentConfig, ledger: Ledger, staff: Staff, clock: Clock) -> None:
        self._spool = spool
        self._root = f"{spool}/"
        self._config = config
        self._ledger = ledger
        self._staff = staff
        self._clock = clock
        self._most_bytes = self._batch_bytes = config.largest_batch_bytes()
        self._next_flush_s = 0.0
        self._settling = Settling(clock)
        self._aside = Aside(clock)
        self._reader = PieceReader(self._settling, config.settle_s)
        self._agenda = Agenda(clock.steady_s)
        self._grown = Grown(spool, self._settling, clock)
        self._unknown: set[str] = set()  # files that were there before the agent, and not in the ledger
        self._unsure: set[str] = set()  # shipped files of which no signature tells whether their bytes are the same
        self._anew: set[str] = set()  # streams that do not begin with what was shipped of them
        self._stalls: Counter[str] = Counter()  # answers in a row that moved nothing forward
        self._told_gone: set[str] = set()  # runs of which it was said that they were deleted on the receiver
        self._tally = _Tally()
        self._alive = RunsAlive(spool, clock)
        self._so_far = Progress()  # the totals and the last words; what is left is counted when somebody asks
        self._has_looked = False
        self._is_answered = False
        self._goal: Goal | None = None
        self._is_first_look = True
        self._janitor: Janitor | None = None
        self._lost: tuple[Problem, ...] = ()
        self._recall_s = clock.steady_s()  # when the receiver is to be asked whether it is what it was
        self._is_recalling = False
        self._next_save_s = clock.steady_s()
        self._doubt_s = clock.steady_s() + config.quiet_scan_interval_s
        self._walk = Walk.of(config, spool, clock.steady_s)

    def hire_janitor(self, broom: Broom, ring: Callable[[], None]) -> Janitor:
        """Let retention delete with `broom` what is shipped, after each round; whoever calls closes the janitor returned."""
        config = self._config
        retention = Retention(config.retention, config.settle_s, self._ledger, self._walk, self._clock)
        self._janitor = Janitor(retention, broom, ring)
        return self._janitor

    def note_lost(self, problems: Iterable[Problem]) -> None:
        """Take note of files that lie under hidden names and can't have their own back; a person has to see to them."""
        self._lost = tuple(problems)

    # --- one round

    def ship_once(self, complete_paths: Iterable[str] = (), folders: Iterable[str] | None = None) -> Round:
        """Do one round; all paths are absolute.

        `complete_paths` are files known to be whole, which need not settle first. `folders` are those in which something has
        happened; they and those that are due are looked into. None looks everywhere.
        """
        self._is_answered = False
        problems = self._look(folders)
        self._find_places(complete_paths, is_everywhere=folders is None)
        try:
            self._work()
            if self._janitor is not None:
                self._compare(self._janitor.turn())
        finally:
            self._save_if_due()
        tally, self._tally = self._tally, _Tally()
        shipped_bytes, shipped_files = (
            self._so_far.shipped_bytes + tally.bytes,
            self._so_far.shipped_files + tally.files,
        )
        self._so_far = replace(self._so_far, shipped_bytes=shipped_bytes, shipped_files=shipped_files)
        return Round(
            tally.bytes,
            tally.files,
            self._left(problems),
            self._agenda.settles_in_s(),
            any(self._agenda.is_ready(lane) and self._staff.is_free(lane) for lane in LANES),
            self._walk.next_look_in_s(),
            self._agenda.out + self._is_recalling,
            self._next_flush_s,
            self._is_answered,
        )

    def _save_if_due(self) -> None:
        now_s = self._clock.steady_s()
        if now_s >= self._next_save_s:
            self._ledger.save()
            self._next_save_s = now_s + SAVE_S

    def aim(self) -> None:
        """Take all that is in the spool now, by a new walk, as what is to be shipped; what comes later is left alone."""
        self._look(None)
        self._goal = Goal()
        for file in self._agenda:
            size, has_grown = file.signature.size, file.signature.size > self._entry(file).acked.size
            if self._kind(file) == "stream" and has_grown:
                self._goal.add_grown(file.path, size)
            else:
                self._goal.add_version(file.path)

    @property
    def has_reached_aim(self) -> bool:
        """Whether all that there was when it was told to `aim` is acknowledged."""
        return self._goal is not None and not any(self._is_wanted(file.path) for file in self._agenda)

    def _is_wanted(self, path: str) -> bool:
        """Whether a file on the agenda is to be shipped still, where not all is that comes."""
        if self._goal is None or path in self._unknown or path in self._anew:
            return True
        entry = self._ledger.get(path)
        return not self._goal.is_reached(path, 0 if entry is None else entry.acked.size)

    def unshipped(self) -> list[Problem]:
        """Return every file that holds something the receiver has not acknowledged, by a new walk; sends nothing.

        After `aim` what came since does not count.
        """
        left = {p.path: p for p in self._left(self._look(None))}
        for file in self._agenda:
            left.setdefault(file.path, Problem(file.path, "not shipped yet"))
            if not self._is_wanted(file.path):
                del left[file.path]
        return sorted(left.values(), key=lambda p: p.path)

    def progress(self) -> Progress:
        """Return how far this spool is; costs a look at each file that is not done."""
        ages_s = [self._waits_for_s(file) for file in self._agenda]
        return replace(
            self._so_far,
            backlog_files=len(ages_s),
            backlog_bytes=sum(self._unshipped_bytes(file) for file in self._agenda),
            oldest_unshipped_s=max(ages_s, default=None),
            aside=(*self._lost, *self._aside.problems()),
            runs_alive=self._alive.folders(),
            gone_files=self._ledger.gone_files,
        )

    def _unshipped_bytes(self, file: LocalFile) -> int:
        size = file.signature.size
        if self._kind(file) == "whole":
            return size - self._reader.staged_bytes(file)
        return max(0, size - self._entry(file).acked.size)

    def _waits_for_s(self, file: LocalFile) -> float:
        """Return for how long something of `file` has waited at least: seen by this agent, or by the file's time."""
        age_s = (self._clock.wall_ns() - file.signature.mtime_ns) / 1e9
        return max(0.0, age_s, self._clock.steady_s() - self._agenda.since_s(file.path))

    def _left(self, problems: Sequence[Problem]) -> tuple[Problem, ...]:
        return (*problems, *self._aside.problems(), *self._reader.tail_problems())

    # --- what there is to do

    def _look(self, folders: Iterable[str] | None) -> tuple[Problem, ...]:
        """Take note of what has changed in the spool; return what can't be looked into."""
        found = self._walk.look(None if folders is None else list(self._inside(folders)))
        for path in found.gone:
            self._forget(path)
        for file in sorted(found.changed, key=lambda f: (f.signature.mtime_ns, f.path)):
            self._take_up(file)
        self._is_first_look = False
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

    def _forget(self, path: str) -> None:
        self._agenda.drop(path)
        self._unknown.discard(path)
        self._unsure.discard(path)
        self._anew.discard(path)
        self._stalls.pop(path, None)
        for memory in (self._ledger, self._reader, self._aside, self._settling, self._alive, self._grown):
            memory.forget(path)

    def _take_up(self, file: LocalFile) -> None:
        self._alive.note(file)
        entry = self._ledger.get(file.path)
        if entry is None:
            if not self._has_looked:
                self._unknown.add(file.path)
        elif entry.is_gone or (entry.is_done and entry.seen == file.signature and file.path not in self._agenda):
            return
        elif self._is_first_look and entry.seen != file.signature and self._kind(file) == "stream":
            self._unsure.add(file.path)  # it may have been edited as well as grown while no agent looked
        if self._agenda.note(file):
            self._place(file)

    def _compare(self, paths: Iterable[str]) -> None:
        """Let what was acknowledged of files be compared with all their bytes; what differs is shipped anew."""
        for path in paths:
            file, entry = self._walk.find(path), self._ledger.get(path)
            is_gone = entry is not None and entry.is_gone
            if file is not None and not is_gone and not self._agenda.is_out(path):
                self._unsure.add(path)
                self._agenda.note(file)
                self._place(file, is_complete=True)

    def _find_places(self, complete_paths: Iterable[str], *, is_everywhere: bool) -> None:
        """Find places for files that have waited for long enough, or for something that has happened now."""
        for path in complete_paths:
            self._note_complete(os.path.relpath(path, self._spool))
        self._compare(self._grown.take_quiet(self._walk.find))
        for file in self._agenda.take_due() + (self._agenda.take_held() if is_everywhere else []):
            self._place(file)

    def _note_complete(self, path: str) -> None:
        """Let a file go that needs not settle; a whole one that is shipped is compared, since its last writer let go of it.

        A program that had it mapped may have written into it since, to a page that was dirty already: no time tells of that.
        """
        file, entry = self._agenda.get(path), self._ledger.get(path)
        is_whole = kind_of(path, self._config.streams) == "whole"
        if self._agenda.is_out(path):
            self._unsure.update([path] if is_whole else [])
        elif file is not None:
            self._place(file, is_complete=True)
        elif entry is not None and entry.is_done and is_whole:
            self._compare((path,))

    def _place(self, file: LocalFile, *, is_complete: bool = False, first: bool = False) -> None:
        """Let `file` rest or settle as long as it has to, or queue it, at the head if it comes `first`."""
        path, kind = file.path, self._kind(file)
        rest_s = self._aside.rest_left_s(file)
        settle_s = 0.0 if is_complete or kind == "stream" else self._config.settle_s - self._settling.age_s(file)
        if rest_s > 0:
            self._agenda.rest(path, rest_s)
        elif settle_s > 0:
            self._agenda.settle(path, settle_s)
        else:
            self._agenda.queue(path, self._lane(file, kind), first=first)

    def _place_tail(self, file: LocalFile) -> bool:
        """Let `file` wait for the end of its last line; return whether there is such a wait."""
        tail = self._reader.tail_of(file.path)
        if tail is not None and tail.settles_in_s is None:
            self._agenda.hold(file.path)
        elif tail is not None and tail.settles_in_s is not None:
            self._agenda.settle(file.path, tail.settles_in_s)
        return tail is not None

    def _set_aside(self, file: LocalFile, reason: str) -> None:
        self._aside.put(file, reason)
        if file.path in self._agenda:
            self._agenda.rest(file.path, self._aside.rest_left_s(file))

    def _kind(self, file: LocalFile) -> Kind:
        return kind_of(file.path, self._config.streams)

    def _lane(self, file: LocalFile, kind: Kind) -> Lane:
        return lane_of(kind, file.signature.size - self._entry(file).acked.size, self._batch_bytes)

    def _entry(self, file: LocalFile) -> Entry:
        entry = self._ledger.get(file.path)
        return Entry(self._plain_name(file), None) if entry is None else entry

    def _plain_name(self, file: LocalFile) -> str:
        return layout.plain_name(file.path, self._config.remote_prefix)

    # --- handing out

    def _work(self) -> None:
        """Take in what came back and hand out what can go, until nobody is free, nothing is left, or the round is over."""
        deadline_s = self._clock.steady_s() + ROUND_S
        while True:
            errors = [error for job in self._staff.take_finished() if (error := self._take_in(job)) is not None]
            if errors:
                raise next((e for e in errors if isinstance(e, StopSending)), errors[0])
            if self._clock.steady_s() > deadline_s or not self._hand_out():
                return

    def _hand_out(self) -> bool:
        """Start what can be started; return whether anything was."""
        is_any = self._recall_if_due()
        for lane in LANES:
            while self._staff.is_free(lane) and (work := self._next_work(lane)) is not None:
                self._staff.start(Job(lane, work))
                is_any = True
        return is_any

    def _recall_if_due(self) -> bool:
        """Ask, now and then, whether the receiver is still what it was; return whether it is asked now."""
        now_s = self._clock.steady_s()
        if self._is_recalling or now_s < self._recall_s or not self._staff.is_free("live"):
            return False
        self._is_recalling, self._recall_s = True, now_s + (self._config.heartbeat_s or RECALL_S)
        self._staff.start(Job("live", Recall(self._ledger.known_mark)))
        return True

    def _next_work(self, lane: Lane) -> Work | None:
        """Take files of `lane` and return what to ask about them or to send of them, as much as fits one request."""
        questions: list[Question] = []
        pieces: list[Piece] = []
        room = self._batch_bytes
        while room > 0 and len(pieces) < self._config.batch_files and len(questions) < QUESTIONS:
            file = self._agenda.take(lane)
            if file is None:
                break
            question = self._maybe_question(file)
            is_other = bool(pieces) if question is not None else bool(questions) or not self._fits(file, pieces, room)
            if is_other:
                self._agenda.put_back(file.path, lane)
                break
            if question is not None:
                questions.append(question)
                room -= QUESTION_BYTES
            elif (piece := self._read(file, room)) is not None:
                pieces.append(piece)
                room -= len(piece.payload)
        if questions:
            return Questions(tuple(questions))
        if not pieces:
            return None
        return Batch(tuple(pieces), goes_on=len(pieces) == 1 and not pieces[0].is_last and len(pieces[0].payload) > 0)

    def _fits(self, file: LocalFile, pieces: Sequence[Piece], room: int) -> bool:
        """Whether `file` may share a batch: all compress or none, and a whole file is not split without need."""
        if not pieces:
            return True
        if layout.is_compressed(pieces[0].file.path) != layout.is_compressed(file.path):
            return False
        return file.signature.size <= room or self._kind(file) == "stream"

    def _maybe_question(self, file: LocalFile) -> Question | None:
        """Return what to ask about `file` before any of it is sent, None if enough is known."""
        is_anew = file.path in self._anew
        is_unsure = not is_anew and self._is_unsure(file)
        if is_anew or is_unsure or self._is_worth_asking(file):
            return Question(file, self._kind(file), self._entry(file), self._plain_name(file), is_anew, is_unsure)
        return None

    def _is_unsure(self, file: LocalFile) -> bool:
        """Whether all bytes are to be compared: it has changed, but not its size. A small whole file is read here and now."""
        entry = self._ledger.get(file.path)
        if entry is None or file.path in self._unknown:
            return False
        if file.path not in self._unsure:
            is_same_size = file.signature.size == entry.acked.size > 0 and entry.seen not in (None, file.signature)
            if not is_same_size or (self._kind(file) == "whole" and file.signature.size <= self._batch_bytes):
                return False
        return not self._reader.is_uploading(file)

    def _is_worth_asking(self, file: LocalFile) -> bool:
        """Whether it costs less to ask than to send in vain."""
        size = file.signature.size
        if file.path in self._unknown:
            return True
        if self._ledger.get(file.path) is None:
            return size > UNASKED_BYTES
        # a large file whose last answer was lost, with the agent, is there already
        return size > self._batch_bytes and self._kind(file) == "whole" and not self._reader.is_uploading(file)

    def _read(self, file: LocalFile, room: int) -> Piece | None:
        """Return the next piece of a file that was taken; where there is none, it is found another place."""
        try:
            plain = layout.check_path(self._plain_name(file))
            with local_file.open_regular(self._root + file.path) as (fd, now):
                is_stream = self._kind(file) == "stream"
                piece = (self._read_stream if is_stream else self._read_whole)(file, plain, fd, now, room)
        except BadPath as error:
            self._keep_back(file, str(error))
            return None
        except FileNotFoundError:
            self._agenda.come_back(file.path)
            self._agenda.settle(file.path, self._config.settle_s)  # the next look finds that it is gone, or back
            return None
        except OSError as error:
            self._keep_back(file, f"can't be read: {error.strerror or error}")
            return None
        if piece is None and self._agenda.is_out(file.path):
            self._agenda.come_back(file.path)
            if not self._place_tail(file):
                self._agenda.settle(file.path, self._config.settle_s)  # it changed since the look; the next sees that
        return piece

    def _keep_back(self, file: LocalFile, reason: str) -> None:
        self._agenda.come_back(file.path)
        self._set_aside(file, reason)

    def _read_stream(self, file: LocalFile, plain: str, fd: int, now: Signature, room: int) -> Piece | None:
        entry = self._entry(file)
        acked, more = entry.acked, now.size - entry.acked.size
        behind = None if more < 0 else local_file.read_behind(fd, acked, entry.mark, min(room, more))
        if behind is None:
            self._anew.add(file.path)
            self._agenda.put_back(file.path, self._lane(file, "stream"))
        elif more == 0 and (acked.size > 0 or entry.is_done):
            self._note_done(file, entry, now)
        else:
            return self._reader.read_stream(file, plain, entry, fd, now, behind)
        return None

    def _read_whole(self, file: LocalFile, plain: str, fd: int, _: Signature, room: int) -> Piece | None:
        entry = self._entry(file)
        piece = self._reader.read_whole(file, plain, entry, fd, room)
        if piece is None or not _is_held_already(piece, entry):
            return piece
        self._reader.end_upload(file.path)
        self._note_done(file, entry, piece.signature)
        return None

    def _note_done(self, file: LocalFile, entry: Entry, now: Signature) -> None:
        """Note that of a file that was taken all is acknowledged already: only its times or inode have changed."""
        self._ledger.put(file.path, entry._replace(seen=now, is_done=True))
        self._agenda.come_back(file.path)
        self._agenda.drop(file.path)

    # --- taking in

    def _take_in(self, job: Job) -> Exception | None:
        """Learn from what a courier brought back; return the error that ended it early, if one did."""
        report, is_batch = job.report, isinstance(job.work, Batch)
        self._is_answered |= _is_answered(job)
        if isinstance(job.work, Recall):
            self._take_in_lineage(job)
        elif report.mark not in (None, self._ledger.known_mark):
            self._recall_s = (
                self._clock.steady_s()
            )  # a new mark: what came before it is to be known before much comes after
        self._tally.bytes += report.hauled_bytes
        for verdict in report.verdicts if is_batch else reversed(report.verdicts):  # what is answered goes to the head
            self._learn(verdict, job.lane, is_batch=is_batch)
        if job.error is not None:
            self._put_back_unsettled(job)
        self._fit_batches(job)
        self._note_end(job)
        if report.is_damaged and job.error is None:
            return TryAgain(
                "bytes were damaged on the way", hint="the receiver's CRC does not match; they are sent again"
            )
        # a receiver that does not tell its lineage now is asked again; only that it lets nobody in is news
        return None if isinstance(job.work, Recall) and isinstance(job.error, (TryAgain, BadAnswer)) else job.error

    def _put_back_unsettled(self, job: Job) -> None:
        settled = {_file_of(verdict).path for verdict in job.report.verdicts}
        for file in reversed([file for file in job.work.files() if file.path not in settled]):
            self._agenda.put_back(file.path, job.lane)

    def _take_in_lineage(self, job: Job) -> None:
        """Where the receiver may have been restored or emptied, ask it again about what it acknowledged."""
        self._is_recalling = False
        if job.report.lineage is None:
            return
        doubtful = self._ledger.note_lineage(job.report.lineage)
        self._doubt_live_streams()
        files = [file for path in doubtful if (file := self._walk.find(path)) is not None]
        if job.report.lineage.since == "unknown" and files:
            log.warning(
                "the receiver is not what it was (restored, or emptied): asking again about %d files", len(files)
            )
        for file in files:
            if not self._agenda.is_out(file.path):
                self._ledger.doubt(file.path)
                self._unknown.add(file.path)
                if self._goal is not None:
                    self._goal.add_version(file.path)
                if self._agenda.note(file):
                    self._place(file, is_complete=True)

    def _doubt_live_streams(self) -> None:
        """Ask now and then about the streams of living runs that have nothing to ship: somebody may have deleted them there.

        One that grows needs no question: its next piece finds out. One of a run that has ended stays deleted.
        """
        if self._clock.steady_s() < self._doubt_s:
            return
        self._doubt_s = self._clock.steady_s() + self._config.quiet_scan_interval_s
        for folder in self._alive.folders():
            for file in self._walk.files_in(folder):
                entry = self._ledger.get(file.path)
                if (
                    self._kind(file) == "stream"
                    and entry is not None
                    and entry.is_done
                    and not entry.is_gone
                    and file.path not in self._agenda
                ):
                    self._unknown.add(file.path)
                    self._agenda.note(file)
                    self._place(file)

    def _note_end(self, job: Job) -> None:
        so_far = self._so_far
        if job.error is not None:
            said = job.error.one_line() if isinstance(job.error, MLLoggerError) else f"unexpected: {job.error!r}"
            self._so_far = replace(so_far, errors=so_far.errors + 1, last_error=said)
        elif isinstance(job.work, Batch):
            self._so_far = replace(so_far, last_error=None, last_ack_at=self._clock.wall_ns() / 1e9)
        elif isinstance(job.work, Recall):
            self._so_far = replace(so_far, last_error=None)

    def _fit_batches(self, job: Job) -> None:
        """Make batches smaller where they are refused as too large or take too long, and larger again where they pass."""
        if not isinstance(job.work, Batch):
            return
        if job.report.most_bytes is not None:
            self._most_bytes = self._batch_bytes = min(self._most_bytes, job.report.most_bytes)
        elif isinstance(job.error, TimedOut):
            self._batch_bytes = min(self._batch_bytes, max(self._batch_bytes // 2, MIN_BATCH_BYTES))
        elif job.error is None:
            self._next_flush_s = job.report.next_flush_s
            self._batch_bytes = min(self._batch_bytes * 2, self._most_bytes)

    def _learn(self, verdict: Verdict, lane: Lane, *, is_batch: bool) -> None:
        file = _file_of(verdict)
        newest = self._agenda.come_back(file.path, has_moved=isinstance(verdict, Stored))
        if newest is None:
            return  # deleted meanwhile
        if isinstance(verdict, Stored):
            self._stalls.pop(file.path, None)
            self._acknowledge(verdict.piece, newest)
        elif isinstance(verdict, Refused):
            self._aside.put(file, verdict.reason, is_lasting=verdict.is_lasting)
            self._place(newest)
        elif isinstance(verdict, Gone):
            self._let_go(verdict)
        elif isinstance(verdict, Missing):
            self._agenda.settle(file.path, self._config.settle_s)
        elif isinstance(verdict, Again):
            self._agenda.queue(file.path, lane, first=True)
        elif is_batch and self._is_stuck(file):
            self._set_aside(newest, "receiver and spool do not agree, however often it is tried")
        elif isinstance(verdict, Built):
            self._continue_upload(file, newest, verdict.staged)
        else:
            self._agree(verdict, newest)

    def _is_stuck(self, file: LocalFile) -> bool:
        self._stalls[file.path] += 1
        if self._stalls[file.path] <= MAX_STALLS:
            return False
        del self._stalls[file.path]
        return True

    def _acknowledge(self, piece: Piece, newest: LocalFile) -> None:
        held = Held(piece.item.end, piece.item.crc)
        self._tally.bytes += piece.item.length
        self._tally.files += piece.is_last
        if piece.item.op == "stage":
            self._continue_upload(piece.file, newest, held)
            return
        self._reader.end_upload(piece.file.path)
        if piece.item.op == "append" and piece.item.offset > 0:
            self._grown.note(piece.file.path)
        is_done = held.size == piece.signature.size
        self._remember(Entry(piece.item.path, held, piece.signature, is_done, piece.mark), piece.file, newest)

    def _let_go(self, verdict: Gone) -> None:
        """Be done for ever with a file that was deleted on the receiver, until it leaves the spool."""
        path = verdict.file.path
        self._agenda.drop(path)
        self._unknown.discard(path)
        self._unsure.discard(path)
        self._anew.discard(path)
        self._stalls.pop(path, None)
        for memory in (self._reader, self._aside, self._settling, self._grown):
            memory.forget(path)
        self._ledger.put(path, Entry(verdict.remote, None, verdict.file.signature, is_done=True, is_gone=True))
        run = self._alive.run_of(path)
        if run not in self._told_gone:
            self._told_gone.add(run)
            log.warning("%s was deleted on the receiver, or some of it: that is not sent again", ascii(run))

    def _continue_upload(self, file: LocalFile, newest: LocalFile, staged: Held | None) -> None:
        if newest is not file:
            self._place(newest)
            return
        if staged is None:
            self._reader.restart_upload(file, self._stalls[file.path])
        else:
            self._reader.note_staged(file, staged)
        self._agenda.queue(file.path, "bulk", first=True)  # a large file is finished before the next one is begun

    def _agree(self, verdict: Agreed, newest: LocalFile) -> None:
        file, entry = verdict.file, verdict.entry
        self._unknown.discard(file.path)
        self._unsure.discard(file.path)
        self._anew.discard(file.path)
        self._grown.forget(file.path)
        if self._kind(file) == "whole":
            if entry.is_done or entry.remote != self._entry(file).remote:
                self._reader.end_upload(file.path)
            else:  # that it was asked about, too
                self._reader.note_staged(file, NOTHING)
        self._remember(entry, file, newest, first=True)  # shipped before more is asked, or a short life ships nothing

    def _remember(self, entry: Entry, file: LocalFile, newest: LocalFile, *, first: bool = False) -> None:
        """Note in the ledger what both sides have of `file`, and let it go, or go on, if there is more of it by now."""
        is_news = newest is not file and newest.signature != entry.seen
        if self._goal is not None and entry.is_done:
            self._goal.note_version(file.path)
        self._ledger.put(file.path, entry._replace(is_done=entry.is_done and not is_news))
        if entry.is_done and not is_news:
            self._agenda.drop(file.path)
            if file.path in self._unsure:
                self._compare((file.path,))
        elif is_news or not self._place_tail(newest):
            self._place(newest, is_complete=not is_news, first=first)


def _is_answered(job: Job) -> bool:
    """Whether the receiver did what it was asked; for a file that had gone before it was not asked at all."""
    is_told = job.report.lineage is not None or any(not isinstance(v, Missing) for v in job.report.verdicts)
    return job.error is None and is_told


def _is_held_already(piece: Piece, entry: Entry) -> bool:
    """Whether a whole file in one piece is what was acknowledged: copied with its spool, touched, or written once more."""
    item = piece.item
    return item.op == "commit" and item.offset == 0 < item.end and entry.acked == Held(item.end, item.crc)


def _file_of(verdict: Verdict) -> LocalFile:
    return verdict.piece.file if isinstance(verdict, Stored) else verdict.file
