"""Proof: whether the receiver's mirror is, byte for byte, what the spool holds.

Reads both trees and trusts nothing that agent or receiver remember. No part of the comparison are symlinks, dotfiles and
temporary names of the spool (`layout.is_hidden`) and the receiver's own folder in the mirror; a spool name is looked for
under the name it is shipped as.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from .layout import RECEIVER_DIR, is_hidden, remote_path

_CHUNK_BYTES = 1 << 20


@dataclass
class Comparison:
    """What a comparison found; paths are relative, with ``/`` between components, as they are in the mirror."""

    files: int = 0
    size_bytes: int = 0
    missing: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    differs: list[tuple[str, int]] = field(default_factory=list)

    @property
    def is_equal(self) -> bool:
        """Whether nothing is missing, extra or different."""
        return not (self.missing or self.extra or self.differs)

    def report(self) -> str:
        """Return one line if the trees are equal, else one line per difference."""
        if self.is_equal:
            return f"equal: {self.files} files, {self.size_bytes} bytes"
        lines = [f"missing {path!r}" for path in self.missing] + [f"extra {path!r}" for path in self.extra]
        return "\n".join(lines + [f"differs at byte {offset} {path!r}" for path, offset in self.differs])


Progress = Callable[[list[tuple[str, Path, Path]]], Iterable[tuple[str, Path, Path]]]


def compare_trees(
    spool: str | os.PathLike[str], mirror: str | os.PathLike[str], progress: Progress = iter
) -> Comparison:
    """Compare every file under `spool` with its namesake under `mirror`; `progress` may wrap the list of pairs."""
    shipped = spool_files(Path(spool))
    held = _files(Path(mirror), skip=lambda path: path.parts == (RECEIVER_DIR,))
    pairs = [(path, file, held[path]) for path, file in sorted(shipped.items()) if path in held]
    found = Comparison(missing=sorted(shipped.keys() - held.keys()), extra=sorted(held.keys() - shipped.keys()))
    for path, one, other in progress(pairs):
        size_bytes, offset = first_difference(one, other)
        found.files += 1
        found.size_bytes += size_bytes
        if offset is not None:
            found.differs.append((path, offset))
    return found


def spool_files(spool: Path) -> dict[str, Path]:
    """Return every file of a spool by the name it is shipped as."""
    found = _files(spool, skip=lambda path: is_hidden(path.name))
    return {remote_path(path): file for path, file in found.items()}


def first_difference(one: Path, other: Path) -> tuple[int, int | None]:
    """Return how many leading bytes two files share, and the offset of the first difference, or None if they are equal."""
    with one.open("rb") as a, other.open("rb") as b:
        offset = 0
        while True:
            left, right = a.read(_CHUNK_BYTES), b.read(_CHUNK_BYTES)
            if left != right:
                offset += _shared_bytes(left, right)
                return offset, offset
            if not left:
                return offset, None
            offset += len(left)


def _shared_bytes(left: bytes, right: bytes) -> int:
    shorter = min(len(left), len(right))
    return next((i for i in range(shorter) if left[i] != right[i]), shorter)


def _files(root: Path, *, skip: Callable[[Path], bool]) -> dict[str, Path]:
    found = {}
    for folder, folders, names in os.walk(root):
        inside = Path(folder).relative_to(root)
        folders[:] = [name for name in folders if not skip(inside / name)]
        for name in names:
            path = Path(folder, name)
            if not skip(inside / name) and path.is_file() and not path.is_symlink():
                found[(inside / name).as_posix()] = path
    return found
