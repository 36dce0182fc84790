"""The calls that give the page itself: its files, plotly.js, who looks, the way in and out."""

from __future__ import annotations

from aiohttp import web

from .answers import Refused, Reply, json_reply, page_policy, wanted_encoding
from .asked import json_body
from .assets import Assets, Plotly
from .gate import Gate, require_own_request
from .place import Place
from .visitor import Visitor
from .work import Workers

FOR_EVER = "public, max-age=31536000, immutable"
_HAS_PLOTLY = b" data-has-plotly"
"""What index.html says, and is left out where it isn't so."""


class OwnCalls:
    """The handlers, and what they share. They need no right."""

    def __init__(self, place: Place, gate: Gate, workers: Workers) -> None:
        self._place, self._gate, self._workers = place, gate, workers
        self._assets, self._plotly = Assets(), Plotly()

    async def index(self, request: web.Request) -> web.StreamResponse:
        """Answer ``GET ./``."""
        return await self._workers.answer(request, self._index)

    def _index(self) -> Reply:
        page = self._assets.get("index.html")
        body = page.body if self._plotly.maybe_path() else page.body.replace(_HAS_PLOTLY, b"")
        return Reply(body, page.content_type, {"Content-Security-Policy": page_policy(self._gate.framed_by)})

    async def static(self, request: web.Request) -> web.StreamResponse:
        """Answer ``GET view/static/NAME``."""
        encoding = wanted_encoding(request.headers.get("Accept-Encoding", ""))
        name, version = request.match_info["name"], request.query.get("v")
        return await self._workers.answer(request, self._static, name, version, encoding)

    def _static(self, name: str, version: str | None, encoding: str) -> Reply:
        asset = self._assets.get(name)
        headers = {"Cache-Control": FOR_EVER} if version == asset.version else {}
        return _packed_reply(asset.packed(encoding), asset.content_type, encoding, headers)

    async def plotly_js(self, request: web.Request) -> web.StreamResponse:
        """Answer ``GET view/plotly.js``, compressed once for all."""
        encoding = wanted_encoding(request.headers.get("Accept-Encoding", ""))
        body = await self._workers.do(self._plotly.body, encoding)
        reply = _packed_reply(body, "text/javascript", encoding, {"Cache-Control": "public, max-age=86400"})
        return await self._workers.answer(request, lambda: reply)

    async def me(self, request: web.Request) -> web.StreamResponse:
        """Answer ``GET view/api/me``."""
        visitor = await self._gate.maybe_visitor(request)
        return await self._workers.answer(request, self._me, visitor)

    def _me(self, visitor: Visitor | None) -> Reply:
        return json_reply(
            {
                "name": visitor.name if visitor else None,
                "rights": sorted(visitor.rights) if visitor else [],
                "prefix": visitor.prefix if visitor else "",
                "needs_login": visitor is None,
                "title": self._place.title,
                "is_receiver": self._place.is_receiver,
                "has_plotly": self._plotly.maybe_path() is not None,
            }
        )

    async def login(self, request: web.Request) -> web.StreamResponse:
        """Answer ``POST view/login``."""
        require_own_request(request)
        token = (await json_body(request)).get("token")
        if not isinstance(token, str) or not token.strip():
            raise Refused(400, "the body must hold a token")
        answer = web.Response(status=204, headers={"Cache-Control": "no-store"})
        await self._gate.login(request, token, answer)
        return answer

    async def logout(self, request: web.Request) -> web.StreamResponse:
        """Answer ``POST view/logout``."""
        require_own_request(request)
        answer = web.Response(status=204, headers={"Cache-Control": "no-store"})
        self._gate.logout(request, answer)
        return answer


def _packed_reply(body: bytes, content_type: str, encoding: str, headers: dict[str, str]) -> Reply:
    """Return what is compressed already."""
    said = {} if encoding == "identity" else {"Content-Encoding": encoding}
    return Reply(body, content_type, {**headers, **said}, is_packed=True)
