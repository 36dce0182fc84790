"""The ``Range`` header (RFC 9110, section 14) as a Python `range` of byte positions. Pure."""

from __future__ import annotations

import re

_ONE_RANGE = re.compile(r"bytes=[ \t]*([0-9]{0,19})-([0-9]{0,19})[ \t]*", re.ASCII | re.IGNORECASE)


def maybe_range(header: str | None, size_bytes: int) -> range | None:
    """Return the bytes asked for of a file of `size_bytes`: an empty range if there are none such (416).

    None means the whole file: no header, more than one range, or one that is not understood, which a server may ignore.
    """
    match = _ONE_RANGE.fullmatch(header) if header else None
    if match is None or match[1] == match[2] == "":
        return None
    if match[1] == "":
        return range(max(0, size_bytes - int(match[2])), size_bytes)
    first, last = int(match[1]), int(match[2]) if match[2] else size_bytes - 1
    if match[2] and last < first:
        return None
    return range(first, min(last + 1, size_bytes))
