"""The calls that manage: one whole file put in its place, a file or a run deleted.

A file that is put is taken in pieces, each staged as an agent's would be, so that of a body of any size no more than a piece is
in memory. The last one commits: it takes the place of what was held when the request began, or of nothing, and else the answer
is that it changed meanwhile. A body that stalls or is cut leaves nothing visible.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import orjson
from aiohttp import ClientError, web

from .. import wire
from ..errors import BadBatch, BadPath, BatchTooLarge, Gone, MLLoggerError, NotHeld, StoreFull
from ..layout import check_path
from ..wire import NOTHING, Held, Item, Manifest, Offset, Op, Outcome, crc32
from .answers import Refused, json_answer
from .auth import Caller
from .bodies import Intake
from .config import Limits
from .figures import Figures
from .quotas import Quotas
from .reading import path_after, require_inside
from .store import PUT_SOURCE, Store

PIECE_BYTES = 4 << 20

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Standing:
    """What is held at a path when a request begins, and its version; None where nothing is."""

    held: Held | None
    version: str | None

    @property
    def tag(self) -> str | None:
        """The entity tag."""
        return None if self.version is None else f'"{self.version}"'


class Managing:
    """The handlers, and what they share."""

    def __init__(self, store: Store, intake: Intake, quotas: Quotas, figures: Figures) -> None:
        self._store, self._intake, self._quotas, self._figures = store, intake, quotas, figures

    # --- deleting

    async def delete(self, request: web.Request, caller: Caller) -> web.Response:
        """Answer ``DELETE /v1/files/<path>``."""
        path = path_after(request, "/v1/files").rstrip("/")
        require_inside(caller, path)
        version: str | None = None
        if "If-Match" in request.headers or "If-Unmodified-Since" in request.headers:
            standing = await self._intake.in_thread(standing_at, self._store, path)
            _require_conditions(request, standing.tag)
            version = standing.version
        deleted = await self._intake.in_thread(partial(self._store.delete, path, caller.name, version=version))
        self._quotas.wake()
        went = {"path": path, "id": deleted.id, "files": deleted.files, "bytes": deleted.size_bytes}
        return json_answer(orjson.dumps({"v": wire.VERSION, **went}))

    # --- putting

    async def put(self, request: web.Request, caller: Caller) -> web.Response:
        """Answer ``PUT /v1/files/<path>``."""
        path = check_path(path_after(request, "/v1/files"))
        require_inside(caller, path)
        _require_plain(request)
        _require_size(request.content_length or 0, self._intake.limits)
        before = await self._intake.in_thread(standing_at, self._store, path)
        _require_conditions(request, before.tag)
        await _ask_for_body(request)
        upload = Upload(self._store, self._quotas, path, before.held)
        try:
            outcome = await self._take_in(request, upload)
            require_stored(outcome, "the file was changed by somebody else meanwhile")
            if outcome.result == "already":
                await self._require_same(request, before, upload)
        except BaseException:
            await asyncio.shield(self._intake.in_thread(upload.abandon))
            raise
        return await self._answer(path, before, outcome)

    async def _take_in(self, request: web.Request, upload: Upload) -> Outcome:
        """Stage the body piece by piece, and commit it with the last."""
        body = _Body(request, self._intake, self._figures)
        try:
            while True:
                chunks = await body.read_piece()
                if body.is_over:
                    return await self._intake.in_slot(upload.commit, chunks)
                staged = await self._intake.in_slot(upload.stage, chunks)
                require_stored(staged, "the staged copy was lost: send the file again")
                body.let_go()
        finally:
            body.let_go()

    async def _require_same(self, request: web.Request, before: Standing, upload: Upload) -> None:
        """Raise `Refused` where what is held in place of the body, with its size and CRC, is not it, or may not be there."""
        if before.tag is None and "If-None-Match" in request.headers:
            raise Refused(412, "If-None-Match: such a file is held")
        if not await self._intake.in_thread(upload.is_held):
            raise Refused(409, "other bytes of the same size and CRC-32 are held: put another file first")

    async def _answer(self, path: str, before: Standing, outcome: Outcome) -> web.Response:
        stored = Held(Offset(outcome.offset + outcome.length), outcome.crc)
        after = await self._intake.in_thread(standing_at, self._store, path)
        headers = {"ETag": after.tag} if after.tag is not None and after.held == stored else {}
        body = {"v": wire.VERSION, "path": path, "size": stored.size, "crc": stored.crc}
        return json_answer(
            orjson.dumps(body),
            status=201 if before.tag is None and outcome.result == "stored" else 200,
            headers=headers,
        )


def standing_at(store: Store, path: str) -> Standing:
    """Return what stands at `path`; raises `Gone`."""
    try:
        file = store.open(path)
    except Gone:
        raise
    except NotHeld:
        return Standing(None, None)
    file.close()
    held = store.stat([path])[0]
    return Standing(held, file.version if held is not None else None)  # it may have gone in between


class _Body:
    """The body of a request, read piece by piece; what a piece takes of the memory for bodies is let go of behind it."""

    def __init__(self, request: web.Request, intake: Intake, figures: Figures) -> None:
        self._request, self._intake, self._figures = request, intake, figures
        self._size_bytes = self._taken_bytes = 0
        self.is_over = False

    async def read_piece(self) -> list[bytes]:
        """Return the next piece, maybe empty once the body `is_over`; it must come within the time of a whole small body."""
        timeout_s = self._intake.limits.body_timeout_s
        try:
            chunks = await asyncio.wait_for(self._read_piece(), timeout_s)
        except asyncio.TimeoutError:
            raise Refused(408, f"body_timeout_s: the next piece did not arrive within {timeout_s:g} s") from None
        except (ClientError, ConnectionError, web.PayloadAccessError) as error:
            raise BadBatch(f"the body was cut: {type(error).__name__}") from None
        promised = self._request.content_length
        if self.is_over and promised is not None and promised != self._size_bytes:
            raise BadBatch(f"the body has {self._size_bytes} bytes, {promised} were promised")
        return chunks

    async def _read_piece(self) -> list[bytes]:
        chunks: list[bytes] = []
        while (left := min(PIECE_BYTES, self._intake.limits.max_body_bytes) - self._taken_bytes) > 0:
            chunk = await self._read_some(left)
            if not chunk:
                self.is_over = True
                break
            self._taken_bytes += len(chunk)
            self._intake.take_room(len(chunk))
            self._size_bytes += len(chunk)
            _require_size(self._size_bytes, self._intake.limits)
            chunks.append(chunk)
        return chunks

    async def _read_some(self, most_bytes: int) -> bytes:
        stall_s = self._intake.limits.stall_timeout_s
        try:
            return await asyncio.wait_for(self._request.content.read(most_bytes), stall_s)
        except asyncio.TimeoutError:
            raise Refused(408, f"stall_timeout_s: not a byte of the body for {stall_s:g} s") from None

    def let_go(self) -> None:
        """Say that the pieces read so far are held no longer."""
        self._intake.give_room(self._taken_bytes)
        self._figures.add("received_bytes", self._taken_bytes)
        self._taken_bytes = 0


class Upload:
    """One file on its way into a store, piece by piece under a name of its own; it takes the place of what it `replaces`."""

    def __init__(self, store: Store, quotas: Quotas, path: str, replaces: Held | None) -> None:
        self._store, self._quotas, self._path, self._replaces = store, quotas, path, replaces
        self._name = secrets.token_hex(16)
        self._source = PUT_SOURCE + self._name
        self._so_far = NOTHING
        self._digest = hashlib.sha256()

    def stage(self, chunks: list[bytes]) -> Outcome:
        """Add a piece to the staged copy."""
        return self._apply("stage", chunks)

    def commit(self, chunks: list[bytes]) -> Outcome:
        """Add the last piece, and let the copy take its place."""
        return self._apply("commit", chunks)

    def _apply(self, op: Op, chunks: list[bytes]) -> Outcome:
        payload = b"".join(chunks)
        chunks.clear()
        before = self._so_far
        self._digest.update(payload)
        self._so_far = Held(Offset(before.size + len(payload)), crc32(payload, before.crc))
        replaces = self._replaces if op == "commit" else None
        return self._send(
            Item(self._path, op, before.size, len(payload), before.crc, self._so_far.crc, self._name, replaces), payload
        )

    def _send(self, item: Item, payload: bytes) -> Outcome:
        # a source of its own: what an agent, or another request, has staged of the same path is never touched
        manifest = Manifest(self._source, (item,), agent="put")
        with self._quotas.admitting(manifest.source, {0: item}) as admission:
            if admission.refused:
                raise StoreFull(admission.refused[0], path=self._path)
            admission.outcomes[0] = self._store.apply(manifest, [payload])[0]
        return admission.outcomes[0]

    def is_held(self) -> bool:
        """Whether what is held at the path is what came: a CRC can be forged, and alike bytes were not stored again."""
        try:
            file = self._store.open(self._path)
        except NotHeld:
            return False
        digest = hashlib.sha256()
        try:
            for start in range(0, file.size, PIECE_BYTES):
                digest.update(file.read(start, min(PIECE_BYTES, file.size - start)))
            return file.size == self._so_far.size and digest.digest() == self._digest.digest()
        finally:
            file.close()

    def abandon(self) -> None:
        """Let go of the staged copy."""
        try:
            self._store.drop_staged(self._path, self._source, self._name)
        except MLLoggerError as error:
            _log.warning("an upload that was cut stays until it is swept: %s", error)
        self._quotas.look_aside(self._path, self._source, self._name)


# --- what HTTP says


def _require_plain(request: web.Request) -> None:
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding != "identity":
        raise Refused(415, f"content encoding {encoding[:40]!a}: send the bytes as they are to be kept")
    if "Content-Range" in request.headers:
        raise Refused(400, "a part can't be put: send all of the file")


def _require_size(size_bytes: int, limits: Limits) -> None:
    if limits.max_put_bytes is not None and size_bytes > limits.max_put_bytes:
        raise BatchTooLarge(f"max_put_bytes: the file has more than {limits.max_put_bytes} bytes")


def _require_conditions(request: web.Request, tag: str | None) -> None:
    """Raise `Refused` (412) where ``If-Match`` or ``If-None-Match`` (RFC 9110) forbid to change what has this entity tag."""
    if (
        "If-Unmodified-Since" in request.headers and "If-Match" not in request.headers
    ):  # beside it, it counts for nothing
        raise Refused(400, "If-Unmodified-Since: a second is too long to tell two files apart, so send If-Match")
    wanted = _tags(request.headers.getall("If-Match", []))
    if wanted and (tag is None or not {tag, "*"} & wanted):
        raise Refused(412, "If-Match: the file is another one, or is not held")
    unwanted = _tags(request.headers.getall("If-None-Match", []))
    if tag is not None and {tag, f"W/{tag}", "*"} & unwanted:
        raise Refused(412, "If-None-Match: such a file is held")


def _tags(headers: Sequence[str]) -> set[str]:
    return {tag.strip() for header in headers for tag in header.split(",")}


async def pass_on(request: web.Request) -> None:
    """Take an ``Expect`` header without a word: the body is asked for once it is known to be wanted."""
    if request.headers.get("Expect", "").lower() != "100-continue":
        raise web.HTTPExpectationFailed


async def _ask_for_body(request: web.Request) -> None:
    if "Expect" in request.headers:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # what counts as begun can't be answered with an error any more


def require_stored(outcome: Outcome, otherwise: str) -> None:
    """Raise why an item was not stored: `Gone`, `BadPath`, or `Refused` (409) with `otherwise`."""
    if outcome.is_gone:
        raise Gone(f"{outcome.path[:200]!a} was deleted", path=outcome.path)
    if outcome.result == "rejected":
        raise BadPath(outcome.reason or "refused", path=outcome.path)
    if outcome.result not in ("stored", "already"):
        raise Refused(409, otherwise)
