"""The HTTP side put together: which call needs which right and is answered by what; binding and stopping."""

from __future__ import annotations

import ssl
import time

import orjson
from aiohttp import web

from ..version import __version__
from .admission import Doorkeeper, guarded
from .answers import errors_as_json, json_answer
from .auth import Door
from .bodies import Intake
from .config import Limits
from .lineage import Marks
from .managing import Managing, pass_on
from .patience import Patience
from .reading import Reading
from .shipping import Shipping
from .store import Store

_READ_BYTES = 1 << 18


def make_app(store: Store, door: Door, limits: Limits, marks: Marks) -> web.Application:
    """Return the application; its threads end with it, `store` is the caller's to close."""
    intake = Intake(limits)
    shipping, reading, managing = Shipping(store, intake, marks), Reading(store, intake), Managing(store, intake)
    doorkeeper = Doorkeeper(door, Patience(time.monotonic))
    app = web.Application(middlewares=[errors_as_json, doorkeeper.middleware()])
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
            web.put("/v1/files/{path:.*}", guarded("write", managing.put), expect_handler=pass_on),
            web.delete("/v1/files/{path:.*}", guarded("delete", managing.delete)),
            web.get("/v1/list", guarded("read", reading.list_folder)),
            web.get("/v1/list/{path:.*}", guarded("read", reading.list_folder)),
        ]
    )
    app.on_cleanup.append(intake.close)
    return app


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
    # auto_decompress would expand a body before any bound of ours is looked at.
    runner = web.AppRunner(
        app, access_log=None, auto_decompress=False, shutdown_timeout=stop_timeout_s, read_bufsize=_READ_BYTES
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
