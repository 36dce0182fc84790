"""The doorbell: watchdog events that wake the agent early. A lost event costs latency, never data.

watchdog's threads die with an exception, and with an exhausted inotify limit they do not start: `Watcher.ensure_alive` starts
new ones or says once that the timer alone is left.

On Linux an emitter of our own stands in watchdog's: it reads the kernel's events in bulk and notes them at the doorbell itself.
watchdog hands each event through three threads and two queues, which is 40 % of a core for 200 streams with 10 lines a second.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver, EventEmitter

from ..layout import is_hidden

if sys.platform == "linux":
    from . import inotify
    from .inotify import Event, Inotify

log = logging.getLogger(__name__)

_RINGING = [
    DirCreatedEvent,
    DirDeletedEvent,
    FileDeletedEvent,
    FileCreatedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileClosedEvent,
    DirMovedEvent,
]
_MAX_NOTED = 100_000

_PACE_S = 0.02
"""How long events collect in the kernel before the next are read: far less than is waited for before a batch is sent."""

_RETRY_S = 60.0
"""How long it takes until watching is tried again where it was refused: the try itself costs a call a folder."""


@dataclass(frozen=True)
class Heard:
    """What was heard of: files seen to be complete, and folders in which something happened; absolute paths.

    Among the `folders` are files, where nothing else is known to have happened in theirs.
    """

    complete: frozenset[str]
    folders: frozenset[str]


class Doorbell:
    """Where events and signals ring and the loop waits; it also remembers which files were seen to be complete.

    The bell is a pipe: ringing is one `write`, safe in a signal handler, where the locks of `threading.Event` could be held
    by the very code that the signal interrupted.
    """

    def __init__(self) -> None:
        self._receiving, self._sending = os.pipe()
        os.set_blocking(self._receiving, False)
        os.set_blocking(self._sending, False)
        self._is_closed = False
        self._complete: set[str] = set()
        self._folders: set[str] = set()
        self._lock = threading.Lock()

    def ring(self) -> None:
        """Wake the waiter, now or when it next waits."""
        if not self._is_closed:
            with contextlib.suppress(BlockingIOError):  # a full pipe has rung often enough
                os.write(self._sending, b"!")

    def note(self, path: str, *, is_complete: bool = False, is_folder: bool = False) -> None:
        """Remember that something happened to `path` (absolute), and ring if it is the first since the last `take`.

        A file `is_complete` when it was closed after writing or renamed into place.
        """
        with self._lock:
            is_first = not self._folders
            self._folders.add(os.path.dirname(path))  # noqa: PTH120  # plain text, thousands of times a second
            if is_folder:
                self._folders.add(path)
            if is_complete and len(self._complete) < _MAX_NOTED:
                self._complete.add(path)
        if is_first:
            self.ring()

    def note_all(self, places: set[str], complete: set[str]) -> None:
        """Remember that something happened to all of `places`, files and folders, and ring as `note` does."""
        if not places:
            return
        with self._lock:
            is_first = not self._folders
            self._folders |= places
            if len(self._complete) < _MAX_NOTED:
                self._complete |= complete
        if is_first:
            self.ring()

    @property
    def has_news(self) -> bool:
        """Whether something was noted since the last `take`."""
        return bool(self._folders)

    def wait(self, timeout_s: float) -> bool:
        """Wait until somebody rings, at most `timeout_s` seconds; return whether somebody did, and still the bell."""
        readable, _, _ = select.select([self._receiving], [], [], max(0.0, timeout_s))
        with contextlib.suppress(BlockingIOError):
            while os.read(self._receiving, 4096):
                pass
        return bool(readable)

    def take(self) -> Heard:
        """Return what was noted since the last call."""
        with self._lock:
            heard = Heard(frozenset(self._complete), frozenset(self._folders))
            self._complete, self._folders = set(), set()
        return heard

    def close(self) -> None:
        """Close the pipe; ringing does nothing any more."""
        self._is_closed = True
        os.close(self._receiving)
        os.close(self._sending)


class _Ringer(FileSystemEventHandler):
    def __init__(self, spool: Path, doorbell: Doorbell) -> None:
        self._spool = str(spool)
        self._doorbell = doorbell

    def on_any_event(self, event: FileSystemEvent) -> None:
        is_final = isinstance(event, (FileMovedEvent, FileClosedEvent))
        path = os.fsdecode(event.dest_path if isinstance(event, (FileMovedEvent, DirMovedEvent)) else event.src_path)
        if not self._is_hidden(path):
            self._doorbell.note(path, is_complete=is_final, is_folder=event.is_directory)

    def _is_hidden(self, path: str) -> bool:
        """Whether scanners pass the path over: without this the agent's own ledger would wake it for ever."""
        return any(is_hidden(name) for name in path.removeprefix(self._spool).split("/") if name)


