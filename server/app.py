"""The HTTP side put together: which call needs which right and is answered by what; binding and stopping."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from functools import partial

import orjson
from aiohttp import web

from ..version import __version__
from .admission import Doorkeeper, guarded
from .answers import errors_as_json, json_answer
from .auth import Door
from .bodies import Intake
from .config import Limits
from .connections import Connections, GuardedRunner
from .lineage import Marks
from .patience import Patience
from .quotas import Quotas
from .reading import Reading
from .shipping import Shipping
from .store import Store

_READ_BYTES = 1 << 18
_CONNECTIONS = web.AppKey("connections", Connections)


def make_app(
    store: Store, door: Door, limits: Limits, marks: Marks, quotas: Mapping[str, int] | None = None
) -> web.Application:
    """Return the application; its threads end with it, `store` is the caller's to close. `quotas` are bytes by folder."""
    intake = Intake(limits)
    room = Quotas(store.usage, quotas or {})
    shipping, reading = Shipping(store, intake, marks, room), Reading(store, intake)
    doorkeeper = Doorkeeper(door, Patience(time.monotonic))
    connections = Connections(limits)
    app = web.Application(middlewares=[connections.middleware(), errors_as_json, doorkeeper.middleware()])
    app[_CONNECTIONS] = connections
    app.add_routes(
        [
            web.get("/healthz", healthz),
            web.post("/v1/stat", guarded("write", shipping.stat)),
            web.post("/v1/batch", guarded("write", shipping.batch)),
            web.post("/v1/lineage", guarded("write", shipping.lineage)),
            web.post("/v1/heartbeat", guarded("write", shipping.heartbeat)),
            web.get("/v1/agents", guarded("read", shipping.agents)),
            web.post("/v1/digest", guarded("read", reading.digest)),
            web.get("/v1/files/{path:.*}", guarded("read", reading.read_file)),
            web.get("/v1/list", guarded("read", reading.list_folder)),
            web.get("/v1/list/{path:.*}", guarded("read", reading.list_folder)),
        ]
    )
    app.on_cleanup.append(intake.close)
    app.cleanup_ctx.append(partial(_counting, room))
    return app


async def _counting(quotas: Quotas, _app: web.Application) -> AsyncIterator[None]:
    quotas.start()
    yield
    await asyncio.to_thread(quotas.stop)


async def healthz(_request: web.Request) -> web.Response:
    """Answer ``GET /healthz``: the process is up."""
    return json_answer(orjson.dumps({"ok": True, "version": __version__}))


# --- running


async def start_site(
    app: web.Application, host: str, port: int, *, stop_timeout_s: float, tls: ssl.SSLContext | None = None
) -> tuple[web.AppRunner, str]:
    """Bind and start; return the runner, whose ``cleanup`` stops within `stop_timeout_s`, and the URL.

    Raises `OSError` if the address can't be bound.
    """
    connections = app[_CONNECTIONS]
    limits = connections.limits
    runner = GuardedRunner(
        app,
        connections,
        access_log=None,
        auto_decompress=False,  # else a body is expanded before any bound of ours is looked at
        keepalive_timeout=limits.idle_timeout_s + limits.header_timeout_s,  # ours come first
        shutdown_timeout=stop_timeout_s,
        read_bufsize=_READ_BYTES,
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, ssl_context=tls).start()
    except OSError:
        await runner.cleanup()
        raise
    bound = runner.addresses[0]
    shown = f"[{host}]" if ":" in host else host
    return runner, f"{'http' if tls is None else 'https'}://{shown}:{bound[1]}"
