"""The cache: columns that were read, in plain files, so that no process reads the same lines again.

Each part of a stream has a folder, and in it three files for each stretch that was read (`stored`). A part that begins with
other bytes than a stretch was read from, or has others before its end, was written anew: the stretch is not taken.

All of it may be deleted at any time; what can't be read or written costs time and is never an error. Files never change, and
have names that follow from what was read, so processes need no locks: two that follow one run write the same, or their own.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shutil
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ..files import OpenFile
from .stored import NotStored, name_of, read_stretch, write_stretch
from .stretch import Stretch

MOST_BYTES = 8 << 30
MIN_FREE_BYTES = 1 << 30

_FILE = re.compile(r"\.?([0-9]+-[0-9]+-[0-9a-f]{8})\.")
_LEFT_OVER_S = 600.0
_USED_AGAIN_S = 86_400.0
_SWEPT_S = 3600.0


class ColumnCache:
    """Columns in files below `folder`, about `most_bytes` at most; a disk with less than `min_free_bytes` is left alone."""

    def __init__(
        self, folder: str | os.PathLike[str], *, most_bytes: int = MOST_BYTES, min_free_bytes: int = MIN_FREE_BYTES
    ) -> None:
        self.folder = Path(folder)
        self.most_bytes = most_bytes
        self.min_free_bytes = min_free_bytes
        self._until_sweep: int | None = None

    def load(self, part: str, file: OpenFile) -> list[Stretch]:
        """Return the stretches of `part` that follow each other from its beginning and were read from what `file` holds."""
        folder = self._folder_of(part)
        found: list[Stretch] = []
        names = _names_in(folder)
        while (stretch := self._maybe_next(folder, names, found, file)) is not None:
            found.append(stretch)
        _drop_others(folder, names, {name_of(stretch) for stretch in found})
        return found

    def _maybe_next(self, folder: Path, names: Iterable[str], before: list[Stretch], file: OpenFile) -> Stretch | None:
        start = before[-1].place.offset if before else 0
        for name in sorted((n for n in names if n.startswith(f"{start}-")), key=_end_of, reverse=True):
            with suppress(NotStored):
                stretch = read_stretch(folder, name)
                if stretch.place.is_in(file):
                    _touch(folder / f"{name}.json")
                    return stretch
        return None

    def save(self, part: str, stretch: Stretch, instead_of: Iterable[Stretch] = ()) -> Stretch | None:
        """Write `stretch`, delete those it stands `instead_of`, and return it as its files have it; None if that can't be."""
        folder = self._folder_of(part)
        try:
            if not stretch.block.count or not self.has_room():
                return None
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_stretch(folder, stretch)
            kept = read_stretch(folder, name_of(stretch))
        except (OSError, ValueError, RecursionError, NotStored):  # a full disk, a value that JSON can't hold
            return None
        for one in instead_of:
            _delete(folder, name_of(one))
        self._count_down(kept)
        return kept

    def _folder_of(self, part: str) -> Path:
        name = file_name_of(part)
        return self.folder / name[:2] / name[2:]

    def has_room(self) -> bool:
        """Whether the disk has so much left that something may be kept; raises `OSError`."""
        top = next(folder for folder in (self.folder, *self.folder.absolute().parents) if folder.exists())
        return shutil.disk_usage(top).free >= self.min_free_bytes

    def _count_down(self, stretch: Stretch) -> None:
        """Look now and then whether all of it has become too much."""
        is_first, self._until_sweep = self._until_sweep is None, self._until_sweep or 0
        self._until_sweep -= _bytes_of(stretch)
        if self._until_sweep < 0:
            self._until_sweep = self.most_bytes // 16
            if not (is_first and _is_swept(self.folder)):
                self.sweep()

    def sweep(self) -> None:
        """Delete what was not used for the longest, down to nine tenths of `most_bytes`, if there is more than that."""
        with suppress(OSError):
            (self.folder / "swept").touch()
            for left in self.folder.rglob(".*.tmp-*"):  # by a process that died
                if _is_old(left):
                    left.unlink(missing_ok=True)
        stored = sorted(_stored_in(self.folder))
        size = sum(one.size for one in stored)
        wanted = self.most_bytes if size <= self.most_bytes else self.most_bytes * 9 // 10
        for one in stored:
            if size > wanted:
                _delete(one.folder, one.name)
                size -= one.size


