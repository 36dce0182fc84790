"""Answers of the page: what a browser may do with them, one line for an error, tags and compression.

A call computes a `Reply` in a thread; what turns it into an HTTP answer happens there too, so that neither JSON nor
compression holds up the event loop.
"""

from __future__ import annotations

import gzip
import hashlib
import logging
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from aiohttp import web

from ..errors import BadPath, Gone, MLLoggerError, NotHeld, StoreBusy, StoreFull
from .words import json_of

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_PAGE_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "media-src 'self' blob:",
        "font-src 'self'",
        "connect-src 'self'",
        "frame-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors ",
    )
)


def page_policy(framed_by: str = "'self'") -> str:
    """Return what the page may load: its own files and nothing else, no script in the page and none from elsewhere.

    `framed_by` are the pages that may show it in a frame.
    """
    return _PAGE_POLICY + framed_by


HEADERS = {
    "Content-Security-Policy": page_policy(),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""What every answer says, whatever is in it."""

_COMPRESSED_FROM_BYTES = 1024
_MOST_TROUBLE = 200
_log = logging.getLogger(__name__)
_STATUSES: tuple[tuple[type[MLLoggerError], int], ...] = (
    (BadPath, 400),
    (Gone, 410),
    (NotHeld, 404),
    (StoreFull, 507),
    (StoreBusy, 503),
)


class Refused(Exception):
    """A request that is answered with `status` and one line."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}


@dataclass(frozen=True, slots=True)
class Reply:
    """What a call has to say: bytes and their type; `is_packed` where compression would make them no smaller.

    What `is_asked_once` is the answer to a question that nobody asks again: it has no tag, and is compressed in haste.
    """

    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    is_packed: bool = False
    is_asked_once: bool = False


def json_reply(value: Any) -> Reply:
    """Return `value` as JSON; numbers of numpy are taken, and what JSON doesn't know becomes text."""
    return Reply(json_of(value) + b"\n")


def finished(reply: Reply, request_headers: Mapping[str, str]) -> web.Response:
    """Return the HTTP answer: compressed if the client takes that, 304 if it has the same already."""
    encoding = "identity" if reply.is_packed else wanted_encoding(request_headers.get("Accept-Encoding", ""))
    if len(reply.body) < _COMPRESSED_FROM_BYTES:
        encoding = "identity"
    headers = {"Cache-Control": "no-cache", "Vary": "Accept-Encoding, Cookie", **reply.headers}
    if encoding != "identity":
        headers["Content-Encoding"] = encoding
    headers["Content-Type"] = with_charset(reply.content_type)
    if reply.is_asked_once:
        return web.Response(body=packed(reply.body, encoding, "fast"), headers={**headers, "Cache-Control": "no-store"})
    headers["ETag"] = tag = f'"{hashlib.blake2b(reply.body, digest_size=12).hexdigest()}-{encoding[0]}"'
    if tag in tags_in(request_headers.get("If-None-Match", "")):
        return web.Response(status=304, headers=headers)
    return web.Response(body=packed(reply.body, encoding), headers=headers)


def wanted_encoding(accepted: str) -> str:
    """Return the best of what an ``Accept-Encoding`` header takes: ``zstd``, ``gzip`` or ``identity``."""
    taken = {part.partition(";")[0].strip().lower() for part in accepted.split(",") if not _is_refused(part)}
    return next((encoding for encoding in ("zstd", "gzip") if encoding in taken), "identity")


def _is_refused(part: str) -> bool:
    weight = part.partition(";")[2].replace(" ", "")
    return weight.startswith("q=0") and not weight.strip("q=0.")


_LEVELS = {"zstd": {"fast": 1, "usual": 3, "small": 12}, "gzip": {"fast": 1, "usual": 4, "small": 9}}


def packed(body: bytes, encoding: str, effort: Literal["fast", "usual", "small"] = "usual") -> bytes:
    """Return `body` in this content encoding."""
    if encoding == "zstd":
        return zstd.compress(body, _LEVELS["zstd"][effort])
    if encoding == "gzip":
        return gzip.compress(body, _LEVELS["gzip"][effort], mtime=0)
    return body


def with_charset(content_type: str) -> str:
    """Return the type with its character set where it is text."""
    is_text = content_type.startswith("text/") or content_type == "image/svg+xml"
    return f"{content_type}; charset=utf-8" if is_text else content_type


def tags_in(header: str) -> set[str]:
    """Return the entity tags in an ``If-None-Match`` header; weak ones count the same here."""
    return {tag.strip().removeprefix("W/") for tag in header.split(",")}


def answering(handler: Handler, headers: Mapping[str, str] = HEADERS) -> Handler:
    """Return `handler` with its errors as one line of JSON, and with `headers` where it says nothing else."""

    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            response = await handler(request)
        except Refused as error:
            response = error_answer(error.status, str(error), error.headers)
        except web.HTTPException:
            raise
        except ConnectionError:
            # Whoever asked is gone, or can't be told otherwise that the length it was promised is wrong.
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        except Exception as error:  # noqa: BLE001 - whatever a run holds, who looks at it is answered
            response = _failed(request, error)
        if not response.prepared:
            add_missing(response, headers.items())
        return response

    return answer


def add_missing(response: web.StreamResponse, headers: Iterable[tuple[str, str]]) -> None:
    """Give an answer the headers that it doesn't have."""
    for name, value in headers:
        response.headers.setdefault(name, value)


def _failed(request: web.Request, error: Exception) -> web.Response:
    status = next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)
    line = trouble_of(error)
    if status == 500:
        _log.error("%s %s: %s", request.method, request.path[:200].encode("unicode_escape").decode(), line)
    return error_answer(status, line)


def trouble_of(error: Exception) -> str:
    """Return what went wrong as one line; of what nobody foresaw its kind too."""
    if isinstance(error, MLLoggerError):
        return error.one_line()
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return " ".join(f"{type(error).__name__}: {error}"[:_MOST_TROUBLE].split()).rstrip(":")


def error_answer(status: int, message: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return an answer with one line that says why."""
    line = json_of({"error": " ".join(message.split())}) + b"\n"
    extra = {"Retry-After": "2"} if status in (429, 503) else {}
    return web.Response(
        body=line,
        status=status,
        content_type="application/json",
        headers={"Cache-Control": "no-store", **extra, **(headers or {})},
    )
