"""Records to bytes: one line of strict JSON for whatever a training script logs. Never raises.

Nearly every record takes the fast path: orjson writes it in under a microsecond. It is told to take numpy's values only after
a look at each, since some of them end the process in there (`dates`), and an array of one element is to be a number. It
writes NaN and the infinities as ``null``, so a line that holds ``null``, and a record that was refused, take the slow path,
which walks the values:

- NaN and the infinities become the strings ``"NaN"``, ``"Infinity"``, ``"-Infinity"``; integers and decimals keep every digit;
- datetimes ISO 8601, timedeltas seconds (numpy's too), enums their value, paths and bytes text, sets lists;
- tensors of any library, by what they can do (``tolist``, ``item``, ``numpy``), never by import;
- the rest as orjson writes it, since a value must not look different for the sake of its neighbours;
- what can't be stored becomes its ``repr`` and is told to the caller; the rest of the record is kept.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import math
import os
import re
import uuid
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import orjson

from .color import Color
from .dates import is_time, plain_times

Unstorable = Callable[[str, object], None]
"""Called with the top-level key and the value for each value that was stored as its ``repr``."""

# orjson leaves out the fields of a dataclass that begin with an underscore, so these are for the slow path
_OPTIONS = orjson.OPT_APPEND_NEWLINE | orjson.OPT_PASSTHROUGH_DATACLASS
_PYTHON_KINDS: frozenset[type] = frozenset((str, int, float, bool, type(None)))
_NUMPY_NUMBERS = {"bool", "bool_", *(f"float{n}" for n in (16, 32, 64))}
_NUMPY_NUMBERS |= {f"{kind}{n}" for kind in ("int", "uint") for n in (8, 16, 32, 64)}
_fast_kinds = set(_PYTHON_KINDS)  # and, once they were met, numpy's numbers, since importing it costs too much
_FRAGMENT_KINDS = ("b", "i", "u", "f")
_MAX_DEPTH = 100
_MAX_DIGITS = 4000  # Python refuses to turn longer integers into decimal text and back
_U64 = 1 << 64
_I64 = -(1 << 63)
_QUICKLY_SHOWN = frozenset((str, float, bool))
_Result = TypeVar("_Result")


class _NotStorable(Exception):
    """No rule gives JSON for a value."""


def encode_record(record: dict[str, Any], unstorable: Unstorable | None = None) -> bytes:
    """Return `record` as one line of strict JSON, newline included."""
    line = None
    last = next(reversed(record.values()), None)
    if type(last) in _PYTHON_KINDS:  # the others are mostly of its kind, and asking one is cheaper than asking all
        line = _try_dumps(record, None, _OPTIONS)
    if line is None and (_fast_kinds.issuperset(map(type, record.values())) or all(map(_is_fast, record.values()))):
        line = _try_dumps(record, _value_of_color, _OPTIONS | orjson.OPT_SERIALIZE_NUMPY)
    return _encode_slowly(record, unstorable) if line is None or line.find(b"null") >= 0 else line


def _try_dumps(record: dict[str, Any], default: Callable[[Any], Any] | None, options: int) -> bytes | None:
    try:
        return orjson.dumps(record, default, options)
    except Exception:  # noqa: BLE001 - orjson asks values for attributes, which may raise anything; the slow path says which
        return None


def _is_fast(value: object) -> bool:
    """Whether orjson may write `value`, numpy's numbers included; of a dict one level, a copy, since threads may change it."""
    if type(value) is Color:
        value = value.value
    if type(value) is dict:
        return _fast_kinds.issuperset(map(type, list(value.values())))
    kind = type(value)
    if kind.__module__ == "numpy" and kind.__name__ in _NUMPY_NUMBERS:
        _fast_kinds.add(kind)
    return kind in _fast_kinds


def _value_of_color(value: object) -> Any:
    """Return what a `Color` carries; orjson asks for what it does not know, so other records pay nothing for it."""
    if isinstance(value, Color):
        return value.value
    raise TypeError(f"{type(value).__name__} is for the slow path")


def _encode_slowly(record: dict[str, Any], unstorable: Unstorable | None) -> bytes:
    plain: dict[str, Any] = {}
    for key, value in list(record.items()):
        walk = _Walk()
        plain[key_text(key)] = walk.plain(value)
        if walk.not_stored and unstorable is not None:
            unstorable(key_text(key), walk.not_stored[0])
    return orjson.dumps(plain, option=_OPTIONS)


