"""What is promised of spools and a receiver, as checks over plain bytes: `Broken` says which promise was not kept.

`Said` is what a receiver has said that it holds, and so has to hold. `History` is what one file of a spool has been. From the
two and the trees alone everything is judged; nothing here knows how agent or receiver work.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

from processes import read_mirror

from ml_logger import layout
from ml_logger.server.store import Store
from ml_logger.wire import Held, Manifest, Offset, Outcome, crc32

Tree = Mapping[str, bytes]


class Broken(AssertionError):
    """A promise that was not kept: its name, and where."""

    def __init__(self, promise: str, what: str) -> None:
        super().__init__(f"{promise}: {what}")
        self.promise = promise


def require(promise: str, is_kept: bool, what: str) -> None:
    if not is_kept:
        raise Broken(promise, what)


def is_stream(path: str) -> bool:
    return layout.matches_any(path, layout.STREAM_PATTERNS)


def held_of(content: bytes) -> Held:
    return Held(Offset(len(content)), crc32(content))


def mirror_of(data_dir: Path) -> dict[str, bytes]:
    return {path.decode(): content for path, content in read_mirror(data_dir).items()}


# --- what was acknowledged


@dataclass
class Said:
    """What a receiver said that it holds: of each stream the longest prefix, of each whole file the version.

    `tried` are the versions that came since without an answer: each may have taken the place of the one that was told of.
    """

    streams: dict[str, Held] = field(default_factory=dict)
    wholes: dict[str, Held] = field(default_factory=dict)
    tried: dict[str, set[Held]] = field(default_factory=dict)

    def note(self, path: str, held: Held | None) -> None:
        if held is None:
            return
        if not is_stream(path):
            self.wholes[path] = held
            self.tried.pop(path, None)
        elif held.size > self.streams.get(path, held_of(b"")).size:
            self.streams[path] = held

    def copy(self) -> Said:
        return deepcopy(self)

    def check(self, mirror: Tree) -> None:
        """Require that all that was told of is in the `mirror`."""
        for path, held in self.streams.items():
            content = mirror.get(path, b"")[: held.size]
            require("acknowledged bytes stay", held_of(content) == held, f"{path}: {held} was told of")
        for path, held in self.wholes.items():
            found = held_of(mirror[path]) if path in mirror else None
            is_there = found == held or found in self.tried.get(path, ())
            require("acknowledged bytes stay", is_there, f"{path}: {held} was told of, {found} is there")


class Witness:
    """A store that notes in `said` what it says."""

    def __init__(self, store: Store, said: Said) -> None:
        self._store, self._said = store, said

    def stat(self, paths: Sequence[str]) -> list[Held | None]:
        found = self._store.stat(paths)
        for path, held in zip(paths, found, strict=True):
            self._said.note(path, held)
        return found

    def apply(self, manifest: Manifest, payloads: Sequence[bytes | memoryview]) -> list[Outcome]:
        commits = [item for item in manifest.items if item.op == "commit"]
        for item in commits:
            self._said.tried.setdefault(item.path, set()).add(Held(item.end, item.crc))
        outcomes = self._store.apply(manifest, payloads)
        for item in commits:
            self._said.tried.pop(item.path, None)
        for outcome in outcomes:
            is_of_path = outcome.op == "append" or outcome.result in ("stored", "already", "diverged")
            if is_of_path and outcome.op != "stage":
                self._said.note(outcome.path, outcome.held)
        return outcomes


# --- what the spools held


@dataclass
class History:
    """What one file of one spool has been: the contents of a stream that only grew, or each version of a whole file.

    `is_edited` where it was more than written by the rules: a stream that was cut, replaced or edited, a file deleted.
    """

    path: str
    contents: list[bytes] = field(default_factory=list)
    is_edited: bool = False

    def note(self, content: bytes) -> None:
        last = self.contents[-1] if self.contents else None
        if last is not None and is_stream(self.path) and content.startswith(last):
            self.contents[-1] = content
        elif content != last:
            self.contents.append(content)

    def explains(self, content: bytes) -> bool:
        """Whether a mirror may hold `content` of it."""
        if is_stream(self.path):
            return any(whole.startswith(content) for whole in self.contents)
        return content in self.contents


# --- the trees


def plain_name(path: str) -> str:
    """Return the name that a file of a mirror has in a spool, without the digest that tells two apart."""
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}{layout.undiverged(name)}"


def check_trees(spools: Iterable[Tree], histories: Iterable[History], mirror: Tree, *, is_restored: bool) -> None:
    """Require that the `mirror` holds what the drained `spools` hold, once, and nothing that was never in one."""
    held: dict[str, list[bytes]] = {}
    for path, content in sorted(mirror.items()):
        held.setdefault(plain_name(path), []).append(content)
    wanted: dict[str, list[bytes]] = {}
    for spool in spools:
        for path, content in sorted(spool.items()):
            wanted.setdefault(path, []).append(content)
    been: dict[str, list[History]] = {}
    for history in histories:
        been.setdefault(history.path, []).append(history)
    for path in sorted({*held, *wanted}):
        _check_file(path, held.get(path, []), wanted.get(path, []), been.get(path, []), is_restored=is_restored)


def _check_file(path: str, held: list[bytes], wanted: list[bytes], been: list[History], *, is_restored: bool) -> None:
    for content in wanted:
        is_kept = content in held or (is_stream(path) and any(other.startswith(content) for other in held))
        require("all is shipped", is_kept, f"{path}: {_short([content])} is not among {_short(held)}")
    for content in held:
        is_known = any(history.explains(content) for history in been)
        require("nothing else is stored", is_known, f"{path}: {_short([content])} was never in a spool")
    if is_restored:
        return
    most = sum(len(history.contents) for history in been) if any(history.is_edited for history in been) else len(been)
    require("nothing is stored twice", len(held) <= most, f"{path}: {_short(held)} of {_short(wanted)}")
    require("nothing is stored twice", len(set(held)) == len(held), f"{path}: {_short(held)}")
    if not any(history.is_edited for history in been):
        whole = [content for content in wanted if not _is_begun_by_other(path, content, wanted)]
        require("the trees are equal", sorted(held) == sorted(set(whole)), f"{path}: {_short(held)}, {_short(wanted)}")


def _is_begun_by_other(path: str, content: bytes, all_contents: list[bytes]) -> bool:
    """Whether a stream is no more than the beginning of another machine's, which then stands for both."""
    return is_stream(path) and any(other != content and other.startswith(content) for other in all_contents)


def _short(contents: Sequence[bytes]) -> str:
    return str([content if len(content) < 120 else content[:50] + b" ... " + content[-50:] for content in contents])
