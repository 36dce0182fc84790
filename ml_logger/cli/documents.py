"""Documents: what ``--json`` writes. Strict JSON, one line a document: NaN and the infinities as words, as in the files."""

from __future__ import annotations

import argparse
import sys
from typing import Any

import orjson

from ..encode import plain


def add_json_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help="write JSON (docs/COMMANDS.md has the shape)")


def write_document(value: Any) -> None:
    """Write `value` to standard output as one line, in UTF-8 whatever the terminal's encoding is."""
    sys.stdout.flush()
    sys.stdout.buffer.write(orjson.dumps(plain(encodable(value)), option=orjson.OPT_APPEND_NEWLINE))


def encodable(value: Any) -> Any:
    """Return `value` with lone surrogates, as in a path that is no UTF-8, as their escapes (``\\udcff``)."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {encodable(key): encodable(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [encodable(inner) for inner in value]
    return value
