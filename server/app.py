"""The HTTP side: aiohttp requests to calls of a `Store`, and errors to JSON answers of one line.

The event loop only moves bytes; unpacking and the store run in threads. A body is read under a size bound and a deadline
of our own (aiohttp has neither for a streamed body). What is in memory is bounded twice: `max_requests_in_memory` requests
are unpacked and stored at a time, and the bodies on their way in may hold as much together as that many of the largest;
past that the answer is 503. So a slow client costs its connection, and no slot.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes

import orjson
from aiohttp import ClientError, web

from .. import wire
from ..errors import BadBatch, BadPath, BatchTooLarge, MLLoggerError, NotHeld, StoreBusy, StoreError, StoreFull
from ..version import __version__
from .auth import Door
from .byterange import maybe_range
from .config import Limits
from .heartbeats import Heartbeats
from .lineage import Marks
from .store import Store, StoredFile

T = TypeVar("T")
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_STATUSES: tuple[tuple[type[MLLoggerError], int], ...] = (
    (BatchTooLarge, 413),
    (BadBatch, 400),
    (BadPath, 400),
    (NotHeld, 404),
    (StoreFull, 507),
    (StoreBusy, 503),
    (StoreError, 500),
)
_RETRY_AFTER_S = {503: 2, 507: 10}
_READ_BYTES = 1 << 18
_LIST_LIMIT = 1000
_READ_THREADS = 4
_FLUSH_STEP_S = 0.25
_MAX_FLUSH_S = 10.0

_log = logging.getLogger(__name__)


class Refused(Exception):
    """A request that is answered with `status` and one line; the HTTP side's own, no store knows it."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}


def make_app(store: Store, door: Door, limits: Limits, marks: Marks) -> web.Application:
    """Return the application; its threads end with it, `store` is the caller's to close."""
    receiver = _Receiver(store, door, limits, marks)
    app = web.Application(middlewares=[_errors_as_json, receiver.authorize])
    app.add_routes(
        [
            web.get("/healthz", receiver.healthz),
            web.post("/v1/stat", receiver.stat),
            web.post("/v1/batch", receiver.batch),
            web.post("/v1/lineage", receiver.lineage),
            web.post("/v1/heartbeat", receiver.heartbeat),
            web.get("/v1/agents", receiver.agents),
            web.get("/v1/files/{path:.*}", receiver.read_file),
            web.get("/v1/list", receiver.list_folder),
            web.get("/v1/list/{path:.*}", receiver.list_folder),
        ]
    )
    app.on_cleanup.append(receiver.close)
    return app


# --- errors


@web.middleware
async def _errors_as_json(request: web.Request, handler: _Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Refused as error:
        return _error(error.status, str(error), error.headers)
    except MLLoggerError as error:
        status = next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)
        if status >= 500:
            _log.error(
                "%s %s: %s", request.method, request.path[:200].encode("unicode_escape").decode(), error.one_line()
            )
        return _error(status, error.one_line())
    except web.HTTPException as error:
        headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        return _error(error.status, error.reason.lower(), headers)


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    extra = {"Retry-After": str(_RETRY_AFTER_S[status])} if status in _RETRY_AFTER_S else {}
    return _json(wire.encode_error(message), status=status, headers={**extra, **(headers or {})})


def _json(body: bytes, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=body + b"\n", status=status, content_type="application/json", headers=headers)


