"""Batches as raw HTTP/1.1 requests, and what is answered to them. Pure: bytes in, bytes out.

A client library would cost as much as the receiver that is measured; this is what goes over the line, and no more.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ml_logger import wire
from ml_logger.wire import NOTHING, Crc, Heartbeat, Item, Manifest, Offset, crc32

from . import corpus
from .peers.ours import TOKEN

BATCH_BYTES = 20 << 10
_TEXT_BYTES = 4 << 10  # of a batch: what was printed; the rest are metrics
_LINES = corpus.line_block(4 * BATCH_BYTES)

_SIZE = re.compile(rb"\r\nContent-Length: (\d+)\r\n", re.IGNORECASE)
_END_OF_HEAD = b"\r\n\r\n"


class Unexpected(Exception):
    """An answer that is not the one that was hoped for."""


@dataclass
class Stream:
    """A stream that grows: its path, and the size and CRC-32 of what was sent of it so far."""

    path: str
    size: Offset = NOTHING.size
    crc: Crc = NOTHING.crc

    def grow(self, payload: bytes) -> Item:
        """Return the item that adds `payload`."""
        before, self.crc = self.crc, crc32(payload, self.crc)
        item = Item(self.path, "append", self.size, len(payload), before, self.crc)
        self.size = item.end
        return item


@dataclass(frozen=True)
class Post:
    """One request, in parts so that a large payload is not copied, and the items it carries if it is a batch."""

    parts: list[bytes | memoryview]
    items: tuple[Item, ...] = ()


def batch(source: str, items: Sequence[Item], payloads: Sequence[bytes], *, compress: bool) -> Post:
    """Return the request that sends a batch."""
    manifest = Manifest(source, tuple(items))
    parts = wire.batch_parts(manifest, payloads)
    if compress:
        parts = [wire.compress_parts(parts)]
    return Post([head(sum(map(len, parts)), compress=compress), *parts], manifest.items)


def heartbeat(beat: Heartbeat) -> Post:
    """Return the request that says how an agent is."""
    body = wire.encode_heartbeat(beat)
    return Post([head(len(body), call="heartbeat"), body])


def head(size_bytes: int, *, compress: bool = False, call: str = "batch") -> bytes:
    """Return the head of a request whose body has `size_bytes`."""
    encoding = "Content-Encoding: zstd\r\n" if compress else ""
    return (
        f"POST /v1/{call} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n"
        f"{encoding}Content-Length: {size_bytes}\r\n\r\n"
    ).encode()


class Answers:
    """Puts answers together from the pieces they come in."""

    def __init__(self) -> None:
        self._come = b""

    def maybe_take(self, data: bytes) -> bytes | None:
        """Return a whole answer once it is there, head and body."""
        self._come += data
        head_bytes, end, body = self._come.partition(_END_OF_HEAD)
        size = _SIZE.search(head_bytes + end)
        if not end or size is None or len(body) < int(size[1]):
            return None
        answer, self._come = self._come, b""
        return answer


def require_done(answer: bytes, one: Post) -> None:
    """Raise `Unexpected` unless `answer` is 200 and says of every item of `one` that it was stored."""
    head_bytes, _, body = answer.partition(_END_OF_HEAD)
    if not head_bytes.startswith(b"HTTP/1.1 200 "):
        raise Unexpected(answer[:500].decode(errors="replace"))
    if not one.items:
        return
    for outcome in wire.decode_answer(body, one.items).outcomes:
        if outcome.result != "stored":
            raise Unexpected(f"{outcome.path}: {outcome.result}, {outcome.reason}")


class AgentBatches:
    """What one live agent sends, 20 KiB at a time: metrics and printed lines, compressed as agents do unless told otherwise."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._metrics, self._text = (Stream(f"{source}/{name}") for name in ("metrics.jsonl", "text.log"))
        self._count = int(crc32(source.encode()))  # so that not all begin alike

    def next(self) -> Post:
        """Return the next one."""
        self._count += 1
        at = self._count * 997 % len(_LINES)
        piece = (_LINES + _LINES)[at : at + BATCH_BYTES]
        payloads = [piece[_TEXT_BYTES:], piece[:_TEXT_BYTES]]
        items = [self._metrics.grow(payloads[0]), self._text.grow(payloads[1])]
        return batch(self._source, items, payloads, compress=True)
