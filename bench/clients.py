"""Clients of a receiver, played by a process of their own, so that what they cost is not the receiver's.

``python -m bench.clients streams|steady|agents|slow --port PORT --name NAME`` plays one kind of them and ends
with one line of JSON: times in seconds, acknowledgements in ms. `NAME` begins all paths, so that every run has its own. Every
answer is read, and one that is not ``stored`` ends it all. What is sent is made, and compressed, before the clock starts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from . import corpus
from .peers.ours import TOKEN
from .posts import Answers, Post, Stream, head, post, require_stored

STREAMS = 8
APPEND_BYTES = 4 << 20
BATCH_BYTES = 20 << 10
AGENTS = 1_000
PERIOD_S = 5.0
SLOW = 200
BYTE_PERIOD_S = 1.0
_TEXT_BYTES = 4 << 10  # of a batch: what was printed; the rest are metrics
_READ_BYTES = 1 << 16


@dataclass(frozen=True)
class To:
    """Where clients connect to, and what their paths begin with."""

    port: int
    name: str


# --- one request after the other


def _connect(to: To) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", to.port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _send(connection: socket.socket, one: Post) -> None:
    for part in one.parts:
        connection.sendall(part)
    answers, answer = Answers(), None
    while answer is None:
        answer = answers.maybe_take(connection.recv(_READ_BYTES) or _gone())
    require_stored(answer, one.items)


def _gone() -> bytes:
    raise ConnectionError("the receiver closed the connection")


def streams(to: To, *, batches: int, compress: bool) -> dict[str, Any]:
    """Append `batches` of 4 MiB to each of 8 streams, over a connection each."""
    payload = corpus.line_block(APPEND_BYTES)
    queues = [_appends(to, number, payload, batches, compress=compress) for number in range(STREAMS)]
    connections = [_connect(to) for _ in queues]
    began_s = time.perf_counter()
    _side_by_side([lambda c=c, q=q: [_send(c, one) for one in q] for c, q in zip(connections, queues, strict=True)])  # type: ignore[misc]
    return {"wall_s": time.perf_counter() - began_s, "requests": STREAMS * batches}


def _appends(to: To, number: int, payload: bytes, batches: int, *, compress: bool) -> list[Post]:
    stream = Stream(f"{to.name}-{number}/metrics.jsonl")
    return [post(TOKEN, stream.path, [stream.grow(payload)], [payload], compress=compress) for _ in range(batches)]


def _side_by_side(works: Sequence[Callable[[], object]]) -> None:
    """Do all works, each in a thread; raises the first error."""
    errors: list[Exception] = []

    def run(work: Callable[[], object]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001  # raised again below
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def steady(to: To, *, seconds: float) -> dict[str, Any]:
    """Send a batch of 20 KiB as soon as the one before is acknowledged."""
    batches, connection = Batches(to, 0), _connect(to)
    acknowledged_ms: list[float] = []
    end_s = time.perf_counter() + seconds
    while time.perf_counter() < end_s:
        one = batches.next()
        began_s = time.perf_counter()
        _send(connection, one)
        acknowledged_ms.append((time.perf_counter() - began_s) * 1000)
    return {"wall_s": seconds, "requests": len(acknowledged_ms), "acknowledged_ms": acknowledged_ms}


class Batches:
    """What one live agent sends, batch by batch: metrics and printed lines, compressed as agents do unless told otherwise."""

    def __init__(self, to: To, number: int) -> None:
        self._source = f"{to.name}-{number:04}"
        self._metrics, self._text = (Stream(f"{self._source}/{name}") for name in ("metrics.jsonl", "text.log"))
        self._count = number

    def next(self) -> Post:
        """Return the next one."""
        self._count += 1
        at = self._count * 997 % len(_LINES)
        piece = (_LINES + _LINES)[at : at + BATCH_BYTES]
        payloads = [piece[_TEXT_BYTES:], piece[:_TEXT_BYTES]]
        items = [self._metrics.grow(payloads[0]), self._text.grow(payloads[1])]
        return post(TOKEN, self._source, items, payloads, compress=True)


_LINES = corpus.line_block(BATCH_BYTES * 4)


# --- many at a time


@dataclass
class _Crowd:
    """What all agents of one run share: when each sends, until when, and how long the acknowledgements took."""

    to: To
    warm_up_s: float
    seconds: float
    began_s: float = 0.0
    sent: int = 0
    acknowledged_ms: list[float] = field(default_factory=list)
    error: Exception | None = None
    over: asyncio.Event = field(default_factory=asyncio.Event)
    left: int = AGENTS

    def fail(self, error: Exception) -> None:
        """End the run with `error`."""
        self.error = self.error or error
        self.over.set()

    def leave(self) -> None:
        """Note that one agent has done its part."""
        self.left -= 1
        if not self.left:
            self.over.set()


class _Agent(asyncio.Protocol):
    """Sends a batch every 5 s. The clock of an acknowledgement starts when the batch is due, not when it was sent: what waits
    behind a late answer is late too."""

    def __init__(self, crowd: _Crowd, number: int) -> None:
        self._crowd, self._phase_s = crowd, PERIOD_S * number / AGENTS
        self._batches, self._answers = Batches(crowd.to, number), Answers()
        self._is_done = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Make the first batch ready."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._next = self._batches.next()

    def start(self) -> None:
        """Send it when its time comes."""
        self._due_s = self._crowd.began_s + self._phase_s
        asyncio.get_running_loop().call_at(self._due_s, self._send)

    def _send(self) -> None:
        self._crowd.sent += 1
        self._transport.writelines(self._next.parts)

    def data_received(self, data: bytes) -> None:
        """Take the answer."""
        answer = self._answers.maybe_take(data)
        if answer is not None:
            self._take(answer, asyncio.get_running_loop().time())

    def _take(self, answer: bytes, now_s: float) -> None:
        try:
            require_stored(answer, self._next.items)
        except Exception as error:  # noqa: BLE001  # ends the run
            self._crowd.fail(error)
            return
        crowd = self._crowd
        if self._due_s - crowd.began_s >= crowd.warm_up_s:
            crowd.acknowledged_ms.append((now_s - self._due_s) * 1000)
        self._due_s += PERIOD_S
        if self._due_s - crowd.began_s >= crowd.warm_up_s + crowd.seconds:
            self._is_done = True
            crowd.leave()
            return
        self._next = self._batches.next()
        asyncio.get_running_loop().call_at(self._due_s, self._send)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody closes it while the agent has more to send."""
        if not self._is_done:
            self._crowd.fail(exc or ConnectionError("the receiver closed the connection"))


