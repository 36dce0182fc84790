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
from .auth import Caller, Door, Right, digest_of
from .figures import Figures
from .patience import Patience, wait_s

CallerHandler = Callable[[web.Request, Caller], Awaitable[web.StreamResponse]]

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
"""What needs no token."""

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

    def middleware(self) -> Middleware:
        """Return it as aiohttp wants it."""

        @web.middleware
        async def admit(request: web.Request, handler: Handler) -> web.StreamResponse:
            if request.path not in self._open_paths and not self._is_open(request.path):
                _caller.set(await self.let_in(request.remote or "", request.headers.get("Authorization")))
            return await handler(request)

        return admit

    async def let_in(self, address: str, authorization: str | None) -> Caller:
        """Return who shows this ``Authorization`` header from `address`; else raise `Refused`, ever later (401 or 429)."""
        shown = digest_of(authorization or "")
        if not self._patience.may_try(address, shown):
            raise _too_many()
        caller = self._door.maybe_caller(authorization)
        if caller is None:
            await self._turn_away(address)
        self._patience.welcome(address, shown)
        return caller

    async def _turn_away(self, address: str) -> NoReturn:
        count = self._patience.fail(address)
        self._figures.add("failed_logins", 1)
        if count in _TOLD_FAILURES:
            _log.warning("%d requests without a valid token from %s", count, address)
        time_s = wait_s(count)
        if time_s:
            with self._patience.waiting(address) as has_place:
                if not has_place:
                    raise _too_many()
                await asyncio.sleep(time_s)
        raise Refused(401, "no valid token: send 'Authorization: Bearer TOKEN'", {"WWW-Authenticate": "Bearer"})


def _too_many() -> Refused:
    return Refused(429, "too many requests without a valid token")


def guarded(right: Right, handler: CallerHandler) -> Handler:
    """Return `handler` for callers who have the `right`; the others are answered with 403."""

    async def require_right(request: web.Request) -> web.StreamResponse:
        caller = _caller.get()
        if right not in caller.rights:
            raise Refused(403, f"the token {caller.name!a} has no right to {right}")
        return await handler(request, caller)

    return require_right
