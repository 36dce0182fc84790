"""Values as the page gets them: what JSON has no form for, or no browser reads exactly, becomes a word. Pure."""

from __future__ import annotations

import math
import re
from typing import Any

import orjson

from ..reader.records import as_word

MOST_EXACT = 2**53
"""Up to here JavaScript's numbers are exact whole ones; what is beyond is sent as its digits."""

MOST_DEPTH = 100
"""What is nested deeper than this is told as `DEEPER`; writers of JSON bear some 250 levels, readers differ."""

DEEPER = "…"

_LONE_BYTE = re.compile(r"\\u(dc[89a-f][0-9a-f])")


def word_of(value: Any, depth: int = 0) -> Any:
    """Return `value` as JSON can hold it.

    NaN and the infinities become the words that records have for them, whole numbers past 2**53 their digits, lone surrogates
    their escapes. What is no value of JSON is left as it is.
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else as_word(value)
    if isinstance(value, int):
        return value if -MOST_EXACT <= value <= MOST_EXACT else str(value)
    if isinstance(value, str):
        return _encodable(value)
    if not isinstance(value, dict | list | tuple):
        return value
    if depth >= MOST_DEPTH:
        return DEEPER
    if isinstance(value, dict):
        return {_encodable(str(key)): word_of(inner, depth + 1) for key, inner in value.items()}
    return [word_of(inner, depth + 1) for inner in value]


def path_of(word: str) -> str:
    """Return the path that `word` is the word of: escapes of the bytes that are no UTF-8 become what Python has for them."""
    return _LONE_BYTE.sub(lambda found: chr(int(found[1], 16)), word)


def json_of(value: Any) -> bytes:
    """Return `value` as JSON, whatever is in it: numbers of numpy are taken, and what JSON doesn't know becomes text."""
    try:
        return _dumped(value)
    except TypeError:  # a number, a text or a depth that JSON can't hold
        return _dumped(word_of(value))


def _dumped(value: Any) -> bytes:
    return orjson.dumps(value, _text_of, orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)


def _text_of(value: Any) -> str:
    return _encodable(str(value))


def _encodable(text: str) -> str:
    """Return `text` with its surrogates joined to the characters that pairs of them stand for, and lone ones as escapes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        joined = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
        return joined.encode("utf-8", "backslashreplace").decode()
    return text
