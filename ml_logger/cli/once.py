"""Once: a tree whose folders are listed once. A command that looks at one moment asks a receiver no question twice."""

from __future__ import annotations

from ..errors import NotHeld
from ..files import Entry, Files, OpenFile


class Once(Files):
    """What `files` holds; each folder as it was when it was first listed."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self.place, self.is_of_this_machine = files.place, files.is_of_this_machine
        self._listed: dict[str, tuple[Entry, ...] | NotHeld] = {}

    def list(self, folder: str) -> list[Entry]:
        """Return the entries of a folder, or raise `NotHeld`, as the first time."""
        found = self._listed.get(folder)
        if found is None:
            try:
                found = tuple(self._files.list(folder))
            except NotHeld as error:
                found = error
            self._listed[folder] = found
        if isinstance(found, NotHeld):
            raise found
        return [*found]

    def open(self, path: str) -> OpenFile:
        """Open a file for reading; raises `NotHeld`."""
        return self._files.open(path)

    def is_being_written(self, path: str) -> bool | None:
        """Return what `files` knows of the writer of a stream."""
        return self._files.is_being_written(path)
