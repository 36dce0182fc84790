"""inotify(7): what the kernel tells of a tree of folders, read in bulk. Linux only.

One watch a folder, hidden folders left out; a folder that appears is watched from then on, with what is in it by then. What
happened between two reads to the same name is told once. Where the kernel had to drop events, one event says so.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from ..layout import is_hidden

MODIFY, CLOSE_WRITE, MOVED_FROM, MOVED_TO = 0x2, 0x8, 0x40, 0x80
CREATE, DELETE, DELETE_SELF, MOVE_SELF = 0x100, 0x200, 0x400, 0x800
UNMOUNT, OVERFLOW, IGNORED, IS_FOLDER = 0x2000, 0x4000, 0x8000, 0x4000_0000
_ONLY_FOLDERS, _FOLLOW_NO_LINK, _NOT_THE_DELETED = 0x0100_0000, 0x0200_0000, 0x0400_0000

_HEARD = MODIFY | CLOSE_WRITE | MOVED_FROM | MOVED_TO | CREATE | DELETE | _ONLY_FOLDERS | _NOT_THE_DELETED
_HEARD_OF_THE_ROOT = _HEARD | DELETE_SELF | MOVE_SELF
_CAME = CREATE | MOVED_TO
_PASSING = (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ELOOP)  # gone meanwhile, or the walk's to report
_HEAD = struct.Struct("iIII")
_READ_BYTES = 1 << 18

_libc = ctypes.CDLL(None, use_errno=True)


class Event(NamedTuple):
    """Something happened to `name` in `folder` (absolute); no name: to the folder itself. `mask` has the bits above."""

    folder: str
    name: str
    mask: int

    @property
    def path(self) -> str:
        """The absolute path."""
        return f"{self.folder}/{self.name}"


class TreeGone(OSError):
    """The folder at the top is no longer where it was."""


class Inotify:
    """The events below `root`; raises OSError where it can't be watched, such as ENOSPC at the limit of watches.

    `wake` may be called by any thread, all else by one.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self._paths: dict[int, str] = {}
        self._watches: dict[str, int] = {}
        self._is_closed = False
        self._closing = threading.Lock()
        self._fd = _checked(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC), "inotify_init1")
        self._awake, self._waker = os.pipe()
        try:
            self._add(root, _HEARD_OF_THE_ROOT)
            self._add_below(root)
        except BaseException:
            self.close()
            raise

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders that are watched."""
        return tuple(self._watches)

    def wait(self, timeout_s: float) -> bool:
        """Wait for events, at most `timeout_s` seconds or until somebody wakes; return whether there are some."""
        poll = select.poll()  # a descriptor may be past what select() takes
        poll.register(self._fd, select.POLLIN)
        poll.register(self._awake, select.POLLIN)
        return any(fd == self._fd for fd, _ in poll.poll(timeout_s * 1000))

    def wake(self) -> None:
        """End the wait under way, and all later ones."""
        with self._closing:
            if not self._is_closed:
                os.write(self._waker, b"!")

    def read(self) -> list[Event]:
        """Return what has happened since the last read; raises `TreeGone` once the root was deleted, moved or unmounted."""
        events = []
        for number, mask, name in dict.fromkeys(self._read_raw()):
            if mask & OVERFLOW:
                self._add_below(self._root)  # a folder may have come unheard
                events.append(Event(self._root, "", mask))
            elif mask & IGNORED:
                self._forget(number)
            elif number in self._paths:
                self._require_root(number, mask)
                event = Event(self._paths[number], os.fsdecode(name), mask)
                self._follow(event)
                events.append(event)
        return events

    def close(self) -> None:
        """Let go of the watches."""
        with self._closing:
            self._is_closed = True
            for fd in (self._fd, self._awake, self._waker):
                os.close(fd)

    def _read_raw(self) -> Iterator[tuple[int, int, bytes]]:
        """Yield watch, mask and name of what there is to read now; not endlessly, however fast more comes."""
        try:
            data = os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return
        at = 0
        while at < len(data):
            number, mask, _, length = _HEAD.unpack_from(data, at)
            at += _HEAD.size
            yield number, mask, data[at : at + length].rstrip(b"\0")
            at += length

    def _require_root(self, number: int, mask: int) -> None:
        if mask & (DELETE_SELF | MOVE_SELF | UNMOUNT) and self._paths[number] == self._root:
            raise TreeGone(errno.ENOENT, os.strerror(errno.ENOENT), self._root)

    def _follow(self, event: Event) -> None:
        """Watch a folder that came, and no longer one that was moved away."""
        if not event.mask & IS_FOLDER or is_hidden(event.name):
            return
        if event.mask & _CAME:
            self._add_tree(event.path)
        elif event.mask & MOVED_FROM:
            self._drop_tree(event.path)

    # --- watches

    def _add_tree(self, path: str) -> None:
        if self._add(path, _HEARD | _FOLLOW_NO_LINK):
            self._add_below(path)

    def _add_below(self, path: str) -> None:
        """Watch the folders in a folder that is watched already: what comes after this look is told by the kernel."""
        waiting = [path]
        while waiting:
            below = _folders_in(waiting.pop())
            waiting += [folder for folder in below if self._add(folder, _HEARD | _FOLLOW_NO_LINK)]

    def _add(self, path: str, mask: int) -> bool:
        """Watch one folder; return whether it is there."""
        try:
            number = _checked(_libc.inotify_add_watch(self._fd, os.fsencode(path), mask), path)
        except OSError as error:
            if error.errno in _PASSING and path != self._root:
                return False
            raise
        before = self._paths.get(number)
        if before is not None:  # moved here, and not yet heard of where it was
            self._watches.pop(before, None)
        self._paths[number], self._watches[path] = path, number
        return True

    def _drop_tree(self, path: str) -> None:
        for folder in [f for f in self._watches if f == path or f.startswith(f"{path}/")]:
            number = self._watches[folder]
            _libc.inotify_rm_watch(self._fd, number)
            self._forget(number)

    def _forget(self, number: int) -> None:
        path = self._paths.pop(number, None)
        if path is not None and self._watches.get(path) == number:
            del self._watches[path]


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return result


def _folders_in(path: str) -> list[str]:
    with suppress(OSError), os.scandir(path) as entries:
        return [e.path for e in entries if not is_hidden(e.name) and e.is_dir(follow_symlinks=False)]
    return []
