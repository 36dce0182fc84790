"""``status.json`` in the state directory: what the agent says of one spool, for whoever looks from outside.

Written whole or not at all (rename), without fsync: it is news, not memory. At most once a second, and only when something
has changed or `REFRESH_S` have passed; its time tells the client, too, that an agent is there. After the agent's end it stays,
and says what the last one knew.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import orjson

from ..layout import AGENT_STATUS
from ..version import __version__
from .amounts import plain_text
from .progress import Meter, Progress
from .scanner import Problem

log = logging.getLogger(__name__)

VERSION = 1

CHANGE_S = 1.0
"""What has changed is written at most this often, errors aside."""

REFRESH_S = 5.0
"""How often it is written where nothing changes; the client takes an agent that was not heard of for a minute as gone."""

MAKING_SHARE = 50.0
"""Of the agent's time at most 1/50 goes into finding out how far it is: a backlog of many files is counted less often."""

_MAX_BYTES = 16 << 20
_MAX_LISTED = 1000  # files set aside and runs alive


@dataclass(frozen=True, slots=True)
class Said:
    """What an agent said of its spool: who it was, when (`written_at`, seconds since the epoch), and how far it was."""

    pid: int
    host: str
    started_at: float
    written_at: float
    bytes_per_s: float
    progress: Progress


