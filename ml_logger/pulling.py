"""Pulling: a folder of a receiver brought over, byte for byte.

The receiver is asked for size and SHA-256 of each file first. What is fetched is that version: it is written aside, digested on
its way, and takes its name when the digest is the one that was promised; of a file that was replaced meanwhile the newer one is
asked for. So each file ends as the receiver held it at one moment. Of a stream that is here already and there longer, what
came behind is fetched, and appended once the whole is proven. What is here and is not what is there stays as it is.

Killed in the middle, this leaves whole files and, aside in `ASIDE`, the begin of others, which the next start goes on with; or
a stream of which an end is missing, which is extended like any other.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, TypeVar

from .errors import BadAnswer, NotHeld, TryAgain, UsageError
from .files import Files
from .layout import STREAM_PATTERNS, matches_any
from .remote import Answer, Remote
from .retries import Retries
from .wire import Digest, Unreadable

ASIDE = ".ml-logger-pull"
"""The folder at the destination in which files are built."""

_CONNECTIONS = 4
_FILES_A_GROUP = 100
_GROUP_BYTES = 256 << 20
_CHUNK_BYTES = 1 << 20
_MOST_CHANGES = 5
_Noted = TypeVar("_Noted")
_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19})", re.ASCII)


@dataclass(frozen=True)
class Item:
    """One file of the receiver as it was listed: its `path` below the folder that is pulled."""

    path: str
    size: int
    mtime_ns: int


@dataclass
class Outcome:
    """What became of the files, by their paths; `differs` are other bytes here, left alone: sizes here and there."""

    files: int = 0
    size_bytes: int = 0
    new: list[str] = field(default_factory=list)
    extended: list[str] = field(default_factory=list)
    equal: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    differs: list[tuple[str, int, int]] = field(default_factory=list)
    in_the_way: list[str] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Whether all that the receiver holds is here."""
        return not (self.differs or self.in_the_way or self.unreadable)


class _Changed(Exception):
    """The file is another one than its digest was of."""


def items_in(files: Files, folder: str, below: str = "") -> Iterator[Item]:
    """Yield every file in a folder and all folders below it; raises `NotHeld` where there is no such folder."""
    for entry in files.list(folder):
        path = f"{below}/{entry.name}" if below else entry.name
        if entry.kind == "file":
            yield Item(path, entry.size, entry.mtime_ns)
        elif path != ASIDE:
            with suppress(NotHeld):  # deleted since it was listed
                yield from items_in(files, f"{folder}/{entry.name}" if folder else entry.name, path)


