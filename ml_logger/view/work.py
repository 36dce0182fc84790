"""The threads of the page: what blocks or computes is done in them, a bounded number at a time, and nothing else is.

They are the page's own, so that somebody who looks at many curves takes no thread from what a receiver stores.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from aiohttp import web

from .answers import Refused, Reply, finished

T = TypeVar("T")

THREADS = 3
MOST_WAITING = 256
"""So many calls wait for a thread; further ones are answered with 503."""


class Workers:
    """A pool of threads with a bounded queue, for one event loop."""

    def __init__(self, threads: int = THREADS) -> None:
        self._pool = ThreadPoolExecutor(threads, "ml-logger-view")
        self._under_way = 0

    async def do(self, work: Callable[..., T], *args: Any) -> T:
        """Return what `work` returns; raises `Refused` (503) where too many wait already."""
        if self._under_way >= MOST_WAITING:
            raise Refused(503, "too many people look at once")
        self._under_way += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work, *args)
        finally:
            self._under_way -= 1

    async def answer(self, request: web.Request, work: Callable[..., Reply], *args: Any) -> web.Response:
        """Return the answer with what `work` returns, which is computed and compressed in a thread."""
        headers = request.headers
        return await self.do(lambda: finished(work(*args), headers))

    def close(self) -> None:
        """End the threads, once what they do is done."""
        self._pool.shutdown(cancel_futures=True)