class _Stored(NamedTuple):
    used_s: float
    size: int
    folder: Path
    name: str


def _stored_in(top: Path) -> Iterator[_Stored]:
    """Yield every stretch below `top`; what a process that died left of one counts as one."""
    for folder, _, files in os.walk(top):
        found: dict[str, tuple[float, int]] = {}
        for file in files:
            name = _stem_of(file)
            if name is not None:
                with suppress(OSError):
                    status = (Path(folder) / file).stat()
                    used_s, size = found.get(name, (0.0, 0))
                    found[name] = max(used_s, status.st_mtime), size + status.st_size
        yield from (_Stored(used_s, size, Path(folder), name) for name, (used_s, size) in found.items())


def _stem_of(file: str) -> str | None:
    """Return the name of the stretch that a file belongs to, also where it is a temporary one; None if it is no such file."""
    match = _FILE.match(file)
    return match[1] if match else None


def _names_in(folder: Path) -> list[str]:
    try:
        return [entry.name.removesuffix(".json") for entry in os.scandir(folder) if entry.name.endswith(".json")]
    except OSError:
        return []


def _end_of(name: str) -> int:
    number = name.split("-")[1]
    return int(number) if number.isdecimal() else 0


def _touch(path: Path) -> None:
    """Tell the sweep that a stretch was used, by its time; once a day is enough."""
    with suppress(OSError):
        if path.stat().st_mtime < time.time() - _USED_AGAIN_S:
            os.utime(path)


def _drop_others(folder: Path, names: Iterable[str], kept: Collection[str]) -> None:
    """Delete the stretches that nobody can use any more, unless another process has just written them."""
    for name in names:
        if name not in kept and _is_old(folder / f"{name}.json"):
            _delete(folder, name)


def _is_old(path: Path) -> bool:
    """Whether a file was not written just now."""
    try:
        return path.stat().st_mtime < time.time() - _LEFT_OVER_S
    except OSError:
        return False


def _delete(folder: Path, name: str) -> None:
    """Delete the files of a stretch, the one that says what is in the others first, and a folder that is empty then."""
    with suppress(OSError):
        (folder / f"{name}.json").unlink(missing_ok=True)
        for path in [path for path in folder.iterdir() if _stem_of(path.name) == name]:
            path.unlink(missing_ok=True)
        folder.rmdir()


def _is_swept(folder: Path) -> bool:
    """Whether this or another process has looked lately."""
    try:
        return (folder / "swept").stat().st_mtime > time.time() - _SWEPT_S
    except OSError:
        return False


def _bytes_of(stretch: Stretch) -> int:
    block = stretch.block
    return block.steps.nbytes + block.times.nbytes + sum(column.values.nbytes for column in block.columns.values())


def file_name_of(place: str) -> str:
    """Return a name for what is kept of a `place`, whatever is in that: a digest of 32 hex digits."""
    return hashlib.sha256(place.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def user_cache() -> ColumnCache | None:
    """Return the cache of this user: ``$XDG_CACHE_HOME/ml-logger``, by default ``~/.cache/ml-logger``; None without a home."""
    folder = os.environ.get("XDG_CACHE_HOME", "")
    try:
        return _cache_below(Path(folder) if folder.startswith("/") else Path.home() / ".cache")
    except RuntimeError:
        return None


@functools.lru_cache(maxsize=8)  # one for all runs, so that it knows how much is written
def _cache_below(top: Path) -> ColumnCache:
    return ColumnCache(top / "ml-logger" / "columns")
