"""Waiting: a pause that ends when whoever read the output is gone, as in ``ml-logger tail -f RUN | head``."""

from __future__ import annotations

import select
import sys
import time


def wait_or_end(pause_s: float) -> None:
    """Wait; raises `BrokenPipeError` as soon as nobody reads standard output any more."""
    try:
        output = sys.stdout.fileno()
    except (OSError, ValueError, AttributeError):  # what stands for it is no file
        time.sleep(pause_s)
        return
    poll = select.poll()
    poll.register(output, 0)  # errors are told always
    if poll.poll(pause_s * 1000):
        raise BrokenPipeError
