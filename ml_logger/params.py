"""Params: what people write parameters as (dicts, dataclasses, namespaces, classes) as nested dicts. Pure."""

from __future__ import annotations

import dataclasses
import enum
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any

from .encode import ask, key_text


def as_section(value: Any) -> dict[str, Any] | None:
    """Return a section of parameters as a dict of dicts and values, or None for a single value.

    A section is a mapping, a dataclass, an ``argparse.Namespace``, a class (its own attributes), or an object with attributes.
    Names with two underscores at both ends are left out; nested sections are turned into dicts as well. What can't be asked
    for its members, a proxy without its object or a mapping that raises, is a single value.
    """
    return ask(lambda: _section(value), None)


def _section(value: Any) -> dict[str, Any] | None:
    members = _members(value)
    if members is None and _is_plain_object(value):
        members = vars(value)
    if members is None and isinstance(value, type) and not issubclass(value, enum.Enum):
        members = vars(value)
    return None if members is None else _clean(members, {id(value)})


def _clean(members: Mapping[Any, Any], around: set[int]) -> dict[str, Any]:
    """Return `members` by text keys; what holds itself is left as it is, for the encoder to name."""
    return {
        text: ask(lambda member=member: _nested(member, around), member)  # type: ignore[misc]  # mypy knows no such default
        for text, member in [(key_text(key), member) for key, member in list(members.items())]
        if not (text.startswith("__") and text.endswith("__"))
    }


def _nested(value: Any, around: set[int]) -> Any:
    if id(value) in around:
        return value
    if type(value) in (list, tuple):
        inner = [_nested(element, around | {id(value)}) for element in value]
        return value if all(a is b for a, b in zip(inner, value, strict=True)) else inner
    members = _members(value)
    if members is None and isinstance(value, type) and _is_only_values(value):
        members = vars(value)
    return value if members is None else _clean(members, around | {id(value)})


def _members(value: Any) -> Mapping[Any, Any] | None:
    if isinstance(value, Mapping):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)}
    argparse = sys.modules.get("argparse")  # who has a namespace of it has imported it
    if isinstance(value, types.SimpleNamespace) or (argparse and isinstance(value, argparse.Namespace)):
        return vars(value)
    return None


def _is_plain_object(value: Any) -> bool:
    """Whether `value` is an object of a user's class that is no number, text, array or callable in disguise."""
    is_value = isinstance(value, (type, enum.Enum, BaseException, Callable, types.ModuleType))  # type: ignore[arg-type]
    is_array = any(hasattr(value, name) for name in ("tolist", "item", "numpy", "__fspath__", "isoformat"))
    return (
        not is_value
        and not is_array
        and type(value).__module__ != "builtins"
        and bool(getattr(value, "__dict__", None))
    )


def _is_only_values(kind: type) -> bool:
    """Whether a class was written to hold parameters: it has attributes, and none is a function or descriptor."""
    own = [member for name, member in vars(kind).items() if not (name.startswith("__") and name.endswith("__"))]
    return bool(own) and not any(callable(member) or hasattr(member, "__get__") for member in own)
