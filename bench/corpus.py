"""What is shipped: metric lines as a training writes them and images of noise, made once and kept for the next run."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import orjson
from PIL import Image

_BLOCK_LINES = 1_000
_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE
_OLD_S = 1_700_000_000  # long ago: nothing of it is waited for as being written still


def metric_lines(folder: Path, size_bytes: int) -> Path:
    """Return `folder`, made to hold one ``metrics.jsonl`` of `size_bytes` that ends in a whole line."""
    return folder if _is_kept(folder, size_bytes) else _make(folder, size_bytes, _write_lines)


def images(folder: Path, count: int) -> Path:
    """Return `folder`, made to hold `count` PNGs of noise of about 10 KB each, 100 in each folder below it."""
    return folder if _is_kept(folder, count) else _make(folder, count, _write_images)


def line_block(size_bytes: int) -> bytes:
    """Return `size_bytes` of metric lines; the last one may be cut."""
    block = bytearray()
    for values in record_values():
        block += orjson.dumps(values, option=_OPTIONS)
        if len(block) >= size_bytes:
            return bytes(block[:size_bytes])
    raise AssertionError("there is no end to them")


def record_values() -> Iterator[dict[str, object]]:
    """Yield the values of metric lines without end, always the same: full doubles, float32, rounded numbers and counts."""
    noise, step = np.random.default_rng(1), 0
    while True:
        doubles = noise.random((_BLOCK_LINES, 3))
        singles = noise.random((_BLOCK_LINES, 3), dtype=np.float32)
        for double, single in zip(doubles.tolist(), singles, strict=True):
            step += 1
            yield _record(step, double, single)


def _record(step: int, double: list[float], single: np.ndarray) -> dict[str, object]:
    return {
        "_step": step,
        "_timestamp": round(_OLD_S + step * 0.137 + double[0] * 0.01, 6),
        "loss": 2.3 / (1 + step * 1e-4) + double[0] * 0.1,
        "loss_ema": 2.3 / (1 + step * 1e-4) + double[1] * 0.01,
        "grad_norm": single[0],
        "weight_norm": single[1] + 40,
        "accuracy": round(1 - 0.9 / (1 + step * 1e-4) + double[2] * 0.01, 4),
        "lr": 3e-4,
        "epoch": step // 5_000,
        "samples_per_s": round(800 + double[1] * 30, 1),
        "gpu_memory_mb": 30_517 + int(double[2] * 8),
        "kl": single[2],
    }


def _write_lines(folder: Path, size_bytes: int) -> None:
    left = size_bytes
    with (folder / "metrics.jsonl").open("wb", buffering=1 << 20) as file:
        for values in record_values():
            line = orjson.dumps(values, option=_OPTIONS)
            if len(line) > left:
                break
            file.write(line)
            left -= len(line)


def _write_images(folder: Path, count: int) -> None:
    noise = np.random.default_rng(2)
    for number in range(count):
        key = folder / f"key_{number // 100:03d}"
        key.mkdir(exist_ok=True)
        encoded = io.BytesIO()
        Image.fromarray(noise.integers(0, 256, (58, 58, 3), dtype=np.uint8)).save(encoded, "PNG")
        (key / f"{number % 100:04d}.png").write_bytes(encoded.getvalue())


def _mark_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.made")


def _is_kept(folder: Path, amount: int) -> bool:
    mark = _mark_of(folder)
    return mark.exists() and mark.read_text(encoding="ascii") == str(amount)


def _make(folder: Path, amount: int, write: Callable[[Path, int], None]) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write(folder, amount)
    for path in folder.rglob("*"):
        os.utime(path, (_OLD_S, _OLD_S))
    _mark_of(folder).write_text(str(amount), encoding="ascii")
    return folder
