"""A trainer: logs by one habit into one run directory until it is told to end (SIGTERM), as a program of a user's would.

python -m soak.trainer NAME HABIT DIRECTORY LISTS OFFSET_FILE

`LISTS` is where it lists what it has logged; `OFFSET_FILE` holds the seconds its wall clock is off.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from shifted_clock import shift_clock

if TYPE_CHECKING:
    from ml_logger import ML_Logger

STEP_S = 0.1
LAST_STEP = 300
"""Steps begin again then, so that files are written anew and their number stays bounded."""

_is_over = False


def _end(_number: int, _frame: object) -> None:
    global _is_over
    _is_over = True


def train(name: str, habit_name: str, directory: str, lists: Path) -> None:
    """Log until the end, or until the habit has the trainer start itself anew in the same directory."""
    from .habits import HABITS  # after the clock is in place
    from .life import Life

    habit = HABITS[habit_name]
    with _opened(directory, habit.segment_bytes) as logger:
        life = Life(logger, name, lists)
        for step in _steps(habit.steps):
            habit.log_step(life, step % LAST_STEP)
    if not _is_over:
        os.execv(sys.executable, sys.orig_argv)


def _opened(directory: str, segment_bytes: int) -> ML_Logger:
    """Return the logger. A full disk it says at once, and who trains on purpose tries again."""
    from ml_logger import LogDirectoryError, ML_Logger

    while not _is_over:
        with suppress(LogDirectoryError):
            return ML_Logger(directory, segment_bytes=segment_bytes)
        time.sleep(STEP_S)
    sys.exit(0)


def _steps(count: int) -> Iterator[int]:
    for step in range(count):
        if _is_over:
            return
        yield step
        time.sleep(STEP_S)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    shift_clock(Path(sys.argv[5]))
    train(sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4]))
