"""The logger: what a training script calls.

Two promises shape this module. **What a call returned for is on disk**: each call encodes its record and appends it with one
write, at once. **Training never suffers**: no call waits for a network, and none raises; whatever goes wrong inside is caught
in one place (`_never_raises`), told once per kind through ``logging.getLogger("ml_logger")``, and counted in `failures`.
Only the constructor and `configure` raise, since a run that can't store anything should say so before it starts.

The printed table is a view: the values of one step, merged, shown when the step changes. A crash loses at most that view.
"""

from __future__ import annotations

import atexit
import functools
import io
import logging
import os
import sys
import threading
import time
import traceback
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, cast

from . import image, origin
from .color import Color, is_wanted, terminal_width
from .encode import encode_record, plain, scalar, text_of
from .errors import LogDirectoryError
from .layout import HISTOGRAMS, METRICS, PARAMETERS, RUN, TEXT, escape_key
from .spool import SEGMENT_BYTES, StreamWriter, check_writable, write_whole
from .table import Cell, params_table, step_table

_log = logging.getLogger("ml_logger")
_living: weakref.WeakSet[ML_Logger] = weakref.WeakSet()
_Method = TypeVar("_Method", bound=Callable[..., None])


def _never_raises(method: _Method) -> _Method:
    """Guard a public method: training goes on whatever happens in it, and the cause is told."""

    @functools.wraps(method)
    def guarded(self: ML_Logger, /, *args: Any, **kwargs: Any) -> None:
        try:
            method(self, *args, **kwargs)
        except Exception as error:  # noqa: BLE001 - the one guard that keeps training alive
            self._tell_failure(method.__name__, error)

    return cast("_Method", guarded)


