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
    """Write `value` to standard output as one line."""
    sys.stdout.write(orjson.dumps(plain(value), option=orjson.OPT_APPEND_NEWLINE).decode())
