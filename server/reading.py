"""The calls that read back: the bytes of a file, their digest, the names in a folder."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable
from urllib.parse import unquote_to_bytes

import orjson
from aiohttp import web

from .. import wire
from ..byterange import maybe_range
from ..errors import BadPath, NotHeld, StoreError
from ..wire import Digest, Offset, Unreadable
from .answers import Refused, json_answer
from .auth import OUTSIDE, Caller
from .bodies import Intake
from .store import Entry, Listing, Store, StoredFile

_READ_BYTES = 1 << 18
_DIGEST_BYTES = 1 << 20
_SIGN_OF_LIFE_BYTES = 16 << 20
"""Of a file that is digested, after so many an empty line tells whoever waits that it goes on."""

_MOST_DIGESTING = 2
"""So many threads read for digests at a time; all requests for them take turns, piece by piece."""

_LIST_LIMIT = 1000


class Reading:
    """The handlers, and what they share."""

    def __init__(self, store: Store, intake: Intake) -> None:
        self._store, self._intake = store, intake
        self._digesting = asyncio.Semaphore(_MOST_DIGESTING)

    async def list_folder(self, request: web.Request, caller: Caller) -> web.Response:
        """Answer ``GET /v1/list/<folder>``."""
        folder = path_after(request, "/v1/list").rstrip("/")
        limit = _maybe_limit(request.query.get("limit", str(_LIST_LIMIT)))
        if limit is None:
            raise Refused(400, f"limit must be a whole number from 1 to {_LIST_LIMIT}")
        after = request.query.get("after", "")
        listing = await self._intake.in_thread(self._list, caller, folder, after, limit)
        entries = [{"name": e.name, "kind": e.kind, "size": e.size, "mtime_ns": e.mtime_ns} for e in listing.entries]
        answer = {"v": wire.VERSION, "path": folder, "entries": entries, "next_after": listing.next_after}
        return json_answer(orjson.dumps(answer))

    def _list(self, caller: Caller, folder: str, after: str, limit: int) -> Listing:
        if caller.may_enter(folder):
            return self._store.list(folder, after=after, limit=limit)
        step = caller.maybe_step(folder)
        if step is None:
            raise Refused(403, OUTSIDE)
        is_there = step > after and self._is_folder(f"{folder}/{step}" if folder else step)
        return Listing((Entry(step, "dir", 0, 0),) if is_there else (), None)  # of when it changed others have a part

    def _is_folder(self, folder: str) -> bool:
        try:
            self._store.list(folder, limit=1)
        except NotHeld:
            return False
        return True

    async def read_file(self, request: web.Request, caller: Caller) -> web.StreamResponse:
        """Answer ``GET /v1/files/<path>``."""
        path = path_after(request, "/v1/files")
        require_inside(caller, path)
        file = await self._intake.in_thread(self._store.open, path)
        try:
            return await self._send(request, file)
        finally:
            file.close()

    async def _send(self, request: web.Request, file: StoredFile) -> web.StreamResponse:
        tag = f'"{file.version}"'
        headers = {"ETag": tag, "Accept-Ranges": "bytes", "X-Content-Type-Options": "nosniff"}
        if {tag, "*"} & _tags(request.headers.getall("If-None-Match", [])):
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
            chunk = await self._intake.in_thread(file.read, start, wanted)
            if len(chunk) < wanted:
                # The length is promised already: cutting the connection is the only way left to say that it is wrong.
                raise ConnectionResetError("the file became shorter while it was read")
            await response.write(chunk)
        await response.write_eof()

    async def digest(self, request: web.Request, caller: Caller) -> web.StreamResponse:
        """Answer ``POST /v1/digest``, line by line as they are computed; of what is not the caller's nothing is held."""
        paths = await self._intake.work_on(request, self._paths_to_digest, "max_json_bytes")
        response = web.StreamResponse(headers={"X-Content-Type-Options": "nosniff"})
        response.content_type = "application/x-ndjson"
        await response.prepare(request)
        for path in paths:
            found = await self._maybe_digest(response, path) if caller.may_enter(path) else None
            await response.write(wire.encode_digest(path, found) + b"\n")
        await response.write_eof()
        return response

    def _paths_to_digest(self, body: bytes) -> list[str]:
        return wire.decode_stat_request(body, max_paths=self._intake.limits.max_paths)

    async def _maybe_digest(self, response: web.StreamResponse, path: str) -> Digest | Unreadable | None:
        """Return the digest of a file as long as it was when it was opened."""
        try:
            file = await self._intake.in_thread(self._store.open, path)
        except (BadPath, NotHeld):
            return None
        except StoreError as error:
            return Unreadable(error.one_line())
        try:
            return await self._digest(response, file)
        except StoreError as error:
            return Unreadable(error.one_line())
        finally:
            file.close()

    async def _digest(self, response: web.StreamResponse, file: StoredFile) -> Digest | Unreadable:
        digest = hashlib.sha256()
        for start in range(0, file.size, _DIGEST_BYTES):
            wanted = min(_DIGEST_BYTES, file.size - start)
            async with self._digesting:
                length = await self._intake.in_thread(_feed, digest, file, start, wanted)
            if length < wanted:
                return Unreadable("the file became shorter while it was read")
            if start and start % _SIGN_OF_LIFE_BYTES == 0:
                await response.write(b"\n")
        return Digest(Offset(file.size), digest.hexdigest())


def _feed(digest: hashlib._Hash, file: StoredFile, start: int, length: int) -> int:
    chunk = file.read(start, length)
    digest.update(chunk)
    return len(chunk)


def require_inside(caller: Caller, path: str) -> None:
    """Raise `Refused` (403) for a path that is not the caller's, whether anything is there or not."""
    if not caller.may_enter(path):
        raise Refused(403, OUTSIDE)


def path_after(request: web.Request, prefix: str) -> str:
    """Return the path in the URL, decoded once; names may hold any escaped byte, so aiohttp's own decoding won't do.

    The prefix is cut off by its parts, since the route knows it by any of its escaped spellings.
    """
    depth = prefix.count("/") + 1
    raw = "".join(request.rel_url.raw_path.split("/", depth)[depth:])
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
