"""One line of the table of runs, made anew when anything of its run has changed, from nothing that was read before."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import orjson

from ..errors import NotHeld, StoreError
from ..files import Entry, Files
from ..layout import METRICS, PARAMETERS, RUN, is_hidden
from ..reader import Columns, Record
from ..reader.media import KINDS
from ..reader.parts import Part, joined, order_of, part_number, time_of
from ..reader.presence import last_start, maybe_alive
from ..reader.processes import Life, Process, life_of
from ..reader.records import records_of
from ..reader.sections import flattened, merged
from .answers import trouble_of
from .keeping import NOTES, notes_in, notes_of
from .kept_lines import KeptLine
from .words import json_of, word_of

T = TypeVar("T")
Signature = tuple[Any, ...]

_TOLD = ("event", "state", "forked", "host", "pid", "_timestamp")  # of start and end; the rest of them is long
_NO_NOTES = {**notes_of(None), "version": ""}


class RunLine:
    """The line of the run at `folder`; `columns_of` gives all its numbers. Used by one thread at a time."""

    def __init__(
        self, files: Files, folder: str, columns_of: Callable[[str], Columns], kept: KeptLine | None = None
    ) -> None:
        kept = kept or KeptLine(folder, "", (), (), "silent", 0.0, b"")
        self._files, self._folder, self._columns_of = files, folder, columns_of
        self._made: dict[str, tuple[Any, Any]] = {}
        self._of, self._unended, self._alive = kept.of, kept.unended, kept.alive
        self._failed: Signature = ()
        self._looks_in_vain = 0
        self.state, self.heard, self.text = kept.state, kept.heard, kept.text
        self.trouble: str | None = None

    def look(self, entries: Sequence[Entry]) -> bool:
        """Return whether anything of the run has changed, now that its folder has these `entries`.

        Whatever there is about a run, it has a line: one that can't be read says why (`trouble`) and is read again when it
        changes, and ever more rarely as it is.
        """
        if self.trouble is not None and not self._is_worth_reading(entries):
            return False
        before = self.text
        try:
            is_news = self._look(entries)
        except Exception as error:  # noqa: BLE001 - of files that anybody may have written
            self._fail(error, entries)
            return self.text != before
        self.trouble = None
        return is_news

    def _is_worth_reading(self, entries: Sequence[Entry]) -> bool:
        self._looks_in_vain += 1
        return tuple(entries) != self._failed or self._looks_in_vain.bit_count() == 1

    def _look(self, entries: Sequence[Entry]) -> bool:
        of = _digest_of((tuple(entries), self._media(entries)))
        if of == self._of and self._alive == self._alive_now():
            return False
        parts = self._once("parts", entries, lambda: self._parts(entries))
        self._unended = tuple(
            (part.path, last_start(self._events(part))) for part in parts[RUN] if not self._has_ended(part)
        )
        self._alive = self._alive_now()
        self._make(parts, entries)
        self._of = of
        return True

    def _alive_now(self) -> tuple[bool | None, ...]:
        return tuple(maybe_alive(self._files, path, [start]) for path, start in self._unended)

    def _fail(self, error: Exception, entries: Sequence[Entry]) -> None:
        if self.trouble is None:
            self._looks_in_vain = 0
        self._of, self._failed = "", tuple(entries)
        # the first trouble says enough, and it is no news when another follows
        self.trouble = self.trouble or trouble_of(error)
        # what is known will do until it may be had again
        if self.text and isinstance(error, (NotHeld, StoreError, OSError)):
            return
        self.state, self.heard = "silent", _heard(entries)
        nothing = dict.fromkeys(("started", "ended", "host", "pid", "step"))
        line = {"path": self._folder, "state": self.state, "heard": self.heard or None, **nothing, "records": 0}
        self.text = json_of({**line, "params": {}, "last": {}, "notes": _NO_NOTES, "trouble": self.trouble})

    def fields(self) -> dict[str, Any]:
        """Return the line as it was made."""
        return dict(orjson.loads(self.text))

    def maybe_kept(self) -> KeptLine | None:
        """Return what another `RunLine` of this run can begin with, None where this one could not be made."""
        if not self._of:
            return None
        return KeptLine(self._folder, self._of, self._unended, self._alive, self.state, self.heard, self.text)

    # --- what it is made of

    def _once(self, name: str, of: Any, make: Callable[[], T]) -> T:
        """Return what `make` makes, and the same again as long as that which it is made `of` is the same."""
        held = self._made.get(name)
        if held is None or held[0] != of:
            held = self._made[name] = (of, make())
        made: T = held[1]
        return made

    def _parts(self, entries: Sequence[Entry]) -> dict[str, list[Part]]:
        return {name: self._parts_of(entries, name) for name in (RUN, METRICS, PARAMETERS)}

    def _parts_of(self, entries: Sequence[Entry], stream: str) -> list[Part]:
        found = [entry for entry in entries if entry.kind == "file" and part_number(entry.name, stream) is not None]
        parts = [Part(joined(self._folder, entry.name), entry.size, entry.mtime_ns) for entry in found]
        return sorted(parts, key=lambda part: order_of(part.name, stream, self._first_time_s(part, stream)))

    def _first_time_s(self, part: Part, stream: str) -> float:
        """Return when a part of ``run.jsonl`` began; the order of the others' parts matters less than reading them."""
        events = self._events(part) if stream == RUN else []
        return time_of(events[0]) if events else 0.0

    def _media(self, entries: Sequence[Entry]) -> Signature:
        """Return what changes when a file of any kind comes: the folders of the keys do."""
        kinds = [entry.name for entry in entries if entry.kind == "dir" and entry.name in KINDS]
        return tuple(self._names(joined(self._folder, kind)) for kind in kinds)

    def _names(self, folder: str) -> tuple[Entry, ...]:
        try:
            return tuple(self._files.list(folder))
        except NotHeld:
            return ()

    def _events(self, part: Part) -> list[Record]:
        return self._once(part.path, part, lambda: [_told(record) for record in self._records(part)])

    def _records(self, part: Part) -> list[Record]:
        try:
            return list(records_of(self._files, part.path))
        except NotHeld:
            self._require_gone(part)
            return []

    def _require_gone(self, part: Part) -> None:
        """Raise `NotHeld` for a part that can't be read, unless it was deleted since it was listed."""
        if any(joined(self._folder, entry.name) == part.path for entry in self._files.list(self._folder)):
            self._files.open(part.path).close()

    def _has_ended(self, part: Part) -> bool:
        return any(event.get("event") == "end" for event in self._events(part))

    def _life(self, parts: Sequence[Part]) -> Life:
        return life_of([Process(self._events(part), self._is_alive(part)) for part in parts])

    def _is_alive(self, part: Part) -> bool | None:
        return False if self._has_ended(part) else maybe_alive(self._files, part.path, self._events(part))

    def _params(self, parts: Sequence[Part]) -> dict[str, Any]:
        return self._once("params", parts, lambda: flattened(merged(r for part in parts for r in self._records(part))))

    def _notes(self, entries: Sequence[Entry]) -> dict[str, Any]:
        found = next((entry for entry in entries if entry.name == NOTES), None)
        return self._once("notes", found, lambda: notes_in(self._files, self._folder))

    # --- the line

    def _make(self, parts: dict[str, list[Part]], entries: Sequence[Entry]) -> None:
        life = self._life(parts[RUN])
        count, last = self._once("last", parts[METRICS], lambda: self._last(parts[METRICS]))
        self.state, self.heard = life.state, _heard(entries)
        line = {
            "path": self._folder,
            "state": life.state,
            "heard": self.heard or None,
            "started": life.started,
            "ended": life.ended,
            "host": life.host,
            "pid": word_of(life.pid),
            "records": count,
            "step": word_of(last.get("_step")),
            "params": word_of(self._params(parts[PARAMETERS])),
            "last": word_of({key: value for key, value in last.items() if key not in ("_step", "_timestamp")}),
            "notes": self._notes(entries),
        }
        self.text = json_of(line)

    def _last(self, parts: Sequence[Part]) -> tuple[int, Record]:
        columns = self._columns_of(self._folder)
        read = {part.path for part in columns.parts}
        for part in parts:
            if part.size and part.path not in read:
                self._require_gone(part)
        return columns.count, columns.last_values()


def _digest_of(seen: Signature) -> str:
    """Return a word for what is seen of a run, the same in every process."""
    return hashlib.blake2b(repr(seen).encode(), digest_size=16).hexdigest()


def _heard(entries: Sequence[Entry]) -> float:
    """Return when a file of the run changed last, in seconds since the epoch; 0 where there is none."""
    return max((e.mtime_ns for e in entries if e.kind == "file" and not is_hidden(e.name)), default=0) / 1e9


def _told(record: Record) -> Record:
    return {key: record[key] for key in _TOLD if key in record}
