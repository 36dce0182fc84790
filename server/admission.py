"""Admission: nobody unknown gets past the door, and no handler runs for a caller without the right it asks for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar

from aiohttp import web
from aiohttp.typedefs import Middleware

from .answers import Handler, Refused
from .auth import Caller, Door, Right

CallerHandler = Callable[[web.Request, Caller], Awaitable[web.StreamResponse]]

OPEN_PATHS = ("/healthz",)
"""What needs no token."""

# Of the request under way. Not kept in the request: its keys differ between versions of aiohttp.
_caller: ContextVar[Caller] = ContextVar("caller")


def doorkeeper(door: Door) -> Middleware:
    """Return a middleware that answers 401 to whom `door` does not know, whatever they ask for."""

    @web.middleware
    async def admit(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path not in OPEN_PATHS:
            caller = door.maybe_caller(request.headers.get("Authorization"))
            if caller is None:
                raise Refused(401, "no valid token: send 'Authorization: Bearer TOKEN'", {"WWW-Authenticate": "Bearer"})
            _caller.set(caller)
        return await handler(request)

    return admit


def guarded(right: Right, handler: CallerHandler) -> Handler:
    """Return `handler` for callers who have the `right`; the others are answered with 403."""

    async def require_right(request: web.Request) -> web.StreamResponse:
        caller = _caller.get()
        if right not in caller.rights:
            raise Refused(403, f"the token {caller.name!a} has no right to {right}")
        return await handler(request, caller)

    return require_right
