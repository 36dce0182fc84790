"""Answers: JSON of one line for everything that is not a file's bytes, errors included."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from aiohttp import web

from .. import wire
from ..errors import (
    BadBatch,
    BadPath,
    BatchTooLarge,
    Changed,
    Gone,
    MLLoggerError,
    NotHeld,
    OtherVersion,
    StoreBusy,
    StoreError,
    StoreFull,
    Undeletable,
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_STATUSES: tuple[tuple[type[MLLoggerError], int], ...] = (
    (BatchTooLarge, 413),
    (OtherVersion, 426),
    (BadBatch, 400),
    (BadPath, 400),
    (Gone, 410),
    (NotHeld, 404),
    (Changed, 412),
    (Undeletable, 409),
    (StoreFull, 507),
    (StoreBusy, 503),
    (StoreError, 500),
)
_VERSION_IN_PATH = re.compile(r"/v(0|[1-9][0-9]{0,8})(?=/|\Z)", re.ASCII)
_RETRY_AFTER_S = {429: 5, 503: 2, 507: 10}

_log = logging.getLogger(__name__)


class Refused(Exception):
    """A request that is answered with `status` and one line; the HTTP side's own, no store knows it."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every error that is raised on purpose with its status and one line."""
    try:
        return await handler(request)
    except Refused as error:
        return error_answer(error.status, str(error), error.headers)
    except MLLoggerError as error:
        status = next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)
        if status >= 500:
            _log.error(
                "%s %s: %s", request.method, request.path[:200].encode("unicode_escape").decode(), error.one_line()
            )
        return error_answer(status, error.one_line())
    except web.HTTPException as error:
        headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        return error_answer(error.status, error.reason.lower(), headers)
    except ConnectionError:
        # Whoever asked is gone, or can't be told otherwise that the length it was promised is wrong.
        if request.transport is not None:
            request.transport.abort()
        return web.Response()


@web.middleware
async def other_versions(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer 426 to what another version of the protocol asks for, so that its sender stops and tells its person."""
    version = _VERSION_IN_PATH.match(request.path)
    if version is not None and version[1] != str(wire.VERSION):
        raise Refused(426, f"protocol version {version[1]}, this receiver speaks {wire.VERSION}")
    return await handler(request)


def error_answer(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    """Return an answer with one line that says why."""
    extra = {"Retry-After": str(_RETRY_AFTER_S[status])} if status in _RETRY_AFTER_S else {}
    return json_answer(wire.encode_error(message), status=status, headers={**extra, **(headers or {})})


def raw_error(status: int, message: str) -> bytes:
    """Return the same as bytes, for a connection on which there is no request to answer; it is closed after it."""
    body = wire.encode_error(message) + b"\n"
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
    ]
    if status in _RETRY_AFTER_S:
        lines.append(f"Retry-After: {_RETRY_AFTER_S[status]}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def json_answer(body: bytes, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """Return an answer whose body is this JSON."""
    return web.Response(body=body + b"\n", status=status, content_type="application/json", headers=headers)
