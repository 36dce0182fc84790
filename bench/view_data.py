"""Runs to look at, the same numbers in two formats: as ML_Logger's client writes them, and as event files of TensorBoard.

Neither client is used: a million records are written in seconds this way. An event file is a row of records, each a length, the
masked CRC-32C of that, an ``Event`` (protocol buffers) and the masked CRC of it (tensorboard/compat/proto/event.proto,
tensorflow/core/lib/io/record_writer.h). All events of a length are checksummed at once, column by column.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray

BEGIN_S = 1_795_000_000.0
_STEP_S = 0.5
_POLYNOMIAL = 0x82F63B78  # CRC-32C, reflected
_MASK_DELTA = 0xA282EAD8

Values = NDArray[np.float64]
"""One row a step, one column a key."""


@dataclass(frozen=True)
class Sweep:
    """`runs` runs of `steps` steps, each with all of `keys`."""

    name: str
    runs: int
    steps: int
    keys: tuple[str, ...]

    def each(self) -> Iterator[tuple[str, Values]]:
        """Yield the name and the values of each run: falling noisy curves, float32 in both formats."""
        steps = np.arange(self.steps)
        for run in range(self.runs):
            noise = np.random.default_rng(run).normal(0, 0.05, (self.steps, len(self.keys)))
            falling = np.exp(-steps / (self.steps * (0.1 + run / self.runs)))[:, None]
            yield f"run-{run:05d}", (falling + noise).astype(np.float32).astype(np.float64)

    def write(self, folder: Path) -> None:
        """Write ``folder/ours`` and ``folder/tensorboard``, unless they are there from another time."""
        if (folder / "complete").exists():
            return
        for number, (name, values) in enumerate(self.each()):
            write_run(folder / "ours" / name, number, self.keys, values)
            write_events(folder / "tensorboard" / name, self.keys, values)
        (folder / "complete").touch()


def write_run(folder: Path, number: int, keys: Sequence[str], values: Values) -> None:
    """Write a finished run as the client does."""
    folder.mkdir(parents=True)
    begin, end = BEGIN_S + number, BEGIN_S + number + _STEP_S * len(values)
    lines = {
        "run": [
            {"event": "start", "_timestamp": begin, "host": "bench", "pid": number + 1},
            {"event": "end", "_timestamp": end, "state": "finished", "pid": number + 1},
        ],
        "parameters": [
            {"_timestamp": begin, "model": {"depth": number % 7}, "lr": 10.0 ** -(number % 3), "seed": number}
        ],
        "metrics": (
            {"_step": step, "_timestamp": begin + _STEP_S * step, **dict(zip(keys, row, strict=True))}
            for step, row in enumerate(values.tolist())
        ),
    }
    for name, records in lines.items():
        (folder / f"{name}.jsonl").write_bytes(b"".join(orjson.dumps(record) + b"\n" for record in records))


def write_events(folder: Path, keys: Sequence[str], values: Values) -> None:
    """Write an event file of TensorBoard with one event a step."""
    folder.mkdir(parents=True)
    version = b"\x09" + struct.pack("<d", BEGIN_S) + _bytes_field(3, b"brain.Event:2")
    events = [version, *(_event(step, keys, row) for step, row in enumerate(values.tolist()))]
    (folder / f"events.out.tfevents.{int(BEGIN_S)}.bench").write_bytes(_records(events))


def _event(step: int, keys: Sequence[str], row: Sequence[float]) -> bytes:
    summary = b"".join(
        _bytes_field(1, _bytes_field(1, key.encode()) + b"\x15" + struct.pack("<f", value))
        for key, value in zip(keys, row, strict=True)
    )
    return b"\x09" + struct.pack("<d", BEGIN_S + _STEP_S * step) + b"\x10" + _varint(step) + _bytes_field(5, summary)


def _bytes_field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def _records(events: Sequence[bytes]) -> bytes:
    lengths = [struct.pack("<Q", len(event)) for event in events]
    parts = zip(lengths, _masked_crcs(lengths), events, _masked_crcs(events), strict=True)
    return b"".join(b"".join(record) for record in parts)


def _masked_crcs(texts: Sequence[bytes]) -> list[bytes]:
    """Return the masked CRC-32C of each, those of one length together."""
    crcs = np.zeros(len(texts), np.uint32)
    lengths = np.array([len(text) for text in texts])
    for length in np.unique(lengths):
        places = np.flatnonzero(lengths == length)
        crcs[places] = _crcs(np.frombuffer(b"".join(texts[i] for i in places), np.uint8).reshape(len(places), length))
    masked = ((crcs >> 15 | crcs << 17) + np.uint32(_MASK_DELTA)).astype("<u4")
    return [crc.tobytes() for crc in masked]


def _crcs(rows: NDArray[np.uint8]) -> NDArray[np.uint32]:
    crc = np.full(len(rows), 0xFFFFFFFF, np.uint32)
    for column in rows.T:
        crc = _TABLE[(crc ^ column) & 0xFF] ^ (crc >> np.uint32(8))
    return crc ^ np.uint32(0xFFFFFFFF)


def _made_table() -> NDArray[np.uint32]:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, table >> 1 ^ np.uint32(_POLYNOMIAL), table >> 1).astype(np.uint32)
    return table


_TABLE = _made_table()
