"""Connections: how many there may be, and how long one may keep the receiver waiting.

aiohttp bounds neither how many come nor how long a request's head takes. So each of its protocols stands behind one of ours,
which passes everything on and looks at the clock. A connection is in one of four states:

- a head is awaited (from the start, or from the first byte after a request): `header_timeout_s`, then 408;
- a request is under way: its body is bounded where it is read (`bodies`);
- idle, between two requests: `idle_timeout_s`;
- refused (`refuse`): it is told why, and listened to for a moment, so that the answer is not lost with what the client sent.

Whoever does not read what is answered is cut off after `stall_timeout_s` without a byte. A connection counts from the moment
it is accepted (`accepting`), while TLS is being set up too; the states begin when it is encrypted.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import cast

from aiohttp import web
from aiohttp.typedefs import Middleware

from .answers import Handler, raw_error
from .config import Limits

_LINGER_S = 2.0

Factory = Callable[[], asyncio.Protocol]


class Connections:
    """The open connections of one receiver: counts them in all and by client, and makes further ones."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._clients: dict[_Connection, str] = {}
        self._by_client: Counter[str] = Counter()
        self._by_handler: dict[object, _Connection] = {}

    @property
    def count(self) -> int:
        """How many there are, those included whose TLS is being set up."""
        return len(self._clients)

    def middleware(self) -> Middleware:
        """Return what tells a connection, around everything else, that a request is under way."""

        @web.middleware
        async def note(request: web.Request, handler: Handler) -> web.StreamResponse:
            connection = self._by_handler.get(request.protocol)
            if connection is None:  # it was lost meanwhile
                return await handler(request)
            connection.begin()
            try:
                return await handler(request)
            finally:
                connection.end(is_whole=request.content.is_eof())

        return note

    def maybe_refusal(self, client: str) -> bytes | None:
        """Return the answer to one more connection of `client` where there is no room for it."""
        if self.count >= self.limits.max_connections:
            return raw_error(503, f"max_connections: {self.limits.max_connections} are open")
        if self._by_client[client] >= self.limits.max_connections_a_client:
            most = self.limits.max_connections_a_client
            return raw_error(429, f"max_connections_a_client: {most} from this address are open")
        return None

    def connect(
        self, taken: socket.socket, client: str, factory: Factory, tls: ssl.SSLContext | None
    ) -> Coroutine[None, None, None]:
        """Count one more connection of `client` from now until it is lost; return what sets it up."""
        connection = _Connection(self, factory)
        self._clients[connection] = client
        self._by_client[client] += 1
        return self._set_up(taken, connection, tls)

    async def _set_up(self, taken: socket.socket, connection: _Connection, tls: ssl.SSLContext | None) -> None:
        timeout_s = None if tls is None else self.limits.header_timeout_s
        try:
            with suppress(OSError):  # an SSLError is one; whoever came is gone
                await asyncio.get_running_loop().connect_accepted_socket(
                    lambda: connection, taken, ssl=tls, ssl_handshake_timeout=timeout_s
                )
        finally:
            if not connection.is_made:
                self._forget(connection)

    def _forget(self, connection: _Connection) -> None:
        client = self._clients.pop(connection, None)
        if client is not None:
            self._by_client[client] -= 1
            if not self._by_client[client]:
                del self._by_client[client]

    def add(self, handler: object, connection: _Connection) -> None:
        """Take note that the requests of `connection` come from `handler`."""
        self._by_handler[handler] = connection

    def remove(self, handler: object, connection: _Connection) -> None:
        """Forget a connection that is lost."""
        del self._by_handler[handler]
        self._forget(connection)

    def cut_all(self) -> None:
        """Close all of them, whatever is under way."""
        for connection in list(self._by_handler.values()):
            connection.abort()


async def refuse(taken: socket.socket, answer: bytes) -> None:
    """Answer a connection too many, and close it after a moment."""
    refusal = _Refusal(answer)
    await asyncio.get_running_loop().connect_accepted_socket(lambda: refusal, taken)
    await refusal.wait_end()


class _Connection(asyncio.Protocol):
    """One connection; everything that comes goes on to `_handler`, aiohttp's own protocol."""

    def __init__(self, connections: Connections, factory: Factory) -> None:
        self._connections, self._factory = connections, factory
        self._limits = connections.limits
        self._loop = asyncio.get_running_loop()
        self._handler: asyncio.Protocol | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None
        self._is_idle = self._has_begun = False

    @property
    def is_made(self) -> bool:
        """Whether it came about: its loss will be told then."""
        return self._handler is not None

    def abort(self) -> None:
        """Close it at once."""
        self._transport.abort()

    # --- what the transport says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._handler = self._factory()
        self._connections.add(self._handler, self)
        self._arm(self._limits.header_timeout_s, self._give_up_head)
        self._handler.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._is_idle:
            self._is_idle = False
            self._arm(self._limits.header_timeout_s, self._give_up_head)
        self._has_begun = True
        if self._handler is not None:
            self._handler.data_received(data)

    def eof_received(self) -> bool | None:
        return None if self._handler is None else self._handler.eof_received()

    def pause_writing(self) -> None:
        self._watch_writes()
        if self._handler is not None:
            self._handler.pause_writing()

    def resume_writing(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
        if self._handler is not None:
            self._handler.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._timer, self._stall):
            if timer is not None:
                timer.cancel()
        if self._handler is not None:
            self._connections.remove(self._handler, self)
            self._handler.connection_lost(exc)

    # --- what the middleware says

    def begin(self) -> None:
        """A whole head came."""
        self._is_idle = False
        if self._timer is not None:
            self._timer.cancel()

    def end(self, *, is_whole: bool) -> None:
        """The answer is made; unless the body was read `is_whole`, what comes next belongs to it."""
        self._is_idle, self._has_begun = is_whole, False
        self._arm(self._limits.idle_timeout_s, self._cut)

    # --- what the clock says

    def _arm(self, wait_s: float, work: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(wait_s, work)

    def _give_up_head(self) -> None:
        if self._has_begun:
            wait_s = self._limits.header_timeout_s
            self._transport.write(raw_error(408, f"header_timeout_s: no whole request head within {wait_s:g} s"))
        self._cut()

    def _cut(self) -> None:
        """Close it; where it does not take what is left for it, without that."""
        if self._transport.get_write_buffer_size():
            self._transport.abort()
        else:
            self._transport.close()

    def _watch_writes(self, size_before: int = -1) -> None:
        size = self._transport.get_write_buffer_size()
        if size == size_before:
            self._transport.abort()
        else:
            self._stall = self._loop.call_later(self._limits.stall_timeout_s, self._watch_writes, size)


class _Refusal(asyncio.Protocol):
    """A connection too many: it is told why, and then listened to for a moment."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._end = asyncio.Event()

    async def wait_end(self) -> None:
        """Wait until it is closed."""
        await self._end.wait()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        told = cast(asyncio.Transport, transport)
        told.write(self._answer)
        self._timer = asyncio.get_running_loop().call_later(_LINGER_S, told.abort)
        if told.can_write_eof():
            told.write_eof()

    def connection_lost(self, _exc: Exception | None) -> None:
        self._timer.cancel()
        self._end.set()
