"""The calls about files: texts, folders, arrays, READMEs, and the bytes as they are."""

from __future__ import annotations

from aiohttp import web

from . import browsing, readme, tensor
from .asked import maybe_number_in, path_in
from .place import Place
from .visitor import SeenFiles, Visitor
from .work import Workers


class FileCalls:
    """The handlers, and what they share."""

    def __init__(self, place: Place, workers: Workers) -> None:
        self._place, self._workers = place, workers

    async def readme(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        """Answer ``GET view/api/readme``."""
        folder = path_in(request, "folder", may_be_empty=True)
        return await self._workers.answer(request, readme.readme, SeenFiles(self._place.files, visitor), folder)

    async def tensor(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        """Answer ``GET view/api/tensor``."""
        path, name = path_in(request, "path"), request.query.get("name")
        return await self._workers.answer(request, tensor.tensor, SeenFiles(self._place.files, visitor), path, name)

    async def text(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        """Answer ``GET view/api/text``."""
        path, offset = path_in(request, "path"), maybe_number_in(request, "offset")
        files, mark = SeenFiles(self._place.files, visitor), request.query.get("mark")
        return await self._workers.answer(request, browsing.text, files, path, offset, mark)

    async def list_folder(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        """Answer ``GET view/api/list``."""
        folder = path_in(request, "folder", may_be_empty=True)
        return await self._workers.answer(request, browsing.list_folder, SeenFiles(self._place.files, visitor), folder)

    async def file(self, request: web.Request, visitor: Visitor) -> web.StreamResponse:
        """Answer ``GET view/files/PATH``."""
        return await browsing.send_file(request, SeenFiles(self._place.files, visitor), self._workers)
