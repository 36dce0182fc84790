"""A receiver's HTTP side in a thread of the test's own process, on a free port."""

from __future__ import annotations

import asyncio
import socket
import ssl
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import requests

from ml_logger.server.app import make_app, start_site
from ml_logger.server.auth import Door, door_for
from ml_logger.server.config import Limits
from ml_logger.server.lineage import Marks
from ml_logger.server.store import Store


@dataclass
class Site:
    """Where it listens, and a session that shows its token."""

    url: str
    session: requests.Session

    def post(self, path: str, body: bytes, **headers: str) -> requests.Response:
        shown = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.session.post(self.url + path, data=body, headers=shown, timeout=30)

    def get(self, path: str, **headers: str) -> requests.Response:
        shown = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.session.get(self.url + path, headers=shown, timeout=30)

    def connect(self) -> socket.socket:
        parts = urlsplit(self.url)
        return socket.create_connection((parts.hostname, parts.port), timeout=30)


@contextmanager
def serving(
    store: Store,
    door: Door | None = None,
    *,
    token: str | None = None,
    limits: Limits | None = None,
    marks: Marks | None = None,
    tls: ssl.SSLContext | None = None,
    quotas: Mapping[str, int] | None = None,
    metrics_open: bool = False,
    view: bool = True,
) -> Iterator[Site]:
    """Serve `store` behind `door` until the block ends; without `marks` each time with a new lineage.

    The session shows `token`; without a `door` that is also the one token that opens.
    """
    if door is None:
        door = Door(None) if token is None else door_for(token)
    with ExitStack() as stack:
        if marks is None:
            marks = Marks(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        yield stack.enter_context(_serving(store, door, token, limits, marks, tls, quotas, metrics_open, view))


@contextmanager
def _serving(
    store: Store,
    door: Door,
    token: str | None,
    limits: Limits | None,
    marks: Marks,
    tls: ssl.SSLContext | None,
    quotas: Mapping[str, int] | None,
    metrics_open: bool,
    view: bool,
) -> Iterator[Site]:
    started: list[str] = []
    is_up, loop = threading.Event(), asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        app = make_app(store, door, limits or Limits(), marks, quotas=quotas, metrics_open=metrics_open, view=view)
        runner, url = await start_site(app, "127.0.0.1", 0, stop_timeout_s=5, tls=tls)
        started.append(url)
        is_up.set()
        await stop.wait()
        await runner.cleanup()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert is_up.wait(30)
        with requests.Session() as session:
            session.trust_env = False
            if token is not None:
                session.headers["Authorization"] = f"Bearer {token}"
            yield Site(started[0], session)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(30)
        assert not thread.is_alive(), "the receiver did not stop"
        loop.close()


def exchange(connection: socket.socket, request: bytes, *, is_cut: bool = False) -> bytes:
    """Send raw bytes, with `is_cut` say that no more come, return all that is answered, and close."""
    with connection:
        connection.sendall(request)
        if is_cut:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        while chunk := connection.recv(1 << 16):
            answer += chunk
        return answer
