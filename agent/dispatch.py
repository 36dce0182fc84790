"""Dispatch: what goes next by a lane, questions or pieces of files, as much as one request may have.

A file is taken off its queue, read, and is on its way; one of which nothing can go finds another place.
"""

from __future__ import annotations

from collections.abc import Sequence

from .. import layout
from ..errors import BadPath
from ..wire import Held
from . import local_file
from .agenda import Lane
from .asking import Asking
from .delivery import Batch, Question, Questions
from .ledger import Entry
from .memory import Memory
from .pace import Pace
from .pieces import Piece
from .places import Places
from .scanner import LocalFile, Signature

QUESTIONS = 1000
"""The most files of one question."""

QUESTION_BYTES = 100
"""What a question costs on the line, about, there and back: a request of them is no larger than one of `batch_bytes`."""


class Dispatch:
    """Takes files off the agenda and makes requests of them."""

    def __init__(self, memory: Memory, places: Places, pace: Pace) -> None:
        self._memory = memory
        self._agenda = memory.agenda
        self._reader = memory.reader
        self._places = places
        self._pace = pace
        self._asking = Asking(memory, pace)
        self._root = f"{memory.spool}/"

    def next_work(self, lane: Lane) -> Questions | Batch | None:
        """Take files of `lane` and return what to ask about them or to send of them, as much as fits one request."""
        questions: list[Question] = []
        pieces: list[Piece] = []
        room = self._pace.batch_bytes
        most_files = self._memory.config.batch_files
        while room > 0 and len(pieces) < most_files and len(questions) < QUESTIONS:
            file = self._agenda.take(lane)
            if file is None:
                break
            question = self._asking.maybe_question(file)
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
        return _request_of(questions, pieces)

    def _fits(self, file: LocalFile, pieces: Sequence[Piece], room: int) -> bool:
        """Whether `file` may share a batch: all compress or none, and a whole file is not split without need."""
        if not pieces:
            return True
        if layout.is_compressed(pieces[0].file.path) != layout.is_compressed(file.path):
            return False
        return file.signature.size <= room or self._memory.kind(file) == "stream"

    # --- reading

    def _read(self, file: LocalFile, room: int) -> Piece | None:
        """Return the next piece of a file that was taken; where there is none, it is found another place."""
        try:
            plain = layout.check_path(self._memory.plain_name(file))
            with local_file.open_regular(self._root + file.path) as (fd, now):
                is_stream = self._memory.kind(file) == "stream"
                piece = (self._read_stream if is_stream else self._read_whole)(file, plain, fd, now, room)
        except BadPath as error:
            self._keep_back(file, str(error))
            return None
        except FileNotFoundError:
            self._agenda.come_back(file.path)
            self._await_next_look(file)  # which finds that it is gone, or back
            return None
        except OSError as error:
            self._keep_back(file, f"can't be read: {error.strerror or error}")
            return None
        if piece is None and self._agenda.is_out(file.path):
            self._agenda.come_back(file.path)
            if not self._places.place_tail(file):
                self._await_next_look(file)  # it changed since the last one
        return piece

    def _await_next_look(self, file: LocalFile) -> None:
        self._agenda.settle(file.path, self._memory.config.settle_s)

    def _keep_back(self, file: LocalFile, reason: str) -> None:
        self._agenda.come_back(file.path)
        self._places.set_aside(file, reason)

    def _read_stream(self, file: LocalFile, plain: str, fd: int, now: Signature, room: int) -> Piece | None:
        entry = self._memory.entry(file)
        acked, more = entry.acked, now.size - entry.acked.size
        behind = None if more < 0 else local_file.read_behind(fd, acked, entry.mark, min(room, more))
        if behind is None:
            self._memory.doubts.anew.add(file.path)
            self._agenda.put_back(file.path, self._places.lane(file, "stream"))
        elif more == 0 and (acked.size > 0 or entry.is_done):
            self._note_done(file, entry, now)
        else:
            return self._reader.read_stream(file, plain, entry, fd, now, behind)
        return None

    def _read_whole(self, file: LocalFile, plain: str, fd: int, _: Signature, room: int) -> Piece | None:
        entry = self._memory.entry(file)
        piece = self._reader.read_whole(file, plain, entry, fd, room)
        if piece is None or not _is_held_already(piece, entry):
            return piece
        self._reader.end_upload(file.path)
        self._note_done(file, entry, piece.signature)
        return None

    def _note_done(self, file: LocalFile, entry: Entry, now: Signature) -> None:
        """Note that of a file that was taken all is acknowledged already: only its times or inode have changed."""
        self._memory.ledger.put(file.path, entry._replace(seen=now, is_done=True))
        self._agenda.come_back(file.path)
        self._agenda.drop(file.path)


def _request_of(questions: Sequence[Question], pieces: Sequence[Piece]) -> Questions | Batch | None:
    if questions:
        return Questions(tuple(questions))
    if not pieces:
        return None
    return Batch(tuple(pieces), goes_on=len(pieces) == 1 and not pieces[0].is_last and len(pieces[0].payload) > 0)


def _is_held_already(piece: Piece, entry: Entry) -> bool:
    """Whether a whole file in one piece is what was acknowledged: copied with its spool, touched, or written once more."""
    item = piece.item
    return item.op == "commit" and item.offset == 0 < item.end and entry.acked == Held(item.end, item.crc)
