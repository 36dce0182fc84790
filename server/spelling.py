"""Names that differ only in case: two files everywhere, but on file systems that take one spelling for another.

There (macOS, vfat, a folder that an administrator made so) a file that is found was perhaps asked for under a name that is
not its own. Such a path is refused: to write to it would mix two files. Looking costs a listing of the folder.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable

from ..errors import BadPath


def require_own_name(path: str, name: str, folder_fd: int) -> None:
    """Raise `BadPath` unless what was found as `name` in a folder is called just that; `path` is what was asked for."""
    names = os.listdir(folder_fd)
    if name in names:
        return
    twin = next((other for other in names if _folded(other) == _folded(name)), None)
    if twin is None:
        raise BadPath(f"path {path[:80]!a}: the receiver's file system knows it under another name", path=path)
    raise BadPath(
        f"path {path[:80]!a}: differs only in case from {twin[:80]!a}, and this file system can't keep them apart",
        path=path,
    )


def keep_apart(paths: Iterable[str]) -> list[list[str]]:
    """Return the paths in groups, in none of which two differ only in case."""
    groups: list[list[str]] = []
    seen: dict[str, int] = {}
    for path in paths:
        number = seen[_folded(path)] = seen.get(_folded(path), -1) + 1
        if number == len(groups):
            groups.append([])
        groups[number].append(path)
    return groups


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
