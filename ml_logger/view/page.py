"""The page's calls put together: which is answered by what, who may ask for it, and what each answer says beside it.

`Page` is everything that the calls share; `routes` hangs them into an application, of a receiver or of one that does nothing
else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from ..errors import NotHeld
from ..files import Files
from ..reader import Run
from . import browsing, curves, runs
from .answers import Handler, Refused, Reply, answering, finished, json_reply, wanted_encoding
from .asked import json_body, maybe_number_in, path_in
from .assets import Assets, Plotly
from .gate import CHANGING_HEADER, Gate
from .visitor import Right, SeenFiles, Visitor
from .work import Workers

FOR_EVER = "public, max-age=31536000, immutable"

VisitorHandler = Callable[[web.Request, Visitor], Awaitable[web.StreamResponse]]


@dataclass
class Page:
    """The calls, and what they share: `files` to look at, behind `gate`; `title` names the place to people."""

    files: Files
    gate: Gate
    title: str
    is_receiver: bool = False
    assets: Assets = field(default_factory=Assets)
    plotly: Plotly = field(default_factory=Plotly)
    workers: Workers = field(default_factory=Workers)

    def __post_init__(self) -> None:
        self.known = runs.KnownRuns(self.files)

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of all calls."""
        return [
            web.get("/", self._open(self.index)),
            web.get("/view/static/{name}", self._open(self.static)),
            web.get("/view/plotly.js", self._open(self.plotly_js)),
            web.get("/view/api/me", self._open(self.me)),
            web.get("/view/api/runs", self._for("read", self.list_runs)),
            web.get("/view/api/run", self._for("read", self.one_run)),
            web.post("/view/api/curves", self._for("read", self.some_curves)),
            web.get("/view/api/text", self._for("read", self.text)),
            web.get("/view/api/list", self._for("read", self.list_folder)),
            web.get("/view/files/{path:.*}", self._for("read", self.file)),
        ]

    async def close(self, _app: web.Application) -> None:
        """End the threads."""
        self.workers.close()

    # --- who may

    def _open(self, handler: Handler) -> Handler:
        return answering(handler)

    def _for(self, right: Right, handler: VisitorHandler) -> Handler:
        async def admit(request: web.Request) -> web.StreamResponse:
            visitor = await self.gate.maybe_visitor(request)
            if visitor is None:
                raise Refused(401, "log in with a token")
            if right not in visitor.rights:
                raise Refused(403, f"the token {visitor.name!a} has no right to {right}")
            if request.method not in ("GET", "HEAD") and CHANGING_HEADER not in request.headers:
                raise Refused(403, f"the call wants the header {CHANGING_HEADER}: 1")
            return await handler(request, visitor)

        return answering(admit)

    async def _answer(self, request: web.Request, work: Callable[..., Reply], *args: Any) -> web.Response:
        """Return what `work` makes, computed and compressed in a thread."""
        headers = request.headers
        return await self.workers.do(lambda: finished(work(*args), headers))

    def _seen(self, visitor: Visitor) -> Files:
        return SeenFiles(self.files, visitor)

    # --- the page itself

    async def index(self, request: web.Request) -> web.StreamResponse:
        """Answer ``GET ./``."""
        return await self._answer(request, self._index)

    def _index(self) -> Reply:
        page = self.assets.get("index.html")
        return Reply(page.body, page.content_type)

    async def static(self, request: web.Request) -> web.StreamResponse:
        """Answer ``GET view/static/NAME``."""
        return await self._answer(request, self._static, request.match_info["name"], request.query.get("v"))

    def _static(self, name: str, version: str | None) -> Reply:
        asset = self.assets.get(name)
        headers = {"Cache-Control": FOR_EVER} if version == asset.version else {}
        return Reply(asset.body, asset.content_type, headers)

    async def plotly_js(self, request: web.Request) -> web.StreamResponse:
        """Answer ``GET view/plotly.js``, compressed once for all."""
        encoding = wanted_encoding(request.headers.get("Accept-Encoding", ""))
        body = await self.workers.do(self.plotly.body, encoding)
        headers = {} if encoding == "identity" else {"Content-Encoding": encoding}
        reply = Reply(body, "text/javascript", {**headers, "Cache-Control": "public, max-age=86400"}, is_packed=True)
        return await self._answer(request, lambda: reply)

    async def me(self, request: web.Request) -> web.StreamResponse:
        """Answer ``GET view/api/me``."""
        visitor = await self.gate.maybe_visitor(request)
        return await self._answer(request, self._me, visitor)

    def _me(self, visitor: Visitor | None) -> Reply:
        return json_reply(
            {
                "name": visitor.name if visitor else None,
                "rights": sorted(visitor.rights) if visitor else [],
                "prefix": visitor.prefix if visitor else "",
                "needs_login": visitor is None,
                "title": self.title,
                "is_receiver": self.is_receiver,
                "has_plotly": self.plotly.maybe_path() is not None,
            }
        )

    # --- runs

    async def list_runs(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        """Answer ``GET view/api/runs``."""
        return await self._answer(
            request, lambda: runs.list_runs(r for r in self.known.all() if visitor.may_see(r.folder))
        )

    async def one_run(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        """Answer ``GET view/api/run``."""
        path = path_in(request, "run", may_be_empty=True)
        return await self._answer(request, lambda: runs.one_run(self._run(visitor, path)))

    def _run(self, visitor: Visitor, path: str) -> Run:
        if not visitor.may_see(path):
            raise NotHeld(f"{path[:200]!a} is no run")
        return self.known.get(path)

    async def some_curves(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        """Answer ``POST view/api/curves``."""
        asked = curves.Asked.of(await json_body(request))
        return await self._answer(request, self._curves, visitor, asked)

    def _curves(self, visitor: Visitor, asked: curves.Asked) -> Reply:
        found = {}
        for path, _ in asked.series:
            if path not in found:
                with suppress(NotHeld):
                    found[path] = self._run(visitor, path)
        return curves.answer(found, asked)

    # --- files

    async def text(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        """Answer ``GET view/api/text``."""
        path, offset = path_in(request, "path"), maybe_number_in(request, "offset")
        return await self._answer(request, browsing.text, self._seen(visitor), path, offset)

    async def list_folder(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        """Answer ``GET view/api/list``."""
        folder = path_in(request, "folder", may_be_empty=True)
        return await self._answer(request, browsing.list_folder, self._seen(visitor), folder)

    async def file(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        """Answer ``GET view/files/PATH``."""
        return await browsing.send_file(request, self._seen(visitor), self.workers)
