"""A run: what one folder of streams and whole files holds, wherever it is."""

from __future__ import annotations

import os
import threading
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, Literal

from ..errors import NotHeld
from ..files import Files, LocalFiles
from ..layout import HISTOGRAMS, METRICS, PARAMETERS, RUN, TEXT, unnumbered
from . import frames
from .block import Floats
from .cache import ColumnCache, user_cache
from .column_stream import ColumnStream
from .columns import Columns, KeySummary
from .decode import decode
from .histograms import Histogram, offsets_in, read_histograms
from .html import card
from .media import MediaFile, media_of
from .parts import Part, listed, order_of, parts_of, time_of
from .presence import maybe_alive
from .processes import Life, Process, State, life_of
from .records import BAD, Record, as_numbers, values_of
from .sections import flattened, merged
from .series import Series
from .small_stream import SmallStream


class Run:
    """One run: the directory at `path`, or the folder `path` of `files`.

    Everything is as it is at the call: a run that grows may be asked again and again, and is read from where the last reading
    ended. Nothing raises for what is or isn't in the files; `bad_lines` counts the lines that were no records. Thread-safe.

    Columns are kept in the `cache` of this user, unless another or none is given.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        files: Files | None = None,
        cache: ColumnCache | Literal["user"] | None = "user",
    ) -> None:
        self.path: PurePath = Path(path) if files is None else PurePosixPath(path)
        self.files = LocalFiles(path) if files is None else files
        self.folder = "" if files is None else os.fspath(path).strip("/")
        kept = user_cache() if cache == "user" else cache
        self._metrics = ColumnStream(self.files, decode, kept)
        self._histograms = ColumnStream(self.files, offsets_in, kept)
        self._small = {PARAMETERS: SmallStream(self.files), RUN: SmallStream(self.files)}
        self._lock = threading.Lock()
        self._bad_lines: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    def _repr_html_(self) -> str:
        return card(str(self.path), self.life, self.columns(), self.flat_params)

    # --- numbers

    def columns(self) -> Columns:
        """Return all numbers of the run as they are now, for whoever asks more than one thing about the same moment."""
        with self._lock:
            columns = self._metrics.look(listed(self.files, self.folder, METRICS))
            self._bad_lines[METRICS] = columns.bad_lines
            return columns

    def metrics(self, *, attempts: bool = False) -> dict[str, Floats]:
        """Return ``step``, ``timestamp`` and one column a key: float64, a row for each record of `log`; missing is NaN.

        Of a run that was resumed at an earlier step the newest attempt counts, or all `attempts`, one behind the other.
        """
        return self.columns().table(attempts=attempts)

    def series(self, key: str, *, attempts: bool = False) -> Series:
        """Return the points of one key: only the records that have it, so that a NaN among them was logged; empty for none."""
        return self.columns().series(key, attempts=attempts)

    def keys(self) -> dict[str, KeySummary]:
        """Return the numeric keys in the order in which they came, each with its points, first and last step."""
        return self.columns().keys()

    @property
    def version(self) -> str:
        """A word that changes when anything of the metrics does; asks for the list of files only."""
        return f"{zlib.crc32(repr(listed(self.files, self.folder, METRICS)).encode()):08x}"

    def last_values(self) -> Record:
        """Return the last value of every key that `log` was given, text and all, with ``_step`` and ``_timestamp``."""
        return self.columns().last_values()

    def to_pandas(self, *, attempts: bool = False) -> Any:
        """Return `metrics` as a data frame of pandas; raises `UsageError` with the way to get pandas where it is missing."""
        return frames.to_pandas(self.metrics(attempts=attempts))

    def to_polars(self, *, attempts: bool = False) -> Any:
        """Return `metrics` as a data frame of polars; raises `UsageError` with the way to get polars where it is missing."""
        return frames.to_polars(self.metrics(attempts=attempts))

    # --- records

    def records(self) -> list[Record]:
        """Return every record of `log` with all its values, part after part, special floats as floats."""
        return [as_numbers(record) for record in self._records(METRICS)]

    @property
    def params(self) -> dict[str, Any]:
        """What `log_params` was given: section title to section, or to a single value; a later key over an earlier one."""
        return merged(record for _, records in self._all(PARAMETERS) for record in records)

    @property
    def sections(self) -> dict[str, dict[str, Any]]:
        """The parameters as `params`, with a single value as a section of its own: ``{"seed": {"seed": 7}}``."""
        return {title: part if isinstance(part, dict) else {title: part} for title, part in self.params.items()}

    @property
    def flat_params(self) -> dict[str, Any]:
        """The parameters by their full names: ``{"model.lr": 0.001, "seed": 7}``."""
        return flattened(self.params)

    @property
    def events(self) -> list[Record]:
        """The start and end of every process that wrote here."""
        return [record for _, records in self._all(RUN) for record in records]

    def data(self, path: str) -> list[Any]:
        """Return every value that ``log_data(path, …)`` was given, part after part, special floats as floats."""
        stream = unnumbered(path if path.endswith(".jsonl") else f"{path}.jsonl")
        found = [value for part in self.parts(stream) for _, value in self._values(part)]
        self._bad_lines[stream] = sum(value is BAD for value in found)
        return [as_numbers(value) for value in found if value is not BAD]

    def histograms(self, key: str | None = None, *, attempts: bool = False, most: int | None = None) -> list[Histogram]:
        """Return what `log_histogram` stored under `key`, or under all keys; thinned evenly to `most` a key.

        Of a run that was resumed at an earlier step the newest attempt counts, or all `attempts`.
        """
        columns = self._histogram_columns()
        return read_histograms(self.files, columns, columns.keys() if key is None else [key], most, attempts)

    def histogram_keys(self) -> dict[str, KeySummary]:
        """Return the keys of histograms in the order in which they came, each with how many it has, first and last step."""
        return self._histogram_columns().keys()

    def _histogram_columns(self) -> Columns:
        with self._lock:
            columns = self._histograms.look(listed(self.files, self.folder, HISTOGRAMS))
            self._bad_lines[HISTOGRAMS] = columns.bad_lines
            return columns

    def text(self, path: str = TEXT) -> str:
        """Return what was printed, or the text stream `path` of the run, part after part."""
        return "".join(self._read(part).decode("utf-8", "replace") for part in self.parts(path))

    @property
    def bad_lines(self) -> int:
        """How many lines the last readings of each stream passed over."""
        return sum(self._bad_lines.values())

    # --- files

    def images(self, key: str | None = None) -> list[MediaFile]:
        """Return the images of one `key` or all, by key and step; ``.load()`` gives one as an array."""
        return self.media("images", key)

    def videos(self, key: str | None = None) -> list[MediaFile]:
        """Return the animations of one `key` or all, by key and step; ``.load()`` gives one as T×H×W×C."""
        return self.media("videos", key)

    def figures(self, key: str | None = None) -> list[MediaFile]:
        """Return the figures of one `key` or all (those without one have the key ``""``), by key and step."""
        return self.media("figures", key)

    def tensors(self, key: str | None = None) -> list[MediaFile]:
        """Return the tensors of one `key` or all, by key and step; ``.load()`` gives one as an array."""
        return self.media("tensors", key)

    def modules(self, key: str | None = None) -> list[MediaFile]:
        """Return the modules of one `key` or all, by key and step; ``.load()`` gives one as a dict of arrays."""
        return self.media("modules", key)

    def media(self, kind: str, key: str | None = None) -> list[MediaFile]:
        """Return the files of a `kind`: the folder that they are in, also one that a call named by ``namespace=``."""
        return media_of(self.files, self.folder, kind, key)

    # --- life

    @property
    def life(self) -> Life:
        """State, start, end, host and pid, of one moment."""
        return life_of([Process(events, self._is_alive(part, events)) for part, events in self._all(RUN)])

    @property
    def state(self) -> State:
        """``running`` (its writer is seen alive), ``finished``, ``failed``, ``killed`` (gone without a word) or ``silent``."""
        return self.life.state

    @property
    def started(self) -> float | None:
        """When the first of its processes began, in seconds since the epoch."""
        return self.life.started

    @property
    def ended(self) -> float | None:
        """When it finished or failed, in seconds since the epoch; None of one that did neither."""
        return self.life.ended

    @property
    def host(self) -> str | None:
        """The machine of the process that began last."""
        return self.life.host

    # --- streams

    def parts(self, stream: str) -> list[Part]:
        """Return the files of a stream (``metrics.jsonl``, ``metrics.1.jsonl``, …), in order."""
        return parts_of(self.files, self.folder, stream)

    def _all(self, stream: str) -> list[tuple[Part, list[Record]]]:
        """Return the parts of a stream of few records, in order, with them."""
        with self._lock:
            found = self._small[stream].look(listed(self.files, self.folder, stream))
            self._bad_lines[stream] = self._small[stream].bad_lines
        return sorted(found, key=lambda one: order_of(one[0].name, stream, time_of(one[1][0]) if one[1] else 0.0))

    def _is_alive(self, part: Part, events: list[Record]) -> bool | None:
        """Return whether the process that wrote `part` is seen alive; None where nobody can know."""
        if events and events[-1].get("event") == "end":  # it need not be asked: runs that ended are many
            return False
        return maybe_alive(self.files, part.path, events)

    def _records(self, stream: str) -> Iterator[Record]:
        bad = 0
        for part in self.parts(stream):
            for _, value in self._values(part):
                if isinstance(value, dict):
                    yield value
                else:
                    bad += 1
        self._bad_lines[stream] = bad

    def _values(self, part: Part) -> Iterator[tuple[bytes, Any]]:
        try:
            yield from values_of(self.files, part.path)
        except NotHeld:  # deleted since it was listed
            return

    def _read(self, part: Part) -> bytes:
        try:
            with closing(self.files.open(part.path)) as file:
                return file.read(0, file.size)
        except NotHeld:  # the same
            return b""