def encode_value(value: object, unstorable: Unstorable, name: str) -> bytes:
    """Return any `value` as one line of strict JSON, newline included; `unstorable` is told about the key `name`."""
    walk = _Walk()
    line = orjson.dumps(walk.plain(value), option=_OPTIONS)
    if walk.not_stored:
        unstorable(name, walk.not_stored[0])
    return line


def plain(value: object) -> Any:
    """Return `value` as the JSON value it is stored as: a number, text, bool, None, list, or dict with text keys."""
    return _Walk().plain(value)


def scalar(value: Any) -> Any:
    """Return the Python number in a 0-d or 1-element array or tensor, and any other value as it is."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    unwrapped = ask(lambda: value if is_time(value) else _as_python(value), value)
    return value if isinstance(unwrapped, (list, dict)) else unwrapped


class _Walk:
    """One walk through the value of one key; `not_stored` collects what became its ``repr``."""

    def __init__(self) -> None:
        self.not_stored: list[object] = []
        self._open: set[int] = set()

    def plain(self, value: object) -> Any:
        kind = type(value)
        if value is None or kind is bool:
            return value
        if kind is float:
            return _plain_float(value)  # type: ignore[arg-type]  # mypy does not narrow by `kind is float`
        if kind is str:
            return _plain_text(value)  # type: ignore[arg-type]  # the same
        if id(value) in self._open or len(self._open) >= _MAX_DEPTH:
            return self._give_up(value)
        self._open.add(id(value))
        try:
            return _ask(lambda: self._plain_object(value))
        except _NotStorable:
            return self._give_up(value)
        finally:
            self._open.discard(id(value))

    def _plain_object(self, value: Any) -> Any:
        if isinstance(value, (enum.Enum, Color)):
            return self.plain(value.value)
        for kinds, rule in _LEAF_RULES:
            if isinstance(value, kinds):
                return rule(value)
        if isinstance(value, Mapping):
            return {key_text(k): self.plain(v) for k, v in list(value.items())}
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {f.name: self.plain(getattr(value, f.name, None)) for f in dataclasses.fields(value)}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [self.plain(element) for element in list(value)]
        if is_time(value):
            return self.plain(_only_element(plain_times(value)))
        names = getattr(getattr(value, "dtype", None), "names", None)
        if names:
            return self._plain_structure(value, names)
        return _numpy_fragment(value) or self.plain(_as_python(value))

    def _plain_structure(self, value: Any, names: tuple[str, ...]) -> Any:
        """Return a structured array field by field: taken as Python objects at once, its dates would lose their unit."""
        if getattr(value, "size", 1) == 1 and getattr(value, "shape", ()):
            value = value.reshape(())[()]
        fields = [value[name] for name in names] if not getattr(value, "shape", ()) else value
        return [self.plain(field) for field in fields]

    def _give_up(self, value: object) -> str:
        self.not_stored.append(value)
        return _plain_text(_repr(value))


def _plain_float(value: float) -> Any:
    if math.isfinite(value):
        return float(value)
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def _plain_int(value: int) -> Any:
    if _I64 <= value < _U64:
        return int(value)
    if value.bit_length() > _MAX_DIGITS * 3:
        return hex(value)
    return orjson.Fragment(int.__repr__(value))


def _plain_decimal(value: decimal.Decimal) -> Any:
    if not value.is_finite():
        return "NaN" if value.is_nan() else _plain_float(math.copysign(math.inf, value))
    text = str(value)
    fits = len(text) <= _MAX_DIGITS and math.isfinite(float(value))
    return orjson.Fragment(text) if fits else text


def _plain_text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        return ascii(str.__str__(value))
    return str.__str__(value)  # the text itself: a subclass may show another one, and orjson does not ask it


def _plain_time(value: Any) -> Any:
    try:
        return orjson.loads(orjson.dumps(value))
    except TypeError:  # subclasses, and a time with a zone
        return value.isoformat()


def _plain_bytes(value: bytes | bytearray) -> str:
    return bytes(value).decode("utf-8", "backslashreplace")


_LEAF_RULES: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (str, _plain_text),
    (bool, bool),
    (int, _plain_int),
    (float, _plain_float),
    (decimal.Decimal, _plain_decimal),
    ((datetime.datetime, datetime.date, datetime.time), _plain_time),
    (datetime.timedelta, lambda value: value.total_seconds()),
    (os.PathLike, lambda value: _plain_text(os.fsdecode(value))),
    ((bytes, bytearray), _plain_bytes),
    (uuid.UUID, str),
    (orjson.Fragment, lambda value: value),
)


def _numpy_fragment(value: Any) -> orjson.Fragment | None:
    """Return the JSON of a numpy scalar or array as the fast path writes it (float32 with its own digits), or None."""
    if type(value).__module__ != "numpy" or getattr(getattr(value, "dtype", None), "kind", "") not in _FRAGMENT_KINDS:
        return None
    try:
        text = orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError:
        return None
    if b"null" in text:  # orjson's word for what is not finite; the finite ones beside it keep their digits
        left = (element for element in value.ravel().tolist() if not math.isfinite(element))
        text = re.sub(rb"null", lambda _: orjson.dumps(_plain_float(next(left))), text)
    return orjson.Fragment(text.strip(b"[]") if getattr(value, "size", 0) == 1 else text)


def _as_python(value: Any) -> Any:
    """Return an array, tensor or library scalar as Python values; a single element without its brackets."""
    if isinstance(value, type):
        raise _NotStorable
    for name in ("tolist", "item", "numpy"):  # numpy, torch and jax have the first, tensorflow the last
        method = getattr(value, name, None)
        if callable(method):
            try:
                answer = _ask(method)
            except _NotStorable:  # one way may be closed (a device, a gradient, an element type) and the next one open
                continue
            return _python_only(_only_element(answer.tolist() if name == "numpy" else answer), value)
    raise _NotStorable


def _python_only(answer: Any, value: Any) -> Any:
    """Return `answer` unless it is of the same odd type again (a longdouble's ``item`` is a longdouble): a float, or text."""
    if type(answer) is not type(value):
        return answer
    number = complex(value)
    if number.imag:
        raise _NotStorable
    return str(value) if math.isinf(number.real) and abs(value) < math.inf else number.real


def _only_element(value: Any) -> Any:
    inner = value
    while isinstance(inner, list) and len(inner) == 1:
        inner = inner[0]
    return value if isinstance(inner, list) else inner


def _ask(question: Callable[[], _Result]) -> _Result:
    """Return the answer of code that the value brings along, which may raise anything; the cause is told by its repr."""
    try:
        return question()
    except Exception as error:  # foreign code may raise anything, and it must cost this one value only
        raise _NotStorable from error


def ask(question: Callable[[], _Result], otherwise: _Result) -> _Result:
    """Return the answer of code that a user's value brings along, or `otherwise` if it raises, whatever it raises."""
    try:
        return _ask(question)
    except _NotStorable:
        return otherwise


def _repr(value: object) -> str:
    try:
        return _ask(lambda: str(repr(value)))
    except _NotStorable:
        return f"<{type(value).__name__} whose repr fails>"


def key_text(key: object) -> str:
    """Return the text that a key of any type is stored and shown by: a text as it is, also one that an enum shows otherwise."""
    if isinstance(key, enum.Enum) and isinstance(key.value, str):
        key = key.value
    text = str.__str__(key) if isinstance(key, str) else text_of(key)
    try:
        text.encode()
    except UnicodeEncodeError:
        return ascii(text)[1:-1]
    return text


def text_of(value: Any) -> str:
    """Return how a value is shown to people: ``str`` of it, of its number if it is an array or tensor of one element."""
    if type(value) is int:
        return str(value) if value.bit_length() <= _MAX_DIGITS * 3 else hex(value)
    if type(value) in _QUICKLY_SHOWN:
        return str(value)
    try:
        return _ask(lambda: str(_number_of(value)))
    except _NotStorable:
        return _repr(value)


def _number_of(value: Any) -> Any:
    is_text = isinstance(value, (str, bytes))  # a text of numpy, too, has a size of 1
    if type(value).__module__ == "numpy" and not is_text and getattr(value, "size", 0) == 1:
        return value.reshape(())[()]  # a float32 is shown with its own digits, not with those of its float64
    return scalar(value)
