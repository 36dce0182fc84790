"""Delivering: one question or one batch, from the request to what it means for each file. Runs in a courier's thread.

Everything that waits for the network or reads much of a file is here. Nothing is decided and nothing remembered: a delivery
works on the values it was given and returns verdicts, which the shipper's one thread applies to its memory.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol, TypeAlias

from .. import layout
from ..errors import BatchRefused, MLLoggerError, TooLarge
from ..version import __version__
from ..wire import NOTHING, OVER_QUOTA, PAYLOAD_CORRUPT, Answer, Held, Lineage, Manifest, Outcome
from . import local_file
from .agreement import agree_on_stream, agree_on_whole, try_agree
from .ledger import Entry
from .pieces import Piece, maybe_following
from .planner import Kind
from .scanner import LocalFile

log = logging.getLogger(__name__)

MIN_BATCH_BYTES = 1 << 10

HAUL_S = 0.5
"""How long one connection goes on with one large file before others have their turn."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A batch as it goes over the line, its body in parts."""

    manifest: Manifest
    parts: tuple[bytes | memoryview, ...]
    is_compressed: bool


class Way(Protocol):
    """What a delivery needs of a transport."""

    def stat(self, paths: Sequence[str]) -> list[Held | None]:
        """Return what the receiver holds of each path."""

    def lineage(self, known: str | None) -> Lineage | None:
        """Return the receiver's mark, and what happened since the `known` one."""

    def pack(self, manifest: Manifest, payloads: Sequence[bytes | memoryview], *, compressible: bool) -> Packed:
        """Return one batch as it goes over the line; any thread may do that while another batch is on its way."""

    def send(self, packed: Packed) -> Answer:
        """Send one batch."""


# --- what there is to deliver


@dataclass(frozen=True, slots=True)
class Question:
    """A file to agree on with the receiver: `entry` is what is known, `plain` its name where no other bytes have it.

    `is_anew` if the file does not begin with the bytes that were shipped under `entry.remote`; `is_unsure` if only a comparison
    of all its bytes tells whether it does.
    """

    file: LocalFile
    kind: Kind
    entry: Entry
    plain: str
    is_anew: bool = False
    is_unsure: bool = False


@dataclass(frozen=True, slots=True)
class Questions:
    """Files to agree on."""

    asked: tuple[Question, ...]

    def files(self) -> Iterator[LocalFile]:
        """Yield the files this is about."""
        return (question.file for question in self.asked)


@dataclass(frozen=True, slots=True)
class Recall:
    """Whether the receiver is still what it was when it gave the mark that is `known`."""

    known: str | None

    def files(self) -> Iterator[LocalFile]:
        """Yield nothing: it is about no file."""
        return iter(())


@dataclass(frozen=True, slots=True)
class Batch:
    """Pieces that go in one request; one that `goes_on` is followed by those behind it, while there is time."""

    pieces: tuple[Piece, ...]
    goes_on: bool = False

    def files(self) -> Iterator[LocalFile]:
        """Yield the files this is about."""
        return (piece.file for piece in self.pieces)


Work: TypeAlias = Questions | Recall | Batch


# --- what came of it


class Stored(NamedTuple):
    """The receiver holds the file up to the end of `piece`."""

    piece: Piece


@dataclass(frozen=True, slots=True)
class Agreed:
    """Both sides agree on `entry`; the next piece starts there."""

    file: LocalFile
    entry: Entry


@dataclass(frozen=True, slots=True)
class Built:
    """The receiver has built `staged` of this version of the file, or nothing usable (None): it is built anew."""

    file: LocalFile
    staged: Held | None


@dataclass(frozen=True, slots=True)
class Refused:
    """The file can't be shipped as it is; `is_lasting` says that no change of it can help, `by_receiver` who says so."""

    file: LocalFile
    reason: str
    is_lasting: bool = False
    by_receiver: bool = False


@dataclass(frozen=True, slots=True)
class Gone:
    """The file, or a folder above it, was deleted on the receiver, where nobody wants it again."""

    file: LocalFile
    remote: str


