"""Kept lines: the table of runs as it was seen last, on disk, so that a server that has just begun can show it at once.

One file for a place, beside the columns in the cache: a header, then a line for each run, each of a JSON for the index, a tab,
and the JSON that is listed. It appears by a rename, is not synced, and is believed only where the CRC-32 in its header is that
of what follows. It may be deleted at any time; what can't be read or written costs time and is never an error.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from ..reader.cache import ColumnCache, file_name_of
from ..spool import write_whole
from ..version import __version__

_FORMAT = 2  # another one for lines that say something else
_FORGOTTEN_S = 30 * 86_400.0


class KeptLine(NamedTuple):
    """The line of the run at `path`, and what it was made `of` (a digest).

    `unended` are the parts whose processes said no end, with what they said at their start; they were `alive` or not.
    """

    path: str
    of: str
    unended: tuple[tuple[str, dict[str, Any]], ...]
    alive: tuple[bool | None, ...]
    state: str
    heard: float
    text: bytes


class KeptLines:
    """The lines of one `place`, in the folder of a `cache`. Used by one thread at a time."""

    def __init__(self, cache: ColumnCache, place: str) -> None:
        self._cache, self._file = cache, cache.folder / f"lines-{file_name_of(place)}"

    def load(self) -> dict[str, KeptLine]:
        """Return the lines that were kept last, by the paths of their runs."""
        try:
            head, _, body = self._file.read_bytes().partition(b"\n")
            if orjson.loads(head) != _head_of(body):
                return {}
            return {line.path: line for line in map(_line_of, body.split(b"\n")[:-1])}
        except (OSError, ValueError, TypeError):  # there are none, or a file of somebody else's
            return {}

    def save(self, lines: Iterable[KeptLine]) -> None:
        """Keep `lines` in the place of all others; files of places that nobody has looked at for a month go."""
        body = b"".join(text for line in lines if (text := _maybe_bytes_of(line)) is not None)
        with suppress(OSError):
            if self._cache.has_room():
                self._cache.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                write_whole(str(self._file), orjson.dumps(_head_of(body)) + b"\n" + body)
                _forget_beside(self._file)


def _head_of(body: bytes) -> dict[str, object]:
    return {"format": _FORMAT, "version": __version__, "bytes": len(body), "check": zlib.crc32(body)}


def _maybe_bytes_of(line: KeptLine) -> bytes | None:
    """Return a line as it is kept; None for one with a name that no JSON can hold, which is made anew each time."""
    try:
        return orjson.dumps(line[:-1]) + b"\t" + line.text + b"\n"
    except TypeError:
        return None


def _line_of(kept: bytes) -> KeptLine:
    head, _, text = kept.partition(b"\t")
    path, of, unended, alive, state, heard = orjson.loads(head)
    return KeptLine(path, of, tuple(map(tuple, unended)), tuple(alive), state, heard, text)


def _forget_beside(file: Path) -> None:
    for other in file.parent.glob("lines-*"):
        if other.stat().st_mtime < time.time() - _FORGOTTEN_S:
            other.unlink(missing_ok=True)