if sys.platform == "linux":

    class _Listener(EventEmitter):
        """watchdog's emitter thread, on one spool. It ends where the spool is gone or no more folders can be watched."""

        doorbell: ClassVar[Doorbell]
        _inotify: Inotify
        _is_open = False

        def on_thread_start(self) -> None:
            self._inotify = Inotify(os.fspath(self.watch.path))
            self._is_open = True

        def on_thread_stop(self) -> None:
            if self._is_open:
                self._inotify.wake()

        def run(self) -> None:
            try:
                super().run()
            except OSError as error:
                log.debug("watching ended: %s", error)
            finally:
                self._inotify.close()

        def queue_events(self, timeout: float) -> None:
            if self._inotify.wait(timeout):
                self._note(self._inotify.read())
                self.stopped_event.wait(_PACE_S)

        def _note(self, events: Iterable[Event]) -> None:
            folders: set[str] = set()
            files: set[str] = set()
            complete: set[str] = set()
            for event in events:
                if event.mask & inotify.OVERFLOW:
                    folders.update(self._inotify.folders)
                elif event.name and not is_hidden(event.name):
                    _sort(event, folders, files, complete)
            in_no_folder = {path for path in files if path.rpartition("/")[0] not in folders}
            self.doorbell.note_all(folders | in_no_folder, complete)

    def _sort(event: Event, folders: set[str], files: set[str], complete: set[str]) -> None:
        """Put what an event tells where it belongs; a file that is made is its folder's news, a later event the file's."""
        if event.mask & (inotify.IS_FOLDER | inotify.CREATE):
            folders.add(event.folder)
            if event.mask & inotify.IS_FOLDER:
                folders.add(event.path)
            return
        files.add(event.path)
        if event.mask & (inotify.CLOSE_WRITE | inotify.MOVED_TO):
            complete.add(event.path)


def _new_observer(doorbell: Doorbell) -> BaseObserver:
    if sys.platform == "linux":
        return BaseObserver(type("_Listener", (_Listener,), {"doorbell": doorbell}))
    return Observer()


class Watcher:
    """Watches spools and rings a `Doorbell`; works, more slowly, where watching is impossible.

    `watches` counts how often a watch was begun: what happened before it has to be looked for.
    """

    def __init__(self, spools: Iterable[Path], doorbell: Doorbell) -> None:
        self._spools = tuple(spools)
        self._doorbell = doorbell
        self._observer: BaseObserver | None = None
        self._has_warned = False
        self._next_try_s = 0.0
        self.watches = 0

    def ensure_alive(self) -> None:
        """Start the observer if it is not running; a failure is said once, and tried again after a minute."""
        if self.is_watching or time.monotonic() < self._next_try_s:
            return
        self.stop()
        observer = _new_observer(self._doorbell)
        try:
            for spool in self._spools:
                observer.schedule(_Ringer(spool, self._doorbell), str(spool), recursive=True, event_filter=_RINGING)
            observer.start()
        except OSError as error:
            self._say_once(error)
            self._next_try_s = time.monotonic() + _RETRY_S
            observer.unschedule_all()
            return
        self._observer, self._has_warned = observer, False
        self.watches += 1

    def _say_once(self, error: OSError) -> None:
        gone = next((spool for spool in self._spools if not spool.is_dir()), None)
        if not self._has_warned and gone is not None:
            log.warning(
                "spool %s is gone, nothing is shipped from it until it is back: looking every scan_interval_s", gone
            )
        elif not self._has_warned:
            log.warning(
                "can't watch the spool (%s): looking every scan_interval_s instead; raise fs.inotify.max_user_watches",
                error,
            )
        self._has_warned = True

    @property
    def is_watching(self) -> bool:
        """Whether events are being heard; if not, only looking tells what has changed."""
        observer = self._observer
        return observer is not None and observer.is_alive() and all(e.is_alive() for e in observer.emitters)

    def stop(self) -> None:
        """Stop the observer, if there is one."""
        if self._observer is not None:
            self._observer.stop()
            if self._observer.is_alive():
                self._observer.join(5)
            self._observer = None
