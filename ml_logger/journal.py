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

_QUIET = ("urllib3", "watchdog", "aiohttp.access", "asyncio")  # urllib3 warns of a cut answer with a traceback


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
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.ERROR)


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
