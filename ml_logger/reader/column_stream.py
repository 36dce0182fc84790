"""The columns of one stream of a run, kept up to date: each look reads what came behind the last one and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from ..files import Files
from .cache import ColumnCache
from .columns import Columns, PartColumns, in_order
from .growing import Decode, GrowingPart
from .parts import Part, try_catch_up


class ColumnStream:
    """All parts of one stream, as far as they were read; not thread-safe."""

    def __init__(self, files: Files, decode: Decode, cache: ColumnCache | None) -> None:
        self._files = files
        self._decode = decode
        self._cache = cache
        self._parts: dict[str, GrowingPart] = {}
        self._seen: tuple[Part, ...] = ()
        self._columns = Columns([])

    def look(self, parts: Sequence[Part]) -> Columns:
        """Return the columns of `parts`, as they were listed just now, having read what is new in them."""
        # All are asked, as each lets go of what is not.
        are_whole = [growing.is_whole() for growing in self._parts.values()]
        if tuple(parts) == self._seen and all(are_whole):
            return self._columns
        self._parts = {part.path: self._parts.get(part.path) or self._begun(part.path) for part in parts}
        read = [columns for part in parts if (columns := self._maybe_columns(part)) is not None]
        self._columns = Columns(in_order(read))
        self._seen = tuple(parts) if all(self._parts[part.path].seen == part for part in parts) else ()
        return self._columns

    def _begun(self, path: str) -> GrowingPart:
        return GrowingPart(self._files.place, path, self._decode, self._cache)

    def _maybe_columns(self, part: Part) -> PartColumns | None:
        growing = self._parts[part.path]
        return growing.columns() if try_catch_up(self._files, part, growing) else None
