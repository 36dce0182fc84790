"""Screen: standard output, which may be closed, broken, narrow, replaced, or not there at all; none of it stops a run."""

from __future__ import annotations

import logging
import sys

_log = logging.getLogger("ml_logger")
_TAKES_NOTHING = (
    *(OSError, ValueError, AttributeError),
    RuntimeError,  # a signal handler that prints amid a print, or a stream that does not implement this
    TypeError,  # a stream that takes bytes only, or other arguments
)


def write(text: str) -> None:
    """Write `text` to standard output, with question marks for what its encoding lacks."""
    out = sys.stdout
    try:
        try:
            out.write(text)
        except UnicodeEncodeError:
            encoding = out.encoding or "ascii"
            out.write(text.encode(encoding, "replace").decode(encoding))
    except _TAKES_NOTHING as error:
        _log.debug("standard output takes no text: %s", error)


def flush() -> None:
    """Flush standard output."""
    try:
        sys.stdout.flush()
    except _TAKES_NOTHING as error:
        _log.debug("standard output can't be flushed: %s", error)
