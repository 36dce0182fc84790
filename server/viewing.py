"""The page, hung into the receiver: the store as files to look at, tokens as visitors, heartbeats as agents and living runs.

The page's calls come in by a cookie, which counts for nothing else: no call of the protocol looks at it. A wrong token is
counted and slowed down like any other. What the page needs of the event loop's own (the heartbeats) is taken while a call is
let in.
"""

from __future__ import annotations

import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web

from .. import wire
from ..errors import BadPath, NotHeld
from ..files import Entry, Files, OpenFile
from ..view.answers import Refused
from ..view.gate import Gate, OpenGate, port_of
from ..view.keeping import Shelf
from ..view.page import Page
from ..view.place import Place, columns_in
from ..view.visitor import Visitor
from . import answers
from .admission import Doorkeeper
from .auth import Caller, Door
from .heartbeats import Heartbeats
from .managing import Upload, require_stored, standing_at
from .quotas import Quotas
from .store import Store, StoredFile

COLUMNS_DIR = "columns"
"""In the receiver's own directory: what was read for the page. Safe to delete."""

_ALIVE_S = 60.0
_FRESH_S = 1.0
_COOKIE_KEEPS_S = 30 * 24 * 3600
_PAGE_ENTRIES = 1000


def is_of_the_page(path: str) -> bool:
    """Whether a call is the page's, which lets its own visitors in."""
    return path == "/" or path.startswith("/view/")


def make_page(
    store: Store,
    door: Door,
    doorkeeper: Doorkeeper,
    quotas: Quotas,
    heartbeats: Heartbeats,
    title: str,
    cache: Path | None,
) -> Page:
    """Return the page over what a store holds; columns are kept in the folder `cache`."""
    files = StoredFiles(store, title)
    place = Place(
        files,
        title,
        shelf_of=lambda visitor: StoredShelf(store, quotas, visitor),
        agents_for=lambda visitor: _agents(heartbeats, visitor),
        cache=None if cache is None else columns_in(cache),
        is_receiver=True,
    )
    gate = OpenGate() if door.is_open else TokenGate(doorkeeper)
    lively = LivelyGate(gate, heartbeats, files)
    page = Page(place, lively)
    lively.hurry = page.hurry
    return page


def _agents(heartbeats: Heartbeats, visitor: Visitor) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = orjson.loads(wire.encode_agents(heartbeats.agents(visitor.may_see)))["agents"]
    return found


# --- files


class StoredFiles(Files):
    """What a store holds, as files to look at; `alive` and `left` are runs whose writer lives or went, as agents tell."""

    def __init__(self, store: Store, place: str) -> None:
        self._store = store
        self.place = place
        self.alive: frozenset[str] = frozenset()
        self.left: frozenset[str] = frozenset()

    def list(self, folder: str) -> list[Entry]:
        """See `Files.list`; of a store that fails the error is its own."""
        found, after = [], ""
        try:
            while True:
                page = self._store.list(folder, after=after, limit=_PAGE_ENTRIES)
                found += [Entry(one.name, one.kind, one.size, one.mtime_ns) for one in page.entries]
                if page.next_after is None:
                    return found
                after = page.next_after
        except BadPath as error:
            raise NotHeld(str(error)) from None

    def open(self, path: str) -> OpenFile:
        """See `Files.open`; of a store that fails the error is its own."""
        try:
            return _Opened(self._store.open(path))
        except BadPath as error:
            raise NotHeld(str(error)) from None

    def is_being_written(self, path: str) -> bool | None:
        """Return what an agent says of the run, None if none does."""
        run = path.rpartition("/")[0]
        return True if run in self.alive else False if run in self.left else None


class _Opened(OpenFile):
    def __init__(self, file: StoredFile) -> None:
        self._file = file
        self.size, self.mtime_ns, self.version = file.size, file.mtime_ns, file.version

    def read(self, offset: int, length: int) -> bytes:
        return self._file.read(offset, length)

    def close(self) -> None:
        self._file.close()


class StoredShelf(Shelf):
    """Puts small files into a store, for one visitor."""

    def __init__(self, store: Store, quotas: Quotas, visitor: Visitor) -> None:
        self._store, self._quotas, self._visitor = store, quotas, visitor

    def put(self, path: str, body: bytes, replaces: str | None) -> None:
        """See `Shelf.put`."""
        if not self._visitor.may_see(path):
            raise NotHeld(f"{path[:200]!a} is not there")
        standing = standing_at(self._store, path)
        if replaces is not None and replaces != (standing.version or ""):
            raise Refused(409, "somebody else changed it meanwhile; look at it again")
        upload = Upload(self._store, self._quotas, path, standing.held)
        try:
            require_stored(upload.commit([body]), "somebody else changed it meanwhile; look at it again")
        except answers.Refused as error:
            raise Refused(error.status, str(error)) from None
        finally:
            upload.abandon()