class Pull:
    """One folder of a receiver on its way to a directory; `tell` is told of bytes that are done with, from several threads."""

    def __init__(
        self,
        remote: Remote,
        folder: str,
        destination: Path,
        *,
        retries: Retries,
        stop: threading.Event,
        tell: Callable[[int], object] = lambda _: None,
        may_replace: bool = False,
    ) -> None:
        self._remote, self._folder, self._destination = remote, folder, destination
        self._retries, self._stop, self._tell = retries, stop, tell
        self._may_replace = may_replace
        self._aside = destination / ASIDE
        self._lock = threading.Lock()
        self.outcome = Outcome()

    def run(self, items: Sequence[Item]) -> Outcome:
        """Bring `items` over and return what became of them; raises `TryAgain` where the receiver stays away, and `OSError`."""
        with _locked(self._aside):
            pool = ThreadPoolExecutor(_CONNECTIONS)
            try:
                for group in _groups(items):
                    digests = self._digests([item.path for item in group])
                    for _ in pool.map(self._settle, group, digests):
                        pass
            except BaseException as error:
                self._stop.set()  # who is interrupted does not wait for a receiver that is silent
                pool.shutdown(wait=not isinstance(error, KeyboardInterrupt), cancel_futures=True)
                raise
            pool.shutdown()
            shutil.rmtree(self._aside, ignore_errors=True)
        return self.outcome

    def _digests(self, paths: Sequence[str]) -> list[Digest | Unreadable | None]:
        return self._retries.insist(lambda: list(self._remote.digests([self._there(path) for path in paths])))

    def _there(self, path: str) -> str:
        return f"{self._folder}/{path}" if self._folder else path

    # --- one file

    def _settle(self, item: Item, held: Digest | Unreadable | None) -> None:
        for _ in range(_MOST_CHANGES):
            if self._stop.is_set():
                return
            try:
                self._settle_version(item, held)
            except _Changed:
                (held,) = self._digests([item.path])
            else:
                return
        raise TryAgain(f"{item.path[:200]!a} was another file each time it was read")

    def _settle_version(self, item: Item, held: Digest | Unreadable | None) -> None:
        local = self._destination / item.path
        if held is None:
            self._note(self.outcome.gone, item.path)
        elif isinstance(held, Unreadable):
            self._note(self.outcome.unreadable, (item.path, held.reason))
        elif not self._is_free(local):
            self._note(self.outcome.in_the_way, item.path)
        elif not local.exists():
            self._put(item, held, local)
            self._note(self.outcome.new, item.path, held.size)
        else:
            self._compare(item, held, local)

    def _is_free(self, local: Path) -> bool:
        """Whether a file may stand there: no folder, link or special file does, and the way does not lead out."""
        top = os.path.realpath(self._destination)
        try:
            local.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            return False
        is_inside = f"{os.path.realpath(local.parent)}/".startswith(f"{top.rstrip('/')}/")
        return is_inside and not local.is_symlink() and (local.is_file() or not local.exists())

    def _compare(self, item: Item, held: Digest, local: Path) -> None:
        size = local.stat().st_size
        digest = _digest_of(local, min(size, held.size))
        if size == held.size and digest.hexdigest() == held.sha256:
            self._note(self.outcome.equal, item.path, held.size)
            self._tell(held.size)
        elif self._is_extended(item, held, local, size, digest):
            self._note(self.outcome.extended, item.path, held.size)
        elif self._may_replace:
            self._put(item, held, local)
            self._note(self.outcome.replaced, item.path, held.size)
        else:
            self._note(self.outcome.differs, (item.path, size, held.size))
            self._tell(held.size)

    def _note(self, those: list[_Noted], one: _Noted, size_bytes: int | None = None) -> None:
        with self._lock:
            those.append(one)
            if size_bytes is not None:
                self.outcome.files += 1
                self.outcome.size_bytes += size_bytes

    def _put(self, item: Item, held: Digest, local: Path) -> None:
        aside = self._fetch(item, held, 0, hashlib.sha256())
        os.utime(aside, ns=(item.mtime_ns, item.mtime_ns))
        aside.replace(local)

    def _is_extended(self, item: Item, held: Digest, local: Path, size: int, digest: hashlib._Hash) -> bool:
        """Append what the receiver's stream has behind ours; False if it is no stream, or does not begin with ours."""
        if size >= held.size or not matches_any(item.path, STREAM_PATTERNS):
            return False
        try:
            aside = self._fetch(item, held, size, digest)
        except _Changed:
            return False
        with aside.open("rb") as more, local.open("ab") as stream:
            shutil.copyfileobj(more, stream, _CHUNK_BYTES)
        os.utime(local, ns=(item.mtime_ns, item.mtime_ns))
        aside.unlink()
        self._tell(size)
        return True

    # --- bytes

    def _fetch(self, item: Item, held: Digest, base: int, digest: hashlib._Hash) -> Path:
        """Return a file with the bytes from `base` on; raises `_Changed` unless they prove `held` behind what `digest` had."""
        aside = self._begun(item.path, held, base)
        with aside.open("a+b") as file:
            file.seek(0)
            for chunk in iter(lambda: file.read(_CHUNK_BYTES), b""):
                digest.update(chunk)
            self._tell(file.tell())
            asked = _Asked(item.path, held.size, base)
            while base + file.tell() < held.size:
                self._retries.insist(lambda: self._receive(asked, file, digest))
        if digest.hexdigest() != held.sha256:
            self._tell(base - aside.stat().st_size)
            aside.unlink()
            raise _Changed
        return aside

    def _begun(self, path: str, held: Digest, base: int) -> Path:
        """Return where these bytes of this version are built; what was begun of another is removed."""
        name = hashlib.sha256(path.encode()).hexdigest()[:32]
        aside = self._aside / f"{name}-{held.sha256[:32]}-{base}"
        for other in self._aside.glob(f"{name}-*"):
            if other != aside or other.stat().st_size > held.size - base:
                other.unlink()
        return aside

    def _receive(self, asked: _Asked, file: BinaryIO, digest: hashlib._Hash) -> None:
        """Write what comes of one request behind what is in `file`; raises `TryAgain` where it breaks off, and `_Changed`."""
        start = asked.base + file.tell()
        try:
            with self._remote.get("/v1/files", self._there(asked.path), headers=asked.headers(start)) as answer:
                asked.check(answer, start)
                for piece in answer.pieces():
                    if self._stop.is_set():
                        raise TryAgain("stopped")
                    if asked.base + file.tell() + len(piece) > asked.size:
                        raise BadAnswer("more of a file came than was asked for", hint="is a proxy in the way?")
                    file.write(piece)
                    digest.update(piece)
                    self._tell(len(piece))
                    self._retries.progress()
        except NotHeld:
            raise _Changed from None
        if asked.base + file.tell() == start:
            raise TryAgain("the answer was cut off", hint="the connection broke, or the receiver was stopped")


