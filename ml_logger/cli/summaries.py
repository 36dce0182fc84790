"""Summaries: what is shown of a run among others; what to sort and filter by. Reads each run once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import UsageError
from ..reader import Run
from ..reader.processes import Life
from ..reader.records import OWN_KEYS

NEWEST_FIRST = "started"
OWN = ("path", "state", "started", "host", "records", "step")
"""What a run can be sorted by besides its values and parameters."""


@dataclass(frozen=True)
class Summary:
    """One run: its `path` from where one looks, how it is, its parameters by full name, and the last value of every key."""

    path: str
    life: Life
    records: int
    step: Any
    params: dict[str, Any]
    last: dict[str, Any]

    def value(self, key: str) -> Any:
        """Return what it has of `key`: one of its own facts, a last value, or a parameter; None if it has none."""
        if key in OWN:
            return getattr(self.life if key in ("state", "started", "host") else self, key)
        return self.last.get(key, self.params.get(key))

    def contains(self, text: str) -> bool:
        """Whether its path, state, host or a parameter written as ``name=value`` contains `text`, in any case of letters."""
        facts = (self.path, self.life.state, self.life.host or "", *(f"{k}={v}" for k, v in self.params.items()))
        return any(text.casefold() in fact.casefold() for fact in facts)

    def document(self) -> dict[str, Any]:
        """Return it as ``--json`` shows it."""
        life = self.life
        facts = {"state": life.state, "started": life.started, "ended": life.ended, "host": life.host, "pid": life.pid}
        read = {"records": self.records, "step": self.step, "params": self.params, "last": self.last}
        return {"path": self.path, **facts, **read}


def summary_of(run: Run, path: str) -> Summary:
    """Read a run, which is called `path`."""
    columns = run.columns()
    last = columns.last_values()
    values = {key: value for key, value in last.items() if key not in OWN_KEYS}
    return Summary(path, run.life, columns.count, last.get("_step"), run.flat_params, values)


def ordered(found: Sequence[Summary], key: str, *, is_reversed: bool) -> list[Summary]:
    """Return `found` by `key`: numbers by size, text by letters, those without it (or NaN) last; the newest first by default.

    Raises `UsageError` for a key that no run has.
    """
    if key not in OWN and not any(summary.value(key) is not None for summary in found):
        raise UsageError(
            f"no run has {key!r} to sort by", hint=f"use {', '.join(OWN)}, a metric, or a parameter as in model.lr"
        )
    by_path = sorted(found, key=lambda summary: summary.path)
    known = [summary for summary in by_path if not _is_missing(summary.value(key))]
    missing = [summary for summary in by_path if _is_missing(summary.value(key))]
    is_downward = (key == NEWEST_FIRST) != is_reversed
    return sorted(known, key=lambda summary: _rank(summary.value(key)), reverse=is_downward) + missing


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _rank(value: Any) -> tuple[bool, float, str]:
    is_number = isinstance(value, (int, float))
    return not is_number, value if is_number else 0.0, "" if is_number else str(value)


def keys_of(found: Iterable[Summary]) -> list[str]:
    """Return the keys of all last values: those that most runs have first, else in the order in which they came."""
    counts: dict[str, int] = {}
    for summary in found:
        for key in summary.last:
            counts[key] = counts.get(key, 0) + 1
    return sorted(counts, key=lambda key: -counts[key])
