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
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from . import corpus, crowd
from .posts import AgentBatches, Answers, Post, Stream, batch, require_done

STREAMS = 8
APPEND_BYTES = 4 << 20
_READ_BYTES = 1 << 16


def _connect(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _send(connection: socket.socket, one: Post) -> None:
    for part in one.parts:
        connection.sendall(part)
    answers, answer = Answers(), None
    while answer is None:
        answer = answers.maybe_take(connection.recv(_READ_BYTES) or _gone())
    require_done(answer, one)


def _send_all(connection: socket.socket, posts: Sequence[Post]) -> None:
    for one in posts:
        _send(connection, one)


def _gone() -> bytes:
    raise ConnectionError("the receiver closed the connection")


def streams(port: int, name: str, *, batches: int, compress: bool) -> dict[str, Any]:
    """Append `batches` of 4 MiB to each of 8 streams, over a connection each."""
    payload = corpus.line_block(APPEND_BYTES)
    queues = [_appends(name, number, payload, batches, compress=compress) for number in range(STREAMS)]
    connections = [_connect(port) for _ in queues]
    began_s = time.perf_counter()
    with ThreadPoolExecutor(STREAMS) as threads:
        list(threads.map(_send_all, connections, queues))
    return {"wall_s": time.perf_counter() - began_s, "requests": STREAMS * batches}


def _appends(name: str, number: int, payload: bytes, batches: int, *, compress: bool) -> list[Post]:
    stream = Stream(f"{name}-{number}/metrics.jsonl")
    return [batch(stream.path, [stream.grow(payload)], [payload], compress=compress) for _ in range(batches)]


def steady(port: int, name: str, *, seconds: float) -> dict[str, Any]:
    """Send a batch of 20 KiB as soon as the one before is acknowledged."""
    batches, connection = AgentBatches(f"{name}-0000"), _connect(port)
    acknowledged_ms: list[float] = []
    end_s = time.perf_counter() + seconds
    while time.perf_counter() < end_s:
        one = batches.next()
        began_s = time.perf_counter()
        _send(connection, one)
        acknowledged_ms.append((time.perf_counter() - began_s) * 1000)
    return {"wall_s": seconds, "requests": len(acknowledged_ms), "acknowledged_ms": acknowledged_ms}


def main() -> None:
    """Play one kind of clients and say how it went."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("kind", choices=["streams", "steady", "agents", "slow"])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--name", required=True, help="what all paths begin with")
    parser.add_argument("--batches", type=int, default=8, help="of each stream")
    parser.add_argument("--compress", action="store_true", help="the streams, by zstd")
    parser.add_argument("--warm-up-s", type=float, default=crowd.PERIOD_S)
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    print(json.dumps(_play(options)))


def _play(options: argparse.Namespace) -> dict[str, Any]:
    port, name = options.port, options.name
    match options.kind:
        case "streams":
            return streams(port, name, batches=options.batches, compress=options.compress)
        case "steady":
            return steady(port, name, seconds=options.seconds)
        case "agents":
            return asyncio.run(crowd.agents(port, name, warm_up_s=options.warm_up_s, seconds=options.seconds))
        case _:
            return asyncio.run(crowd.slow(port, seconds=options.seconds))


if __name__ == "__main__":
    main()
