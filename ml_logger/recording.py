"""Recording: the files that one process writes into one run directory, and what went wrong with them.

Streams are opened at their first record, ``run.jsonl`` before all others, so a directory without a record stays empty. Nothing
raises for the state of the disk: a record that can't be written is counted, and told once a stream. Names that users choose
are checked: they stay inside the directory, are not hidden (such files are never shipped), and are no stream of the logger's.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from typing import Any, BinaryIO, Protocol, TypeVar, cast

from . import origin
from .encode import encode_record
from .errors import BadPath
from .layout import (
    HISTOGRAMS,
    METRICS,
    PARAMETERS,
    RUN,
    STREAM_PATTERNS,
    TEXT,
    check_path,
    is_hidden,
    matches_any,
    numbered,
    part_of,
    unnumbered,
)
from .spool import StreamWriter, is_being_written, most_streams, write_whole

_log = logging.getLogger("ml_logger")
_OWN_STREAMS = frozenset((METRICS, PARAMETERS, HISTOGRAMS, TEXT, RUN))
_MAX_TOLD = 1000  # keys are the user's: a new one every step must neither fill the memory nor the terminal
_MOST_PARTS = 10**9
_Method = TypeVar("_Method", bound=Callable[..., None])


class _Forgiving(Protocol):
    def tell_failure(self, where: str, error: Exception) -> None: ...


def never_raises(method: _Method) -> _Method:
    """Guard a method of an object with `tell_failure`: training goes on whatever happens in it, and the cause is told."""

    @functools.wraps(method)
    def guarded(self: _Forgiving, /, *args: Any, **kwargs: Any) -> None:
        try:
            method(self, *args, **kwargs)
        except Exception as error:  # noqa: BLE001 - the one guard that keeps training alive
            self.tell_failure(method.__name__, error)

    return cast("_Method", guarded)


class Recording:
    """One process's part of one run; without a `directory` nothing is stored, and that is told once.

    `failures` counts what went wrong, by method and kind of error. `on_start` is called when a process has written its start
    (or would have, with a directory).
    """

    def __init__(self, directory: str | None, segment_bytes: int, on_start: Callable[[], None]) -> None:
        self.directory = directory
        self.segment_bytes = segment_bytes
        self._on_start = on_start
        self.failures: Counter[str] = Counter()
        self._told: set[str] = set()
        self._lock = threading.RLock()
        self._streams: dict[str, StreamWriter] = {}
        self._in_use: dict[str, None] = {}  # the users' streams that are open, the one in use last behind
        self._is_started = False
        self._start_line = b""
        self._is_start_owed = False  # it could not be written, or was deleted: it is tried again with each record
        self._is_forked = False
        self._dropped_before = 0
        self._exit: tuple[str, BaseException | None] | None = None

    # --- writing

    def append_record(self, name: str, record: dict[str, Any]) -> None:
        """Append `record` to the stream `name` as one line of JSON."""
        if self.directory is None:
            self.start()
            self.tell_no_directory()
            return
        self.append(name, encode_record(record, self.tell_unstorable))

    def append_text(self, name: str, text: str) -> None:
        """Append `text` to the stream `name`, if there is a directory."""
        if self.directory is not None and text:
            self.append(name, text.encode("utf-8", "backslashreplace"))

    def append(self, name: str, line: bytes) -> bool:
        """Append `line`, which ends in its newline, to the stream `name` (relative, with ``/``); return whether it went in."""
        if self._is_start_owed:
            self._try_start()
            self._tell_owed_start()
        stream = self._streams.get(name) or self._open_stream(name)
        is_written = stream.append(line)
        if not is_written:
            self._tell_unwritable(name, stream.last_error)
        if name not in _OWN_STREAMS:
            self._note_use(name)
        if stream.is_begun_anew:
            self._start_anew(stream)
        return is_written

    def _note_use(self, name: str) -> None:
        """Close the user's streams that were not in use for the longest, so that any number of names leaves descriptors."""
        with self._lock:
            self._in_use.pop(name, None)
            self._in_use[name] = None
            while len(self._in_use) > most_streams():
                oldest = next(iter(self._in_use))
                del self._in_use[oldest]
                if oldest in self._streams:  # else the run was ended meanwhile
                    self._streams[oldest].close()

    def write_whole(self, name: str, fill: bytes | Callable[[BinaryIO], object]) -> None:
        """Write the whole file `name`: `fill` is its bytes, or is called with the open file; `OSError` if the disk can't."""
        if self.directory is None:
            self.tell_no_directory()
            return
        path = f"{self.directory}/{check_name(name)}"
        if matches_any(name, STREAM_PATTERNS) and (is_being_written(path) or self._is_open(path)):
            raise BadPath(f"{name!r} is a stream that is being written", path=name)
        self.start()
        write_whole(path, fill)

    def _is_open(self, path: str) -> bool:
        return any(stream.path() == path for stream in list(self._streams.values()))

    def _open_stream(self, name: str) -> StreamWriter:
        self.start()
        with self._lock:
            if name not in self._streams:
                folder, _, base = f"{self.directory}/{name}".rpartition("/")
                self._streams[name] = StreamWriter(folder, base, segment_bytes=self.segment_bytes)
            return self._streams[name]

    # --- life

    def start(self) -> None:
        """Write where this process's part comes from, unless that is written already."""
        with self._lock:
            if self._is_started:
                return
            self._is_started = True
            if self.directory is not None:
                self._start_line = encode_record(origin.start_event(is_forked=self._is_forked))
                self._try_start()
            if self._exit is not None:
                self._append_end(*self._exit)
            self._on_start()
        self._tell_owed_start()

    def _try_start(self) -> None:
        with self._lock:
            self._is_start_owed = False  # while it is tried, which comes by here again
            if self._append_event(self._start_line) is not None:
                self._is_start_owed = True
                self._dropped_before -= 1  # one that is missing, however often it was tried

    def _append_event(self, line: bytes) -> OSError | None:
        """Append to ``run.jsonl``, and return what went wrong: who holds the lock tells nobody, as who is told may log here."""
        stream = self._streams.get(RUN) or self._open_stream(RUN)
        return None if stream.append(line) else stream.last_error

    def _tell_owed_start(self) -> None:
        stream = self._streams.get(RUN)
        if self._is_start_owed and stream is not None:
            self._tell_unwritable(RUN, stream.last_error)

    def _tell_unwritable(self, name: str, error: OSError | None) -> None:
        message = "%s can't be written, training goes on without it: %s"
        self.tell_once(f"unwritable {name}", message, f"{self.directory}/{name}", error)

    def _start_anew(self, stream: StreamWriter) -> None:
        """Write the start once more if it was deleted too, with the whole directory."""
        with self._lock:
            stream.is_begun_anew = False
            run = self._streams.get(RUN)
            if run is not None and run.is_deleted():
                run.close()
                self._try_start()

    @property
    def is_started(self) -> bool:
        """Whether this process has written anything yet, or would have with a directory."""
        return self._is_started

    @property
    def dropped(self) -> int:
        """The number of records that could not be written."""
        streams = list(self._streams.values())
        return self._dropped_before + self._is_start_owed + sum(stream.dropped for stream in streams)

    def end(self, state: str, error: BaseException | None) -> None:
        """Write that this process's part ended as `state`, and let go of all files; a later record starts new ones."""
        if self._exit is not None:
            return
        with self._lock:
            unwritten = self._append_end(state, error) if self._is_started else None
            streams, self._streams, self._in_use = self._streams, {}, {}
            self._dropped_before += self._is_start_owed
            self._is_started = self._is_start_owed = False
        for stream in streams.values():
            stream.close()
            self._dropped_before += stream.dropped
        if unwritten is not None:
            self._tell_unwritable(RUN, unwritten)

    def end_at_exit(self, state: str, error: BaseException | None) -> None:
        """Write the end of the last part of this process, and leave all files open.

        Threads and exit functions may log until the very last, into the same files and with no start that has no end; the
        system closes them.
        """
        unwritten = None
        with self._lock:
            if self._exit is None:
                self._exit = (state, error)
                unwritten = self._append_end(state, error) if self._is_started else None
        if unwritten is not None:
            self._tell_unwritable(RUN, unwritten)

    def _append_end(self, state: str, error: BaseException | None) -> OSError | None:
        if self.directory is None:
            return None
        event = {"event": "end", "_timestamp": time.time(), "state": state, "pid": os.getpid()}
        if error is not None:
            event["error"] = "".join(traceback.format_exception_only(type(error), error)).strip()
        return self._append_event(encode_record(event | ({"dropped": self.dropped} if self.dropped else {})))

    def after_fork(self) -> None:
        """In the child: files of its own at the next record."""
        self._lock = threading.RLock()  # another thread of the parent may have held the old one
        self._streams, self._in_use = {}, {}
        self._is_started = self._is_start_owed = False
        self._is_forked = True
        self._dropped_before = 0
        self._exit = None

    # --- what went wrong

    def tell_once(self, kind: str, message: str, *details: object) -> None:
        """Warn with `message`, the first time that `kind` is told; after a thousand kinds no more."""
        if kind not in self._told and len(self._told) < _MAX_TOLD:
            self._told.add(kind)
            _log.warning(message, *details)

    def tell_failure(self, where: str, error: Exception) -> None:
        """Count an error of the method `where`, and warn about it once a kind. Never raises."""
        called = where.strip("_").replace("_one_", "_")  # log_image stores one image after another
        kind = f"{called}: {type(error).__name__}"
        with contextlib.suppress(Exception):  # a logging handler of the user's, or no stack left to tell it with
            self.failures[kind] += 1
            self.tell_once(kind, "%s() failed, training goes on: %s: %s", called, type(error).__name__, error)

    def tell_unstorable(self, key: str, value: object) -> None:
        """Warn once a `key` that its value has no JSON form."""
        message = "the value of %r has no JSON form (%s); its repr is stored instead"
        self.tell_once(f"unstorable {key}", message, key, type(value).__name__)

    def tell_no_directory(self) -> None:
        """Warn once that nothing is stored."""
        hint = 'ML_Logger("/path/to/run") or logger.configure("/path/to/run") stores it'
        self.tell_once("no directory", "no log directory: what is logged is printed and not stored; %s", hint)


def check_name(name: str) -> str:
    """Return `name` if a user's file may have it, else raise `BadPath`: absolute, ``..``, hidden, or the logger's own."""
    check_path(name)
    if any(map(is_hidden, name.split("/"))):
        raise BadPath(f"path {name[:80]!a} is hidden or temporary, and such files are never shipped", path=name)
    first = name.partition("/")[0].casefold()  # of a folder too: it would stand in the stream's place
    if any(part_of(first, stream) is not None for stream in _OWN_STREAMS):
        raise BadPath(f"path {name[:80]!a} is a stream of the logger's own", path=name)
    return name


def stream_name(path: str | os.PathLike[str], suffixes: tuple[str, ...]) -> str:
    """Return the name of a user's stream: `path` with the first of `suffixes` if it has none; `BadPath` as for `check_name`.

    A number that would make it a part of another stream is escaped (`unnumbered`). Its later parts have to have names too.
    """
    name = os.fspath(path).removeprefix("./")
    name = check_name(unnumbered(check_name(name if name.endswith(suffixes) else name + suffixes[0])))
    check_name(numbered(name, _MOST_PARTS))
    return name
