"""Answers: JSON of one line for everything that is not a file's bytes, errors included."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from aiohttp import web

from .. import wire
from ..errors import (
    BadBatch,
    BadPath,
    BatchTooLarge,
    Gone,
    MLLoggerError,
    NotHeld,
    StoreBusy,
    StoreError,
    StoreFull,
    Undeletable,
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_STATUSES: tuple[tuple[type[MLLoggerError], int], ...] = (
    (BatchTooLarge, 413),
    (BadBatch, 400),
    (BadPath, 400),
    (Gone, 410),
    (NotHeld, 404),
    (Undeletable, 409),
    (StoreFull, 507),
    (StoreBusy, 503),
    (StoreError, 500),
)
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


def error_answer(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    """Return an answer with one line that says why."""
    extra = {"Retry-After": str(_RETRY_AFTER_S[status])} if status in _RETRY_AFTER_S else {}
    return json_answer(wire.encode_error(message), status=status, headers={**extra, **(headers or {})})


def json_answer(body: bytes, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """Return an answer whose body is this JSON."""
    return web.Response(body=body + b"\n", status=status, content_type="application/json", headers=headers)
