"""The logger: what a training script calls.

Two promises shape this module. **What a call returned for is on disk**: each call encodes its record and appends it with one
write, at once. **Training never suffers**: no call waits for a network, and none raises; whatever goes wrong inside is caught
in one place (`never_raises`), told once per kind through ``logging.getLogger("ml_logger")``, and counted in `failures`.
Only the constructor and `configure` raise, since a run that can't store anything should say so before it starts.

The printed table is a view: the values of one step, merged, shown when the step changes. A crash loses at most that view, and
the images that still wait for their encoder.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from types import FrameType
from typing import TYPE_CHECKING, Any

from . import screen, sidecar
from .arrays import histogram
from .color import Color, is_wanted, terminal_width, try_format
from .destination import Destination, destination
from .encode import ask, encode_value, key_text, scalar, text_of
from .encoder import QUEUE_BYTES, Encoder
from .errors import LogDirectoryError
from .layout import HISTOGRAMS, METRICS, PARAMETERS, TEXT
from .media import Media
from .params import as_section
from .recording import Recording, never_raises, stream_name
from .spool import SEGMENT_BYTES, check_writable
from .table import NEVER_CUT_COLUMNS, params_table, step_table
from .timers import Timers

if TYPE_CHECKING:
    from .reader import Record, Run

EXIT_TIMEOUT_S = 60.0
"""How long the end of a run waits for its images, by default."""

_MISSING: Any = object()
_living: weakref.WeakSet[ML_Logger] = weakref.WeakSet()
_announced: set[str] = set()
_NO_NAMES: frozenset[str] = frozenset()
_last_end: tuple[str, BaseException | None] | None = None  # of the process, once it has come
_finalized_pid: int | None = None
_worker_frame: FrameType | None = None


class ML_Logger(Media, Timers):
    """Logs one run into a directory of plain files, and prints tables.

    `log_directory` is made absolute at once (``~`` and ``file://`` are understood), joined with the relative `prefix`, created,
    and checked to be writable; `LogDirectoryError` says in one line why it can't be. For the ``http(s)://`` URL of a receiver
    it is ``$ML_LOGGER_SPOOL`` or ``~/.ml_logger/spool/<host_port>``, and the config of the agent that ships it is printed once;
    no socket is opened. Without a directory the tables are printed and nothing is stored.

    A stream goes on in a new file after `segment_bytes`. Images wait in a queue of at most `image_queue_bytes`; `flush`,
    `close` and the end of the process wait for it, at most `exit_timeout_s` (None: as long as it takes).

    Usable as a context manager: leaving it closes the run, as failed if an exception passes. `failures` counts what went
    wrong inside, by method and kind of error; `dropped` is the number of records that could not be written.
    """

    def __init__(
        self,
        log_directory: str | os.PathLike[str] | None = None,
        prefix: str | os.PathLike[str] | None = None,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        image_queue_bytes: int = QUEUE_BYTES,
        exit_timeout_s: float | None = EXIT_TIMEOUT_S,
    ) -> None:
        Timers.__init__(self)
        self._begin(_opened(log_directory, prefix), segment_bytes, image_queue_bytes, exit_timeout_s)

    def _begin(
        self, directory: str | None, segment_bytes: int, image_queue_bytes: int, exit_timeout_s: float | None
    ) -> None:
        self.log_directory = directory
        self.exit_timeout_s = exit_timeout_s
        self._recording = Recording(directory, segment_bytes, _close_with_multiprocessing)
        self._encoder = Encoder(image_queue_bytes)
        self._lock = threading.RLock()
        self._cells: dict[str, tuple[str, str | None]] = {}
        self._cells_step: Any = None
        _living.add(self)
        if _last_end is not None:
            self._end_at_exit(*_last_end)

    def configure(
        self,
        log_directory: str | os.PathLike[str] | None = None,
        prefix: str | os.PathLike[str] | None = None,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        image_queue_bytes: int = QUEUE_BYTES,
        exit_timeout_s: float | None = EXIT_TIMEOUT_S,
    ) -> None:
        """Close the run so far and point this logger at another directory; arguments and errors as at construction."""
        directory = _opened(log_directory, prefix)
        self.close()
        self._begin(directory, segment_bytes, image_queue_bytes, exit_timeout_s)

    # --- what is logged

    def log(
        self,
        step: Any = None,
        /,
        *dicts: Mapping[str, Any],
        silent: bool | Iterable[str] = False,
        flush: bool = False,
        index: Any = None,
        **key_values: Any,
    ) -> None:
        """Write one record of `dicts` and `key_values` now, and show them in the table of `step`.

        ``step=`` and ``index=`` say the step as well; without any of them the record has none. `silent` keeps all keys, or
        those it names, out of the table, which is printed when the step changes or at once with `flush`.
        """
        # `never_raises` written out: a wrapper would take all the keywords apart and together once more. What it guards
        # besides, arguments that do not fit, can't be: `step` is by position only, so every keyword has its place.
        try:
            if type(step) is not int or index is not None:
                step, dicts = _step_and_dicts(step, index, dicts, key_values)
            values = self._merged(dicts, key_values) if dicts else key_values
            now = time.time()
            record = {"_timestamp": now, **values} if step is None else {"_step": step, "_timestamp": now, **values}
            self._recording.append_record(METRICS, record)
            if self._cells or silent is not True or flush:
                self._show(step, values, silent, flush)
        except Exception as error:  # noqa: BLE001 - the guard of `never_raises`
            self._recording.tell_failure("log", error)

    def _merged(self, dicts: Iterable[Any], key_values: dict[str, Any]) -> dict[str, Any]:
        """Return all values of a call; what is no dict among `dicts` is told, and costs the others nothing."""
        values: dict[str, Any] = {}
        for mapping in dicts:
            try:
                values.update(() if mapping is None else mapping)
            except (TypeError, ValueError) as error:  # noqa: PERF203 - a bad one must not stop the others
                self._recording.tell_failure("log", error)
        values.update(key_values)
        return values

    @never_raises
    def log_key_value(
        self,
        /,
        *step_key_value: Any,
        key: Any = _MISSING,
        value: Any = _MISSING,
        step: Any = None,
        silent: bool = False,
        flush: bool = False,
        index: Any = None,
    ) -> None:
        """Write one value, as ``log(step, {key: value})`` does: ``log_key_value(3, "loss", 0.5)``.

        The step may as well come behind, ``log_key_value("loss", 0.5, 3)``, by name, or not at all; key and value by name too.
        """
        given = [*step_key_value, *([] if value is _MISSING else [value])]
        if key is not _MISSING:
            *steps, value = given
        elif isinstance(given[0], str) and len(given) <= 3:
            key, value, *steps = given
        else:
            *steps, key, value = given
        named = {} if step is None else {"step": step}
        self.log(*(steps or [None]), {key: value}, silent=silent, flush=flush, index=index, **named)

    log_keyvalue = log_key_value

    @never_raises
    def log_params(self, /, *dicts: Any, **sections: Any) -> None:
        """Write parameters in named sections and print them as a table; `dicts` hold sections by their names.

        A section is a dict, a dataclass, an argparse namespace, a class or its ``vars`` (without dunders), nested as deep as it
        likes, or a single value.
        """
        sections = self._merged(map(_as_dict, dicts), sections) if dicts else sections
        rows = {title: as_section(value) for title, value in sections.items()}
        record = {"_timestamp": time.time()} | {t: r if r is not None else sections[t] for t, r in rows.items()}
        self._recording.append_record(PARAMETERS, record)
        shown = {t: {t: sections[t]} if r is None else r for t, r in rows.items()}
        texts = {title: {key_text(k): _cell(v)[0] for k, v in section.items()} for title, section in shown.items()}
        self._print_both(lambda: params_table(texts, is_colored=is_wanted(sys.stdout)), params_table(texts))

    @never_raises
    def log_histogram(
        self, step: Any = None, /, *dicts: Mapping[str, Any], bins: Any = 64, index: Any = None, **values: Any
    ) -> None:
        """Write the histogram of each array to ``histograms.jsonl``: ``{"counts": […], "edges": […]}``, one edge more.

        Step and values are given as for `log`. `bins` is a number of bins or their edges, as ``numpy.histogram`` takes them.
        NaN and the infinities are left out and counted under ``"not_finite"``.
        """
        step, dicts = _step_and_dicts(step, index, dicts, values)
        record: dict[str, Any] = {} if step is None else {"_step": step}
        record["_timestamp"] = time.time()
        for key, value in self._merged(dicts, values).items():
            self._add_histogram(record, key, value, bins)
        self._recording.append_record(HISTOGRAMS, record)

    @never_raises
    def _add_histogram(self, record: dict[str, Any], key: str, value: Any, bins: Any) -> None:
        record[key] = histogram(value, bins)

    @never_raises
    def log_data(self, /, path: str | os.PathLike[str], data: Any) -> None:
        """Append `data` (anything that `log` takes as a value, a dict mostly) as one line of JSON to the stream `path`.

        `path` is relative to the run and gets ``.jsonl`` if it does not end in it. An absolute one, one with ``..`` or the name
        of one of the logger's own streams is refused, with a warning.
        """
        name = stream_name(path, (".jsonl",))
        if self.log_directory is None:
            self._recording.tell_no_directory()
            return
        self._recording.append(name, encode_value(data, self._recording.tell_unstorable, name))

    @never_raises
    def log_text(self, /, text: Any, path: str | os.PathLike[str] = TEXT, *, silent: bool = False) -> None:
        """Append `text`, as a line or lines of its own, to the stream `path` of the run, and print it unless `silent`.

        ``text.log`` is where `print` and the tables go too. `path` is as for `log_data`, with ``.txt`` where a name is not that
        of a text stream (``.txt``, ``.log``, ``.csv``).
        """
        plain_text = text.text() if isinstance(text, Color) else str(text)
        line = plain_text if plain_text.endswith("\n") else plain_text + "\n"
        name = TEXT if os.fspath(path) == TEXT else stream_name(path, (".txt", ".log", ".csv"))
        self._recording.append_text(name, line)
        if not silent:
            self._print_on_screen(lambda: str(text) if str(text).endswith("\n") else f"{text}\n")

    @never_raises
    def print(
        self,
        *values: Any,
        sep: str | None = " ",
        end: str | None = "\n",
        file: Any = None,
        flush: bool = False,
    ) -> None:
        """Print to standard output, or to `file`, as the built-in does, and keep the text in ``text.log``."""
        sep, end = " " if sep is None else sep, "\n" if end is None else end
        plain_text = sep.join(v.text() if isinstance(v, Color) else str(v) for v in values) + end
        if file is None:
            self._print_both(lambda: sep.join(map(str, values)) + end, plain_text)
        else:
            self._recording.append_text(TEXT, plain_text)
            print(plain_text, end="", file=file, flush=flush)
        if flush:
            screen.flush()

    # --- reading back

    @property
    def reader(self) -> Run:
        """What was written to the log directory so far, by every process; a run without a directory holds nothing."""
        from .reader import Run  # lazily: it loads numpy, which who only logs may not need

        return Run(self.log_directory or os.devnull)

    def load_metrics(self, *keys: str) -> list[Record]:
        """Return the records of `log` so far; with `keys`, those that hold one of them, cut down to them, step and time."""
        records = self.reader.records()
        if not keys:
            return records
        wanted = {"_step", "_timestamp", *keys}
        return [{k: v for k, v in r.items() if k in wanted} for r in records if not r.keys().isdisjoint(keys)]

    # --- the life of a run

    @never_raises
    def flush(self) -> None:
        """Print the table that is still being gathered, and wait for the images; the records themselves are on disk already."""
        self._print_table()
        screen.flush()
        self._wait_for_images()

    @never_raises
    def close(self) -> None:
        """Print the last table, write that the run finished, and let go of its files; logging again starts new ones."""
        self._end("finished", None)

    def __enter__(self) -> ML_Logger:  # noqa: PYI034 - Self is not in Python 3.10
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _trace: object) -> None:
        self._close_after(error)

    @never_raises
    def _close_after(self, error: BaseException | None) -> None:
        error = _failure(error)
        self._end("finished" if error is None else "failed", error)

    def _end(self, state: str, error: BaseException | None) -> None:
        self._print_table()
        self._wait_for_images()
        self._recording.end(state, error)

    @never_raises
    def _end_at_exit(self, state: str, error: BaseException | None) -> None:
        self._print_table()
        self._encoder.close()  # before the wait: exit functions and threads may log images until the very last
        self._wait_for_images()
        self._recording.end_at_exit(state, error)

    def _wait_for_images(self) -> None:
        left = self._encoder.wait(self.exit_timeout_s)
        if left:
            message = "%d images were not written within %s s; a larger exit_timeout_s waits longer"
            self._recording.tell_once("images left", message, left, self.exit_timeout_s)

    @property
    def failures(self) -> Counter[str]:
        """What went wrong inside, by method and kind of error."""
        return self._recording.failures

    @property
    def dropped(self) -> int:
        """The number of records that could not be written since the run was opened."""
        return self._recording.dropped

    # --- the table

    def _show(self, step: Any, values: dict[str, Any], silent: bool | Iterable[str], flush: bool) -> None:
        last = self._cells_step
        if step is not last and ask(lambda: bool(step != last), True):  # an array as a step, say, can't be asked
            self._print_table()
            self._cells_step = step
        if silent is not True:
            hidden = _names(silent, values)
            shown = {k: v for k, v in values.items() if key_text(k) not in hidden} if hidden else values
            cells = {key if type(key) is str else key_text(key): _cell(value) for key, value in shown.items()}
            with self._lock:
                self._cells.update(cells)
        if flush:
            self._print_table()
            screen.flush()

    def _print_table(self) -> None:
        if not self._cells:
            return
        with self._lock:
            cells, self._cells = self._cells, {}
        if cells:
            kept = step_table(cells)
            self._print_both(lambda: _fitted_table(cells, kept), kept)

    def _print_both(self, draw: Callable[[], str], kept: str) -> None:
        """Append `kept` to text.log, and then print what `draw` returns: a replaced standard output may raise anything."""
        self._recording.append_text(TEXT, kept)
        self._print_on_screen(draw)

    @never_raises
    def _print_on_screen(self, draw: Callable[[], str]) -> None:
        screen.write(draw())

    # --- copies and children

    def __getstate__(self) -> dict[str, Any]:
        return {
            "directory": self.log_directory,
            "segment_bytes": self._recording.segment_bytes,
            "image_queue_bytes": self._encoder.queue_bytes,
            "exit_timeout_s": self.exit_timeout_s,
            "expected_spool": sidecar.maybe_expected(self.log_directory or ""),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        spool = state.pop("expected_spool", None)
        if spool is not None:
            sidecar.expect(spool)
        Timers.__init__(self)
        self._begin(**state)

    def _after_fork(self) -> None:
        """In the child: its own files at the next call, and the parent's unprinted table and images stay the parent's."""
        self._lock = threading.RLock()
        self._recording.after_fork()
        self._encoder.after_fork()
        self._cells = {}

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:  # globals may be gone by then
        if is_finalizing():
            return  # its end was written at exit, and a daemon thread may have stopped with the lock in its hands
        recording = getattr(self, "_recording", None)
        if recording is not None and (recording.is_started or getattr(self, "_cells", None)):
            self._close_forgotten()

    @never_raises
    def _close_forgotten(self) -> None:
        self._end(*_end_of_worker())


def _opened(log_directory: str | os.PathLike[str] | None, prefix: str | os.PathLike[str] | None) -> str | None:
    """Return the directory of a run, which is there and writable; raise `LogDirectoryError` if it can't be."""
    if log_directory is None:
        return None
    place = destination(log_directory, prefix)
    try:
        check_writable(place.directory)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        hint = "choose a directory that this user can write to"
        raise LogDirectoryError(
            f"log directory {place.directory!r} can't be written: {reason}", path=place.directory, hint=hint
        ) from None
    _announce(place)
    return place.directory


def _announce(place: Destination) -> None:
    config = place.agent_config()
    if place.spool is not None:
        sidecar.expect(place.spool)
    if config is not None and config not in _announced:
        _announced.add(config)
        screen.write(
            f"logs are spooled locally; 'ml-logger-agent --config agent.yaml' with these lines ships them:\n{config}"
        )


def _step_and_dicts(
    step: Any, index: Any, dicts: tuple[Any, ...], key_values: dict[str, Any]
) -> tuple[Any, tuple[Any, ...]]:
    """Return the step as a plain value, taken out of `key_values` if it is there, and the dicts, which may begin in its place.

    A ``step=`` or ``index=`` beside a step is a value like any other: better a key too many than one lost.
    """
    if isinstance(step, Mapping):
        step, dicts = None, (step, *dicts)
    if step is None:
        named = key_values.pop("step", None)
        step, index = (index, None) if named is None else (named, index)
    if index is not None:
        key_values["index"] = index
    return scalar(step.value if type(step) is Color else step), dicts


def _as_dict(value: Any) -> Any:
    section = as_section(value)
    return value if section is None else section


def _names(silent: Any, keys: Iterable[str]) -> frozenset[str]:
    """Return which keys stay out of the table; a flag of any kind (one of numpy, None, 0) means all of them or none."""
    if silent is False:
        return _NO_NAMES
    try:
        return frozenset(map(key_text, [silent] if isinstance(silent, str) else silent))
    except TypeError:  # it can't be gone through
        return frozenset(map(key_text, keys)) if silent else _NO_NAMES


def _cell(value: Any) -> tuple[str, str | None]:
    """Return the text of a value as it is now, and its colour; a formatter that fails costs the format, not the value."""
    if type(value) is not Color:
        return text_of(value), None
    text = None if value.formatter is None else try_format(value.formatter, scalar(value.value))
    return text_of(value.value) if text is None else text, value.color


def _fitted_table(cells: dict[str, tuple[str, str | None]], kept: str) -> str:
    """Return the table for standard output, which is `kept` unless its terminal is narrow or shows colors."""
    # the environment and the terminal are asked only where the answer could change something
    is_colored = any(color for _, color in cells.values()) and is_wanted(sys.stdout)
    width = terminal_width(sys.stdout) if kept.index("\n") > NEVER_CUT_COLUMNS else None
    return step_table(cells, width=width, is_colored=is_colored) if width or is_colored else kept


# --- the end of the process


def _close_all() -> None:
    """At exit: end every run, as failed if the interpreter has shown an exception; it keeps no trace of a ``SystemExit``."""
    error = getattr(sys, "last_value", None)
    state, error = _end_of_worker() if error is None else ("failed", error)
    _close_for_ever(state, error)


def _end_of_worker() -> tuple[str, BaseException | None]:
    """Return how a worker of multiprocessing ends, or what it is as long as it does not: failed if its target raised.

    Up to Python 3.12 this is asked while the exception is on its way out, and later once only the exit code is left of it, in
    the frame that ran the worker. That frame is also what tells the worker's exception from one that its parent was handling
    when it forked.
    """
    error = _failure(sys.exc_info()[1])
    if error is None or error.__traceback__ is None or error.__traceback__.tb_frame is not _worker_frame:
        error = None
    code = None if _worker_frame is None else _worker_frame.f_locals.get("exitcode")
    return "finished" if error is None and not code else "failed", error


def _close_for_ever(state: str, error: BaseException | None) -> None:
    """End every run, and let one that begins later end at once."""
    global _last_end
    _last_end = (state, error)
    for logger in list(_living):
        logger._end_at_exit(state, error)


def _failure(error: BaseException | None) -> BaseException | None:
    """Return `error` unless it is an exit that says all went well."""
    return None if isinstance(error, SystemExit) and error.code in (None, 0) else error


def _close_with_multiprocessing() -> None:
    """Make a worker of multiprocessing end its runs: most leave without running ``atexit``. Elsewhere `atexit` is enough."""
    global _finalized_pid, _worker_frame
    process, util = map(sys.modules.get, ("multiprocessing.process", "multiprocessing.util"))
    if util is None or process is None or process.parent_process() is None or _finalized_pid == os.getpid():
        return
    _finalized_pid = os.getpid()
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    while frame is not None and frame.f_code.co_name != "_bootstrap":
        frame = frame.f_back
    _worker_frame = frame
    util.Finalize(None, lambda: _close_for_ever(*_end_of_worker()), exitpriority=0)


def _after_fork() -> None:
    global _worker_frame
    _worker_frame = None
    for logger in list(_living):
        logger._after_fork()


# Registered once, at import: what a script registers later runs earlier, and may still log.
atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

logger = ML_Logger()
"""The logger of the module, for scripts that want no object of their own: ``logger.configure("runs/one")``."""
