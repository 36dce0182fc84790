"""The page's calls put together: which is answered by what, and who may ask for it.

`Page` hangs into an application of a receiver, or into one that does nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web

from .answers import Handler, Refused, answering, json_reply
from .file_calls import FileCalls
from .gate import Gate, require_own_request
from .kept_calls import KeptCalls
from .own_calls import OwnCalls
from .place import Place
from .run_calls import RunCalls
from .visitor import Right, Visitor
from .work import Workers

VisitorHandler = Callable[[web.Request, Visitor], Awaitable[web.StreamResponse]]


class Page:
    """All calls over a `place`, behind a `gate`; its threads end with `close`."""

    def __init__(self, place: Place, gate: Gate) -> None:
        self._place, self._gate = place, gate
        self._workers = Workers()
        self._runs = RunCalls(place, self._workers)
        self._kept = KeptCalls(place, self._workers, self._runs.hurry)

    def hurry(self, run: str) -> None:
        """Have a run looked at now; any thread may say so."""
        self._runs.hurry(run)

    async def close(self, _app: web.Application) -> None:
        """End the threads."""
        await asyncio.to_thread(self._runs.close)
        self._workers.close()

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of all calls."""
        own = OwnCalls(self._place, self._gate, self._workers)
        return [
            web.get("/", answering(own.index)),
            web.get("/view/static/{name}", answering(own.static)),
            web.get("/view/plotly.js", answering(own.plotly_js)),
            web.get("/view/api/me", answering(own.me)),
            web.post("/view/login", answering(own.login)),
            web.post("/view/logout", answering(own.logout)),
            *self._reading(),
            *self._changing(),
        ]

    def _reading(self) -> list[web.RouteDef]:
        run, kept = self._runs, self._kept
        files = FileCalls(self._place, self._workers)
        calls: dict[str, VisitorHandler] = {
            "/view/api/runs": run.list_runs,
            "/view/api/run": run.one_run,
            "/view/api/csv": run.csv,
            "/view/api/histograms": run.histograms,
            "/view/api/tensor": files.tensor,
            "/view/api/text": files.text,
            "/view/api/readme": files.readme,
            "/view/api/list": files.list_folder,
            r"/view/files/{path:[\s\S]*}": files.file,
            "/view/api/notes": kept.notes,
            "/view/api/charts": kept.charts,
            "/view/api/agents": self.agents,
        }
        asking = web.post("/view/api/curves", self._for("read", run.some_curves))
        return [*(web.get(path, self._for("read", handler)) for path, handler in calls.items()), asking]

    def _changing(self) -> list[web.RouteDef]:
        calls: dict[str, VisitorHandler] = {
            "/view/api/notes": self._kept.put_notes,
            "/view/api/charts": self._kept.put_charts,
        }
        return [web.put(path, self._for("write", handler)) for path, handler in calls.items()]

    def _for(self, right: Right, handler: VisitorHandler) -> Handler:
        """Return `handler` for visitors who have the `right`."""

        async def admit(request: web.Request) -> web.StreamResponse:
            visitor = await self._gate.maybe_visitor(request)
            if visitor is None:
                raise Refused(401, "log in with a token")
            if right not in visitor.rights:
                raise Refused(403, f"the token {visitor.name!a} has no right to {right}")
            require_own_request(request)
            return await handler(request, visitor)

        return answering(admit)

    async def agents(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        """Answer ``GET view/api/agents``."""
        found = self._place.agents_for(visitor)
        return await self._workers.answer(request, lambda: json_reply({"agents": found}))
