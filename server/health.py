"""The calls that tell how the receiver is: up, ready to take data, and its figures."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import orjson
from aiohttp import web
from aiohttp.typedefs import Middleware

from ..errors import StoreError
from ..version import __version__
from . import metrics
from .answers import Handler, Refused, json_answer
from .auth import Caller
from .bodies import Intake
from .figures import Figures
from .metrics import Now
from .store import Store

KEEP_S = 1.0
"""So long the last look at the store counts, however many ask."""

PROBE_TIMEOUT_S = 2.0


class Health:
    """The handlers. The store is looked at by one thread at a time, so that a disk that stands still holds no more of them."""

    def __init__(self, store: Store, intake: Intake, figures: Figures, agents: Callable[[], int]) -> None:
        self._store, self._intake, self._figures, self._agents = store, intake, figures, agents
        self._look: asyncio.Future[str | None] | None = None
        self._looked_at_s = 0.0
        self._free_bytes: int | None = None

    async def healthz(self, _request: web.Request) -> web.Response:
        """Answer ``GET /healthz``: the process is up."""
        return json_answer(orjson.dumps({"ok": True, "version": __version__}))

    async def readyz(self, _request: web.Request) -> web.Response:
        """Answer ``GET /readyz``: 200 if the store can take data now, else 503 and why not."""
        reason = await self._maybe_reason()
        if reason is not None:
            raise Refused(503, reason)
        return json_answer(orjson.dumps({"ok": True}))

    async def _maybe_reason(self) -> str | None:
        """Return why the store takes no data, None if it does."""
        if self._look is None or (self._look.done() and time.monotonic() - self._looked_at_s >= KEEP_S):
            self._looked_at_s = time.monotonic()
            self._look = asyncio.ensure_future(self._intake.in_thread(self._look_at_store))
        done, _ = await asyncio.wait({self._look}, timeout=PROBE_TIMEOUT_S)
        return self._look.result() if done else "the disk does not answer"

    def _look_at_store(self) -> str | None:
        self._free_bytes = None
        try:
            self._free_bytes = self._store.free_bytes()
            self._store.probe()
        except StoreError as error:
            return error.one_line()
        return None

    async def metrics(self, _request: web.Request, caller: Caller) -> web.Response:
        """Answer ``GET /metrics``, which speak of everybody's data, to a caller who may read all of it."""
        if caller.prefix:
            raise Refused(403, "the metrics are for tokens without a prefix")
        return await self._metrics()

    async def open_metrics(self, _request: web.Request) -> web.Response:
        """Answer ``GET /metrics`` to anybody."""
        return await self._metrics()

    async def _metrics(self) -> web.Response:
        await self._maybe_reason()
        now = Now(self._agents(), self._free_bytes, self._figures.workers)
        try:
            text = metrics.render(self._figures, now)
        except ImportError:
            raise Refused(501, "metrics need prometheus-client here: pip install 'ml-logger[prometheus]'") from None
        return web.Response(body=text, headers={"Content-Type": metrics.CONTENT_TYPE})


def counting(figures: Figures) -> Middleware:
    """Return the middleware that counts every request by its call and its answer."""

    @web.middleware
    async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
        status = 500
        try:
            response = await handler(request)
            status = response.status
            return response
        finally:
            figures.count_request(request.path, status)

    return count
