"""The page over a directory of this machine: an application of its own, in a thread of the process where that is wanted."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path

from aiohttp import web

from ..errors import UsageError
from ..files import LocalFiles
from .gate import Gate, OpenGate, is_loopback
from .page import Page
from .place import local_place

__all__ = ["Site", "bind", "is_loopback", "make_app", "page_of", "serve", "url_of"]

_STOP_TIMEOUT_S = 2.0


def make_app(page: Page) -> web.Application:
    """Return an application of the page alone; its threads end with it."""
    app = web.Application()
    app.add_routes(page.routes())
    app.on_cleanup.append(page.close)
    return app


def page_of(directory: Path, gate: Gate) -> Page:
    """Return the page over a directory."""
    title = directory.absolute().name or str(directory.absolute())
    return Page(local_place(LocalFiles(directory), title), gate)


def bind(host: str, port: int | None, otherwise: int = 0) -> socket.socket:
    """Return a socket that listens on `port`, without one on the port `otherwise` or any free one; raises `UsageError`."""
    try:
        return _bound(host, otherwise if port is None else port)
    except OSError as error:
        if port is None and error.errno == errno.EADDRINUSE:
            return bind(host, 0)
        hint = "give another --port, or 0 for any free one" if error.errno == errno.EADDRINUSE else "see --host, --port"
        reason = os.strerror(error.errno) if error.errno in (errno.EADDRINUSE, errno.EACCES) else error.strerror
        raise UsageError(f"can't listen on {host} port {port}: {reason}", hint=hint) from None
    except (OverflowError, UnicodeError):
        raise UsageError(f"can't listen on {host!a} port {port}: no such address", hint="see --host, --port") from None


def _bound(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    made = socket.socket(family, kind, protocol)
    try:
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(128)
    except OSError:
        made.close()
        raise
    return made


def url_of(host: str, listening: socket.socket) -> str:
    """Return the URL that leads a browser of this machine to a socket bound for `host`."""
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{listening.getsockname()[1]}/"


async def serve(page: Page, listening: socket.socket, ready: Callable[[], None], stop: asyncio.Event) -> None:
    """Serve the page until `stop` is set; `ready` is called once connections are accepted."""
    runner = web.AppRunner(make_app(page), access_log=None, shutdown_timeout=_STOP_TIMEOUT_S)
    await runner.setup()
    try:
        await web.SockSite(runner, listening).start()
        ready()
        await stop.wait()
    finally:
        await runner.cleanup()


class Site:
    """A page, or that over a directory, served on loopback by a thread of this process until `close`; `url` ends in ``/``."""

    def __init__(self, shown: str | os.PathLike[str] | Page, *, host: str = "127.0.0.1", port: int | None = 0) -> None:
        listening = bind(host, port)
        self.url = url_of(host, listening)
        page = shown if isinstance(shown, Page) else page_of(Path(shown), OpenGate())
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        is_up = threading.Event()
        work = serve(page, listening, is_up.set, self._stop)
        self._thread = threading.Thread(target=self._run, args=(work,), name="ml-logger-view", daemon=True)
        self._thread.start()
        is_up.wait()

    def _run(self, work: Coroutine[None, None, None]) -> None:
        self._loop.run_until_complete(work)
        self._loop.close()

    def close(self) -> None:
        """Stop serving; again does nothing."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()
