"""What the two daemons say on stderr: the same settings and the same lines for agent and receiver.

Named so that neither ``logging`` nor the client's `logger` is shadowed. No token ever reaches a log call.
"""

from __future__ import annotations

import logging
import sys
import time
from dataclasses import dataclass
from typing import Literal

import orjson

_QUIET = {
    "urllib3": logging.ERROR,  # it warns of a cut answer with a traceback
    "watchdog": logging.CRITICAL,  # it complains of events that come while it is being stopped
    "aiohttp.access": logging.WARNING,
    "asyncio": logging.WARNING,
}


@dataclass(frozen=True)
class LogSettings:
    """The ``log`` section of a config: how much is said, and whether as text or as JSON lines."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


def start_logging(settings: LogSettings) -> None:
    """Send what is logged to stderr from now on, one line a record, times in UTC."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines() if settings.format == "json" else _text_lines())
    logging.basicConfig(level=settings.level.upper(), handlers=[handler], force=True)
    logging.getLogger("aiohttp.server").addFilter(_is_no_bad_request)
    for name, level in _QUIET.items():
        logging.getLogger(name).setLevel(level)


def _is_no_bad_request(record: logging.LogRecord) -> bool:
    """Whether a record of the HTTP server is about more than bytes that are no HTTP, or a client that has hung up."""
    kinds = [] if not record.exc_info or record.exc_info[0] is None else record.exc_info[0].__mro__
    return not any(kind.__name__ in ("HttpProcessingError", "ConnectionResetError") for kind in kinds)


def _text_lines() -> logging.Formatter:
    lines = logging.Formatter("%(asctime)sZ %(levelname)-7s %(message)s", "%Y-%m-%dT%H:%M:%S")
    lines.converter = time.gmtime
    return lines


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": record.created,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return orjson.dumps(line).decode()
