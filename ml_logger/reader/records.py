"""Lines to records: what one line of a stream says, and which bytes of a file are whole lines.

A line without its newline is still being written (or was torn by a crash) and comes with the next look. A line that is no
JSON value is passed over and counted by whoever asks, never an error: one bad line must not hide a run.
"""

from __future__ import annotations

import io
import json
import math
import os
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import orjson

from ..files import Files, LocalFiles, OpenFile

Record = dict[str, Any]
OnBad = Callable[[bytes], None]

CHUNK_BYTES = 4 << 20
"""How much of a file is in memory at once, unless one line is longer."""

MOST_LINE_BYTES = 256 << 20
"""A longer line is a bad one: it is passed over without being held."""

MOST_DEPTH = 100
"""So many lists and dicts may lie within each other; deeper ones, over which many a program would fail, are read as ``"…"``."""

OWN_KEYS = ("_step", "_timestamp")
"""What a record of `log` says of itself; every other key is what somebody logged, also one that begins with ``_``."""

BAD: Any = object()
"""What a line that is no JSON value is read as."""

_SPECIAL = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_INFINITIES = ("-Infinity", "Infinity")
_LONG_NUMBER = re.compile(
    rb"[0-9]{19}"
)  # orjson reads integers past 64 bits as floats; the standard library keeps them


def read_records(path: str | os.PathLike[str], on_bad: OnBad | None = None) -> Iterator[Record]:
    """Yield the records of one stream file up to its last whole line; `on_bad` is called with each line that is none."""
    folder, name = os.path.split(os.path.realpath(path))
    return records_of(LocalFiles(folder), name, on_bad)


def records_of(files: Files, path: str, on_bad: OnBad | None = None) -> Iterator[Record]:
    """Yield the records of the stream file `path` up to its last whole line; raises `NotHeld`."""
    for line, value in values_of(files, path):
        if isinstance(value, dict):
            yield value
        elif on_bad is not None:
            on_bad(line)


def values_of(files: Files, path: str) -> Iterator[tuple[bytes, Any]]:
    """Yield each whole line of a file with its value, or with `BAD`; raises `NotHeld`."""
    with closing(files.open(path)) as file:
        for chunk, _ in whole_lines(file, 0):
            for line in io.BytesIO(chunk):
                yield line, parsed(line)


def parsed(line: bytes) -> Any:
    """Return the JSON value of one line, integers of any size exact, no deeper than `MOST_DEPTH`, or `BAD`."""
    try:
        value = json.loads(line) if _LONG_NUMBER.search(line) else orjson.loads(line)
    except (ValueError, RecursionError):
        return BAD
    return shallow(value) if may_be_deep(line) else value


def may_be_deep(lines: bytes) -> bool:
    """Return whether any of these `lines` may hold a value past `MOST_DEPTH`; most lines that don't are told at once."""
    return lines.count(b"[") + lines.count(b"{") > MOST_DEPTH


def shallow(value: Any, depth: int = MOST_DEPTH) -> Any:
    """Return `value` with ``"…"`` in the place of lists and dicts that lie deeper than `depth`."""
    if not isinstance(value, (list, dict)):
        return value
    if depth == 0:
        return "…"
    if isinstance(value, list):
        return [shallow(element, depth - 1) for element in value]
    return {key: shallow(element, depth - 1) for key, element in value.items()}


def maybe_time(record: Record) -> float | None:
    """Return when a record was logged, in seconds since the epoch; None if it does not say, or no finite float is it."""
    time_s = record.get("_timestamp")
    try:
        seconds = float(time_s) if isinstance(time_s, (int, float)) else math.nan
    except OverflowError:  # an integer past the largest float
        return None
    return seconds if math.isfinite(seconds) else None


def as_numbers(value: Any) -> Any:
    """Return `value` with the strings ``"NaN"``, ``"Infinity"`` and ``"-Infinity"`` as the floats they stand for."""
    if isinstance(value, str):
        return _SPECIAL.get(value, value)
    if isinstance(value, list):
        return [as_numbers(element) for element in value]
    if isinstance(value, dict):
        return {key: as_numbers(element) for key, element in value.items()}
    return value


def as_word(number: float) -> str:
    """Return the word for NaN or an infinity, as the files have it, and of any other number its shortest exact digits."""
    return repr(number) if math.isfinite(number) else "NaN" if number != number else _INFINITIES[number > 0]


def whole_lines(file: OpenFile, start: int) -> Iterator[tuple[bytes, int]]:
    """Yield what is in `file` from `start` on as pieces of one or more whole lines, each with the offset behind it.

    A last line without its newline is left. In the place of a line past `MOST_LINE_BYTES` comes an empty one.
    """
    wanted = CHUNK_BYTES
    while True:
        chunk = file.read(start, wanted)
        end = chunk.rfind(b"\n") + 1
        is_last = len(chunk) < wanted
        if end:
            start, wanted = start + end, CHUNK_BYTES
            yield chunk[:end], start
        elif wanted < MOST_LINE_BYTES:
            wanted *= 4
        elif (behind := _maybe_end_of_line(file, start + len(chunk))) is not None:
            start, wanted = behind, CHUNK_BYTES
            yield b"\n", start
        else:
            return
        if is_last:
            return


def _maybe_end_of_line(file: OpenFile, offset: int) -> int | None:
    """Return the offset behind the next newline from `offset` on, or None if there is none yet."""
    while chunk := file.read(offset, CHUNK_BYTES):
        end = chunk.find(b"\n") + 1
        if end:
            return offset + end
        offset += len(chunk)
    return None
