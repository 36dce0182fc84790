"""Who looks: what they may do and see, and the tree of files as it is to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..errors import NotHeld
from ..files import Entry, Files, OpenFile

Right = Literal["read", "write", "delete"]


@dataclass(frozen=True, slots=True)
class Visitor:
    """Someone who was let in; sees `prefix` and what is below it (empty: everything), and no sign of anything else."""

    name: str
    rights: frozenset[str] = frozenset(("read", "write", "delete"))
    prefix: str = ""

    def may_see(self, path: str) -> bool:
        """Whether `path` is the visitor's folder or below it."""
        return not self.prefix or path == self.prefix or path.startswith(self.prefix + "/")

    def maybe_step(self, folder: str) -> str | None:
        """Return the name in `folder` that leads to the visitor's own, None where none does."""
        start = f"{folder}/" if folder else ""
        return self.prefix[len(start) :].partition("/")[0] if self.prefix.startswith(start) else None


class SeenFiles(Files):
    """The part of `files` that a visitor may see; the way down to it is there, with nothing beside."""

    def __init__(self, files: Files, visitor: Visitor) -> None:
        self._files, self._visitor = files, visitor
        self.place, self.is_of_this_machine = files.place, files.is_of_this_machine

    def list(self, folder: str) -> list[Entry]:
        """See `Files.list`."""
        if self._visitor.may_see(folder):
            return self._files.list(folder)
        step = self._visitor.maybe_step(folder)
        if step is None:
            raise NotHeld(f"{folder[:200]!a} is not there")
        return [Entry(step, "dir", 0, 0)]  # of when it changed others have a part

    def open(self, path: str) -> OpenFile:
        """See `Files.open`."""
        if not self._visitor.may_see(path):
            raise NotHeld(f"{path[:200]!a} is not there")
        return self._files.open(path)

    def is_being_written(self, path: str) -> bool | None:
        """See `Files.is_being_written`."""
        return self._files.is_being_written(path) if self._visitor.may_see(path) else None
