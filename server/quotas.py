"""Quotas: how many bytes may be kept below some folders.

What is held is counted by a walk, at the start and now and then, in a thread of its own; in between, what this process stores
is added at once. So a quota is kept to the byte while one process stores and nobody else changes the folder, and else up to
the next walk. Until the first walk has ended nothing is refused.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from ..errors import StoreError, StoreFull
from ..wire import OVER_QUOTA, Item
from .housekeeper import Housekeeper

LOOK_S = 600.0
"""What is held is counted anew this often."""

_STOP_S = 5.0

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Folder:
    """A folder's quota; `held_bytes` is None before the first walk, `since_bytes` came since the last one began."""

    path: str
    most_bytes: int
    held_bytes: int | None = None
    since_bytes: int = 0

    def has(self, path: str) -> bool:
        return path == self.path or path.startswith(self.path + "/")

    def add(self, size_bytes: int) -> None:
        self.since_bytes += size_bytes
        if self.held_bytes is not None:
            self.held_bytes += size_bytes

    def maybe_refusal(self, size_bytes: int) -> str | None:
        if size_bytes <= 0 or self.held_bytes is None or self.held_bytes + size_bytes <= self.most_bytes:
            return None
        return f"{OVER_QUOTA} {self.path[:200]!a} holds {self.held_bytes} of {self.most_bytes} bytes, {size_bytes} more wanted"


@dataclass
class Admission:
    """Which items of a batch are refused, by their places, and why; `stored` takes the places of those that were."""

    refused: dict[int, str] = field(default_factory=dict)
    stored: set[int] = field(default_factory=set)


class Quotas:
    """The quotas of some folders (`most_bytes` by path), of which `usage` counts what is held. Safe for threads."""

    def __init__(self, usage: Callable[[str], int], most_bytes: Mapping[str, int]) -> None:
        self._usage = usage
        self._folders = tuple(_Folder(path, most) for path, most in most_bytes.items())
        self._guard = threading.Lock()
        self._housekeeper = Housekeeper(self.look, LOOK_S)

    def start(self) -> None:
        """Count soon, and every `LOOK_S` from then on."""
        if self._folders:
            self._housekeeper.wake()

    def stop(self) -> None:
        """Count no more."""
        self._housekeeper.stop(_STOP_S)

    def look(self) -> None:
        """Count what is held below each folder."""
        for folder in self._folders:
            with self._guard:
                folder.since_bytes = 0
            try:
                counted = self._usage(folder.path)
            except StoreError as error:
                _log.error("what %a holds can't be counted: %s", folder.path, error)
                continue
            with self._guard:
                folder.held_bytes = counted + folder.since_bytes

    def require_room(self, path: str, size_bytes: int) -> None:
        """Take the room for so many more bytes at `path`, or raise `StoreFull`."""
        reason = self._maybe_refusal(path, size_bytes)
        if reason is not None:
            raise StoreFull(reason, path=path)

    def give_back(self, path: str, size_bytes: int) -> None:
        """Give room back that was not used, or is not any more."""
        with self._guard:
            for folder in self._around(path):
                folder.add(-size_bytes)

    @contextmanager
    def admitting(self, items: Sequence[Item]) -> Iterator[Admission]:
        """Take the room for those items that fit; after the block that of what was not stored is given back."""
        admission = Admission()
        if not self._folders:
            yield admission
            return
        for index, item in enumerate(items):
            reason = self._maybe_refusal(item.path, _growth(item))
            if reason is not None:
                admission.refused[index] = reason
        try:
            yield admission
        finally:
            for index, item in enumerate(items):
                if index not in admission.stored and index not in admission.refused:
                    self.give_back(item.path, _growth(item))

    def _maybe_refusal(self, path: str, size_bytes: int) -> str | None:
        with self._guard:
            folders = self._around(path)
            for folder in folders:
                reason = folder.maybe_refusal(size_bytes)
                if reason is not None:
                    return reason
            for folder in folders:
                folder.add(size_bytes)
        return None

    def _around(self, path: str) -> list[_Folder]:
        return [folder for folder in self._folders if folder.has(path)]


def _growth(item: Item) -> int:
    """Return by how many bytes an item makes its folder larger; what a commit replaces is let go of."""
    return item.length - (item.replaces.size if item.op == "commit" and item.replaces is not None else 0)