class ML_Logger:
    """Logs one run into a directory of plain files, and prints tables.

    `log_directory` is made absolute at once (``~`` and ``file://`` are understood), joined with the relative `prefix`, created,
    and checked to be writable; `LogDirectoryError` says in one line why it can't be. Without a directory the tables are
    printed and nothing is stored. A stream goes on in a new file after `segment_bytes`.

    Usable as a context manager: leaving it closes the run, as failed if an exception passes. `failures` counts what went
    wrong inside, by method and kind of error; `dropped` is the number of records that could not be written.
    """

    def __init__(
        self,
        log_directory: str | os.PathLike[str] | None = None,
        prefix: str = "",
        *,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        directory = None if log_directory is None else run_directory(log_directory, prefix)
        if directory is not None:
            _check_directory(directory)
        self._begin(directory, segment_bytes)

    def _begin(self, directory: str | None, segment_bytes: int) -> None:
        self.log_directory = directory
        self.segment_bytes = segment_bytes
        self.failures: Counter[str] = Counter()
        self._told: set[str] = set()
        self._lock = threading.RLock()
        self._streams: dict[str, StreamWriter] = {}
        self._is_started = False
        self._is_forked = False
        self._dropped_before = 0
        self._cells: dict[str, Cell] = {}
        self._cells_step: Any = None
        _living.add(self)

    def configure(
        self,
        log_directory: str | os.PathLike[str] | None = None,
        prefix: str = "",
        *,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        """Close the run so far and point this logger at another directory; arguments and errors as at construction."""
        directory = None if log_directory is None else run_directory(log_directory, prefix)
        if directory is not None:
            _check_directory(directory)
        self.close()
        self._begin(directory, segment_bytes)

    # --- what is logged

    @_never_raises
    def log(
        self,
        /,
        step: Any = None,
        *dicts: Mapping[str, Any],
        silent: bool | Iterable[str] = False,
        flush: bool = False,
        index: Any = None,
        **key_values: Any,
    ) -> None:
        """Write one record of `dicts` and `key_values` now, and show them in the table of `step`.

        `index` is another name for `step`; without either the record has none. `silent` keeps all keys, or those it names, out
        of the table, which is printed when the step changes or at once with `flush`.
        """
        if isinstance(step, Mapping):
            step, dicts = None, (step, *dicts)
        step = index if step is None else step
        if type(step) is not int:
            step = scalar(step)
        values = _merged(dicts, key_values) if dicts else key_values
        now = time.time()
        record = {"_timestamp": now, **values} if step is None else {"_step": step, "_timestamp": now, **values}
        for key, value in values.items():
            if type(value) is Color:
                record[key] = value.value
        self._append_record(METRICS, record)
        if step != self._cells_step:
            self._print_table()
            self._cells_step = step
        if silent is not True:
            self._show(values, _names(silent))
        if flush:
            self._print_table()
            _flush_stdout()

    @_never_raises
    def log_params(self, /, **sections: Any) -> None:
        """Write parameters in named sections and print them as a table.

        A section is a dict, a dataclass, a namespace, a class (its own attributes without dunders), or a single value.
        """
        rows = {title: _section(value) for title, value in sections.items()}
        record = {"_timestamp": time.time()} | {t: r if r is not None else sections[t] for t, r in rows.items()}
        self._append_record(PARAMETERS, record)
        shown = {t: {t: sections[t]} if r is None else r for t, r in rows.items()}
        texts = {title: {str(k): _cell(v).text for k, v in section.items()} for title, section in shown.items()}
        self._print_both(params_table(texts, is_colored=is_wanted(sys.stdout)), params_table(texts))

    @_never_raises
    def log_image(self, /, step: Any = None, namespace: str = "images", *, index: Any = None, **images: Any) -> None:
        """Store each image as ``<namespace>/<key>/<step:04d>.png``.

        An image is an array (or tensor, or Pillow image) H×W, H×W×1, H×W×3 or H×W×4: ``uint8``, or floats in 0..1 (or, if any
        is above 1, in 0..255; NaN is black).
        """
        step = scalar(index if step is None else step)
        for key, value in images.items():
            self._log_one_image(f"{namespace}/{escape_key(key)}/{_file_stem(step)}.png", key, value)

    @_never_raises
    def _log_one_image(self, name: str, key: str, value: Any) -> None:
        try:
            pixels = image.as_pixels(value)
        except image.BadImage as error:
            self._tell_once(f"image {key}", "the image %r was not stored: %s", key, error)
            return
        if pixels.dtype.kind == "f" and (pixels != pixels).any():
            self._tell_once(f"nan in image {key}", "the image %r holds NaN, shown as black", key)
        self._write_whole(name, image.encode_png(pixels))

    @_never_raises
    def log_tensor(self, /, step: Any = None, namespace: str = "tensors", *, index: Any = None, **arrays: Any) -> None:
        """Store each array as ``<namespace>/<key>/<step:04d>.npy`` (numpy's format, without pickled objects)."""
        step = scalar(index if step is None else step)
        for key, value in arrays.items():
            self._log_one_tensor(f"{namespace}/{escape_key(key)}/{_file_stem(step)}.npy", value)

    @_never_raises
    def _log_one_tensor(self, name: str, value: Any) -> None:
        import numpy as np  # lazily: importing ml_logger must not cost an import of numpy

        buffer = io.BytesIO()
        np.save(buffer, _as_array(value), allow_pickle=False)
        self._write_whole(name, buffer.getvalue())

    @_never_raises
    def log_histogram(self, /, step: Any = None, *, bins: Any = 64, index: Any = None, **values: Any) -> None:
        """Write the histogram of each array to ``histograms.jsonl``: ``{"counts": […], "edges": […]}``, one edge more.

        `bins` is a number of bins or their edges, as ``numpy.histogram`` takes them. NaN and the infinities are left out and
        counted under ``"not_finite"``.
        """
        step = scalar(index if step is None else step)
        record: dict[str, Any] = {} if step is None else {"_step": step}
        record["_timestamp"] = time.time()
        record.update({key: _histogram(value, bins) for key, value in values.items()})
        self._append_record(HISTOGRAMS, record)

    @_never_raises
    def print(self, *values: Any, sep: str = " ", end: str = "\n", flush: bool = False) -> None:
        """Print to standard output as the built-in does, and keep the text in ``text.log``."""
        plain_text = sep.join(v.text() if isinstance(v, Color) else str(v) for v in values) + end
        self._print_both(sep.join(map(str, values)) + end, plain_text)
        if flush:
            _flush_stdout()

    # --- the life of a run

    @_never_raises
    def flush(self) -> None:
        """Print the table that is still being gathered; the records themselves are on disk already."""
        self._print_table()
        _flush_stdout()

    @_never_raises
    def close(self) -> None:
        """Print the last table, write that the run finished, and let go of its files; logging again starts new ones."""
        self._end("finished", None)

    def __enter__(self) -> ML_Logger:  # noqa: PYI034 - Self is not in Python 3.10
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _trace: object) -> None:
        self._close_after(error)

    @_never_raises
    def _close_after(self, error: BaseException | None) -> None:
        self._end("finished" if error is None else "failed", error)

    def _end(self, state: str, error: BaseException | None) -> None:
        self._print_table()
        with self._lock:
            streams, self._streams = self._streams, {}
            is_started, self._is_started = self._is_started, False
        run = streams.pop(RUN, None)
        for stream in streams.values():
            stream.close()
            self._dropped_before += stream.dropped
        if run is not None and is_started:
            event = {"event": "end", "_timestamp": time.time(), "state": state, "pid": os.getpid()}
            if error is not None:
                event["error"] = "".join(traceback.format_exception_only(type(error), error)).strip()
            run.append(encode_record(event | ({"dropped": self._dropped_before} if self._dropped_before else {})))
            run.close()

    @property
    def dropped(self) -> int:
        """The number of records that could not be written since the run was opened."""
        return self._dropped_before + sum(stream.dropped for stream in self._streams.values())

    # --- files

    def _append_record(self, name: str, record: dict[str, Any]) -> None:
        if self.log_directory is None:
            self._tell_no_directory()
            return
        self._append(name, encode_record(record, self._tell_unstorable))

    def _append(self, name: str, line: bytes) -> None:
        stream = self._streams.get(name) or self._open_stream(name)
        was_dropped = stream.dropped
        if stream.append(line):
            return
        if not was_dropped:
            path = f"{stream.directory}/{name}"
            _log.warning("%s can't be written, training goes on without it: %s", path, stream.last_error)

    def _open_stream(self, name: str) -> StreamWriter:
        with self._lock:
            if not self._is_started:
                self._is_started = True
                self._append(RUN, encode_record(origin.start_event(is_forked=self._is_forked)))
                if self._is_forked:
                    _close_with_multiprocessing()
            if name not in self._streams:
                self._streams[name] = StreamWriter(str(self.log_directory), name, segment_bytes=self.segment_bytes)
            return self._streams[name]

    def _write_whole(self, name: str, data: bytes) -> None:
        if self.log_directory is None:
            self._tell_no_directory()
            return
        if not self._is_started:
            self._open_stream(RUN)
        write_whole(f"{self.log_directory}/{name}", data)

    # --- the table

    def _show(self, values: dict[str, Any], hidden: frozenset[str]) -> None:
        cells = {str(key): _cell(value) for key, value in values.items() if key not in hidden}
        with self._lock:
            self._cells.update(cells)

    def _print_table(self) -> None:
        if not self._cells:
            return
        with self._lock:
            cells, self._cells = self._cells, {}
        if cells:
            width, is_colored = terminal_width(sys.stdout), is_wanted(sys.stdout)
            kept = step_table(cells)
            shown = step_table(cells, width=width, is_colored=is_colored) if width or is_colored else kept
            self._print_both(shown, kept)

    def _print_both(self, shown: str, kept: str) -> None:
        """Print `shown` and append `kept` to text.log."""
        _write_stdout(shown)
        if self.log_directory is not None and kept:
            self._append(TEXT, kept.encode("utf-8", "backslashreplace"))

    # --- what went wrong

    def _tell_no_directory(self) -> None:
        hint = 'ML_Logger("/path/to/run") or logger.configure("/path/to/run") stores it'
        self._tell_once("no directory", "no log directory: what is logged is printed and not stored; %s", hint)

    def _tell_unstorable(self, key: str, value: object) -> None:
        message = "the value of %r has no JSON form (%s); its repr is stored instead"
        self._tell_once(f"unstorable {key}", message, key, type(value).__name__)

    def _tell_failure(self, where: str, error: Exception) -> None:
        kind = f"{where}: {type(error).__name__}"
        self.failures[kind] += 1
        self._tell_once(kind, "%s() failed, training goes on: %s: %s", where.strip("_"), type(error).__name__, error)

    def _tell_once(self, kind: str, message: str, *details: object) -> None:
        if kind not in self._told:
            self._told.add(kind)
            _log.warning(message, *details)

    # --- copies and children

    def __getstate__(self) -> dict[str, Any]:
        return {"log_directory": self.log_directory, "segment_bytes": self.segment_bytes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._begin(state["log_directory"], state["segment_bytes"])

    def _after_fork(self) -> None:
        """In the child: its own files at the next call, and the parent's unprinted table stays the parent's."""
        self._lock = threading.RLock()
        self._streams = {}
        self._is_started = False
        self._is_forked = True
        self._cells = {}

    def __del__(self) -> None:
        if getattr(self, "_is_started", False) or getattr(self, "_cells", None):
            self.close()


# --- directories


def run_directory(log_directory: str | os.PathLike[str], prefix: str = "") -> str:
    """Return the absolute path of a run; raise `LogDirectoryError` for an absolute `prefix`, one with ``..``, or a URL."""
    parts = prefix.replace("\\", "/").split("/")
    if prefix.startswith("/") or os.path.isabs(prefix) or ".." in parts or "\0" in prefix:  # noqa: PTH117 - plain text
        raise LogDirectoryError(
            f"prefix {prefix!r} leads out of the log directory", hint="use a relative path without '..'"
        )
    directory = _local_path(os.fspath(log_directory))
    return os.path.abspath(os.path.join(os.path.expanduser(directory), prefix))  # noqa: PTH100, PTH111, PTH118 - the same


def _local_path(directory: str) -> str:
    scheme, separator, rest = directory.partition("://")
    if not separator:
        return directory
    host, slash, path = rest.partition("/")
    if scheme.lower() != "file" or host not in ("", "localhost") or not slash:
        hint = "log to a local directory; an agent that watches it ships what is logged"
        raise LogDirectoryError(f"log directory {directory!r} is not a local one", hint=hint)
    from urllib.request import url2pathname  # lazily: it imports the whole of http.client

    return url2pathname(slash + path)


def _check_directory(directory: str) -> None:
    try:
        check_writable(directory)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        hint = "choose a directory that this user can write to"
        raise LogDirectoryError(
            f"log directory {directory!r} can't be written: {reason}", path=directory, hint=hint
        ) from None


# --- values


def _merged(dicts: Iterable[Mapping[str, Any]], key_values: dict[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for mapping in dicts:
        values.update(mapping)
    values.update(key_values)
    return values


def _names(silent: bool | Iterable[str]) -> frozenset[str]:
    if isinstance(silent, bool):
        return frozenset()
    return frozenset([silent] if isinstance(silent, str) else silent)


def _cell(value: Any) -> Cell:
    """Return the text of a value as it is now; a formatter that fails costs the format, not the value."""
    if type(value) is not Color:
        return Cell(text_of(value))
    if value.formatter is None:
        return Cell(text_of(value.value), value.color)
    try:
        return Cell(str(value.formatter(scalar(value.value))), value.color)
    except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError):
        return Cell(text_of(value.value), value.color)


def _section(value: Any) -> dict[str, Any] | None:
    """Return a section of parameters as a dict, or None for a single value."""
    if isinstance(value, Mapping):
        members = dict(value)
    elif hasattr(value, "__dict__") and (isinstance(value, type) or type(value).__module__ != "builtins"):
        members = dict(vars(value))
    else:
        return None
    return {
        str(key): member
        for key, member in members.items()
        if not (str(key).startswith("__") and str(key).endswith("__"))
    }


def _file_stem(step: Any) -> str:
    if step is None:
        return f"{time.time_ns() // 1_000_000}"
    return f"{step:04d}" if isinstance(step, int) else escape_key(str(step))


def _as_array(value: Any) -> Any:
    import numpy as np  # lazily: importing ml_logger must not cost an import of numpy

    if callable(getattr(value, "detach", None)):
        value = value.detach().cpu()
    return np.asarray(value)


def _histogram(value: Any, bins: Any) -> dict[str, Any]:
    import numpy as np  # lazily: as above

    numbers = _as_array(value).ravel().astype(np.float64, copy=False)
    finite = numbers[np.isfinite(numbers)]
    counts, edges = np.histogram(finite, bins=bins)
    left_out = int(numbers.size - finite.size)
    return {"counts": plain(counts), "edges": plain(edges)} | ({"not_finite": left_out} if left_out else {})


# --- standard output: it may be closed, broken, narrow, or not there at all


def _write_stdout(text: str) -> None:
    out = sys.stdout
    try:
        try:
            out.write(text)
        except UnicodeEncodeError:
            encoding = out.encoding or "ascii"
            out.write(text.encode(encoding, "replace").decode(encoding))
    except (OSError, ValueError, AttributeError) as error:
        _log.debug("standard output takes no text: %s", error)


def _flush_stdout() -> None:
    try:
        sys.stdout.flush()
    except (OSError, ValueError, AttributeError) as error:
        _log.debug("standard output can't be flushed: %s", error)


# --- the end of the process


def _close_all() -> None:
    """At exit: end every run, as failed if the interpreter goes down with an exception."""
    error = getattr(sys, "last_value", None)
    for logger in list(_living):
        logger._close_after(error)


def _close_with_multiprocessing() -> None:
    """Make a forked worker of multiprocessing end its runs: it leaves without running ``atexit``."""
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        util.Finalize(None, _close_all, exitpriority=0)


def _after_fork() -> None:
    for logger in list(_living):
        logger._after_fork()


# Registered once, at import: what a script registers later runs earlier, and may still log.
atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

logger = ML_Logger()
"""The logger of the module, for scripts that want no object of their own: ``logger.configure("runs/one")``."""
