"""The end of a process that serves: asked for by SIGTERM or SIGINT, and over in time whatever hangs.

What is under way is finished first. Should the disk stand still for it, the process ends all the same, with exit code 1: what
was acknowledged is in the redo log, and the rest was promised to nobody.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from types import FrameType

CUT_SHORT = 1
"""The exit code of a process that ended with something under way."""

REQUESTS_SHARE = 0.8
"""Of the time to stop in, what requests under way have; the rest is for the store."""

_log = logging.getLogger(__name__)


class Stop:
    """Waits for the signals. A second one ends the process at once, unless it `ends_once`."""

    def __init__(self, timeout_s: float, *, ends_once: bool = False) -> None:
        self._timeout_s, self._ends_once = timeout_s, ends_once
        self._loop = asyncio.get_running_loop()
        self._asked = asyncio.Event()
        self._is_stopping = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if not self._is_stopping:
            self.ask()
        elif not self._ends_once:
            _log.warning("told to stop a second time: ending at once")
            os._exit(CUT_SHORT)

    def ask(self) -> None:
        """Begin to stop."""
        if self._is_stopping:
            return
        self._is_stopping = True
        self._loop.call_soon_threadsafe(self._asked.set)
        watch = threading.Timer(self._timeout_s, self._give_up)
        watch.daemon = True
        watch.start()

    def _give_up(self) -> None:
        _log.error("not everything under way has ended within %g s: ending without it", self._timeout_s)
        os._exit(CUT_SHORT)

    async def wait(self) -> None:
        """Wait until it is asked to stop."""
        await self._asked.wait()
