"""``ml-logger-agent status``: how far each spool is, whether an agent runs or not. Reads only.

While an agent runs the numbers are its own (`status_file`); else they are counted now (`survey`), and the last acknowledgement,
the last error and what is set aside are what the last agent left. Exit code 1 if something is set aside or the last error
stands, else 0.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import orjson

from ..layout import AGENT_DIR
from .amounts import bytes_text, count_text, duration_text, plain_text, time_text
from .config import AgentConfig, spool_trouble
from .lock import Holder, maybe_holder
from .progress import Progress
from .scanner import Problem
from .status_file import Said, maybe_said
from .survey import survey

Origin = Literal["agent", "ledger", "walk"]

_ORIGINS: dict[Origin, str] = {
    "agent": "from the agent, {age} ago",
    "ledger": "counted now, from the spool and what the last agent remembered",
    "walk": "counted now; what was shipped is not known (no readable ledger), so all counts as not shipped",
}
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class SpoolStatus:
    """How far one spool is.

    `agent` is who runs on it, None if nobody does; `trouble` says why that could not be told. `origin` is where the numbers
    come from: the running agent, the last one's ledger, or a walk alone; `at` is when, in seconds since the epoch.
    """

    spool: Path
    agent: Holder | None
    trouble: str | None
    origin: Origin
    at: float
    bytes_per_s: float
    progress: Progress

    @property
    def is_well(self) -> bool:
        """Whether nothing is set aside and no error stands."""
        return not self.progress.aside and self.progress.last_error is None


def status_of(config: AgentConfig, spool: Path, now: float) -> SpoolStatus:
    """Return how far `spool` is at `now`, in seconds since the epoch; changes nothing.

    What is wrong with the spool itself stands first among what is set aside.
    """
    status, wrong = _status_of(config, spool, now), spool_trouble(spool)
    if wrong is None:
        return status
    aside = (Problem(str(spool), wrong.one_line()), *status.progress.aside)
    return replace(status, progress=replace(status.progress, aside=aside))


def _status_of(config: AgentConfig, spool: Path, now: float) -> SpoolStatus:
    state_dir, agent, trouble = _agent_on(spool, config.state_dir_of(spool))
    said = maybe_said(state_dir, now)
    if agent is not None and said is not None and said.pid == agent.pid:
        return SpoolStatus(spool, agent, trouble, "agent", said.written_at, said.bytes_per_s, said.progress)
    counted = survey(config, spool, now)
    origin: Origin = "ledger" if counted.is_ledger_known else "walk"
    progress = counted.progress if said is None else _with_last_words(counted.progress, said)
    return SpoolStatus(spool, agent, trouble, origin, now, 0.0, progress)


def _agent_on(spool: Path, state_dir: Path) -> tuple[Path, Holder | None, str | None]:
    """Return where an agent speaks of `spool`, and who it is: one with another state directory speaks in the spool's own."""
    agent, trouble = _agent_in(state_dir)
    if agent is None and (elsewhere := _agent_in(spool / AGENT_DIR)[0]) is not None:
        return spool / AGENT_DIR, elsewhere, None
    return state_dir, agent, trouble


def _agent_in(state_dir: Path) -> tuple[Holder | None, str | None]:
    try:
        return maybe_holder(state_dir), None
    except OSError as error:
        return None, f"whether an agent runs can't be told: {error.strerror}"


def _with_last_words(counted: Progress, said: Said) -> Progress:
    aside = dict.fromkeys((*counted.aside, *said.progress.aside))
    return replace(
        counted, last_ack_at=said.progress.last_ack_at, last_error=said.progress.last_error, aside=tuple(aside)
    )


def show_status(config: AgentConfig, *, as_json: bool) -> int:
    """Print the status of every spool as a table or, `as_json`, as one JSON object; return the exit code."""
    now = time.time()
    statuses = [status_of(config, spool, now) for spool in config.spools()]
    print(to_json(statuses).decode() if as_json else to_table(statuses, now))
    return 0 if all(status.is_well for status in statuses) else 1


# --- as JSON


def to_json(statuses: Sequence[SpoolStatus]) -> bytes:
    """Return the statuses as one JSON object, sizes in bytes, times in seconds (since the epoch where they end in ``_at``)."""
    return orjson.dumps({"v": 1, "spools": [_to_record(status) for status in statuses]}, option=orjson.OPT_INDENT_2)


def _to_record(status: SpoolStatus) -> dict[str, object]:
    progress, agent = status.progress, status.agent
    return {
        "spool": plain_text(str(status.spool)),
        "agent": None if agent is None else {"pid": agent.pid, "host": agent.host, "since": agent.since},
        "agent_trouble": status.trouble,
        "numbers_from": status.origin,
        "numbers_at": status.at,
        "backlog_files": progress.backlog_files,
        "backlog_bytes": progress.backlog_bytes,
        "oldest_unshipped_s": progress.oldest_unshipped_s,
        "bytes_per_s": status.bytes_per_s,
        "last_ack_at": progress.last_ack_at,
        "last_error": None if progress.last_error is None else plain_text(progress.last_error),
        "aside": [{"path": plain_text(p.path), "reason": plain_text(p.reason)} for p in progress.aside],
        "gone_files": progress.gone_files,
        "runs_alive": [plain_text(run) for run in progress.runs_alive],
    }


# --- as a table


def to_table(statuses: Sequence[SpoolStatus], now: float) -> str:
    """Return the statuses for people: a block a spool."""
    return "\n\n".join("\n".join(_lines(status, now)) for status in statuses)


def _lines(status: SpoolStatus, now: float) -> Iterator[str]:
    progress = status.progress
    yield f"spool       {plain_text(str(status.spool))}"
    yield f"agent       {status.trouble or ('not running' if status.agent is None else f'running: {status.agent}')}"
    yield f"backlog     {_backlog_text(progress)}"
    yield f"rate        {bytes_text(status.bytes_per_s)}/s over the last minute"
    yield f"last ack    {_ack_text(progress, now)}"
    yield f"last error  {'none' if progress.last_error is None else plain_text(progress.last_error)}"
    yield f"set aside   {_listed([f'{plain_text(p.path)}: {plain_text(p.reason)}' for p in progress.aside])}"
    if progress.gone_files:
        yield f"gone        deleted on the receiver: {count_text(progress.gone_files, 'file')}, not sent again"
    yield f"runs alive  {_listed([plain_text(run) or '.' for run in progress.runs_alive])}"
    yield f"numbers     {_ORIGINS[status.origin].format(age=duration_text(now - status.at))}"


def _backlog_text(progress: Progress) -> str:
    if not progress.backlog_files:
        return "nothing: all is shipped"
    oldest_s = progress.oldest_unshipped_s
    age = "" if oldest_s is None else f", the oldest byte for {duration_text(oldest_s)}"
    return f"{count_text(progress.backlog_files, 'file')}, {bytes_text(progress.backlog_bytes)} not shipped{age}"


def _ack_text(progress: Progress, now: float) -> str:
    at = progress.last_ack_at
    return "none yet" if at is None else f"{time_text(at)} ({duration_text(now - at)} ago)"


def _listed(items: Sequence[str]) -> str:
    """Return a count and, below it, the items, not all of them if they are very many."""
    if not items:
        return "none"
    more = [f"… and {len(items) - _SHOWN} more (--json lists them)"] if len(items) > _SHOWN else []
    return "\n            ".join([str(len(items)), *items[:_SHOWN], *more])