# --- visitors


class LivelyGate(Gate):
    """A gate that takes note of which runs are alive whenever it lets somebody in; `hurry` hears of those that changed."""

    hurry: Callable[[str], None]

    def __init__(self, gate: Gate, heartbeats: Heartbeats, files: StoredFiles) -> None:
        self._gate, self._heartbeats, self._files = gate, heartbeats, files
        self._looked_at = float("-inf")

    async def maybe_visitor(self, request: web.Request) -> Visitor | None:
        """See `Gate.maybe_visitor`."""
        visitor = await self._gate.maybe_visitor(request)
        if time.monotonic() - self._looked_at > _FRESH_S:
            self._looked_at = time.monotonic()
            self._take_note(self._heartbeats.living_runs(_ALIVE_S), self._heartbeats.left_runs())
        return visitor

    def _take_note(self, alive: frozenset[str], left: frozenset[str]) -> None:
        changed = (alive ^ self._files.alive) | (left ^ self._files.left)
        self._files.alive, self._files.left = alive, left
        for run in changed:
            self.hurry(run)

    async def login(self, request: web.Request, token: str, answer: web.Response) -> Visitor:
        """See `Gate.login`."""
        return await self._gate.login(request, token, answer)

    def logout(self, request: web.Request, answer: web.Response) -> None:
        """See `Gate.logout`."""
        self._gate.logout(request, answer)


class TokenGate(Gate):
    """Lets in whoever shows a known token, in a cookie or as a program does in ``Authorization``."""

    def __init__(self, doorkeeper: Doorkeeper) -> None:
        self._doorkeeper = doorkeeper

    async def maybe_visitor(self, request: web.Request) -> Visitor | None:
        """Return whose token comes along, None where none does; a wrong one is answered late, with 401."""
        shown = request.headers.get("Authorization") or _from_cookie(request)
        return None if shown is None else await self._known(request, shown)

    async def _known(self, request: web.Request, authorization: str) -> Visitor:
        try:
            return visitor_of(await self._doorkeeper.let_in(request.remote or "", authorization))
        except answers.Refused as error:
            raise Refused(error.status, "no such token" if error.status == 401 else str(error)) from None

    async def login(self, request: web.Request, token: str, answer: web.Response) -> Visitor:
        """Return whose token it is, and have the browser keep it for the page's calls and no others; else 401, late."""
        visitor = await self._known(request, f"Bearer {token}")
        value = urlsafe_b64encode(token.strip().encode("utf-8", "surrogateescape")).decode()
        _set_cookie(request, answer, value, _COOKIE_KEEPS_S)
        return visitor

    def logout(self, request: web.Request, answer: web.Response) -> None:
        """Have the browser forget the token."""
        _set_cookie(request, answer, "", 0)


def visitor_of(caller: Caller) -> Visitor:
    """Return a caller as the page knows them."""
    return Visitor(caller.name, frozenset(caller.rights), caller.prefix)


def _cookie_name(request: web.Request) -> str:
    """Return the name of the cookie: of two receivers on one host each has its own, though browsers mix up ports."""
    return f"ml-logger-{port_of(request)}"


def _from_cookie(request: web.Request) -> str | None:
    value = request.cookies.get(_cookie_name(request))
    if not value:
        return None
    try:
        return "Bearer " + urlsafe_b64decode(value.encode()).decode("utf-8", "surrogateescape")
    except ValueError:
        return "Bearer"


def _set_cookie(request: web.Request, answer: web.Response, value: str, keep_s: int) -> None:
    # Without a path it is that of the call: the folder view/, below whatever path a proxy gives the page.
    is_secure = request.secure or request.headers.get("X-Forwarded-Proto", "").strip().lower() == "https"
    name = _cookie_name(request)
    cookie = SimpleCookie({name: value})
    for attribute, said in (("max-age", keep_s), ("samesite", "Strict"), ("httponly", True), ("secure", is_secure)):
        cookie[name][attribute] = said
    answer.headers.add("Set-Cookie", cookie[name].OutputString())
