"""Builders of batch items, and a sender that applies them to a store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ml_logger.server.store import Store
from ml_logger.wire import Crc, Held, Item, Manifest, Offset, Op, Outcome, crc32

Part = tuple[Item, bytes]


def held_of(content: bytes) -> Held:
    """Return what a receiver holds of a file with this content."""
    return Held(Offset(len(content)), crc32(content))


def part(op: Op, path: str, content: bytes, start: int = 0, end: int | None = None, **more: Any) -> Part:
    """Return the item and the payload that bring bytes [start, end) of a file with this `content`."""
    payload = content[start:end]
    before = crc32(content[:start])
    if op != "append":
        more.setdefault("upload", "upload-1")
    return Item(path, op, Offset(start), len(payload), before, Crc(crc32(payload, before)), **more), payload


def append(path: str, content: bytes, start: int = 0, end: int | None = None, **more: Any) -> Part:
    return part("append", path, content, start, end, **more)


def stage(path: str, content: bytes, start: int = 0, end: int | None = None, **more: Any) -> Part:
    return part("stage", path, content, start, end, **more)


def commit(path: str, content: bytes, start: int = 0, **more: Any) -> Part:
    return part("commit", path, content, start, **more)


def apply(store: Store, *parts: Part, source: str = "source-1") -> list[Outcome]:
    manifest = Manifest(source, tuple(item for item, _ in parts))
    return store.apply(manifest, [payload for _, payload in parts])


def results(store: Store, *parts: Part, source: str = "source-1") -> list[str]:
    return [outcome.result for outcome in apply(store, *parts, source=source)]


def content_of(store: Store, path: str) -> bytes:
    """Return all bytes of a stored file, read through the store."""
    file = store.open(path)
    try:
        return file.read(0, file.size)
    finally:
        file.close()


def names(entries: Sequence[Any]) -> list[str]:
    return [entry.name for entry in entries]
