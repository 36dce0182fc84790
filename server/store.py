"""The seam between the HTTP side and whatever keeps the bytes: a handful of methods at file meaning.

The promise every store makes: what it answers (`apply`, `stat`) speaks of durable bytes only; a hostile path costs its
own item and writes nothing; the same batch applied again changes nothing. One conformance suite tests any store.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from ..wire import Held, Manifest, Outcome

PUT_SOURCE = "put-"
"""Sources that begin so are requests that put a file: nobody goes on with what they have staged once they are over."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a folder; size in bytes and time of the last change in ns since the epoch (folders have size 0)."""

    name: str
    kind: Literal["file", "dir"]
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Vitals:
    """How a store is: calls that waited for the disk since it was opened, bytes acknowledged and not yet at their place.

    `house_failures` counts what the store does for itself and that failed in a way nobody foresaw.
    """

    disk_waits: int
    unsettled_bytes: int
    house_failures: int = 0


@dataclass(frozen=True, slots=True)
class Deleted:
    """What a deletion took: `id` names it in the trash."""

    id: str
    files: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Listing:
    """Entries sorted by name; `next_after` is the `after` of the next page, None on the last one."""

    entries: tuple[Entry, ...]
    next_after: str | None


FindingKind = Literal[
    "redo", "crc", "temporary", "staged", "unreadable", "link", "special", "name", "nul-tail", "torn-line", "stamp"
]
"""What can be found (docs/DURABILITY.md says what each is)."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be; `path` is in the tree, with bytes that are not UTF-8 as surrogates (PEP 383)."""

    kind: FindingKind
    path: str
    detail: str
    is_mended: bool = False


class StoredFile(ABC):
    """One stored file open for reading, as it was when it was opened: `size` in bytes, `mtime_ns`, `version` (a tag)."""

    size: int
    mtime_ns: int
    version: str

    @abstractmethod
    def read(self, offset: int, length: int) -> bytes:
        """Return up to `length` bytes from `offset`; fewer only at the end of the file."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the file."""


class Store(ABC):
    """What a receiver needs of a storage engine. Thread-safe; every method may block.

    A path that was deleted is gone until a person lifts that: nothing is held of it or below it, `open` and `list` raise
    `Gone`, and the outcome of an item for it is `rejected` with `is_gone`.

    Each raises `StoreFull` below the free-space floor, `StoreBusy` where only waiting can help, and `StoreError` where the
    engine fails.
    """

    @abstractmethod
    def stat(self, paths: Sequence[str]) -> list[Held | None]:
        """Return what is durably held of each path; None where nothing is or can be."""

    @abstractmethod
    def apply(self, manifest: Manifest, payloads: Sequence[bytes | memoryview]) -> list[Outcome]:
        """Apply a batch and return one outcome an item, in their order, once everything stored is durable."""

    @abstractmethod
    def open(self, path: str) -> StoredFile:
        """Open a file for reading; raises `BadPath` or `NotHeld`."""

    @abstractmethod
    def list(self, folder: str, *, after: str = "", limit: int = 1000) -> Listing:
        """Return up to `limit` entries of a folder (empty: the root) with names past `after`; `BadPath` or `NotHeld`."""

    @abstractmethod
    def check(self, *, repair: bool = False) -> Iterator[Finding]:
        """Yield what is not as it should be, while the store is in use; with `repair` mend what is no acknowledged byte."""

    @abstractmethod
    def delete(self, path: str, by: str, *, version: str | None = None) -> Deleted:
        """Delete a file or a folder with all below it, for `by`, durably; all of it is seen to go at once.

        With a `version` (`StoredFile`) only a file that has it at that moment: `Changed` where it is another one.

        Whoever is at work below it is waited for. Raises `BadPath`, `NotHeld`, `Gone` if it was deleted before, `Undeletable`
        where the engine can't.
        """

    @abstractmethod
    def usage(self, folder: str) -> int:
        """Return how many bytes the files below a folder have together, those in the trash too; `BadPath`."""

    @abstractmethod
    def staged_bytes(self, path: str, source: str, upload: str) -> int:
        """Return how many bytes the copy has that `source` builds aside for a version of `path`, 0 where there is none."""

    @abstractmethod
    def drop_staged(self, path: str, source: str, upload: str) -> None:
        """Let go of the copy that `source` builds aside for a version of `path`; nothing happens where there is none."""

    @abstractmethod
    def probe(self) -> None:
        """Write a little where it harms nothing, so that a store which can't take data raises why."""

    @abstractmethod
    def free_bytes(self) -> int:
        """Return how many bytes there is room for, the floor not counted."""

    @abstractmethod
    def vitals(self) -> Vitals:
        """Return how it is; this one never blocks."""

    @abstractmethod
    def close(self) -> None:
        """Let go of everything the store holds."""
