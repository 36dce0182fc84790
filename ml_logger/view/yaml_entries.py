"""A YAML mapping of which a few entries are changed, while all else stays as somebody wrote it, comments too. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml


class _Loader(yaml.SafeLoader):
    """Reads no references: a few lines of them stand for more than any memory holds."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("references are not read")
        return super().compose_node(parent, index)


def loaded(text: str | bytes) -> Any:
    """Return what a text says; raises ValueError."""
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - it is a safe one
    except Exception as error:  # noqa: BLE001 - yaml raises more kinds than it tells of
        raise ValueError(str(error).partition("\n")[0]) from None


def with_entries(text: str, entries: Mapping[str, Any]) -> str:
    """Return `text` with these entries instead of those of the same names, at their places; None takes one away.

    Entries that say the same already stay as they are written. Raises ValueError if the text is no mapping.
    """
    held = {} if (found := loaded(text)) is None else found
    if not isinstance(held, dict):
        raise ValueError("it is no mapping")  # noqa: TRY004 - what it is comes from outside
    changed = {name: value for name, value in entries.items() if held.get(name) != value}
    wanted = {name: value for name, value in {**held, **changed}.items() if name not in changed or value is not None}
    edited = _edited(text, changed)
    return edited if _says(edited, wanted) else _dumped(wanted)


def _edited(text: str, changed: Mapping[str, Any]) -> str:
    """Return the text with the lines of the `changed` entries replaced, and those that it lacks behind it."""
    places = _places(text)
    for name in sorted(changed.keys() & places.keys(), key=lambda name: places[name], reverse=True):
        first, end = places[name]
        text = text[:first] + _entry(name, changed[name]) + text[end:].removeprefix("\n")
    added = "".join(_entry(name, value) for name, value in changed.items() if name not in places)
    return f"{text}\n{added}" if added and text and not text.endswith("\n") else text + added


def _places(text: str) -> dict[str, tuple[int, int]]:
    """Return where in the text each entry begins and its value ends."""
    node = yaml.compose(text, Loader=_Loader)
    entries = node.value if isinstance(node, yaml.MappingNode) else []
    return {str(key.value): (key.start_mark.index, _end(value)) for key, value in entries}


def _end(node: yaml.Node) -> int:
    """Return where a value ends; a mark behind a block stands past the comments that follow it."""
    if not isinstance(node, yaml.CollectionNode) or node.flow_style or not node.value:
        return int(node.end_mark.index)
    last = node.value[-1]
    return _end(last[1] if isinstance(last, tuple) else last)


def _entry(name: str, value: Any) -> str:
    return "" if value is None else _dumped({name: value})


def _says(text: str, wanted: Mapping[str, Any]) -> bool:
    try:
        return bool((loaded(text) or {}) == wanted)
    except ValueError:
        return False


def _dumped(value: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(value), allow_unicode=True, sort_keys=False) if value else ""
