"""Sections: the parameters of a run, as `log_params` was given them.

Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .records import Record


def merged(records: Iterable[Record]) -> dict[str, Any]:
    """Return section title to section, a later key over an earlier one; a section may be a single value."""
    sections: dict[str, Any] = {}
    for record in records:
        for title, section in record.items():
            if title == "_timestamp":
                continue
            known = sections.get(title)
            if isinstance(known, dict) and isinstance(section, dict):
                section = {**known, **section}
            sections[title] = section
    return sections


def flattened(sections: Mapping[str, Any]) -> dict[str, Any]:
    """Return all values by their names joined with dots: ``{"model.lr": 0.001}``; lists are values."""
    return dict(_leaves(sections, ""))


def _leaves(value: Mapping[str, Any], trail: str) -> Iterator[tuple[str, Any]]:
    for key, inner in value.items():
        name = f"{trail}.{key}" if trail else str(key)
        if isinstance(inner, dict) and inner:
            yield from _leaves(inner, name)
        else:
            yield name, inner
