"""Many clients at a time, none of which has much to say: live agents, and slow clients. Each has an address of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

from ml_logger.wire import Heartbeat, SpoolBeat

from .posts import BATCH_BYTES, AgentBatches, Answers, Post, head, heartbeat, require_done

AGENTS = 1_000
PERIOD_S = 5.0
HEARTBEAT_S = 10.0  # as an agent does by default
SLOW = 200
BYTE_PERIOD_S = 1.0


@dataclass
class _Crowd:
    """What all talkers of one run share: when it began (the loop's clock), how long it goes on, and how it went."""

    warm_up_s: float
    seconds: float
    began_s: float = 0.0
    talking: int = 0
    error: Exception | None = None
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def fail(self, error: Exception) -> None:
        """End the run with `error`."""
        self.error = self.error or error
        self.over.set()

    def leave(self) -> None:
        """Note that one of them has said all."""
        self.talking -= 1
        if not self.talking:
            self.over.set()


@dataclass
class _Rhythm:
    """What is sent once a `period_s`, and what came of it after the warm-up: ms from due to sent, and from due to answered.

    `requests` are all there were.
    """

    period_s: float
    requests: int = 0
    sent_ms: list[float] = field(default_factory=list)
    answered_ms: list[float] = field(default_factory=list)


class _Talker(asyncio.Protocol):
    """Sends a request once a period. The clock of an answer starts when the request is due, not when it was sent: what waits
    behind a late answer is late too."""

    def __init__(self, crowd: _Crowd, rhythm: _Rhythm, phase: float, make: Callable[[], Post]) -> None:
        self._crowd, self._rhythm, self._phase, self._make = crowd, rhythm, phase, make
        self._answers, self._next = Answers(), make()
        self._is_done = False
        crowd.talking += 1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it; all start together."""
        self._transport = cast(asyncio.Transport, transport)

    def start(self) -> None:
        """Send for the first time at this one's share of the period."""
        self._wait_until(self._crowd.began_s + self._phase * self._rhythm.period_s)

    def _wait_until(self, due_s: float) -> None:
        self._due_s = due_s
        asyncio.get_running_loop().call_at(due_s, self._send)

    def _send(self) -> None:
        self._sent_s = asyncio.get_running_loop().time()
        self._rhythm.requests += 1
        self._transport.writelines(self._next.parts)

    def data_received(self, data: bytes) -> None:
        """Take the answer."""
        answer = self._answers.maybe_take(data)
        if answer is None:
            return
        now_s = asyncio.get_running_loop().time()
        try:
            require_done(answer, self._next)
        except Exception as error:  # noqa: BLE001  # ends the run
            self._crowd.fail(error)
        else:
            self._go_on(now_s)

    def _go_on(self, now_s: float) -> None:
        crowd, rhythm = self._crowd, self._rhythm
        if self._due_s - crowd.began_s >= crowd.warm_up_s:
            rhythm.sent_ms.append((self._sent_s - self._due_s) * 1000)
            rhythm.answered_ms.append((now_s - self._due_s) * 1000)
        due_s = self._due_s + rhythm.period_s
        if due_s - crowd.began_s >= crowd.warm_up_s + crowd.seconds:
            self._is_done = True
            crowd.leave()
        else:
            self._next = self._make()
            self._wait_until(due_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody closes it while there is more to say."""
        if not self._is_done:
            self._crowd.fail(exc or ConnectionError("the receiver closed the connection"))


async def agents(port: int, name: str, *, warm_up_s: float, seconds: float) -> dict[str, Any]:
    """Play 1,000 live agents, each with a connection for batches and one for heartbeats.

    Acknowledgements count from `warm_up_s` on, when all their files are there.
    """
    crowd, loop = _Crowd(warm_up_s, seconds), asyncio.get_running_loop()
    batches, heartbeats = _Rhythm(PERIOD_S), _Rhythm(HEARTBEAT_S)
    talkers = []
    for number in range(AGENTS):
        source = f"{name}-{number:04}"
        for rhythm, make in ((batches, AgentBatches(source).next), (heartbeats, partial(_heartbeat, source))):
            factory = partial(_Talker, crowd, rhythm, number / AGENTS, make)
            _, talker = await loop.create_connection(factory, "127.0.0.1", port, local_addr=_address(number))
            talkers.append(talker)
    crowd.began_s = loop.time() + 0.5
    for talker in talkers:
        talker.start()
    await crowd.over.wait()
    if crowd.error is not None:
        raise crowd.error
    return {
        "wall_s": loop.time() - crowd.began_s,
        "requests": batches.requests,
        "heartbeats": heartbeats.requests,
        "sent_late_ms": batches.sent_ms,
        "acknowledged_ms": batches.answered_ms,
    }


def _heartbeat(name: str) -> Post:
    beat = SpoolBeat("/var/log/runs", name, shipped_files=2, last_ack_at=time.time(), runs_alive=(name,))
    return heartbeat(Heartbeat(name, name, "0.1.0", 1, 1_795_363_200.0, (beat,)))


def _address(number: int) -> tuple[str, int]:
    """Return an address of this machine for each client, and no port: a receiver may bound what one address gets."""
    return f"127.1.{number // 250}.{number % 250 + 1}", 0


async def slow(port: int, *, seconds: float) -> dict[str, Any]:
    """Be 200 clients that send a byte a second, half of them of a head, half of a body; says ``here`` once all are there."""
    tasks = [asyncio.create_task(_one_slow(port, number)) for number in range(SLOW)]
    await asyncio.sleep(BYTE_PERIOD_S)
    print("here", flush=True)
    await asyncio.sleep(seconds)
    for task in tasks:
        if task.done():
            task.result()  # which raises: they never end by themselves
    return {"wall_s": seconds}


async def _one_slow(port: int, number: int) -> None:
    while True:
        _, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=_address(number))
        with suppress(ConnectionError):  # a receiver may lose its patience: here they are again
            for piece in _slowly(is_in_body=number % 2 == 0):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(BYTE_PERIOD_S)
        writer.close()


def _slowly(*, is_in_body: bool) -> Iterator[bytes]:
    if is_in_body:
        yield head(BATCH_BYTES)
        yield from (b"{" for _ in range(BATCH_BYTES))
    yield from (bytes([byte]) for byte in head(BATCH_BYTES))
