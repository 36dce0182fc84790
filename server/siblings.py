"""What the workers of one receiver tell each other: the heartbeats that came to one of them, so that each can list all agents.

Each has a socket for datagrams, made before any of them is forked. Nothing waits: what a busy sibling has no room for is lost,
and comes again with the agent's next heartbeat. With one worker there is nobody to tell.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

from ..wire import MAX_HEARTBEAT_BYTES

_MOST_AT_ONCE = 64
_MAX_BYTES = MAX_HEARTBEAT_BYTES + (1 << 14)  # a prefix is at most 2 KiB


class Siblings:
    """The sockets of `count` workers; `number` is this one's."""

    def __init__(self, count: int = 1, number: int = 0) -> None:
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(count if count > 1 else 0)]
        for one in (one for pair in pairs for one in pair):
            one.setblocking(False)
        self._pairs = pairs
        self.number = number

    def tell(self, prefix: str, body: bytes) -> None:
        """Tell the others of a heartbeat, of an agent that is confined to `prefix`."""
        for number, (to, _) in enumerate(self._pairs):
            if number != self.number:
                with contextlib.suppress(OSError):
                    to.send(prefix.encode() + b"\0" + body)

    def listen(self, take: Callable[[str, bytes], None]) -> None:
        """Call `take(prefix, body)` in the running event loop with what the others tell from now on."""
        if self._pairs:
            own = self._pairs[self.number][1]
            asyncio.get_running_loop().add_reader(own, _hear, own, take)


def _hear(own: socket.socket, take: Callable[[str, bytes], None]) -> None:
    with contextlib.suppress(BlockingIOError):
        for _ in range(_MOST_AT_ONCE):
            prefix, _, body = own.recv(_MAX_BYTES).partition(b"\0")
            take(prefix.decode(), body)