class _Receiver:
    """The handlers and what they share."""

    def __init__(self, store: Store, door: Door, limits: Limits, marks: Marks) -> None:
        self._store, self._door, self._limits, self._marks = store, door, limits, marks
        self._waiting = 0
        self._heartbeats = Heartbeats(time.monotonic)
        self._slots = asyncio.Semaphore(limits.max_requests_in_memory)
        self._room_bytes = limits.max_requests_in_memory * limits.max_body_bytes
        self._pool = ThreadPoolExecutor(limits.max_requests_in_memory + _READ_THREADS, "ml-logger-store")

    async def close(self, _app: web.Application) -> None:
        self._pool.shutdown(cancel_futures=True)

    async def _in_thread(self, work: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *args)

    @web.middleware
    async def authorize(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        if request.path == "/healthz" or self._door.maybe_caller(request.headers.get("Authorization")) is not None:
            return await handler(request)
        raise Refused(401, "no valid token: send 'Authorization: Bearer TOKEN'", {"WWW-Authenticate": "Bearer"})

    async def healthz(self, _request: web.Request) -> web.Response:
        return _json(orjson.dumps({"ok": True, "version": __version__}))

    # --- storing

    async def stat(self, request: web.Request) -> web.Response:
        return await self._with_body(request, self._stat)

    async def batch(self, request: web.Request) -> web.Response:
        return await self._with_body(request, self._batch)

    def _stat(self, body: bytes) -> bytes:
        paths = wire.decode_stat_request(body, max_paths=self._limits.max_paths)
        return wire.encode_stat_answer(paths, self._store.stat(paths))

    def _batch(self, body: bytes) -> bytes:
        limits, start = self._limits, time.monotonic()
        manifest, payloads = wire.split_batch(
            body, max_manifest_bytes=limits.max_manifest_bytes, max_items=limits.max_items
        )
        outcomes = self._store.apply(manifest, payloads)
        _log.debug("batch of %d items, %d bytes: %.3f s", len(outcomes), len(body), time.monotonic() - start)
        self._marks.note_stored()
        mark = self._marks.since(None).mark
        return wire.encode_outcomes(outcomes, next_flush_s=self._next_flush_s(), mark=mark)

    def _next_flush_s(self) -> float:
        """Return how long agents had better wait between batches: nothing, unless as many wait for a slot as there are."""
        crowd = self._waiting / self._limits.max_requests_in_memory
        return min(_FLUSH_STEP_S * crowd, _MAX_FLUSH_S) if crowd >= 1 else 0.0

    async def lineage(self, request: web.Request) -> web.Response:
        return await self._with_body(request, self._lineage)

    def _lineage(self, body: bytes) -> bytes:
        return wire.encode_lineage(self._marks.since(wire.decode_lineage_request(body)))

    async def _with_body(self, request: web.Request, work: Callable[[bytes], bytes]) -> web.Response:
        encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in ("identity", "zstd"):
            raise Refused(415, f"content encoding {encoding[:40]!a}: send zstd or none")
        body = _Body(self)
        try:
            chunks = await body.read(request)
            self._waiting += 1
            try:
                await self._slots.acquire()
            finally:
                self._waiting -= 1
            try:
                answer = await self._in_thread(self._unpack_and, work, chunks, encoding)
            finally:
                self._slots.release()
        finally:
            body.release()
        return _json(answer)

    def _unpack_and(self, work: Callable[[bytes], bytes], chunks: list[bytes], encoding: str) -> bytes:
        packed = b"".join(chunks)  # here, since the event loop has others to listen to
        chunks.clear()
        most = self._limits.max_expanded_bytes
        if encoding == "zstd":
            return work(wire.expand(packed, max_bytes=most))
        if len(packed) > most:
            raise BatchTooLarge(f"body has more than {most} bytes")
        return work(packed)

    # --- agents

    async def heartbeat(self, request: web.Request) -> web.Response:
        body = _Body(self)
        try:
            self._heartbeats.take(b"".join(await body.read(request)))
        finally:
            body.release()
        return _json(orjson.dumps({"v": wire.VERSION}))

    async def agents(self, _request: web.Request) -> web.Response:
        return _json(wire.encode_agents(self._heartbeats.agents()))

    # --- reading back

    async def list_folder(self, request: web.Request) -> web.Response:
        folder = _path_after(request, "/v1/list").rstrip("/")
        limit = _maybe_limit(request.query.get("limit", str(_LIST_LIMIT)))
        if limit is None:
            raise Refused(400, f"limit must be a whole number from 1 to {_LIST_LIMIT}")
        after = request.query.get("after", "")
        listing = await self._in_thread(lambda: self._store.list(folder, after=after, limit=limit))
        entries = [{"name": e.name, "kind": e.kind, "size": e.size, "mtime_ns": e.mtime_ns} for e in listing.entries]
        answer = {"v": wire.VERSION, "path": folder, "entries": entries, "next_after": listing.next_after}
        return _json(orjson.dumps(answer))

    async def read_file(self, request: web.Request) -> web.StreamResponse:
        file = await self._in_thread(self._store.open, _path_after(request, "/v1/files"))
        try:
            return await self._send(request, file)
        finally:
            file.close()

    async def _send(self, request: web.Request, file: StoredFile) -> web.StreamResponse:
        tag = f'"{file.version}"'
        headers = {"ETag": tag, "Accept-Ranges": "bytes", "X-Content-Type-Options": "nosniff"}
        if tag in _tags(request.headers.getall("If-None-Match", [])):
            return web.Response(status=304, headers=headers)
        is_current = request.headers.get("If-Range", tag) == tag
        wanted = maybe_range(request.headers.get("Range"), file.size) if is_current else None
        if wanted is not None and not wanted:
            raise Refused(416, f"the file has {file.size} bytes", {"Content-Range": f"bytes */{file.size}"})
        span = range(file.size) if wanted is None else wanted
        response = web.StreamResponse(status=200 if wanted is None else 206, headers=headers)
        if wanted is not None:
            response.headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{file.size}"
        response.content_type = "application/octet-stream"
        response.content_length = len(span)
        response.last_modified = file.mtime_ns // 10**9
        await response.prepare(request)
        if request.method != "HEAD":
            await self._send_span(response, file, span)
        return response

    async def _send_span(self, response: web.StreamResponse, file: StoredFile, span: range) -> None:
        for start in range(span.start, span.stop, _READ_BYTES):
            wanted = min(_READ_BYTES, span.stop - start)
            chunk = await self._in_thread(file.read, start, wanted)
            if len(chunk) < wanted:
                # The length is promised already: cutting the connection is the only way left to say that it is wrong.
                raise ConnectionResetError("the file became shorter while it was read")
            await response.write(chunk)
        await response.write_eof()

    # --- memory

    def take_room(self, size_bytes: int) -> None:
        """Count bytes that came in; raises `Refused` (503) where there is no room for them."""
        self._room_bytes -= size_bytes
        if self._room_bytes < 0:
            raise Refused(503, "too many requests in memory")

    def give_room(self, size_bytes: int) -> None:
        """Count bytes that were let go."""
        self._room_bytes += size_bytes

    @property
    def limits(self) -> Limits:
        return self._limits


class _Body:
    """One request body on its way in, bounded in size, time and the room it takes."""

    def __init__(self, receiver: _Receiver) -> None:
        self._receiver = receiver
        self._taken_bytes = 0

    async def read(self, request: web.Request) -> list[bytes]:
        """Return the body in the pieces it came in."""
        limits, promised = self._receiver.limits, request.content_length
        if promised is not None and promised > limits.max_body_bytes:
            raise BatchTooLarge(f"body of {promised} bytes, more than {limits.max_body_bytes}")
        try:
            chunks = await asyncio.wait_for(self._read(request), limits.body_timeout_s)
        except asyncio.TimeoutError:
            raise Refused(408, f"the body did not arrive within {limits.body_timeout_s:g} s") from None
        except (ClientError, ConnectionError, web.PayloadAccessError) as error:
            raise BadBatch(f"the body was cut: {type(error).__name__}") from None
        if promised is not None and promised != self._taken_bytes:
            raise BadBatch(f"the body has {self._taken_bytes} bytes, {promised} were promised")
        return chunks

    async def _read(self, request: web.Request) -> list[bytes]:
        chunks = []
        async for chunk in request.content.iter_any():
            self._taken_bytes += len(chunk)
            self._receiver.take_room(len(chunk))
            if self._taken_bytes > self._receiver.limits.max_body_bytes:
                raise BatchTooLarge(f"body of more than {self._receiver.limits.max_body_bytes} bytes")
            chunks.append(chunk)
        return chunks

    def release(self) -> None:
        self._receiver.give_room(self._taken_bytes)


def _path_after(request: web.Request, prefix: str) -> str:
    """Return the path in the URL, decoded once; names may hold any escaped byte, so aiohttp's own decoding won't do."""
    raw = request.rel_url.raw_path.removeprefix(prefix).removeprefix("/")
    try:
        return unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise BadPath("the path in the URL is not UTF-8") from None


def _maybe_limit(text: str) -> int | None:
    is_number = text.isascii() and text.isdigit() and len(text) < 10
    return int(text) if is_number and 1 <= int(text) <= _LIST_LIMIT else None


def _tags(headers: Iterable[str]) -> set[str]:
    """Return the entity tags in ``If-None-Match`` headers; weak ones count the same here."""
    return {tag.strip().removeprefix("W/") for header in headers for tag in header.split(",")}


# --- running


async def start_site(app: web.Application, host: str, port: int, *, stop_timeout_s: float) -> tuple[web.AppRunner, str]:
    """Bind and start; return the runner, whose ``cleanup`` stops within `stop_timeout_s`, and the URL.

    Raises `OSError` if the address can't be bound.
    """
    # auto_decompress would expand a body before any bound of ours is looked at.
    runner = web.AppRunner(
        app, access_log=None, auto_decompress=False, shutdown_timeout=stop_timeout_s, read_bufsize=_READ_BYTES
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError:
        await runner.cleanup()
        raise
    bound = runner.addresses[0]
    shown = f"[{host}]" if ":" in host else host
    return runner, f"http://{shown}:{bound[1]}"