class StatusFile:
    """Says how far one spool is. `tell` belongs behind every round of the loop; the reading methods are for any thread.

    `also` is a second folder to write to, if it can be made: the spool's own, where the client looks for an agent. `is_once`
    says that the agent is to ship what there is and end, so that nobody misses it afterwards. When the receiver last
    acknowledged something is taken over from the agent before.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        also: Path | None = None,
        is_once: bool = False,
        hide: Callable[[str], str] = str,
        wall_s: Callable[[], float] = time.time,
        steady_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._state_dir = state_dir
        self._also = None if also == state_dir else also
        self._is_once = is_once
        self._hide = hide
        self._wall_s = wall_s
        self._steady_s = steady_s
        self._started_at = wall_s()
        self._meter = Meter()
        self._meter.note(steady_s(), 0)
        former = maybe_said(state_dir, wall_s())
        self._latest = (steady_s(), Progress(last_ack_at=None if former is None else former.progress.last_ack_at))
        self._next_s = self._paid_s = steady_s()
        self._has_held_back = False
        self._written: Progress | None = None
        self._written_s = 0.0
        self._has_warned = False

    def tell(self, make: Callable[[], Progress], *, is_last: bool = False) -> None:
        """Ask `make` how far the spool is, if that is due or this is the last word, and write it, if it is new.

        Before it is due this costs next to nothing.
        """
        now_s = self._steady_s()
        if now_s < self._next_s and not is_last:
            self._has_held_back = True
            return
        progress = self._discreet(make())
        self._has_held_back = False
        self._paid_s = now_s + MAKING_SHARE * (self._steady_s() - now_s)
        self._next_s = max(now_s + CHANGE_S, self._paid_s)
        self._meter.note(now_s, progress.shipped_bytes)
        self._take(progress)

    def tell_error(self, error: str, make: Callable[[], Progress]) -> None:
        """Write at once that `error` stands; how far the spool is `make` is asked only if that was not just done."""
        if self._steady_s() >= self._paid_s:
            self._next_s = self._steady_s()
        self.tell(make)
        if self._has_held_back:
            self._take(replace(self.latest(), last_error=self._hide(error)))

    def _take(self, progress: Progress) -> None:
        now_s = self._steady_s()
        self._latest = (now_s, progress)
        is_news = self._written is None or _without_age(progress) != _without_age(self._written)
        if is_news or now_s - self._written_s >= REFRESH_S:
            self._put(progress)

    def due_in_s(self) -> float:
        """Return in how many seconds `tell` should be called next, even if nothing happens until then."""
        due_s = self._next_s if self._has_held_back else max(self._next_s, self._written_s + REFRESH_S)
        return max(0.0, due_s - self._steady_s())

    def _discreet(self, progress: Progress) -> Progress:
        aside = tuple(Problem(problem.path, self._hide(problem.reason)) for problem in progress.aside)
        error = None if progress.last_error is None else self._hide(progress.last_error)
        return replace(progress, last_error=error, aside=aside)

    def latest(self) -> Progress:
        """Return the progress last told, its oldest byte as old as it is now."""
        at_s, progress = self._latest
        return _older(progress, self._steady_s() - at_s)

    def bytes_per_s(self) -> float:
        """Return how many bytes a second were shipped over the last minute."""
        return self._meter.rate(self._steady_s())

    @property
    def started_at(self) -> float:
        """When the agent started, in seconds since the epoch."""
        return self._started_at

    def _put(self, progress: Progress) -> None:
        self._written, self._written_s = progress, self._steady_s()
        said = Said(
            os.getpid(), os.uname().nodename, self._started_at, self._wall_s(), round(self.bytes_per_s(), 1), progress
        )
        body = encode_said(said, is_once=self._is_once)
        try:
            _replace_file(self._state_dir / AGENT_STATUS, body)
        except OSError as error:
            if not self._has_warned:
                log.warning("%s can't be written (%s): status is old", self._state_dir / AGENT_STATUS, error.strerror)
            self._has_warned = True
        else:
            self._has_warned = False
        if self._also is not None:
            with contextlib.suppress(OSError):  # a spool that this agent may only read: its sign is not seen, no more
                self._also.mkdir(exist_ok=True)
                _replace_file(self._also / AGENT_STATUS, body)


def _replace_file(path: Path, body: bytes) -> None:
    aside = path.with_name(f"{path.name}.tmp")
    aside.write_bytes(body)
    aside.replace(path)


def _without_age(progress: Progress) -> Progress:
    return replace(progress, oldest_unshipped_s=None)


def _older(progress: Progress, by_s: float) -> Progress:
    if progress.oldest_unshipped_s is None:
        return progress
    return replace(progress, oldest_unshipped_s=progress.oldest_unshipped_s + max(0.0, by_s))


def encode_said(said: Said, *, is_once: bool = False) -> bytes:
    """Return `said` as the content of the file; long lists are cut. The client looks for ``"once":true`` in it."""
    progress = {f.name: getattr(said.progress, f.name) for f in fields(Progress)}
    progress["aside"] = [[plain_text(p.path), plain_text(p.reason)] for p in said.progress.aside[:_MAX_LISTED]]
    progress["runs_alive"] = [plain_text(run) for run in said.progress.runs_alive[:_MAX_LISTED]]
    progress["last_error"] = None if said.progress.last_error is None else plain_text(said.progress.last_error)
    who = {f.name: getattr(said, f.name) for f in fields(Said) if f.name != "progress"}
    return orjson.dumps({"v": VERSION, "agent": __version__, "once": is_once, **who, "progress": progress}) + b"\n"


def decode_said(body: bytes) -> Said | None:
    """Return what stands in the file, or None for whatever is not wholly what `encode_said` makes."""
    try:
        record = orjson.loads(body)
        if record["v"] != VERSION:
            return None
        numbers = {name: _number(record[name]) for name in ("started_at", "written_at", "bytes_per_s")}
        return Said(_count(record["pid"]), _text(record["host"]), **numbers, progress=_progress(record["progress"]))
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        return None


def _progress(record: Any) -> Progress:
    counts = ("backlog_files", "backlog_bytes", "shipped_bytes", "shipped_files", "errors")
    return Progress(
        **{name: _count(record[name]) for name in counts},
        oldest_unshipped_s=None if record["oldest_unshipped_s"] is None else _number(record["oldest_unshipped_s"]),
        last_ack_at=None if record["last_ack_at"] is None else _number(record["last_ack_at"]),
        last_error=None if record["last_error"] is None else _text(record["last_error"]),
        aside=tuple(Problem(_text(path), _text(reason)) for path, reason in record["aside"]),
        runs_alive=tuple(_text(run) for run in record["runs_alive"]),
        gone_files=_count(record.get("gone_files", 0)),  # an older agent says nothing of them
    )


def _count(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError
    return value


def _number(value: object) -> float:
    if type(value) not in (int, float):
        raise TypeError
    return float(value)  # type: ignore[arg-type]  # the line above says so


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def maybe_said(state_dir: Path, now: float) -> Said | None:
    """Return what an agent last said in `state_dir`, its oldest byte as old as it is at `now`; None if that can't be read."""
    try:
        with (state_dir / AGENT_STATUS).open("rb") as file:
            said = decode_said(file.read(_MAX_BYTES))
    except OSError:
        return None
    return None if said is None else replace(said, progress=_older(said.progress, now - said.written_at))
