"""The calls about runs: the list of them, one whole, and the numbers in it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from aiohttp import web

from ..errors import NotHeld
from ..reader import Columns
from . import csv, curves, histograms, runs
from .answers import HEADERS, Reply, add_missing, json_reply
from .asked import checked_path, json_body, maybe_number_in, path_in
from .browsing import attachment
from .index import RunIndex
from .kept_lines import KeptLines
from .open_runs import OpenRun, OpenRuns
from .place import Place
from .visitor import Visitor
from .watch import Watch
from .work import Workers

FIRST_LOOK_S = 0.8
"""Who asks for the runs first waits so long for them, unless all are found before."""

_POLL_S = 0.02


class RunCalls:
    """The handlers, and what they share; `close` ends their thread, `hurry` has it look at a run now."""

    def __init__(self, place: Place, workers: Workers) -> None:
        self._place, self._workers = place, workers
        self._open = OpenRuns(place.files, place.cache)
        kept = KeptLines(place.cache, place.files.place) if place.cache is not None and place.keeps_lines else None
        self._index = RunIndex(place.files, self._open.columns, kept)
        self._watch = Watch(self._index)
        self.hurry = self._watch.hurry

    def close(self) -> None:
        """End the thread."""
        self._watch.close()

    async def list_runs(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        """Answer ``GET view/api/runs``."""
        since = maybe_number_in(request, "since")
        self._watch.ask()
        if since is None:
            await self._first_look()
        return await self._workers.answer(request, lambda: Reply(self._index.changes(since, visitor.may_see)))

    async def _first_look(self) -> None:
        end_s = time.monotonic() + FIRST_LOOK_S
        while self._index.is_scanning and not self._index.is_recalled and time.monotonic() < end_s:
            await asyncio.sleep(_POLL_S)

    async def one_run(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        """Answer ``GET view/api/run``."""
        path = path_in(request, "run", may_be_empty=True)
        return await self._workers.answer(request, lambda: json_reply(self._whole(visitor, path)))

    def _whole(self, visitor: Visitor, path: str) -> dict[str, Any]:
        return runs.whole(self._run(visitor, path), self._index.version_of(path))

    def _run(self, visitor: Visitor, path: str) -> OpenRun:
        if not visitor.may_see(path):
            raise NotHeld(f"{path[:200]!a} is no run")
        found = self._open.get(path)
        self._watch.show(path)
        return found

    def _columns(self, visitor: Visitor, path: str) -> Columns:
        self._run(visitor, path)
        return self._open.columns(path)

    async def some_curves(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        """Answer ``POST view/api/curves``."""
        asked = curves.Asked.of(await json_body(request))
        return await self._workers.answer(request, self._curves, visitor, asked)

    def _curves(self, visitor: Visitor, asked: curves.Asked) -> Reply:
        read = {path: self._columns_or_trouble(visitor, path) for path in dict.fromkeys(p for p, _ in asked.series)}
        found = {path: columns for path, columns in read.items() if isinstance(columns, Columns)}
        troubles = [why for why in read.values() if isinstance(why, Exception) and not isinstance(why, NotHeld)]
        if troubles and not found:
            raise troubles[0]
        return curves.answer(found, asked)

    def _columns_or_trouble(self, visitor: Visitor, path: str) -> Columns | Exception:
        """Return the numbers of a run, or why there are none: one that can't be read takes no other with it."""
        try:
            return self._columns(visitor, checked_path(path))
        except Exception as error:  # noqa: BLE001 - of files that anybody may have written
            return error

    async def csv(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        """Answer ``GET view/api/csv``, piece by piece."""
        path, keys = path_in(request, "run", may_be_empty=True), request.query.getall("key", [])
        columns = await self._workers.do(self._columns, visitor, path)
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
        return histograms.histograms(self._run(visitor, path).run, key, most)
