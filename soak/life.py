"""One life of a trainer: what it logs, and a list of it beside the spool, so that what is missing in the end can be told.

Each record carries an id that nothing else has (``t07.9f86d081.12``: trainer, life, number). It is written to the list when
the call has returned and the logger counts it as written: from then on it must never be lost. A killed trainer may have
logged one record more than its list says. A picture or a tensor is listed by its file, once that must be there.
"""

from __future__ import annotations

import itertools
import os
import secrets
import time
from pathlib import Path
from typing import Any

from ml_logger import ML_Logger


class Life:
    """Logs into `logger` as the trainer `name`, and lists in `lists` what has been logged."""

    def __init__(self, logger: ML_Logger, name: str, lists: Path) -> None:
        self.logger = logger
        self._name = name
        self._lists = lists
        self._begin()

    def _begin(self) -> None:
        self._life = f"{self._name}.{secrets.token_hex(4)}"
        self._numbers = itertools.count()
        self._list = os.open(self._lists / self._life, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

    def begin_anew(self) -> None:
        """Begin a life of its own in a forked child, whose ids and list are no other's."""
        os.close(self._list)
        self._begin()

    def metric(self, step: int, silent: bool = True, **values: float) -> None:
        """Log one record of metrics; ``at`` is when, by the steady clock, which all processes of a machine share."""
        record = self._new_id()
        before = self.logger.dropped
        self.logger.log(step, id=record, at=time.monotonic(), silent=silent, **values)
        self._note(record, before)

    def params(self, **values: Any) -> None:
        """Log parameters."""
        record = self._new_id()
        before = self.logger.dropped
        self.logger.log_params(soak={"id": record, **values})
        self._note(record, before)

    def data(self, stream: str, **values: Any) -> None:
        """Log a line of data to a stream of the trainer's own."""
        record = self._new_id()
        before = self.logger.dropped
        self.logger.log_data(stream, {"id": record, **values})
        self._note(record, before)

    def text(self, words: str) -> None:
        """Print a line."""
        record = self._new_id()
        before = self.logger.dropped
        self.logger.print(f"id={record}", words)
        self._note(record, before)

    def image(self, step: int, pixels: Any) -> None:
        """Log an image, and wait until it is encoded."""
        before = self.logger.failures.copy()
        self.logger.log_image(step, sample=pixels)
        self.logger.flush()
        self._note_file(f"images/sample/{step:04d}.png", before)

    def tensor(self, step: int, values: Any) -> None:
        """Log a tensor."""
        before = self.logger.failures.copy()
        self.logger.log_tensor(step, w=values)
        self._note_file(f"tensors/w/{step:04d}.npy", before)

    def _new_id(self) -> str:
        return f"{self._life}.{next(self._numbers)}"

    def _note(self, record: str, dropped_before: int) -> None:
        self._write("record" if self.logger.dropped == dropped_before else "dropped", record)

    def _note_file(self, path: str, failures_before: Any) -> None:
        self._write("file" if self.logger.failures == failures_before else "dropped", path)

    def _write(self, what: str, which: str) -> None:
        os.write(self._list, f"{what} {which}\n".encode())
