"""Admission: nobody unknown gets past the door, and no handler runs for a caller without the right it asks for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from contextvars import ContextVar
from typing import NoReturn

from aiohttp import web
from aiohttp.typedefs import Middleware

from .answers import Handler, Refused
from .auth import Caller, Door, Right
from .figures import Figures
from .patience import Patience, wait_s

CallerHandler = Callable[[web.Request, Caller], Awaitable[web.StreamResponse]]

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
"""What needs no token."""

MOST_WAITING = 200
"""So many refusals wait at a time; further ones are answered at once, with 429."""

_TOLD_FAILURES = frozenset({1, 10, 100, 1_000, 10_000, 100_000})

# Of the request under way. Not kept in the request: its keys differ between versions of aiohttp.
_caller: ContextVar[Caller] = ContextVar("caller")
_log = logging.getLogger(__name__)


class Doorkeeper:
    """The middleware that answers 401 to whom `door` does not know, whatever they ask for, and ever later.

    `open_paths` need no token; those that are `is_open` let in their visitors themselves.
    """

    def __init__(
        self,
        door: Door,
        patience: Patience,
        figures: Figures,
        open_paths: Collection[str] = OPEN_PATHS,
        is_open: Callable[[str], bool] = lambda _path: False,
    ) -> None:
        self._door, self._patience, self._figures = door, patience, figures
        self._open_paths, self._is_open = open_paths, is_open
        self._waiting = 0

    def middleware(self) -> Middleware:
        """Return it as aiohttp wants it."""

        @web.middleware
        async def admit(request: web.Request, handler: Handler) -> web.StreamResponse:
            if request.path not in self._open_paths and not self._is_open(request.path):
                caller = self._door.maybe_caller(request.headers.get("Authorization"))
                if caller is None:
                    await self.turn_away(request.remote or "")
                else:
                    _caller.set(caller)
            return await handler(request)

        return admit

    async def turn_away(self, address: str) -> NoReturn:
        """Count a wrong token from `address`, wait for so long as that deserves, and raise `Refused` (401 or 429)."""
        count = self._patience.fail(address)
        self._figures.add("failed_logins", 1)
        if count in _TOLD_FAILURES:
            _log.warning("%d requests without a valid token from %s", count, address)
        if self._waiting >= MOST_WAITING:
            raise Refused(429, "too many requests without a valid token")
        self._waiting += 1
        try:
            await asyncio.sleep(wait_s(count))
        finally:
            self._waiting -= 1
        raise Refused(401, "no valid token: send 'Authorization: Bearer TOKEN'", {"WWW-Authenticate": "Bearer"})


def guarded(right: Right, handler: CallerHandler) -> Handler:
    """Return `handler` for callers who have the `right`; the others are answered with 403."""

    async def require_right(request: web.Request) -> web.StreamResponse:
        caller = _caller.get()
        if right not in caller.rights:
            raise Refused(403, f"the token {caller.name!a} has no right to {right}")
        return await handler(request, caller)

    return require_right
