"""Proof from afar: whether a receiver holds, by SHA-256, what the spool holds; nothing of it is brought over.

The receiver reads each file anew, and so does this side: neither trusts what agent or receiver remember. A stream that is
longer here than there is *behind* where the receiver holds exactly its beginning. What a receiver holds besides is no
difference: other spools ship to it too, and retention takes files out of this one.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from .layout import NAME_WINDOW_BYTES, STREAM_PATTERNS, matches_any, other_names
from .verify import spool_files
from .wire import Digest, Unreadable

Ask = Callable[[Sequence[str]], Iterator[Digest | Unreadable | None]]
"""Gives what the receiver holds of each path, in their order."""

Tell = Callable[[int], object]
"""Is told of bytes that are done with."""

_CHUNK_BYTES = 1 << 20


@dataclass
class Proof:
    """What a comparison with a receiver found; paths are as they are there, and sizes in bytes.

    `behind` are files of which the receiver holds the beginning, with the bytes it lacks; `differs` those of which it holds
    other bytes, with both sizes.
    """

    files: int = 0
    size_bytes: int = 0
    missing: list[str] = field(default_factory=list)
    differs: list[tuple[str, int, int]] = field(default_factory=list)
    behind: list[tuple[str, int]] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)

    def is_equal(self, *, allow_growing: bool = False) -> bool:
        """Whether the receiver holds all; with `allow_growing` a stream may be behind."""
        late = [path for path, _ in self.behind if not (allow_growing and matches_any(path, STREAM_PATTERNS))]
        return not (self.missing or self.differs or self.unreadable or late)

    def report(self, *, allow_growing: bool = False) -> str:
        """Return one line if it is equal, else one line per difference."""
        if self.is_equal(allow_growing=allow_growing):
            late = sum(size for _, size in self.behind)
            more = f" ({len(self.behind)} growing streams are {late} bytes behind)" if self.behind else ""
            return f"equal: {self.files} files, {self.size_bytes} bytes{more}"
        lines = [f"missing {path!r}" for path in self.missing]
        lines += [f"differs {path!r} ({here} bytes here, {there} held)" for path, here, there in self.differs]
        lines += [f"{size} bytes behind {path!r}" for path, size in self.behind]
        return "\n".join(lines + [f"unreadable {path!r}: {reason}" for path, reason in self.unreadable])


def prove(spool: Path, prefix: str, source: str, ask: Ask, tell: Tell = lambda _: None) -> Proof:
    """Compare every file of `spool` with what the receiver holds of it below `prefix`.

    A file whose plain name holds other bytes is looked for under the names that the agent of `source` would take. One that
    vanishes meanwhile (retention) is passed over.
    """
    files = sorted((f"{prefix}/{path}" if prefix else path, file) for path, file in spool_files(spool).items())
    proof = Proof()
    for (path, file), held in zip(files, ask([path for path, _ in files]), strict=True):
        with suppress(FileNotFoundError):
            _judge(proof, path, file, held, source, ask)
            tell(file.stat().st_size)
    return proof


def total_bytes(spool: Path) -> int:
    """Return how many bytes `prove` will have to read, about."""
    return sum(_size_of(file) for file in spool_files(spool).values())


def _size_of(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def _judge(proof: Proof, path: str, file: Path, held: Digest | Unreadable | None, source: str, ask: Ask) -> None:
    found = _maybe_behind(file, held)
    if found != 0 and held is not None:
        found = min((b for b in (found, *_elsewhere(path, file, source, ask)) if b is not None), default=None)
    size = file.stat().st_size
    proof.files += 1
    if found == 0:
        proof.size_bytes += size
    elif found is not None:
        proof.size_bytes += size - found
        proof.behind.append((path, found))
    elif held is None:
        proof.missing.append(path)
    elif isinstance(held, Unreadable):
        proof.unreadable.append((path, ascii(held.reason)[1:-1]))
    else:
        proof.differs.append((path, size, held.size))


def _elsewhere(path: str, file: Path, source: str, ask: Ask) -> Iterator[int | None]:
    """Yield how far the receiver is behind under each other name that the file may have there."""
    with file.open("rb") as content:
        names = other_names(path, content.read(NAME_WINDOW_BYTES), source)
    yield from (_maybe_behind(file, held) for held in ask(names))


def _maybe_behind(file: Path, held: Digest | Unreadable | None) -> int | None:
    """Return how many bytes a file has behind those that are held, None where it does not begin with them."""
    if not isinstance(held, Digest):
        return None
    with file.open("rb") as content:
        size = os.fstat(content.fileno()).st_size
        is_held = held.size <= size and _sha256(content.read, held.size) == held.sha256
    return size - held.size if is_held else None


def _sha256(read: Callable[[int], bytes], size: int) -> str:
    digest = hashlib.sha256()
    while size > 0 and (chunk := read(min(_CHUNK_BYTES, size))):
        digest.update(chunk)
        size -= len(chunk)
    return digest.hexdigest()
