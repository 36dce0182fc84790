"""What a receiver says is in a folder, and which runs its agents say are alive: its JSON as values. Pure.

A name that no receiver may store is passed over: somebody put it there, and no other call could ask for it.
"""

from __future__ import annotations

from typing import Any

import orjson

from .errors import BadAnswer, BadPath
from .files import Entry
from .layout import check_path

_FRESH_S = 60.0
"""An agent that was heard of within this time speaks for its runs."""


def decode_listing(body: bytes, folder: str) -> tuple[list[Entry], str | None]:
    """Return one page of the names in `folder`, and the name to go on behind, None on the last page; raises `BadAnswer`."""
    record = _load(body)
    entries, after = record.get("entries"), record.get("next_after")
    if record.get("path") != folder or not isinstance(entries, list) or not isinstance(after, str | None):
        raise BadAnswer("the list of a folder is not one of this protocol", hint="is this the URL of a receiver?")
    return [found for entry in entries if (found := _maybe_entry(entry, folder)) is not None], after


def _maybe_entry(entry: Any, folder: str) -> Entry | None:
    try:
        name, kind, size, mtime_ns = (entry[key] for key in ("name", "kind", "size", "mtime_ns"))
        is_one = isinstance(name, str) and "/" not in name and kind in ("file", "dir")
    except (TypeError, KeyError):
        is_one = False
    if not is_one or type(size) is not int or type(mtime_ns) is not int:
        raise BadAnswer("an entry of a folder is not one of this protocol", hint="is this the URL of a receiver?")
    try:
        check_path(f"{folder}/{name}" if folder else name)
    except BadPath:
        return None
    return Entry(name, kind, size, mtime_ns)


def living_runs(body: bytes) -> frozenset[str]:
    """Return the run directories in which an agent that was heard of just now saw a writer; raises `BadAnswer`."""
    record = _load(body)
    try:
        return frozenset(
            run
            for agent in record["agents"]
            if float(agent["age_s"]) <= _FRESH_S
            for spool in agent["spools"]
            for run in spool["runs_alive"]
        )
    except (TypeError, KeyError, ValueError):
        raise BadAnswer("the list of agents is not one of this protocol") from None


def _load(body: bytes) -> dict[str, Any]:
    try:
        record = orjson.loads(body)
    except ValueError:
        record = None
    if not isinstance(record, dict):
        raise BadAnswer("the answer is not one of this protocol", hint="is this the URL of a receiver?")
    return record
