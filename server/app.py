"""The HTTP side put together: which call needs which right and is answered by what; binding and stopping."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

from aiohttp import web

from ..errors import UsageError
from .accepting import Listener
from .admission import OPEN_PATHS, Doorkeeper, guarded
from .answers import errors_as_json, other_versions
from .auth import Door
from .bodies import Intake
from .config import Limits
from .connections import Connections, Factory
from .figures import Figures
from .health import Health, counting
from .lineage import Marks
from .listening import bind, close_all, url_of
from .managing import Managing, pass_on
from .patience import Patience
from .quotas import Quotas
from .reading import Reading
from .shipping import Shipping
from .siblings import Siblings
from .store import Store
from .viewing import is_of_the_page, make_page

_READ_BYTES = 1 << 18
CONNECTIONS = web.AppKey("connections", Connections)


def make_app(
    store: Store,
    door: Door,
    limits: Limits,
    marks: Marks,
    *,
    quotas: Mapping[str, int] | None = None,
    figures: Figures | None = None,
    siblings: Siblings | None = None,
    metrics_open: bool = False,
    view: bool = True,
    title: str = "receiver",
    columns_dir: Path | None = None,
) -> web.Application:
    """Return the application; its threads end with it, `store` is the caller's to close.

    `quotas` are bytes by folder. `figures` and `siblings` are what it shares with other workers; with `metrics_open` its
    metrics need no token. With `view` it has the page, which is called `title` and keeps columns in `columns_dir`.
    """
    figures, room = figures or Figures(), Quotas(store, quotas or {})
    intake = Intake(limits, figures)
    shipping = Shipping(store, intake, marks, room, figures, siblings or Siblings())
    reading, managing = Reading(store, intake), Managing(store, intake, room, figures)
    health = Health(store, intake, figures, lambda: len(shipping.heartbeats))
    open_paths = OPEN_PATHS | {"/metrics"} if metrics_open else OPEN_PATHS
    is_open = is_of_the_page if view else _nothing
    doorkeeper = Doorkeeper(door, Patience(time.monotonic), figures, open_paths, is_open)
    connections = Connections(limits)
    app = web.Application(
        middlewares=[
            connections.middleware(),
            counting(figures),
            errors_as_json,
            doorkeeper.middleware(),
            other_versions,
            intake.middleware(),
        ]
    )
    app[CONNECTIONS] = connections
    app.add_routes(
        [
            web.get("/healthz", health.healthz),
            web.get("/readyz", health.readyz),
            web.get("/metrics", health.open_metrics if metrics_open else guarded("read", health.metrics)),
            web.post("/v1/stat", guarded("write", shipping.stat)),
            web.post("/v1/batch", guarded("write", shipping.batch)),
            web.post("/v1/lineage", guarded("write", shipping.lineage)),
            web.post("/v1/heartbeat", guarded("write", shipping.heartbeat)),
            web.get("/v1/agents", guarded("read", shipping.agents)),
            web.post("/v1/digest", guarded("read", reading.digest)),
            web.get("/v1/files/{path:.*}", guarded("read", reading.read_file)),
            web.put("/v1/files/{path:.*}", guarded("write", managing.put), expect_handler=pass_on),
            web.delete("/v1/files/{path:.*}", guarded("delete", managing.delete)),
            web.get("/v1/list", guarded("read", reading.list_folder)),
            web.get("/v1/list/{path:.*}", guarded("read", reading.list_folder)),
        ]
    )
    if view:
        page = make_page(store, door, doorkeeper, room, shipping.heartbeats, title, columns_dir)
        app.add_routes(page.routes())
        app.on_cleanup.append(page.close)
    app.on_startup.append(shipping.start)
    app.on_cleanup.append(intake.close)
    app.cleanup_ctx.append(partial(_counting, room))
    return app


def _nothing(_path: str) -> bool:
    return False


async def _counting(quotas: Quotas, _app: web.Application) -> AsyncIterator[None]:
    quotas.wake()
    yield
    await asyncio.to_thread(quotas.stop)


# --- running


async def start_site(
    app: web.Application,
    host: str,
    port: int,
    *,
    stop_timeout_s: float,
    tls: ssl.SSLContext | None = None,
    sockets: Sequence[socket.socket] | None = None,
) -> tuple[web.AppRunner, str]:
    """Bind and start; return the runner, whose ``cleanup`` stops within `stop_timeout_s`, and the URL.

    `sockets` are those for `host`, where they are bound already. Raises `UsageError` if the address can't be bound.
    """
    sockets = bind(host, port) if sockets is None else sockets
    connections = app[CONNECTIONS]
    limits = connections.limits
    runner = _Runner(
        app,
        connections,
        access_log=None,
        auto_decompress=False,  # else a body is expanded before any bound of ours is looked at
        keepalive_timeout=limits.idle_timeout_s + limits.header_timeout_s,  # ours come first
        stop_timeout_s=stop_timeout_s,
        read_bufsize=_READ_BYTES,
    )
    await runner.setup()
    try:
        runner.listen(sockets, tls)
    except UsageError:
        await runner.cleanup()
        close_all(sockets)
        raise
    return runner, url_of(host, sockets, is_tls=tls is not None)


class _Runner(web.AppRunner):
    """aiohttp's runner, with our own listener instead of its sites."""

    def __init__(
        self, app: web.Application, connections: Connections, *, stop_timeout_s: float, **settings: Any
    ) -> None:
        super().__init__(app, shutdown_timeout=stop_timeout_s, **settings)
        self._connections, self._stop_timeout_s = connections, stop_timeout_s
        self._listener: Listener | None = None
        self._cut: asyncio.TimerHandle | None = None

    def listen(self, sockets: Sequence[socket.socket], tls: ssl.SSLContext | None) -> None:
        """Take connections from `sockets`; raises `UsageError` where another program was quicker."""
        listener = Listener(sockets, self._connections, cast(Factory, self.server), tls)
        listener.start()
        self._listener = listener

    async def cleanup(self) -> None:
        """Take no more connections, finish the requests under way, and end."""
        if self._listener is not None:
            await self._listener.stop()
        await super().cleanup()
        if self._cut is not None:
            self._cut.cancel()

    async def shutdown(self) -> None:
        """Have what is left cut off when its time is over.

        aiohttp waits for a request, cancels what reads its body, and waits as long again for one that writes to somebody who
        does not read.
        """
        self._cut = asyncio.get_running_loop().call_later(self._stop_timeout_s, self._connections.cut_all)
        await super().shutdown()
