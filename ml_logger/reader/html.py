"""HTML: a run as a notebook shows it, every text of it escaped."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from .columns import Columns
from .processes import Life

_MOST_ROWS = 40
_MOST_CHARACTERS = 200
_LEFT = ' style="text-align:left"'


def card(name: str, life: Life, columns: Columns, params: Mapping[str, Any]) -> str:
    """Return the name and state of a run, its last values and its parameters."""
    facts = [life.state, f"{columns.count:,} records", _when(life.started), life.host]
    head = " · ".join(escape(fact) for fact in facts if fact)
    last = {key: value for key, value in columns.last_values().items() if key != "_timestamp"}
    tables = _table("last value", last) + _table("parameter", params)
    return _encodable(f"<div><p><b>{escape(name)}</b> {head}</p>{tables}</div>")


def _encodable(text: str) -> str:
    """Return `text` with escapes for halves of characters, which JSON can hold and a notebook's file can not."""
    return text.encode("utf-8", "backslashreplace").decode()


def _table(title: str, values: Mapping[str, Any]) -> str:
    if not values:
        return ""
    rows = [f"<tr><th{_LEFT}>{_text(key)}</th><td{_LEFT}>{_text(value)}</td></tr>" for key, value in _first(values)]
    more = len(values) - _MOST_ROWS
    rest = f"<tr><td colspan=2{_LEFT}>and {more:,} more</td></tr>" if more > 0 else ""
    return (
        f"<table><thead><tr><th{_LEFT} colspan=2>{title}</th></tr></thead><tbody>{''.join(rows)}{rest}</tbody></table>"
    )


def _first(values: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    return list(values.items())[:_MOST_ROWS]


def _text(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return escape(text if len(text) <= _MOST_CHARACTERS else text[:_MOST_CHARACTERS] + "…")


def _when(time: float | None) -> str:
    if time is None:
        return ""
    try:
        moment = datetime.datetime.fromtimestamp(time, datetime.timezone.utc)
    except (OverflowError, ValueError, OSError):  # no time of this calendar
        return ""
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
