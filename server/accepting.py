"""Accepting connections: each is counted from here on, before TLS is set up, and TLS has as long for that as a head has.

asyncio's own server counts nothing and, where no file may be opened any more, tries again at once, with a trace each time. This
one takes a pause then and says so in a line a minute: who waits is kept by the kernel meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import time
from collections.abc import Coroutine, Sequence

from .connections import Connections, Factory, refuse
from .listening import BACKLOG, close_all, listen

_PAUSE_S = 1.0
_SAY_EVERY_S = 60.0

MOST_REFUSED = 64
"""So many refused connections are told why at a time; further ones are closed without a word."""

_log = logging.getLogger(__name__)


class Listener:
    """Takes connections from sockets, until it is stopped; what they carry is handled by protocols from `factory`."""

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        connections: Connections,
        factory: Factory,
        tls: ssl.SSLContext | None,
    ) -> None:
        self._sockets, self._connections, self._factory, self._tls = sockets, connections, factory, tls
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._pauses: dict[socket.socket, asyncio.TimerHandle] = {}
        self._refused = 0
        self._said_s = -_SAY_EVERY_S

    def start(self) -> None:
        """Let clients connect; raises `UsageError` where another program was quicker."""
        listen(self._sockets)
        for one in self._sockets:
            self._watch(one)

    async def stop(self) -> None:
        """Take no more, and give up those that are not set up."""
        for one in self._sockets:
            self._loop.remove_reader(one)
        for pause in self._pauses.values():
            pause.cancel()
        close_all(self._sockets)
        await asyncio.sleep(0)  # what was taken just now begins, and so will close its socket
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _watch(self, listening: socket.socket) -> None:
        self._loop.add_reader(listening, self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(BACKLOG):
            try:
                taken, address = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._pause(listening, error)
                return
            taken.setblocking(False)
            self._take(taken, str(address[0]))

    def _pause(self, listening: socket.socket, error: OSError) -> None:
        self._loop.remove_reader(listening)
        self._pauses[listening] = self._loop.call_later(_PAUSE_S, self._watch, listening)
        if time.monotonic() - self._said_s >= _SAY_EVERY_S:
            self._said_s = time.monotonic()
            _log.error("no connection can be accepted just now: %s; trying every second", error.strerror)

    def _take(self, taken: socket.socket, client: str) -> None:
        refusal = self._connections.maybe_refusal(client)
        if refusal is None:
            self._begin(self._connections.connect(taken, client, self._factory, self._tls))
        elif self._tls is None and self._refused < MOST_REFUSED:
            self._refused += 1
            self._begin(self._refuse(taken, refusal))
        else:  # to tell it over TLS would be the very work that there is no room for
            taken.close()

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _refuse(self, taken: socket.socket, answer: bytes) -> None:
        try:
            with contextlib.suppress(OSError):
                await refuse(taken, answer)
        finally:
            self._refused -= 1
