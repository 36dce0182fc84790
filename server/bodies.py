"""Bodies on their way in, bounded in size, time and the room they take together.

The event loop only moves bytes; unpacking and the store run in threads. A body is read under a size bound and a deadline of
our own (aiohttp has neither for a streamed body). What is in memory is bounded twice: `max_requests_in_memory` requests are
unpacked and stored at a time, and the bodies on their way in may hold as much together as that many of the largest; past that
the answer is 503. So a slow client costs its connection, and no slot. Of that room one address has at most half, and who
holds some for long makes way for others (`room`): a client that fills memory and stops keeps nobody else out.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any, Literal, TypeVar, cast

from aiohttp import ClientError, web
from aiohttp.typedefs import Middleware

from .. import wire
from ..errors import BadBatch, BatchTooLarge
from .answers import Handler, Refused
from .config import Limits
from .figures import Figures
from .room import Holder, Room

T = TypeVar("T")

BodyLimit = Literal["max_expanded_bytes", "max_json_bytes"]
"""What bounds an expanded body: that of a batch, or one that is JSON alone."""

READ_THREADS = 8
"""So many threads read back; what else is neither a read nor in a slot has as many more as there are slots."""

# Of the request under way. Not kept in the request: its keys differ between versions of aiohttp.
_holder: ContextVar[Holder] = ContextVar("holder")


class Intake:
    """Reads bodies and does the work with them, a bounded number at a time."""

    def __init__(self, limits: Limits, figures: Figures) -> None:
        self.limits = limits
        self._figures = figures
        self._waiting = 0
        self._slots = asyncio.Semaphore(limits.max_requests_in_memory)
        size_bytes = limits.max_requests_in_memory * limits.max_body_bytes
        self._room = Room(size_bytes, max(size_bytes // 2, limits.max_body_bytes), limits.stall_timeout_s)
        slots = limits.max_requests_in_memory
        self._store_pool = ThreadPoolExecutor(
            slots, "ml-logger-store"
        )  # a thread for each slot: no store waits for a read
        self._pool = ThreadPoolExecutor(slots + READ_THREADS, "ml-logger-read")

    @property
    def crowd(self) -> float:
        """How many requests wait for a slot, for each slot there is."""
        return self._waiting / self.limits.max_requests_in_memory

    async def close(self, _app: web.Application) -> None:
        """End the threads."""
        for pool in (self._store_pool, self._pool):
            pool.shutdown(cancel_futures=True)

    def middleware(self) -> Middleware:
        """Return what knows whose body comes in, and answers 408 where it was cut to make room for others."""

        @web.middleware
        async def hold(request: web.Request, handler: Handler) -> web.StreamResponse:
            handling = cast("asyncio.Task[Any]", asyncio.current_task())
            holder = Holder(request.remote or "", handling.cancel)
            _holder.set(holder)
            try:
                return await handler(request)
            except asyncio.CancelledError:
                if not holder.is_cut:
                    raise
                raise self._room.too_slow() from None

        return hold

    async def in_thread(self, work: Callable[..., T], *args: Any) -> T:
        """Return what `work` returns, which may block; what is stored waits for none of these threads."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *args)

    async def work_on(
        self, request: web.Request, work: Callable[[bytes], T], limit: BodyLimit = "max_expanded_bytes"
    ) -> T:
        """Return what `work` makes of the expanded body, in a thread, once a slot is free; `limit` is what bounds it."""
        encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in ("identity", "zstd"):
            raise Refused(415, f"content encoding {encoding[:40]!a}: send zstd or none")
        async with self.read(request) as chunks:
            return await self.in_slot(self._unpack_and, work, chunks, encoding, limit)

    async def in_slot(self, work: Callable[..., T], *args: Any) -> T:
        """Return what `work` returns, in a thread, once a slot is free; nobody is cut meanwhile."""
        holder = _holder.get()
        holder.may_be_cut = False
        try:
            return await self._in_slot(work, *args)
        finally:
            holder.may_be_cut = True

    async def _in_slot(self, work: Callable[..., T], *args: Any) -> T:
        self._waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self._waiting -= 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._store_pool, work, *args)
        finally:
            self._slots.release()

    def _unpack_and(self, work: Callable[[bytes], T], chunks: list[bytes], encoding: str, limit: BodyLimit) -> T:
        packed = b"".join(chunks)  # here, since the event loop has others to listen to
        chunks.clear()
        most = getattr(self.limits, limit)
        if encoding == "zstd":
            return work(wire.expand(packed, max_expanded_bytes=most, limit=limit))
        if len(packed) > most:
            raise BatchTooLarge(f"{limit}: body of more than {most} bytes")
        return work(packed)

    @asynccontextmanager
    async def read(self, request: web.Request) -> AsyncIterator[list[bytes]]:
        """Give the body in the pieces it came in; its room is taken until the block ends."""
        body = _Body(self)
        try:
            yield await body.read(request)
        finally:
            self.give_room(body.taken_bytes)
            self._figures.add("received_bytes", body.taken_bytes)

    def give_room(self, size_bytes: int) -> None:
        """Count bytes that the request under way holds no longer."""
        self._room.give(_holder.get(), size_bytes)

    def take_room(self, size_bytes: int) -> None:
        """Count bytes that came in for the request under way; raises `Refused` (503) where there is no room for them."""
        self._room.take(_holder.get(), size_bytes)


class _Body:
    """One request body on its way in."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self.taken_bytes = 0
        self._heard_s = time.monotonic()

    async def read(self, request: web.Request) -> list[bytes]:
        limits, promised = self._intake.limits, request.content_length
        if promised is not None and promised > limits.max_body_bytes:
            raise BatchTooLarge(f"max_body_bytes: body of {promised} bytes, more than {limits.max_body_bytes}")
        try:
            chunks = await self._in_time(asyncio.ensure_future(self._read(request)))
        except (ClientError, ConnectionError, web.PayloadAccessError) as error:
            raise BadBatch(f"the body was cut: {type(error).__name__}") from None
        if promised is not None and promised != self.taken_bytes:
            raise BadBatch(f"the body has {self.taken_bytes} bytes, {promised} were promised")
        return chunks

    async def _in_time(self, reading: asyncio.Future[list[bytes]]) -> list[bytes]:
        """Return what `reading` does. It is looked at when it may be late, not at every piece."""
        limits = self._intake.limits
        end_s = time.monotonic() + limits.body_timeout_s
        try:
            while not reading.done():
                now_s = time.monotonic()
                if now_s >= end_s:
                    raise Refused(408, f"body_timeout_s: the body did not arrive within {limits.body_timeout_s:g} s")
                if now_s >= self._heard_s + limits.stall_timeout_s:
                    raise Refused(408, f"stall_timeout_s: not a byte of the body for {limits.stall_timeout_s:g} s")
                await asyncio.wait({reading}, timeout=min(end_s, self._heard_s + limits.stall_timeout_s) - now_s)
            return reading.result()
        finally:
            reading.cancel()

    async def _read(self, request: web.Request) -> list[bytes]:
        chunks = []
        async for chunk in request.content.iter_any():
            self._heard_s = time.monotonic()
            self.taken_bytes += len(chunk)
            if self.taken_bytes > self._intake.limits.max_body_bytes:
                raise BatchTooLarge(f"max_body_bytes: body of more than {self._intake.limits.max_body_bytes} bytes")
            self._intake.take_room(len(chunk))
            chunks.append(chunk)
        return chunks
