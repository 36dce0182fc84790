"""The calls about runs: the list of them, one whole, and the numbers in it."""

from __future__ import annotations

from contextlib import suppress

from aiohttp import web

from ..errors import NotHeld
from ..reader import Run
from . import csv, curves, histograms, runs
from .answers import HEADERS, Reply, add_missing
from .asked import json_body, maybe_number_in, path_in
from .browsing import attachment
from .place import Place
from .visitor import Visitor
from .work import Workers


class RunCalls:
    """The handlers, and what they share."""

    def __init__(self, place: Place, workers: Workers) -> None:
        self._place, self._workers = place, workers
        self._known = runs.KnownRuns(place.files)

    async def list_runs(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        """Answer ``GET view/api/runs``."""
        return await self._workers.answer(
            request, lambda: runs.list_runs(r for r in self._known.all() if visitor.may_see(r.folder))
        )

    async def one_run(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        """Answer ``GET view/api/run``."""
        path = path_in(request, "run", may_be_empty=True)
        return await self._workers.answer(request, lambda: runs.one_run(self._run(visitor, path)))

    def _run(self, visitor: Visitor, path: str) -> Run:
        if not visitor.may_see(path):
            raise NotHeld(f"{path[:200]!a} is no run")
        return self._known.get(path)

    async def some_curves(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        """Answer ``POST view/api/curves``."""
        asked = curves.Asked.of(await json_body(request))
        return await self._workers.answer(request, self._curves, visitor, asked)

    def _curves(self, visitor: Visitor, asked: curves.Asked) -> Reply:
        found = {}
        for path, _ in asked.series:
            if path not in found:
                with suppress(NotHeld):
                    found[path] = self._run(visitor, path)
        return curves.answer(found, asked)

    async def csv(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        """Answer ``GET view/api/csv``, piece by piece."""
        path, keys = path_in(request, "run", may_be_empty=True), request.query.getall("key", [])
        columns = await self._workers.do(lambda: self._run(visitor, path).columns())
        name = f"{path.rpartition('/')[2] or self._place.title}.csv"
        response = web.StreamResponse(headers={"Content-Disposition": attachment(name), "Cache-Control": "no-store"})
        response.headers["Content-Type"] = "text/csv; charset=utf-8"
        add_missing(response, HEADERS.items())
        await response.prepare(request)
        pieces = csv.pieces(columns, keys or list(columns.keys()))
        while piece := await self._workers.do(next, pieces, b""):
            await response.write(piece)
        await response.write_eof()
        return response

    async def histograms(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        """Answer ``GET view/api/histograms``."""
        path, key = path_in(request, "run", may_be_empty=True), request.query.get("key", "")
        most = maybe_number_in(request, "most", most=histograms.MOST) or histograms.USUAL
        return await self._workers.answer(request, self._histograms, visitor, path, key, most)

    def _histograms(self, visitor: Visitor, path: str, key: str, most: int) -> Reply:
        folder = self._run(visitor, path).folder
        return histograms.histograms([one for one in self._known.histograms(folder) if one.key == key], most)
