"""A run: what one folder of streams and whole files holds, wherever it is."""

from __future__ import annotations

import os
import threading
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

from ..errors import NotHeld
from ..files import Files, LocalFiles
from ..layout import HISTOGRAMS, METRICS, PARAMETERS, RUN, TEXT, unnumbered
from . import frames
from .block import Floats
from .columns import Columns, KeySummary
from .histograms import Histogram, histograms_in
from .html import card
from .media import MediaFile, media_of
from .metrics import Metrics
from .parts import Part, parts_of
from .processes import Life, Process, State, life_of
from .records import BAD, Record, as_numbers, records_of, values_of
from .sections import flattened, merged
from .series import Series


class Run:
    """One run: the directory at `path`, or the folder `path` of `files`.

    Everything is as it is at the call: a run that grows may be asked again and again, and is read from where the last reading
    ended. Nothing raises for what is or isn't in the files; `bad_lines` counts the lines that were no records. Thread-safe.
    """

    def __init__(self, path: str | os.PathLike[str], *, files: Files | None = None, folder: str | None = None) -> None:
        self.path: PurePath = Path(path) if files is None or folder is not None else PurePosixPath(path)
        self.files = LocalFiles(path) if files is None else files
        self.folder = folder if folder is not None else "" if files is None else os.fspath(path).strip("/")
        self._metrics = Metrics(self.files)
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
            columns = self._metrics.look(self.parts(METRICS))
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
        return f"{zlib.crc32(repr(self.parts(METRICS)).encode()):08x}"

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
        return merged(self._records(PARAMETERS))

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
        return list(self._records(RUN))

    def data(self, path: str) -> list[Any]:
        """Return every value that ``log_data(path, …)`` was given, part after part, special floats as floats."""
        stream = unnumbered(path if path.endswith(".jsonl") else f"{path}.jsonl")
        found = [value for part in self.parts(stream) for _, value in self._values(part)]
        self._bad_lines[stream] = sum(value is BAD for value in found)
        return [as_numbers(value) for value in found if value is not BAD]

    def histograms(self, key: str | None = None) -> list[Histogram]:
        """Return what `log_histogram` stored under `key`, or under all keys, part after part."""
        found = [one for record in self._records(HISTOGRAMS) for one in histograms_in(record)]
        return [one for one in found if key is None or one.key == key]

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
        return life_of([self._process(part) for part in self.parts(RUN)])

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

    def _process(self, part: Part) -> Process:
        try:
            events = list(records_of(self.files, part.path))
            return Process(events, self.files.is_being_written(part.path))
        except NotHeld:  # deleted since it was listed
            return Process([], None)

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
