"""The way between an agent and a receiver, without a socket: it loses, doubles, delays, mixes up and damages on demand.

`Direct` stands where the agent's `Transport` stands and encodes, carries and decodes the very bytes that go over the network;
`Answering` is what a receiver does with them behind its HTTP server. Between the two a `FaultyLine` may stand.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Literal, Protocol, TypeAlias

from .. import wire
from ..agent.delivery import Packed
from ..errors import BadBatch, BatchRefused, BatchTooLarge, ShipError, StoreError, TooLarge, TryAgain
from ..server.lineage import Marks
from ..server.store import Store
from ..wire import Answer, Held, Lineage, Manifest
from .faults import Died, Faults

Call: TypeAlias = Literal["stat", "batch", "lineage"]

_MOST_BYTES = 1 << 30
_MOST_ITEMS = 100_000


class Line(Protocol):
    """Whatever carries a request to a receiver and its answer back."""

    def exchange(self, call: Call, body: bytes) -> bytes:
        """Return the answer; raises `ShipError` where none comes."""


class Direct:
    """An agent's way over a `line`. The agent may die before a request is sent and when its answer has come (`faults`)."""

    def __init__(self, line: Line, faults: Faults | None = None) -> None:
        self._line = line
        self._faults = faults or Faults()

    def stat(self, paths: Sequence[str]) -> list[Held | None]:
        """Ask what is held."""
        return wire.decode_stat_answer(self._exchange("stat", wire.encode_stat_request(paths)), paths)

    def lineage(self, known: str | None) -> Lineage | None:
        """Ask for the mark."""
        return wire.decode_lineage(self._exchange("lineage", wire.encode_lineage_request(known)))

    def pack(self, manifest: Manifest, payloads: Sequence[bytes | memoryview], *, compressible: bool) -> Packed:  # noqa: ARG002
        """Return a batch as it is sent: never compressed, so that its bytes can be damaged."""
        return Packed(manifest, (wire.encode_batch(manifest, payloads, compress=False),), is_compressed=False)

    def send(self, packed: Packed) -> Answer:
        """Send a batch."""
        return wire.decode_answer(self._exchange("batch", b"".join(packed.parts)), packed.manifest.items)

    def close(self) -> None:
        """Do nothing."""

    def _exchange(self, call: Call, body: bytes) -> bytes:
        self._faults.meet("send")
        try:
            return self._line.exchange(call, body)
        finally:
            self._faults.meet("receive")


class Answering:
    """The receiver's end of a line: a store and its marks. Once it has died (`Died`) nobody answers any more."""

    def __init__(self, store: Store, marks: Marks) -> None:
        self._store, self._marks = store, marks
        self.is_dead = False

    def exchange(self, call: Call, body: bytes) -> bytes:
        """Return the answer to one request; what HTTP says by its status is raised, as `Transport` raises it."""
        if self.is_dead:
            raise TryAgain("nobody listens there")
        try:
            return self._answer(call, body)
        except Died:
            self.is_dead = True
            raise TryAgain("the connection broke") from None
        except StoreError as error:
            raise TryAgain(f"the receiver answered: {error}") from error
        except BatchTooLarge as error:
            raise TooLarge(str(error)) from error
        except BadBatch as error:
            raise BatchRefused(str(error)) from error

    def _answer(self, call: Call, body: bytes) -> bytes:
        if call == "stat":
            paths = wire.decode_stat_request(body, max_paths=_MOST_ITEMS)
            return wire.encode_stat_answer(paths, self._store.stat(paths))
        if call == "lineage":
            return wire.encode_lineage(self._marks.since(wire.decode_lineage_request(body)))
        manifest, payloads = wire.split_batch(body, max_manifest_bytes=_MOST_BYTES, max_items=_MOST_ITEMS)
        outcomes = self._store.apply(manifest, payloads)
        self._marks.note_stored()
        return wire.encode_outcomes(outcomes, mark=self._marks.since(None).mark)


Mishap: TypeAlias = Literal["none", "lost", "unanswered", "doubled", "late", "old answer", "damaged", "cut off"]
"""What becomes of one request.

``lost``: it never arrives. ``unanswered``: it arrives, its answer does not. ``doubled``: it arrives twice, and the second
answer comes back. ``late``: it arrives after others that were sent later (`FaultyLine.deliver_late`); its sender has given up.
``old answer``: what comes back is the answer to the batch before. ``damaged``: a bit of a batch's payload is another one.
``cut off``: half of the answer comes back.
"""


class FaultyLine:
    """A line to `end`. Each request meets the next of `mishaps`; after the last one all goes well."""

    def __init__(self, end: Line, mishaps: Iterable[Mishap] = ()) -> None:
        self.mishaps: Iterator[Mishap] = iter(mishaps)
        self._late: list[tuple[Call, bytes]] = []
        self.connect(end)

    def connect(self, end: Line) -> None:
        """Lead to another end from now on, as after its restart: what was answered before can't come back any more."""
        self._end = end
        self._old_answer: bytes | None = None

    def exchange(self, call: Call, body: bytes) -> bytes:
        """Carry one request, as far as its mishap lets it come."""
        mishap = next(self.mishaps, "none")
        if mishap == "lost":
            raise TryAgain("the request was lost")
        if mishap == "late":
            self._late.append((call, body))
            raise TryAgain("no answer in time")
        answer = self._end.exchange(call, _damaged(body) if (mishap, call) == ("damaged", "batch") else body)
        if mishap == "doubled":
            answer = self._end.exchange(call, body)
        if mishap == "unanswered":
            raise TryAgain("the answer was lost")
        if call == "batch":
            old, self._old_answer = self._old_answer, answer
            if mishap == "old answer" and old is not None:
                return old
        return answer[: len(answer) // 2] if mishap == "cut off" else answer

    @property
    def has_late(self) -> bool:
        """Whether requests are under way that have not arrived."""
        return bool(self._late)

    def deliver_late(self) -> None:
        """Let the requests that are late arrive now, the last one first; nobody waits for their answers."""
        while self._late:
            with suppress(ShipError):
                self._end.exchange(*self._late.pop())


def _damaged(batch: bytes) -> bytes:
    """Return a batch with a bit of its last byte turned, if that is not the manifest's."""
    return batch if batch.endswith(b"\n") and batch.count(b"\n") == 1 else batch[:-1] + bytes([batch[-1] ^ 1])
