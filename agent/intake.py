"""Intake: what couriers bring back, and what it means for each file. A position moves here, and nowhere else forward."""

from __future__ import annotations

import logging

from ..errors import BadAnswer, TryAgain
from ..wire import NOTHING, Held
from .account import Account
from .agenda import Lane
from .comparisons import Comparisons
from .couriers import Job
from .delivery import Again, Agreed, Batch, Built, Gone, Missing, Recall, Refused, Stored, Verdict, file_of
from .ledger import Entry
from .memory import Memory
from .pace import Pace
from .pieces import Piece
from .places import Places
from .recalls import Recalls
from .scanner import LocalFile

log = logging.getLogger(__name__)


class Intake:
    """Takes in finished jobs."""

    def __init__(
        self,
        memory: Memory,
        places: Places,
        comparisons: Comparisons,
        recalls: Recalls,
        pace: Pace,
        account: Account,
    ) -> None:
        self._memory = memory
        self._agenda = memory.agenda
        self._reader = memory.reader
        self._places = places
        self._comparisons = comparisons
        self._recalls = recalls
        self._pace = pace
        self._account = account
        self._told_gone: set[str] = set()  # runs of which it was said that they were deleted on the receiver

    def take_in(self, job: Job) -> Exception | None:
        """Learn from what a courier brought back; return the error that ended it early, if one did."""
        report, is_batch = job.report, isinstance(job.work, Batch)
        if isinstance(job.work, Recall):
            self._recalls.take_in(report.lineage)
        else:
            self._recalls.note_mark(report.mark)
        self._account.note_shipped(report.hauled_bytes)
        for verdict in report.verdicts if is_batch else reversed(report.verdicts):  # what is answered goes to the head
            self._learn(verdict, job.lane, is_batch=is_batch)
        if job.error is not None:
            self._put_back_unsettled(job)
        self._pace.note(job)
        self._account.note_end(job)
        if report.is_damaged and job.error is None:
            return TryAgain(
                "bytes were damaged on the way", hint="the receiver's CRC does not match; they are sent again"
            )
        # a receiver that does not tell its lineage now is asked again; only that it lets nobody in is news
        return None if isinstance(job.work, Recall) and isinstance(job.error, (TryAgain, BadAnswer)) else job.error

    def _put_back_unsettled(self, job: Job) -> None:
        settled = {file_of(verdict).path for verdict in job.report.verdicts}
        for file in reversed([file for file in job.work.files() if file.path not in settled]):
            self._agenda.put_back(file.path, job.lane)

    def _learn(self, verdict: Verdict, lane: Lane, *, is_batch: bool) -> None:
        file = file_of(verdict)
        newest = self._agenda.come_back(file.path, has_moved=isinstance(verdict, Stored))
        if newest is None:
            return  # deleted meanwhile
        if isinstance(verdict, Stored):
            self._memory.stalls.forget(file.path)
            self._acknowledge(verdict.piece, newest)
        elif isinstance(verdict, Refused):
            self._memory.aside.put(file, verdict.reason, is_lasting=verdict.is_lasting, is_refused=verdict.by_receiver)
            self._places.place(newest)
        elif isinstance(verdict, Gone):
            self._let_go(verdict)
        elif isinstance(verdict, Missing):
            self._agenda.settle(file.path, self._memory.config.settle_s)
        elif isinstance(verdict, Again):
            self._agenda.queue(file.path, lane, first=True)
        elif is_batch and self._memory.stalls.note(file.path):
            self._places.set_aside(newest, "receiver and spool do not agree, however often it is tried")
        elif isinstance(verdict, Built):
            self._continue_upload(file, newest, verdict.staged)
        else:
            self._agree(verdict, newest)

    def _acknowledge(self, piece: Piece, newest: LocalFile) -> None:
        held = Held(piece.item.end, piece.item.crc)
        self._account.note_shipped(piece.item.length, piece.is_last)
        if piece.item.op == "stage":
            self._continue_upload(piece.file, newest, held)
            return
        self._reader.end_upload(piece.file.path)
        if piece.item.op == "append" and piece.item.offset > 0:
            self._memory.grown.note(piece.file.path)
        is_done = held.size == piece.signature.size
        # the walk's own object if it is equal: of 100,000 files the second one would take 20 MB
        seen = newest.signature if newest.signature == piece.signature else piece.signature
        self._remember(Entry(piece.item.path, held, seen, is_done, piece.mark), piece.file, newest)

    def _let_go(self, verdict: Gone) -> None:
        """Be done for ever with a file that was deleted on the receiver, until it leaves the spool."""
        path = verdict.file.path
        self._memory.let_go(path)
        self._memory.ledger.put(path, Entry(verdict.remote, None, verdict.file.signature, is_done=True, is_gone=True))
        run = self._memory.alive.run_of(path)
        if run not in self._told_gone:
            self._told_gone.add(run)
            log.warning("%s was deleted on the receiver, or some of it: that is not sent again", ascii(run))

    def _continue_upload(self, file: LocalFile, newest: LocalFile, staged: Held | None) -> None:
        if newest is not file:
            self._places.place(newest)
            return
        if staged is None:
            self._reader.restart_upload(file, self._memory.stalls.count(file.path))
        else:
            self._reader.note_staged(file, staged)
        self._agenda.queue(file.path, "bulk", first=True)  # a large file is finished before the next one is begun

    def _agree(self, verdict: Agreed, newest: LocalFile) -> None:
        file, entry = verdict.file, verdict.entry
        self._memory.doubts.forget(file.path)
        self._memory.grown.forget(file.path)
        if self._memory.kind(file) == "whole":
            if entry.is_done or entry.remote != self._memory.entry(file).remote:
                self._reader.end_upload(file.path)
            else:  # that it was asked about, too
                self._reader.note_staged(file, NOTHING)
        self._remember(entry, file, newest, first=True)  # shipped before more is asked, or a short life ships nothing

    def _remember(self, entry: Entry, file: LocalFile, newest: LocalFile, *, first: bool = False) -> None:
        """Note in the ledger what both sides have of `file`, and let it go, or go on, if there is more of it by now."""
        memory, path = self._memory, file.path
        is_news = newest is not file and newest.signature != entry.seen
        if memory.goal is not None and entry.is_done:
            memory.goal.note_version(path)
        memory.ledger.put(path, entry._replace(is_done=entry.is_done and not is_news))
        if entry.is_done and not is_news:
            memory.stalls.forget(path)  # agreed: what it took counts no more when it is asked about the next time
            self._agenda.drop(path)
            if path in memory.doubts.unsure:
                self._comparisons.compare((path,))
        elif is_news or not self._places.place_tail(newest):
            self._places.place(newest, is_complete=not is_news, first=first)
