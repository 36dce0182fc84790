"""A walk below an open folder, however deep it goes: by a stack of its own, with a bounded number of descriptors.

A client can't make folders that deep, but others who use the host can, and `os.fwalk` then ends with a `RecursionError`, or
with a descriptor open for each level. Here the upper ones are closed on the way down, and opened again, as ``..``, on the way
back; one that is another folder by then was moved meanwhile, and ends the walk. No symbolic link is followed.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from .disk import Disk
from .tree import Identity

MOST_OPEN = 32
"""So many folders are open at a time."""

_SHOWN_NAMES = 8


@dataclass(slots=True)
class Level:
    """A folder on the way: its name, its descriptor, the level above it (None of the first), and what is in it.

    `names` are those of all that is no folder, `to_enter` those of the folders that are still to come.
    """

    name: str
    fd: int
    above: Level | None
    identity: Identity
    names: list[str] = field(default_factory=list)
    to_enter: list[str] = field(default_factory=list)

    def path_of(self, name: str) -> str:
        """Return the path of a name in it, from the first level on; of a deep one the middle is left out."""
        names, level = [name], self
        while level.above is not None:
            names.append(level.name)
            level = level.above
        shown = names if len(names) <= 2 * _SHOWN_NAMES else [*names[:_SHOWN_NAMES], "...", *names[-_SHOWN_NAMES:]]
        return "/".join(reversed(shown))


def _let_pass(_path: str, _error: OSError) -> None:
    """Walk on past what can't be entered."""


def _admit(_fd: int) -> None:
    """Enter every folder."""


def descend(
    disk: Disk,
    folder_fd: int,
    *,
    admit: Callable[[int], None] = _admit,
    pass_over: Callable[[str, OSError], None] = _let_pass,
) -> Iterator[tuple[Level, bool]]:
    """Yield the open folder and each below it twice: when it is entered, and, with True, when all below it has been walked.

    What `admit` raises `OSError` for, or can't be opened or listed, is told to `pass_over`, with its path below the folder.
    Raises `OSError` where the way back is lost.
    """
    way = [_listed("", disk.open_folder(".", folder_fd), None)]
    try:
        yield way[-1], False
        while way:
            here = way[-1]
            if here.to_enter:
                name = here.to_enter.pop()
                try:
                    way.append(_entered(disk, name, here, admit))
                except OSError as error:
                    pass_over(here.path_of(name), error)
                    continue
                if len(way) > MOST_OPEN:
                    _close(way[-MOST_OPEN - 1])
                yield way[-1], False
            else:
                if here.above is not None:
                    _open_again(disk, here.above, here.fd)
                yield here, True
                _close(way.pop())
    finally:
        for level in way:
            _close(level)


def sizes(disk: Disk, folder_fd: int) -> Iterator[int]:
    """Yield the size in bytes of each plain file below an open folder that can be looked at."""
    for here, is_end in descend(disk, folder_fd):
        for name in () if is_end else here.names:
            with suppress(OSError):  # it has gone, or its folder may be listed and not searched
                found = os.stat(name, dir_fd=here.fd, follow_symlinks=False)
                if stat.S_ISREG(found.st_mode):
                    yield found.st_size


def _entered(disk: Disk, name: str, above: Level, admit: Callable[[int], None]) -> Level:
    fd = disk.open_folder(name, above.fd)
    try:
        admit(fd)
    except BaseException:
        os.close(fd)
        raise
    return _listed(name, fd, above)


def _listed(name: str, fd: int, above: Level | None) -> Level:
    try:
        level = Level(name, fd, above, _identity(fd))
        with os.scandir(fd) as found:
            for entry in found:
                (level.to_enter if entry.is_dir(follow_symlinks=False) else level.names).append(entry.name)
    except BaseException:
        os.close(fd)
        raise
    return level


def _open_again(disk: Disk, above: Level, fd: int) -> None:
    if above.fd >= 0:
        return
    above.fd = disk.open_folder("..", fd)
    if _identity(above.fd) != above.identity:
        raise OSError(errno.ESTALE, "a folder was moved while it was walked")


def _close(level: Level) -> None:
    if level.fd >= 0:
        os.close(level.fd)
        level.fd = -1


def _identity(fd: int) -> Identity:
    found = os.fstat(fd)
    return found.st_dev, found.st_ino