async def agents(to: To, *, warm_up_s: float, seconds: float) -> dict[str, Any]:
    """Play 1,000 live agents; acknowledgements count from `warm_up_s` on, when all their files are there."""
    crowd, loop = _Crowd(to, warm_up_s, seconds), asyncio.get_running_loop()
    them = []
    for number in range(AGENTS):
        _, agent = await loop.create_connection(
            lambda number=number: _Agent(crowd, number), "127.0.0.1", to.port, local_addr=(_address(number), 0)
        )
        them.append(agent)
    crowd.began_s = loop.time() + 0.5
    for agent in them:
        agent.start()
    await crowd.over.wait()
    if crowd.error is not None:
        raise crowd.error
    return {
        "wall_s": loop.time() - crowd.began_s,
        "requests": crowd.sent,
        "acknowledged_ms": crowd.acknowledged_ms,
    }


def _address(number: int) -> str:
    """Return an address of this machine for each client: a receiver may bound what one address gets."""
    return f"127.1.{number // 250}.{number % 250 + 1}"


async def slow(to: To, *, seconds: float) -> dict[str, Any]:
    """Be 200 clients that send a byte a second, half of them of a head, half of a body; says ``here`` once all are there."""
    wheres = [asyncio.create_task(_one_slow(to, number)) for number in range(SLOW)]
    await asyncio.sleep(BYTE_PERIOD_S)
    print("here", flush=True)
    await asyncio.sleep(seconds)
    is_over = [task for task in wheres if task.done()]
    for task in is_over:
        task.result()
    return {"wall_s": seconds, "clients": SLOW - len(is_over)}


async def _one_slow(to: To, number: int) -> None:
    while True:
        _, writer = await asyncio.open_connection("127.0.0.1", to.port, local_addr=(_address(number), 0))
        with suppress(ConnectionError):  # a receiver may lose its patience: here they are again
            for piece in _slowly(is_in_body=number % 2 == 0):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(BYTE_PERIOD_S)
        writer.close()


def _slowly(*, is_in_body: bool) -> Iterator[bytes]:
    if is_in_body:
        yield head(TOKEN, BATCH_BYTES)
        yield from (b"{" for _ in range(BATCH_BYTES))
    yield from (bytes([byte]) for byte in head(TOKEN, BATCH_BYTES))


def main() -> None:
    """Play one kind of clients and say how it went."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("kind", choices=["streams", "steady", "agents", "slow"])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--name", required=True, help="what all paths begin with")
    parser.add_argument("--batches", type=int, default=8, help="of each stream")
    parser.add_argument("--compress", action="store_true", help="the streams, by zstd")
    parser.add_argument("--warm-up-s", type=float, default=PERIOD_S)
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    to = To(options.port, options.name)
    print(json.dumps(_play(to, options)))


def _play(to: To, options: argparse.Namespace) -> dict[str, Any]:
    match options.kind:
        case "streams":
            return streams(to, batches=options.batches, compress=options.compress)
        case "steady":
            return steady(to, seconds=options.seconds)
        case "agents":
            return asyncio.run(agents(to, warm_up_s=options.warm_up_s, seconds=options.seconds))
        case _:
            return asyncio.run(slow(to, seconds=options.seconds))


if __name__ == "__main__":
    main()
