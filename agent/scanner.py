"""The walk: which files a spool holds. This is the truth; watchdog events only make it happen sooner.

Only regular files are reported. Symlinks, FIFOs, sockets and devices are never opened, hidden names (dotfiles, temporary
names, the agent's state) are passed over. A folder that can't be read is a problem to report, never an end of the walk.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..layout import is_hidden, matches_any


@dataclass(frozen=True, slots=True)
class Signature:
    """What tells one state of a file from another without reading it: size in bytes, times in ns, inode, device."""

    size: int
    mtime_ns: int
    ino: int
    dev: int


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A regular file in the spool: its path relative to the spool, as the operating system spells it, and its state."""

    path: str
    signature: Signature


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that keeps a path from being shipped, and why."""

    path: str
    reason: str


def signature_of(status: os.stat_result) -> Signature:
    """Return the signature in a stat result."""
    return Signature(status.st_size, status.st_mtime_ns, status.st_ino, status.st_dev)


def scan(root: Path, *, include: Sequence[str], exclude: Sequence[str]) -> tuple[list[LocalFile], list[Problem]]:
    """Return the regular files below `root` that match `include` and not `exclude`, and the folders that can't be read.

    A pattern is matched against the relative path and against the name alone. An excluded folder is not entered.
    """
    files: list[LocalFile] = []
    problems: list[Problem] = []
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            for path, entry in _entries(root, folder, exclude):
                if entry.is_dir(follow_symlinks=False):
                    folders.append(path)
                elif matches_any(path, include):
                    files.extend(_try_regular_file(path, entry))
        except OSError as error:
            if folder and isinstance(error, FileNotFoundError):
                continue  # deleted while we walked; what it held is gone by a person's will
            problems.append(Problem(folder or str(root), f"can't list this folder: {error.strerror}"))
    return files, problems


def _entries(root: Path, folder: str, exclude: Sequence[str]) -> Iterator[tuple[str, os.DirEntry[str]]]:
    prefix = folder + "/" if folder else ""
    with os.scandir(root / folder) as entries:
        for entry in entries:
            path = prefix + entry.name
            if not is_hidden(entry.name) and not (exclude and matches_any(path, exclude)):
                yield path, entry


def _try_regular_file(path: str, entry: os.DirEntry[str]) -> Iterator[LocalFile]:
    try:
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return
    if stat.S_ISREG(status.st_mode):
        yield LocalFile(path, signature_of(status))
