"""Quotas: how many bytes may be kept below some folders.

What is held is counted by a walk, at the start and now and then, in a thread of its own; in between, what this process stores
is added at once. So a quota is kept to the byte while one process stores and nobody else changes the folder, and else up to
the next walk. Until the first walk has ended nothing is refused.

Copies that are built aside count from their first byte: of each the size is kept here, and asked for anew at each walk. A copy
that was left before this process began is counted once somebody goes on with it. What a commit replaces is let go of only if
the store itself said that it was held: what the sender says of it proves nothing.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from ..errors import StoreError
from ..wire import OVER_QUOTA, Held, Item, Outcome
from .housekeeper import Housekeeper
from .store import Store

LOOK_S = 600.0
"""What is held is counted anew this often."""

_STOP_S = 5.0

_log = logging.getLogger(__name__)


class _Upload(NamedTuple):
    """What names a copy that is built aside."""

    path: str
    source: str
    upload: str


@dataclass(slots=True)
class _Folder:
    """A folder's quota, and the bytes that count: of the last walk (None before the first), since, in the making, aside."""

    path: str
    most_bytes: int
    counted_bytes: int | None = None
    since_bytes: int = 0
    pending_bytes: int = 0
    staged_bytes: int = 0

    def has(self, path: str) -> bool:
        return path == self.path or path.startswith(self.path + "/")

    def maybe_refusal(self, size_bytes: int) -> str | None:
        if size_bytes <= 0 or self.counted_bytes is None:
            return None
        held_bytes = self.counted_bytes + self.since_bytes + self.pending_bytes + self.staged_bytes
        if held_bytes + size_bytes <= self.most_bytes:
            return None
        return (
            f"{OVER_QUOTA} {self.path[:200]!a} holds {held_bytes} of {self.most_bytes} bytes, {size_bytes} more wanted"
        )


@dataclass
class Admission:
    """Which items are refused, by their places, and why; `outcomes` takes what became of the others."""

    refused: dict[int, str] = field(default_factory=dict)
    outcomes: dict[int, Outcome] = field(default_factory=dict)


class Quotas:
    """The quotas of some folders (`most_bytes` by path) of a store. Safe for threads."""

    def __init__(self, store: Store, most_bytes: Mapping[str, int]) -> None:
        self._store = store
        self._folders = tuple(_Folder(path, most) for path, most in most_bytes.items())
        self._staged: dict[_Upload, int] = {}
        self._guard = threading.Lock()
        self._housekeeper = Housekeeper([self.look], LOOK_S)

    def wake(self) -> None:
        """Count soon, and every `LOOK_S` from then on."""
        if self._folders:
            self._housekeeper.wake()

    def stop(self) -> None:
        """Count no more."""
        self._housekeeper.stop(_STOP_S)

    # --- counting

    def look(self) -> None:
        """Count what is held below each folder, and of each copy aside."""
        for folder in self._folders:
            before_bytes = folder.since_bytes
            try:
                counted = self._store.usage(folder.path)
            except StoreError as error:
                _log.error("what %a holds can't be counted: %s", folder.path, error)
                continue
            with self._guard:
                folder.counted_bytes = counted
                folder.since_bytes -= before_bytes
        with self._guard:
            uploads = list(self._staged)
        for upload in uploads:
            self.look_aside(*upload)

    def look_aside(self, path: str, source: str, upload: str) -> None:
        """Count what there is of one copy aside, unless it is gone on with meanwhile."""
        named = _Upload(path, source, upload)
        known_bytes = self._staged.get(named)
        if known_bytes is None:
            return
        try:
            size_bytes = self._store.staged_bytes(path, source, upload)
        except StoreError as error:
            _log.error("what is staged for %a can't be counted: %s", path, error)
            return
        with self._guard:
            if self._staged.get(named) == known_bytes:
                self._set_staged(named, size_bytes)

    def _set_staged(self, upload: _Upload, size_bytes: int) -> None:
        before_bytes = self._staged.pop(upload, 0)
        if size_bytes:
            self._staged[upload] = size_bytes
        for folder in self._around(upload.path):
            folder.staged_bytes += size_bytes - before_bytes

    # --- admitting

    @contextmanager
    def admitting(self, source: str, items: Mapping[int, Item]) -> Iterator[Admission]:
        """Take the room for those items (by their places) that fit; after the block what became of them is counted."""
        admission = Admission()
        if not self._folders:
            yield admission
            return
        items = {index: item for index, item in items.items() if self._around(item.path)}
        replaced_bytes = self._replaced(items)
        taken = dict[int, int]()
        try:
            for index, item in items.items():
                size_bytes = max(0, item.length - replaced_bytes.get(index, 0))
                reason = self._maybe_refusal(item.path, size_bytes)
                if reason is not None:  # the store may hold some or all of it: asked only where that decides
                    size_bytes = min(size_bytes, self._missing_bytes(item))
                    reason = self._maybe_refusal(item.path, size_bytes)
                if reason is None:
                    taken[index] = size_bytes
                else:
                    admission.refused[index] = reason
            yield admission
        finally:
            with self._guard:
                for index, size_bytes in taken.items():
                    for folder in self._around(items[index].path):
                        folder.pending_bytes -= size_bytes
                    if index in admission.outcomes:
                        self._count(source, items[index], admission.outcomes[index], replaced_bytes.get(index, 0))
            for item in (items[index] for index in admission.outcomes if index in items):
                if item.op == "commit":  # one that was not stored may have let go of its copy
                    self.look_aside(item.path, source, item.upload or "")

    def _replaced(self, items: Mapping[int, Item]) -> dict[int, int]:
        """Return how many bytes are let go of if an item is stored, by its place: what it names, where that is held."""
        named = [(index, item) for index, item in items.items() if item.op == "commit" and item.replaces is not None]
        if not named:
            return {}
        held = self._store.stat([item.path for _, item in named])
        there = zip(named, held, strict=True)
        return {index: found.size for (index, item), found in there if found is not None and found == item.replaces}

    def _missing_bytes(self, item: Item) -> int:
        """Return how many bytes of an item the store lacks, as far as sizes tell; what is otherwise it will not store."""
        (held,) = self._store.stat([item.path])
        if held is None or item.op == "stage":
            return item.length
        if item.op == "commit":
            return 0 if held == Held(item.end, item.crc) else item.length
        return max(0, item.end - max(held.size, item.offset))

    def _maybe_refusal(self, path: str, size_bytes: int) -> str | None:
        with self._guard:
            folders = self._around(path)
            for folder in folders:
                reason = folder.maybe_refusal(size_bytes)
                if reason is not None:
                    return reason
            for folder in folders:
                folder.pending_bytes += size_bytes
        return None

    def _count(self, source: str, item: Item, outcome: Outcome, replaced_bytes: int) -> None:
        upload = _Upload(item.path, source, item.upload or "")
        if item.op == "stage":
            if outcome.held is not None:
                self._set_staged(upload, outcome.held.size)
        elif outcome.result == "stored":
            grown_bytes = (item.length if outcome.new_bytes is None else outcome.new_bytes) - replaced_bytes
            if item.op == "commit":
                grown_bytes += self._staged.get(upload, 0)
                self._set_staged(upload, 0)
            for folder in self._around(item.path):
                folder.since_bytes += grown_bytes

    def _around(self, path: str) -> list[_Folder]:
        return [folder for folder in self._folders if folder.has(path)]