@dataclass(frozen=True, slots=True)
class Missing:
    """The file was not there when it was to be read."""

    file: LocalFile


@dataclass(frozen=True, slots=True)
class Again:
    """The file is sent once more: it was damaged on the way, or too much at once."""

    file: LocalFile


Verdict: TypeAlias = Stored | Agreed | Built | Refused | Gone | Missing | Again


def file_of(verdict: Verdict) -> LocalFile:
    """Return the file that `verdict` is about."""
    return verdict.piece.file if isinstance(verdict, Stored) else verdict.file


@dataclass(slots=True)
class Report:
    """What came of a delivery, as far as it got: a failure in the middle takes back nothing that was settled before it.

    `hauled_bytes` of the same file were stored before the piece of the verdict. `most_bytes` is what one piece may have from
    now on, if the receiver refused a larger one; `next_flush_s` is how long the receiver asks to wait between batches.
    """

    verdicts: list[Verdict] = field(default_factory=list)
    hauled_bytes: int = 0
    is_damaged: bool = False
    most_bytes: int | None = None
    next_flush_s: float = 0.0
    mark: str | None = None
    lineage: Lineage | None = None


class Delivery:
    """Delivers for one spool over one connection."""

    def __init__(self, spool: Path, source: str, way: Way) -> None:
        self._root = f"{spool}/"
        self._source = source
        self._way = way
        self._host = os.uname().nodename
        self._ahead = ThreadPoolExecutor(1, "ml-logger-ahead")

    def deliver(self, job: Work, report: Report) -> None:
        """Do `job`, adding to `report` as it goes; raises `ShipError` or `BadAnswer` where it had to end early.

        Whatever else goes wrong may be due to one file, which would else keep the others back for ever: it is looked for.
        """
        try:
            self._deliver(job, report)
        except (MLLoggerError, OSError, MemoryError):  # the way or the machine, and no file
            raise
        except Exception as error:
            if isinstance(job, Recall):
                raise
            self._single_out(job, error, report)

    def _single_out(self, job: Questions | Batch, error: Exception, report: Report) -> None:
        """Do what is left of `job` in halves, until the file is found that `error` comes from; that one is refused."""
        settled = {file_of(verdict).path for verdict in report.verdicts}
        parts = job.asked if isinstance(job, Questions) else job.pieces
        left = [part for part in parts if part.file.path not in settled]
        if len(left) == 1:
            report.verdicts.append(Refused(left[0].file, f"the agent can't send it, by a fault of its own: {error!r}"))
            return
        half = len(left) // 2
        for some in filter(None, (left[:half], left[half:])):
            self.deliver(_of_parts(some), report)

    def _deliver(self, job: Work, report: Report) -> None:
        if isinstance(job, Questions):
            self._ask(job.asked, report)
        elif isinstance(job, Recall):
            report.lineage = self._way.lineage(job.known)
        elif job.goes_on:
            self._haul(job.pieces[0], report)
        else:
            self._send(job.pieces, self._pack(job.pieces), report)

    # --- questions

    def _ask(self, asked: Sequence[Question], report: Report) -> None:
        known = [question for question in asked if not question.is_anew and not question.is_unsure]
        held = self._way.stat([question.entry.remote for question in known]) if known else []
        for question, holding in zip(known, held, strict=True):
            report.verdicts.append(self._answer(question, holding))
        for question in asked:
            if question.is_anew:
                report.verdicts.append(self._visit(question.file, partial(self._agree_anew, question, None)))
            elif question.is_unsure:
                report.verdicts.append(self._visit(question.file, partial(self._compare_all, question)))

    def _answer(self, question: Question, held: Held | None) -> Verdict:
        if held is None:  # nothing to compare
            return Agreed(question.file, Entry(question.entry.remote, None, question.file.signature))
        return self._visit(question.file, partial(self._compare, question, held))

    def _compare(self, question: Question, held: Held, fd: int) -> Verdict:
        file, entry = question.file, question.entry
        if question.kind == "whole":
            return Agreed(file, agree_on_whole(file, fd, entry, held))
        agreed = try_agree(file, fd, entry.remote, held)
        return self._agree_anew(question, entry.remote, fd) if agreed is None else Agreed(file, agreed)

    def _compare_all(self, question: Question, fd: int) -> Verdict:
        """Compare what was acknowledged with the file as it is; the receiver is asked only where they differ.

        Else it would get back what a person deleted there, for no more than a `chmod` here.
        """
        file, entry = question.file, question.entry
        crc = local_file.crc_of_prefix(fd, entry.acked.size)
        if crc == entry.acked.crc:
            is_done = entry.acked.size == file.signature.size
            return Agreed(file, entry._replace(seen=file.signature, is_done=is_done))
        if question.kind == "stream":
            return self._agree_anew(question, None, fd)
        is_read = entry.acked.size == file.signature.size and local_file.signature_now(fd) == file.signature
        held = self._way.stat([entry.remote])[0]
        is_there = is_read and held is not None and (held.size, held.crc) == (file.signature.size, crc)
        return Agreed(file, Entry(entry.remote, held if is_there else entry.held, file.signature, is_there))

    def _agree_anew(self, question: Question, refused: str | None, fd: int) -> Verdict:
        return self._search_name(question.file, fd, question.plain, refused)

    def _search_name(self, file: LocalFile, fd: int, plain: str, refused: str | None) -> Verdict:
        entry = agree_on_stream(file, fd, plain, self._source, refused=refused, stat=self._way.stat)
        if entry is not None:
            return Agreed(file, entry)
        return Refused(
            file,
            "the receiver holds other bytes under every name it may have; a file that is rewritten as a whole "
            "should match none of the patterns in 'streams'",
        )

    def _visit(self, file: LocalFile, action: Callable[[int], Verdict]) -> Verdict:
        try:
            with local_file.open_regular(self._root + file.path) as (fd, _):
                return action(fd)
        except FileNotFoundError:
            return Missing(file)
        except OSError as error:
            return Refused(file, f"can't be read: {error.strerror or error}")

    # --- batches

    def _pack(self, pieces: Sequence[Piece]) -> Packed:
        manifest = Manifest(self._source, tuple(p.item for p in pieces), self._host, __version__)
        compressible = not layout.is_compressed(pieces[0].file.path)
        return self._way.pack(manifest, [p.payload for p in pieces], compressible=compressible)

    def _haul(self, first: Piece, report: Report) -> None:
        """Send `first` and then piece by piece what is behind it, one request at a time.

        The next piece is read and packed while the one before is on its way: of a large file, the disk and the processor of
        either end work at the same time. It ends before the last piece, about which the shipper decides.
        """
        deadline_s = time.monotonic() + HAUL_S
        following: tuple[Piece, Packed] | None = (first, self._pack((first,)))
        with _maybe_open(self._root + first.file.path) as fd:
            while following is not None:
                piece, packed = following
                ahead = self._ahead.submit(self._read_and_pack, fd, piece, len(first.payload))
                try:
                    self._send((piece,), packed, report)
                finally:
                    wait((ahead,))  # it reads from the descriptor that is closed here
                for before in report.verdicts[:-1]:
                    report.hauled_bytes += before.piece.item.length if isinstance(before, Stored) else 0
                del report.verdicts[:-1]
                is_over = time.monotonic() > deadline_s or not isinstance(report.verdicts[-1], Stored)
                following = None if is_over else ahead.result()

    def _read_and_pack(self, fd: int | None, piece: Piece, room: int) -> tuple[Piece, Packed] | None:
        following = None if fd is None else maybe_following(fd, piece, room)
        return None if following is None else (following, self._pack((following,)))

    def _send(self, pieces: Sequence[Piece], packed: Packed, report: Report) -> None:
        """Send `pieces` in one request; where the receiver refuses that, in halves, until the one it can't take is found."""
        try:
            answer = self._way.send(packed)
        except BatchRefused as error:
            self._send_refused(pieces, error, report)
            return
        report.next_flush_s, report.mark = answer.next_flush_s, answer.mark
        for piece, outcome in zip(pieces, answer.outcomes, strict=True):
            report.verdicts.append(self._judge(piece, outcome, report))

    def _send_refused(self, pieces: Sequence[Piece], error: BatchRefused, report: Report) -> None:
        if len(pieces) > 1:
            half = len(pieces) // 2
            for some in (pieces[:half], pieces[half:]):
                self._send(some, self._pack(some), report)
            return
        piece = pieces[0]
        if isinstance(error, TooLarge) and len(piece.payload) > MIN_BATCH_BYTES:
            report.most_bytes = len(piece.payload) // 2
            report.verdicts.append(Again(piece.file))
        else:
            report.verdicts.append(Refused(piece.file, str(error), by_receiver=True))

    def _judge(self, piece: Piece, outcome: Outcome, report: Report) -> Verdict:
        if outcome.result in ("stored", "already"):
            return Stored(piece)
        if outcome.result != "rejected":
            return self._visit(piece.file, lambda fd: self._reposition(piece, outcome, fd))
        if outcome.is_gone:
            return Gone(piece.file, piece.item.path)
        if not (outcome.reason or "").startswith(PAYLOAD_CORRUPT):
            is_lasting = (outcome.reason or "").startswith(OVER_QUOTA)
            return Refused(piece.file, f"the receiver refuses it: {outcome.reason}", is_lasting, by_receiver=True)
        report.is_damaged = True
        return Again(piece.file)

    def _reposition(self, piece: Piece, outcome: Outcome, fd: int) -> Verdict:
        """Deal with a receiver that holds something else than was assumed: less, more, or other bytes."""
        held = outcome.held or NOTHING
        if piece.item.op == "append":
            return self._reposition_stream(piece, outcome, held, fd)
        if piece.item.op == "commit" and outcome.result == "diverged":
            if outcome.is_own and outcome.held is not None:  # an earlier version of ours, which a lost ledger had known
                return Agreed(piece.file, Entry(piece.item.path, outcome.held, piece.signature))
            return self._ship_under_own_name(piece)
        is_usable = held.size <= piece.signature.size and local_file.holds_prefix(fd, held)
        return Built(piece.file, held if is_usable else None)

    def _reposition_stream(self, piece: Piece, outcome: Outcome, held: Held, fd: int) -> Verdict:
        if outcome.result == "ahead" and held.size > piece.signature.size:
            return Stored(piece)  # it compared: it holds all there is here, and more (an older copy of the spool ships)
        if outcome.result != "diverged" and held.size <= piece.signature.size and local_file.holds_prefix(fd, held):
            is_done = held.size == piece.signature.size
            mark = local_file.mark_of(fd, held.size)
            return Agreed(piece.file, Entry(piece.item.path, held, piece.signature, is_done, mark))
        return self._search_name(piece.file, fd, piece.plain, piece.item.path)

    def _ship_under_own_name(self, piece: Piece) -> Verdict:
        name = layout.own_name(piece.plain, self._source)
        if piece.item.path == name:
            return Refused(piece.file, f"the receiver holds other bytes under {name}")
        log.warning("%s holds other bytes on the receiver: shipping as %s", ascii(piece.item.path), ascii(name))
        return Agreed(piece.file, Entry(name, None, piece.signature))


@contextmanager
def _maybe_open(path: str) -> Iterator[int | None]:
    """Open a file that was read a moment ago; None if it has gone or changed its kind meanwhile."""
    fd: int | None = None
    with ExitStack() as stack:
        with suppress(OSError):
            fd, _ = stack.enter_context(local_file.open_regular(path))
        yield fd


def _of_parts(parts: Sequence[Question | Piece]) -> Questions | Batch:
    asked = tuple(part for part in parts if isinstance(part, Question))
    return Questions(asked) if asked else Batch(tuple(part for part in parts if isinstance(part, Piece)))
