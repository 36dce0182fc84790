"""An agent's core and a receiver's store in one process, with the wire's bytes but no socket between them.

`Direct` stands where `Transport` stands: it encodes, decodes and applies exactly what would go over the network, and can be
told to fail before or after the store has done its work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ml_logger import wire
from ml_logger.agent.config import AgentConfig
from ml_logger.agent.couriers import OneAtATime
from ml_logger.agent.delivery import Delivery, Packed
from ml_logger.agent.ledger import Ledger
from ml_logger.agent.settling import Clock
from ml_logger.agent.shipper import Shipper
from ml_logger.errors import MLLoggerError, TooLarge
from ml_logger.server.lineage import Marks
from ml_logger.server.local_store import LocalStore
from ml_logger.server.store import Store
from ml_logger.source import source_of
from ml_logger.wire import Answer, Held, Lineage, Manifest


@dataclass
class Direct:
    """A transport without a network; `fail_before` and `lose_answer` hold errors for the next requests, in order."""

    store: Store
    max_body_bytes: int = 1 << 40
    fail_before: list[MLLoggerError] = field(default_factory=list)
    lose_answer: list[MLLoggerError] = field(default_factory=list)
    sent: list[Manifest] = field(default_factory=list)
    stats: list[list[str]] = field(default_factory=list)
    marks: Marks | None = None

    def stat(self, paths: Sequence[str]) -> list[Held | None]:
        self.stats.append(list(paths))
        asked = wire.decode_stat_request(wire.encode_stat_request(paths), max_paths=100_000)
        return wire.decode_stat_answer(wire.encode_stat_answer(asked, self.store.stat(asked)), paths)

    def lineage(self, known: str | None) -> Lineage | None:
        if self.marks is None:
            return None
        asked = wire.decode_lineage_request(wire.encode_lineage_request(known))
        return wire.decode_lineage(wire.encode_lineage(self.marks.since(asked)))

    def pack(self, manifest: Manifest, payloads: Sequence[bytes | memoryview], *, compressible: bool) -> Packed:
        return Packed(manifest, (wire.encode_batch(manifest, payloads, compress=compressible),), compressible)

    def send(self, packed: Packed) -> Answer:
        if self.fail_before:
            raise self.fail_before.pop(0)
        body = b"".join(packed.parts)
        if len(body) > self.max_body_bytes:
            raise TooLarge(f"{len(body)} bytes are too many")
        if packed.is_compressed:
            body = wire.expand(body, max_expanded_bytes=1 << 30)
        decoded, views = wire.split_batch(body, max_manifest_bytes=1 << 20, max_items=1000)
        self.sent.append(decoded)
        mark = None if self.marks is None else self.marks.since(None).mark
        answer = wire.encode_outcomes(self.store.apply(decoded, views), mark=mark)
        if self.lose_answer:
            raise self.lose_answer.pop(0)
        return wire.decode_answer(answer, packed.manifest.items)

    def close(self) -> None:
        pass

    @property
    def sent_bytes(self) -> int:
        return sum(item.length for manifest in self.sent for item in manifest.items)


class Pair:
    """A spool with an agent's core and a data directory with a store; either side can be restarted or lose its memory."""

    def __init__(self, root: Path, **settings: object) -> None:
        self.spool = root / "spool"
        self.data_dir = root / "data"
        self.state_dir = root / "state"
        self.settings = settings
        self.source = source_of(self.spool)
        self.now_s = 1000.0
        self.meanwhile: Callable[[], None] | None = None
        for folder in (self.spool, self.data_dir, self.state_dir):
            folder.mkdir(parents=True, exist_ok=True)
        self.open_receiver()
        self.open_agent()

    def open_receiver(self) -> None:
        self.transport = Direct(LocalStore(self.data_dir), marks=Marks(self.data_dir))

    def open_agent(self) -> None:
        """Open a core over what is in the state directory; one that is open already is closed."""
        if hasattr(self, "ledger"):
            self.ledger.close()
        self.ledger = Ledger(self.state_dir / "ledger.sqlite")
        config = AgentConfig(spool=self.spool, server="http://unused", **self.settings)  # type: ignore[arg-type]
        clock = Clock(wall_ns=lambda: int(self.now_s * 1e9), steady_s=self.read_clock)
        staff = OneAtATime(Delivery(self.spool, self.source, self.transport))
        self.shipper = Shipper(self.spool, config, self.ledger, staff, clock)

    def read_clock(self) -> float:
        """Tell the time; what happens `meanwhile` happens now, once: in a look, after the files named and before a folder."""
        happens, self.meanwhile = self.meanwhile, None
        if happens is not None:
            happens()
        return self.now_s

    def restart_receiver(self) -> None:
        """Close the store and open it anew over the same data; the agent's core goes on."""
        self.transport.store.close()
        self.transport.store = LocalStore(self.data_dir)
        self.transport.marks = Marks(self.data_dir)

    def restart_agent(self, *, lose_ledger: bool = False) -> None:
        """Open a new core over the same spool, with the saved ledger or without any."""
        self.ledger.close()
        if lose_ledger:
            for part in self.state_dir.iterdir():
                part.unlink()
        self.open_agent()

    def write(self, path: str, content: bytes) -> None:
        """Write a whole file the way the client does: aside, then renamed."""
        target = self.spool / path
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = target.with_name(f".{target.name[:50]}.tmp-1")
        aside.write_bytes(content)
        aside.rename(target)

    def append(self, path: str, content: bytes) -> None:
        target = self.spool / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("ab") as file:
            file.write(content)

    def drain(self, rounds: int = 50) -> None:
        """Do rounds until nothing is left to do; everything has settled by then."""
        self.now_s += 3600.0 * 24 * 365 * 100
        for _ in range(rounds):
            done = self.shipper.ship_once()
            if not done.has_backlog and not self.shipper.unshipped():
                return
        raise AssertionError(f"not drained: {self.shipper.unshipped()}")

    def close(self) -> None:
        self.ledger.close()
        self.transport.store.close()
