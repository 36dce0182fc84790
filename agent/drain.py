"""``ml-logger-agent drain``: ships all there is, and shows how far it is; a running agent is watched instead.

On a terminal a bar (bytes, files, rate, time left), else a line every few seconds. The bar's library is loaded with the bar:
it takes a tenth of the agent's start-up, and brings asyncio with it.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, NoReturn, TextIO

from .amounts import bytes_text, count_text, duration_text
from .config import AgentConfig
from .loop import Total
from .progress import Meter, Progress, sum_of
from .scanner import Problem
from .status import SpoolStatus, status_of

if TYPE_CHECKING:
    from tqdm import tqdm

DRAW_EVERY_S = 0.2
LINE_EVERY_S = 5.0


class Gauge:
    """Shows how far a drain is, at every `show`, as a bar on a terminal or as lines now and then."""

    def __init__(self, out: TextIO, steady_s: Callable[[], float] = time.monotonic) -> None:
        self._out = out
        self._steady_s = steady_s
        self._meter = Meter()
        self._next_line_s = steady_s()
        self._last_line = ""
        self._bar = _new_bar(out) if _is_screen(out) else None

    @property
    def is_bar(self) -> bool:
        """Whether a bar is drawn."""
        return self._bar is not None

    def show(self, progress: Progress) -> None:
        """Show `progress`, whose totals count since the drain began."""
        now_s = self._steady_s()
        self._meter.note(now_s, progress.shipped_bytes)
        total = progress.shipped_bytes + progress.backlog_bytes
        if self._bar is not None:
            self._bar.total = total
            self._bar.set_postfix_str(f"{count_text(progress.backlog_files, 'file')} left", refresh=False)
            self._bar.update(progress.shipped_bytes - self._bar.n)
            self._bar.refresh()
        elif now_s >= self._next_line_s:
            self._next_line_s = now_s + LINE_EVERY_S
            self._say(progress)

    def close(self, progress: Progress) -> None:
        """Show `progress` as the last word, and leave it there."""
        self.show(progress)
        if self._bar is None:
            self._say(progress)
        else:
            self._bar.close()

    def _say(self, progress: Progress) -> None:
        total = progress.shipped_bytes + progress.backlog_bytes
        bytes_per_s = self._meter.rate(self._steady_s())
        left_s = progress.backlog_bytes / bytes_per_s if bytes_per_s > 0 else 0.0
        rest = f", about {duration_text(left_s)} to go" if left_s > 0 else ""
        line = (
            f"{bytes_text(progress.shipped_bytes)} of {bytes_text(total)} shipped, "
            f"{count_text(progress.backlog_files, 'file')} left"
        )
        if total and line != self._last_line:
            print(f"{line}, {bytes_text(bytes_per_s)}/s{rest}", file=self._out, flush=True)
        self._last_line = line


def _new_bar(out: TextIO) -> tqdm[NoReturn]:
    from tqdm import tqdm

    return tqdm(unit="B", unit_scale=True, unit_divisor=1024, file=out, dynamic_ncols=True, leave=True, desc="shipping")


def _logging_above_the_bar() -> AbstractContextManager[None]:
    from tqdm.contrib.logging import logging_redirect_tqdm

    return logging_redirect_tqdm()


def _is_screen(out: TextIO) -> bool:
    """Whether `out` is a terminal that has a width: one of 0 columns, as of some containers, shows no bar at all."""
    try:
        return out.isatty() and os.get_terminal_size(out.fileno()).columns > 0
    except OSError:
        return False


@contextmanager
def showing(latest: Callable[[], Progress], out: TextIO) -> Iterator[None]:
    """Show what `latest` says, again and again, until the block ends; it is called in another thread."""
    gauge, is_over = Gauge(out), threading.Event()

    def draw() -> None:
        while not is_over.wait(DRAW_EVERY_S):
            gauge.show(latest())

    thread = threading.Thread(target=draw, name="ml-logger-gauge", daemon=True)
    thread.start()
    try:
        with _logging_above_the_bar() if gauge.is_bar else nullcontext():
            yield
    finally:
        is_over.set()
        thread.join(5)
        gauge.close(latest())


def watch(config: AgentConfig, *, is_stopped: Callable[[], bool], out: TextIO = sys.stderr) -> Total:
    """Show how far the agents that run on the spools are, until all that there was when this began is shipped.

    Ends early after `drain_timeout_s`, when `is_stopped`, or when no agent runs any more where something is left. Returns what
    was shipped meanwhile and what is left of it.
    """
    gauge, start_s, start = Gauge(out), time.monotonic(), time.time()
    first = now = _look(config)
    while waited := [s for s in now if _is_waited_for(s, start, time.monotonic() - start_s)]:
        if is_stopped() or time.monotonic() - start_s > config.drain_timeout_s or all(s.agent is None for s in waited):
            break
        time.sleep(DRAW_EVERY_S)
        now = _look(config)
        gauge.show(_since(first, now))
    done = _since(first, now)
    gauge.close(done)
    return Total(done.shipped_bytes, done.shipped_files, tuple(p for s in now for p in _left(s, is_waited=s in waited)))


def _look(config: AgentConfig) -> list[SpoolStatus]:
    now = time.time()
    return [status_of(config, spool, now) for spool in config.spools()]


def _is_waited_for(status: SpoolStatus, start: float, elapsed_s: float) -> bool:
    """Whether something is left, set aside or not, that was there at the `start`, or the agent has not spoken since."""
    progress = status.progress
    if status.at < start:
        return True
    if progress.backlog_files <= len(progress.aside):
        return False
    return progress.oldest_unshipped_s is None or progress.oldest_unshipped_s >= elapsed_s


def _since(first: Sequence[SpoolStatus], now: Sequence[SpoolStatus]) -> Progress:
    """Return how far all spools are together, the totals counted from `first` on."""
    before, after = sum_of([status.progress for status in first]), sum_of([status.progress for status in now])
    return Progress(
        backlog_files=after.backlog_files,
        backlog_bytes=after.backlog_bytes,
        shipped_bytes=max(0, after.shipped_bytes - before.shipped_bytes),
        shipped_files=max(0, after.shipped_files - before.shipped_files),
    )


def _left(status: SpoolStatus, *, is_waited: bool) -> Iterator[Problem]:
    progress = status.progress
    yield from progress.aside
    if is_waited:
        what = f"{count_text(progress.backlog_files, 'file')}, {bytes_text(progress.backlog_bytes)} not shipped yet"
        reason = "no agent runs any more" if status.agent is None else progress.last_error
        yield Problem(str(status.spool), what if reason is None else f"{what}: {reason}")
