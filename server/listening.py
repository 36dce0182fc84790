"""Sockets to listen on: bound first, by the process that was started, and served by it or by its workers."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from ..errors import UsageError

BACKLOG = 128


def bind(host: str, port: int) -> list[socket.socket]:
    """Return one bound socket for each address of `host`, all on one port (0: any free one); raises `UsageError`."""
    bound: list[socket.socket] = []
    try:
        with _telling_why_not(host, port):
            _bind_each(host, port, bound)
    except UsageError:
        close_all(bound)
        raise
    return bound


def _bind_each(host: str, port: int, bound: list[socket.socket]) -> None:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    for family, address in dict.fromkeys((entry[0], entry[4]) for entry in found):
        bound.append(made := socket.socket(family, socket.SOCK_STREAM))
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind((address[0], port or bound[0].getsockname()[1], *address[2:]))


def listen(sockets: Sequence[socket.socket]) -> None:
    """Let clients connect; raises `UsageError` where another program was quicker."""
    for one in sockets:
        host, port = one.getsockname()[:2]
        with _telling_why_not(host, port):
            one.listen(BACKLOG)


def close_all(sockets: Sequence[socket.socket]) -> None:
    """Close them here."""
    for one in sockets:
        one.close()


def url_of(host: str, sockets: Sequence[socket.socket], *, is_tls: bool) -> str:
    """Return the URL that leads to `sockets`, which were bound for `host`."""
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if is_tls else 'http'}://{shown}:{sockets[0].getsockname()[1]}"


@contextmanager
def _telling_why_not(host: str, port: int) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:  # ValueError: a host name that no resolver takes
        raise _why_not(host, port, error) from None


def _why_not(host: str, port: int, error: OSError | ValueError) -> UsageError:
    hints = {
        errno.EADDRINUSE: "stop the other program, or give --port 0 for any free one",
        errno.EACCES: "ports below 1024 need rights; give a higher --port",
    }
    number = getattr(error, "errno", None)
    reason = os.strerror(number) if number in hints else getattr(error, "strerror", None) or "no such address"
    return UsageError(
        f"can't listen on {ascii(host)[1:-1]} port {port}: {reason}",
        hint=hints.get(number or 0, "give --host an address of this machine"),
    )
