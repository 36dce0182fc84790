"""Histograms: what `log_histogram` stored, as arrays.

A line of them is long, so what is kept of a stream is where each line begins; those that are wanted are read there.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import NotHeld
from ..files import Files, OpenFile
from .block import Block, Floats
from .columns import Columns, points
from .decode import block_of, maybe_number, pieces_of, values_in
from .records import OWN_KEYS, Record, parsed

_WINDOW_BYTES = 256 << 10
_TOGETHER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Histogram:
    """One histogram: `counts`, and one edge more in `edges`; `step` and `time` are NaN where there is none.

    `not_finite` is how many NaN and infinities were left out.
    """

    key: str
    step: float
    time: float
    counts: Floats
    edges: Floats
    not_finite: int


def histograms_in(record: Record, keys: Collection[str] | None = None) -> Iterator[Histogram]:
    """Yield the histograms of `keys`, or all, in one record of ``histograms.jsonl``; what is none is passed over."""
    step, time = (_number_or_nan(record.get(name)) for name in OWN_KEYS)
    for key, value in record.items():
        if (keys is not None and key not in keys) or not isinstance(value, dict):
            continue
        counts, edges = _maybe_floats(value.get("counts")), _maybe_floats(value.get("edges"))
        if counts is not None and edges is not None and len(edges) == len(counts) + 1:
            left_out = value.get("not_finite", 0)
            yield Histogram(key, step, time, counts, edges, left_out if isinstance(left_out, int) else 0)


def _number_or_nan(value: Any) -> float:
    number = maybe_number(value)
    return np.nan if number is None else number


def _maybe_floats(values: Any) -> Floats | None:
    if not isinstance(values, list):
        return None
    numbers = [maybe_number(value) for value in values]
    return None if None in numbers else np.array(numbers, dtype=np.float64)


def offsets_in(lines: bytes, start: int) -> Block:
    """Return a block in which each key of whole `lines`, which begin at `start`, has the offset of its line as the value."""
    records, bad_lines = [], 0
    for piece in pieces_of(lines, _TOGETHER_BYTES):
        for line, value in zip(io.BytesIO(piece), values_in(piece), strict=True):
            if isinstance(value, dict):
                records.append(_with_offset(value, start))
            else:
                bad_lines += 1
            start += len(line)
    return block_of(records, bad_lines)


def _with_offset(record: Record, offset: int) -> Record:
    own = {key: value for key, value in record.items() if key in OWN_KEYS}
    return own | {key: offset for key, value in record.items() if key not in own and isinstance(value, dict)}


def read_histograms(
    files: Files, columns: Columns, keys: Iterable[str], most: int | None, attempts: bool
) -> list[Histogram]:
    """Return the histograms of `keys` from the lines that `columns` know the offsets of, thinned evenly to `most` a key."""
    wanted: list[dict[int, set[str]]] = [{} for _ in columns.parts]
    for key in keys:
        for part, offset in _thinned(_places(columns, key, attempts), most):
            wanted[part].setdefault(offset, set()).add(key)
    found: list[Histogram] = []
    for where, offsets in zip(columns.parts, wanted, strict=True):
        if offsets:
            found += _read_at(files, where.path, offsets)
    return found


def _places(columns: Columns, key: str, attempts: bool) -> list[tuple[int, int]]:
    until = columns.replaced_from(key, attempts=attempts)
    parts = zip(columns.parts, until, strict=True)
    return [
        (number, int(offset))
        for number, (part, step) in enumerate(parts)
        for piece in points(part, key, step)
        for offset in piece.values.tolist()
    ]


def _thinned(places: list[tuple[int, int]], most: int | None) -> list[tuple[int, int]]:
    """Return `most` of `places` at even distances, the first and the last among them."""
    if most is None or len(places) <= most:
        return places
    return [places[round(number)] for number in np.linspace(0, len(places) - 1, most)]


def _read_at(files: Files, path: str, offsets: dict[int, set[str]]) -> list[Histogram]:
    found: list[Histogram] = []
    try:
        with closing(files.open(path)) as file:
            for offset, line in _lines_at(file, sorted(offsets)):
                record = parsed(line)
                if isinstance(record, dict):  # it was, but the file may have been written anew
                    found += histograms_in(record, offsets[offset])
    except NotHeld:  # deleted since it was listed
        pass
    return found


def _lines_at(file: OpenFile, offsets: Iterable[int]) -> Iterator[tuple[int, bytes]]:
    """Yield the line at each of `offsets`, which ascend; lines that lie together are read together."""
    start, window = 0, b""
    for offset in offsets:
        length = _WINDOW_BYTES
        while (end := window.find(b"\n", max(0, offset - start))) < 0 or offset < start:
            start, window = offset, file.read(offset, length)
            if len(window) < length and b"\n" not in window:
                return
            length *= 4
        yield offset, window[offset - start : end]
