"""What a call asks for, taken out of its query and body, and checked: everything in it may be anything."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from aiohttp import web

from ..errors import BadPath
from ..layout import check_path, remote_path
from .answers import Refused
from .words import path_of

BODY_TIMEOUT_S = 20.0
MOST_NUMBER = 2**53


def path_in(request: web.Request, name: str, *, may_be_empty: bool = False) -> str:
    """Return the path in the query under `name`; raises `BadPath`."""
    text = request.query.get(name)
    if text is None and not may_be_empty:
        raise Refused(400, f"the call wants {name}=")
    return checked_path(text or "", may_be_empty=may_be_empty)


def checked_path(path: Any, *, may_be_empty: bool = True) -> str:
    """Return the relative path that the page calls `path`; raises `BadPath`.

    Names may hold whatever they may on this machine, not only what a receiver may store: a directory here is looked at too.
    """
    if path == "" and may_be_empty:
        return ""
    if not isinstance(path, str) or "\0" in path or path.endswith("/"):
        raise BadPath(f"path {str(path)[:80]!a} is none")
    there = path_of(path)
    check_path(remote_path(there))
    return there


def maybe_number_in(request: web.Request, name: str, *, most: int = MOST_NUMBER) -> int | None:
    """Return the whole number in the query under `name`, None if there is none; raises `Refused` (400)."""
    text = request.query.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 17 and int(text) <= most):
        raise Refused(400, f"{name} must be a whole number from 0 to {most}")
    return int(text)


async def json_body(request: web.Request) -> dict[str, Any]:
    """Return the JSON object that a request brings; raises `Refused`."""
    try:
        body = await asyncio.wait_for(request.read(), BODY_TIMEOUT_S)
    except asyncio.TimeoutError:
        raise Refused(408, f"the body did not arrive within {BODY_TIMEOUT_S:g} s") from None
    except web.HTTPRequestEntityTooLarge:
        raise Refused(413, "the body is too large") from None
    try:
        value = orjson.loads(body)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise Refused(400, "the body must be a JSON object")
    return value
