"""Whether there is something to ask about a file before any of it is sent."""

from __future__ import annotations

from .delivery import Question
from .memory import Memory
from .pace import Pace
from .scanner import LocalFile

UNASKED_BYTES = 64 << 10
"""A file that appears while the agent runs and is no larger is sent without asking first: the answer says what is held."""


class Asking:
    """Makes the questions. A whole file that fits one batch is read where it is sent, which compares it as well."""

    def __init__(self, memory: Memory, pace: Pace) -> None:
        self._memory = memory
        self._ledger = memory.ledger
        self._doubts = memory.doubts
        self._pace = pace

    def maybe_question(self, file: LocalFile) -> Question | None:
        """Return what to ask about `file`, None if enough is known."""
        memory = self._memory
        is_anew = file.path in self._doubts.anew
        is_unsure = not is_anew and self._is_unsure(file)
        if is_anew or is_unsure or self._is_worth_asking(file):
            return Question(file, memory.kind(file), memory.entry(file), memory.plain_name(file), is_anew, is_unsure)
        return None

    def _is_unsure(self, file: LocalFile) -> bool:
        """Whether all bytes are to be compared: it has changed, but not its size. A small whole file is read here and now."""
        entry = self._ledger.get(file.path)
        if entry is None or file.path in self._doubts.unknown:
            return False
        if file.path not in self._doubts.unsure:
            is_same_size = file.signature.size == entry.acked.size > 0 and entry.seen not in (None, file.signature)
            if not is_same_size or (self._memory.kind(file) == "whole" and self._fits_one_batch(file)):
                return False
        return not self._memory.reader.is_uploading(file)

    def _is_worth_asking(self, file: LocalFile) -> bool:
        """Whether it costs less to ask than to send in vain."""
        if file.path in self._doubts.unknown:
            return True
        if self._ledger.get(file.path) is None:
            return file.signature.size > UNASKED_BYTES
        # a large file whose last answer was lost, with the agent, is there already
        is_large_whole = not self._fits_one_batch(file) and self._memory.kind(file) == "whole"
        return is_large_whole and not self._memory.reader.is_uploading(file)

    def _fits_one_batch(self, file: LocalFile) -> bool:
        return file.signature.size <= self._pace.batch_bytes
