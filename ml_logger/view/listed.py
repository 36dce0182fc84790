"""Listed: the lines of the runs that are known, by versions.

Each change has a version, and who knows one asks for what is newer. Versions of two lists are never mixed up: one that is not
of this list is answered with everything.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable

from .words import json_of

_MOST_GONE = 10_000
_STEADY = 1 << 30  # so many versions of one list; with its number they fit into what JavaScript counts exactly


class Listed:
    """Lines by the paths of their runs. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._number = secrets.randbits(20)
        self._version = 0
        self._lines: OrderedDict[str, tuple[int, bytes]] = OrderedDict()  # the latest change last
        self._gone: OrderedDict[str, int] = OrderedDict()
        self._forgotten = 0  # what went before this version is not remembered

    def __contains__(self, path: str) -> bool:
        return path in self._lines

    @property
    def version(self) -> int:
        """The version of the last change."""
        return self._outside(self._version)

    def put(self, path: str, text: bytes) -> None:
        """List a run, or another line of it; `text` is a JSON object."""
        with self._lock:
            self._version += 1
            self._lines[path] = (self._version, text)
            self._lines.move_to_end(path)
            self._gone.pop(path, None)

    def drop(self, path: str) -> bool:
        """List a run no more, and return whether it was listed."""
        with self._lock:
            if self._lines.pop(path, None) is None:
                return False
            self._version += 1
            self._gone[path] = self._version
            if len(self._gone) > _MOST_GONE:
                self._forgotten = self._gone.popitem(last=False)[1]
            return True

    def version_of(self, path: str) -> int:
        """Return the version of a run's last change that was seen, 0 where none was."""
        with self._lock:
            return self._outside(self._lines[path][0]) if path in self._lines else 0

    def changes(self, since: int | None, may_see: Callable[[str], bool], *, is_scanning: bool) -> bytes:
        """Return what a visitor `may_see` of what is newer than the version `since`, as JSON (docs/VIEWER.md)."""
        with self._lock:
            known = self._known(since)
            is_whole = known is None
            lines = [
                b'{"version":%d,%s' % (self._outside(version), text[1:])
                for path, version, text in self._newer(known or 0)
                if may_see(path)
            ]
            gone = [path for path, version in self._gone.items() if not is_whole and version > (known or 0)]
            head = {"version": self._outside(self._version), "is_whole": is_whole, "is_scanning": is_scanning}
        told = {**head, "gone": [path for path in gone if may_see(path)]}
        return json_of(told)[:-1] + b',"runs":[' + b",".join(lines) + b"]}\n"

    def _newer(self, known: int) -> list[tuple[str, int, bytes]]:
        found = []
        for path, (version, text) in reversed(self._lines.items()):
            if version <= known:
                break
            found.append((path, version, text))
        return found

    def _outside(self, version: int) -> int:
        return self._number * _STEADY + version

    def _known(self, since: int | None) -> int | None:
        if since is None or since // _STEADY != self._number:
            return None
        version = since % _STEADY
        return version if self._forgotten <= version <= self._version else None
