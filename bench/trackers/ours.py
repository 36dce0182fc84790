"""ML_Logger itself, without its table, as a peer prints none either."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_logger import ML_Logger
from ml_logger.reader import Run as Reader

from . import IMAGE, KEYS, Held


class _Run:
    def __init__(self, folder: Path) -> None:
        self._logger = ML_Logger(folder)
        self.finish = self._logger.close

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._logger.log(step, values, silent=True)

    def log_image(self, step: int, pixels: Any) -> None:
        self._logger.log_image(step, **{IMAGE: pixels})


def open_run(folder: Path) -> _Run:
    """Begin a run."""
    return _Run(folder)


def held(folder: Path) -> Held:
    """Return what `ml_logger.reader` finds."""
    run = Reader(folder)
    whole = [record for record in run.records() if all(key in record for key in KEYS)]
    return Held(len(whole), len(run.images(IMAGE)))
