"""The calls about what people keep beside the data: notes of a run, saved views of a folder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from ..errors import NotHeld
from ..reader.find import has_streams
from . import keeping
from .answers import Reply, json_reply
from .asked import checked_path, json_body, path_in
from .place import Place
from .visitor import SeenFiles, Visitor
from .work import Workers


class KeptCalls:
    """The handlers, and what they share; `hurry` is told of a run whose notes were put."""

    def __init__(self, place: Place, workers: Workers, hurry: Callable[[str], None]) -> None:
        self._place, self._workers, self._hurry = place, workers, hurry

    async def notes(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        """Answer ``GET view/api/notes``."""
        path = path_in(request, "run", may_be_empty=True)
        return await self._workers.answer(
            request, lambda: json_reply(keeping.notes_in(SeenFiles(self._place.files, visitor), path))
        )

    async def put_notes(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        """Answer ``PUT view/api/notes``."""
        path, body = path_in(request, "run", may_be_empty=True), await json_body(request)
        return await self._workers.answer(request, self._put_notes, visitor, path, body)

    def _put_notes(self, visitor: Visitor, path: str, body: dict[str, Any]) -> Reply:
        if not has_streams(SeenFiles(self._place.files, visitor).list(path)):
            raise NotHeld(f"{path[:200]!a} is no run")
        keeping.put_notes(self._place.files, self._place.shelf_of(visitor), path, body)
        self._hurry(path)
        return json_reply(keeping.notes_in(self._place.files, path))

    async def charts(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        """Answer ``GET view/api/charts``, of one folder or for runs in several."""
        if "above" in request.query:
            return await self._charts_above(request, visitor)
        folder = path_in(request, "folder", may_be_empty=True)
        return await self._workers.answer(
            request, lambda: json_reply(keeping.charts_in(SeenFiles(self._place.files, visitor), folder))
        )

    async def _charts_above(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        folders = [checked_path(folder) for folder in request.query.getall("above")]
        files = SeenFiles(self._place.files, visitor)
        return await self._workers.answer(request, lambda: json_reply({"charts": keeping.charts_above(files, folders)}))

    async def put_charts(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        """Answer ``PUT view/api/charts``."""
        folder, body = path_in(request, "folder", may_be_empty=True), await json_body(request)
        return await self._workers.answer(request, self._put_charts, visitor, folder, body)

    def _put_charts(self, visitor: Visitor, folder: str, body: dict[str, Any]) -> Reply:
        if not visitor.may_see(folder):
            raise NotHeld(f"{folder[:200]!a} is not there")
        self._place.files.list(folder)
        keeping.put_charts(self._place.files, self._place.shelf_of(visitor), folder, body)
        return json_reply(keeping.charts_in(self._place.files, folder))
