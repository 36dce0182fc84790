"""W&B in its offline mode. It has no reader for a run that was never uploaded, so its file is decoded by its own message types.

The file is a log of LevelDB (doc/log_format.md there) behind seven bytes of W&B's own: blocks of 32 KiB hold pieces of records,
each behind four bytes of CRC, two of length and one that says whether it is all of a record or its first, middle or last piece.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import wandb
from wandb.proto.wandb_internal_pb2 import Record

from . import IMAGE, KEYS, Held

_BLOCK_BYTES = 32 << 10
_HEAD = struct.Struct("<IHB")
_FILE_HEAD_BYTES = 7
_WHOLE, _LAST = 1, 4


class _Run:
    def __init__(self, folder: Path) -> None:
        self._run = wandb.init(project="bench", dir=str(folder), mode="offline")
        self.finish = self._run.finish

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step, commit=True)

    def log_image(self, step: int, pixels: Any) -> None:
        self._run.log({IMAGE: wandb.Image(pixels)}, step=step, commit=True)


def open_run(folder: Path) -> _Run:
    """Begin a run."""
    return _Run(folder)


def held(folder: Path) -> Held:
    """Return what the run's file tells; of images, those whose file is there."""
    (file,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    whole = images = 0
    for items in _history(file.read_bytes()):
        whole += all(key in items for key in KEYS)
        path = items.get(f"{IMAGE}.path")
        images += path is not None and (file.parent / "files" / json.loads(path)).exists()
    return Held(whole, images)


def _history(content: bytes) -> Iterator[dict[str, str]]:
    """Yield the values of each record that was logged, as JSON; parts of a value have keys with a dot."""
    for record in map(Record.FromString, _records(content)):
        if record.HasField("history"):
            yield {item.key or ".".join(item.nested_key): item.value_json for item in record.history.item}


def _records(content: bytes) -> Iterator[bytes]:
    """Yield the records that are all there; a torn one at the end is none."""
    pieces, at = b"", _FILE_HEAD_BYTES
    while at + _HEAD.size <= len(content):
        if _BLOCK_BYTES - at % _BLOCK_BYTES < _HEAD.size:  # no head fits into the rest of the block
            at += _BLOCK_BYTES - at % _BLOCK_BYTES
            continue
        _, length, kind = _HEAD.unpack_from(content, at)
        at += _HEAD.size
        if kind == 0 or at + length > len(content):
            return
        pieces += content[at : at + length]
        at += length
        if kind in (_WHOLE, _LAST):
            yield pieces
            pieces = b""
