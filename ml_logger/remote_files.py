"""A receiver's tree through the seam `files`: what the commands read from afar.

A file is opened by asking for its beginning, which brings its size and version along; most files that say what a run is are
no longer than that, and take one request. Of a stream, which only grows, the rest is read as it is then; of a whole file only
while its version is the same.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TypeVar
from urllib.parse import quote

from .errors import BadAnswer, MLLoggerError, NotHeld, TryAgain
from .files import Entry, Files, OpenFile
from .layout import STREAM_PATTERNS, matches_any
from .listing import decode_listing, living_runs
from .remote import Remote

OPENING_BYTES = 16 << 10
"""How much of a file its opening brings along."""

MOST_BYTES = 4 << 20
"""One request brings no more of a file than this; longer reads are several."""

_LISTING_BYTES = 8 << 20
_ALIVE_S = 5.0
_RANGE = re.compile(r"bytes (?:([0-9]{1,19})-([0-9]{1,19})|\*)/([0-9]{1,19})", re.ASCII)
_T = TypeVar("_T")


class RemoteFiles(Files):
    """The files of a receiver, as far as its token may see them. Closing it lets go of the connections."""

    def __init__(self, remote: Remote) -> None:
        self.remote = remote
        self.place = remote.server
        self._lock = threading.Lock()
        self._alive: frozenset[str] = frozenset()
        self._asked_at = float("-inf")

    def close(self) -> None:
        """Let go of the connections."""
        self.remote.close()

    def list(self, folder: str) -> list[Entry]:
        """Return the entries of a folder sorted by name, page after page; raises `NotHeld`, and what `Remote` raises."""
        entries, after = _page(self.remote, folder, "")
        while after is not None:
            more, behind = _page(self.remote, folder, after)
            if behind is not None and behind <= after:
                raise BadAnswer("the list of a folder does not end", hint="is this the URL of a receiver?")
            entries, after = [*entries, *more], behind
        return sorted(entries, key=lambda entry: entry.name)

    def open(self, path: str) -> OpenFile:
        """Open a file for reading; raises `NotHeld`, and what `Remote` raises."""
        return _RemoteFile(self.remote, path)

    def is_being_written(self, path: str) -> bool | None:
        """Return True if an agent that was heard of just now says so of the run; else nobody knows."""
        with self._lock:
            if time.monotonic() - self._asked_at > _ALIVE_S:
                self._alive, self._asked_at = _alive(self.remote), time.monotonic()
            return True if path.rpartition("/")[0] in self._alive else None


class _RemoteFile(OpenFile):
    def __init__(self, remote: Remote, path: str) -> None:
        self._remote, self._path = remote, path
        first = _part(remote, path, 0, OPENING_BYTES)
        self._beginning = first.content
        self.size, self.mtime_ns, self.version = first.size, first.mtime_ns, first.version
        self._condition = {} if matches_any(path, STREAM_PATTERNS) else {"If-Range": first.version}

    def read(self, offset: int, length: int) -> bytes:
        """Return up to `length` bytes from `offset`, of a whole file if it is still the same; raises `NotHeld` if not."""
        end = min(offset + length, self.size)
        pieces = [self._beginning[offset:end]]
        start = offset + len(pieces[0])
        while start < end:
            part = _part(self._remote, self._path, start, min(end - start, MOST_BYTES), self._condition)
            if not part.content:  # a stream that became shorter
                break
            pieces.append(part.content)
            start += len(part.content)
        return b"".join(pieces)

    def close(self) -> None:
        """Nothing is held open."""


# --- requests


@dataclass(frozen=True)
class _Part:
    """Some bytes of a file, and the file they are of."""

    content: bytes
    size: int
    mtime_ns: int
    version: str


def _page(remote: Remote, folder: str, after: str) -> tuple[list[Entry], str | None]:
    def ask() -> bytes:
        with remote.get("/v1/list", folder, f"?after={quote(after, safe='')}") as answer:
            return answer.body(_LISTING_BYTES)

    return decode_listing(_again(ask), folder)


def _part(remote: Remote, path: str, offset: int, length: int, condition: Mapping[str, str] | None = None) -> _Part:
    headers = {"Range": f"bytes={offset}-{offset + length - 1}", **(condition or {})}

    def ask() -> _Part:
        with remote.get("/v1/files", path, headers=headers) as answer:
            if answer.status == 200 and condition:
                raise NotHeld(f"{path[:80]!a} was replaced while it was read")
            match = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
            if match is None:
                raise BadAnswer("a part of a file was asked for, and another one came", hint="is a proxy in the way?")
            content = answer.body(length) if answer.status == 206 else b""
            return _checked(match, offset, content, answer.headers)

    return _again(ask)


def _checked(match: re.Match[str], offset: int, content: bytes, headers: Mapping[str, str]) -> _Part:
    size = int(match[3])
    is_right = (
        not content if match[1] is None else (int(match[1]), int(match[2])) == (offset, offset + len(content) - 1)
    )
    if not is_right:
        raise BadAnswer("a part of a file was asked for, and another one came", hint="is a proxy in the way?")
    return _Part(content, size, _time_ns(headers.get("Last-Modified", "")), headers.get("ETag", f"empty-{size}"))


def _time_ns(http_date: str) -> int:
    try:
        return int(parsedate_to_datetime(http_date).timestamp()) * 10**9
    except ValueError:
        return 0


def _alive(remote: Remote) -> frozenset[str]:
    """Return the runs that agents say are alive; none where the token may not ask, or nobody answers."""
    try:
        with remote.get("/v1/agents") as answer:
            return living_runs(answer.body(_LISTING_BYTES))
    except MLLoggerError:
        return frozenset()


def _again(ask: Callable[[], _T]) -> _T:
    """Ask once more at once where the connection broke: one that was kept may have been closed at the other end."""
    try:
        return ask()
    except TryAgain:
        return ask()