class _Asked:
    """What is asked for of one file: the bytes from `base` to `size`, of the version that answered first."""

    def __init__(self, path: str, size: int, base: int) -> None:
        self.path, self.size, self.base = path, size, base
        self._tag: str | None = None
        self._is_stream = matches_any(path, STREAM_PATTERNS)

    def headers(self, start: int) -> dict[str, str]:
        """Return what asks for the rest from `start` on; a stream grows meanwhile, and its digest is proof enough."""
        condition = {} if self._tag is None or self._is_stream else {"If-Range": self._tag}
        return {"Range": f"bytes={start}-{self.size - 1}", **condition}

    def check(self, answer: Answer, start: int) -> None:
        """Raise `_Changed` if the file is another one now, `BadAnswer` for other bytes than those asked for."""
        match = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        if answer.status == 416 or (answer.status == 200 and self._tag is not None):
            raise _Changed
        if answer.status != 206 or match is None or int(match[1]) != start:
            raise BadAnswer("a part of a file was asked for, and another one came", hint="is a proxy in the way?")
        total = int(match[3])
        if total < self.size or (total > self.size and not self._is_stream):
            raise _Changed
        self._tag = answer.headers.get("ETag", "")


def _groups(items: Sequence[Item]) -> Iterator[list[Item]]:
    """Yield the items in groups whose digests are asked for together: not so many bytes that the answer takes hours."""
    group: list[Item] = []
    for item in items:
        if group and (len(group) == _FILES_A_GROUP or sum(one.size for one in group) + item.size > _GROUP_BYTES):
            yield group
            group = []
        group.append(item)
    if group:
        yield group


def _digest_of(local: Path, size: int) -> hashlib._Hash:
    """Return the digest of the first `size` bytes of a file, to go on with."""
    digest = hashlib.sha256()
    with local.open("rb") as file:
        while size > 0 and (chunk := file.read(min(_CHUNK_BYTES, size))):
            digest.update(chunk)
            size -= len(chunk)
    return digest


@contextmanager
def _locked(aside: Path) -> Iterator[None]:
    """Hold the folder aside, which is made if need be; raises `UsageError` if another process does."""
    aside.mkdir(parents=True, exist_ok=True)
    with (aside / "lock").open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            hint = "wait for it, or take another folder"
            raise UsageError(f"another pull writes to {str(aside.parent)!a}", hint=hint) from None
        yield
