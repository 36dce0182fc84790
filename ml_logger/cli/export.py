"""``ml-logger export``: the numbers of a run as one table, for other programs.

A row for each record, ``step``, ``timestamp`` and a column a key. What a record did not have is empty (CSV), null (Parquet) or
left out (JSON); a NaN that was logged is a NaN. Whole numbers have every digit in CSV and JSON; what is left out or rounded
is told.
"""

from __future__ import annotations

import argparse
import csv
import os
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import orjson
from numpy.typing import NDArray

from ..color import is_terminal
from ..encode import plain
from ..errors import UsageError
from ..layout import temporary_name
from ..reader import Run
from ..reader.block import Floats
from ..reader.columns import Columns
from ..reader.records import as_word
from .digits import Digits, digits_of
from .documents import add_json_argument
from .outputs import naming
from .places import Places, add_run_arguments
from .values import escaped

_FORMATS = ("csv", "parquet", "json")
_ROWS = 4096
OWN_COLUMNS = ("step", "timestamp")
Missing = NDArray[np.bool_]


@dataclass(frozen=True)
class _Table:
    """Columns of equal length, which of their rows have nothing, and whole numbers that no float holds."""

    numbers: Mapping[str, Floats]
    missing: Mapping[str, Missing]
    digits: Digits

    def rows(self) -> Iterator[list[list[Any]]]:
        """Yield some rows at a time as one list a column, None where nothing is; whole steps as integers."""
        for start in range(0, len(self.numbers["step"]), _ROWS):
            yield [self._values(key, range(start, start + _ROWS)) for key in self.numbers]

    def _values(self, key: str, rows: range) -> list[Any]:
        values: list[Any] = self.numbers[key][rows.start : rows.stop].tolist()
        missing, digits = self.missing[key][rows.start : rows.stop].tolist(), self.digits.get(key, {})
        if key == "step":
            values = [int(value) if value.is_integer() else value for value in values]
        if digits:
            values = [digits.get(row, value) for row, value in zip(rows, values, strict=False)]
        return [None if is_missing else value for value, is_missing in zip(values, missing, strict=True)]


def add_arguments(export: argparse.ArgumentParser) -> None:
    """Add what the command takes to its parser."""
    export.add_argument("run", metavar="RUN", help="a directory, or a receiver's URL and the run's path behind it")
    export.add_argument("--format", choices=_FORMATS, help="default: what the ending of FILE says, else csv")
    export.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: standard output")
    export.add_argument("--attempts", action="store_true", help="also what a resumed run wrote anew since")
    add_json_argument(export)
    add_run_arguments(export)


def run(options: argparse.Namespace) -> int:
    """Write the table."""
    write = _WRITERS[_format(options)]
    if options.output is None and write is _write_parquet and is_terminal(sys.stdout):
        raise UsageError("parquet is nothing for a terminal", hint="give -o FILE")
    with Places(options) as places:
        found = places.find(options.run).run()
        columns = found.columns()
        table = _table(found, columns, attempts=options.attempts)
    with _output(options.output) as file:
        write(file, table)
    for trouble in _losses(columns, table, is_rounded=write is _write_parquet):
        print(f"ml-logger: {escaped(trouble)}", file=sys.stderr)
    return 0


def _table(found: Run, columns: Columns, *, attempts: bool) -> _Table:
    numbers = columns.table(attempts=attempts)
    missing = {key: _missing(columns, key, numbers, attempts) for key in numbers}
    return _Table(numbers, missing, digits_of(found, columns, numbers, attempts=attempts))


def _losses(columns: Columns, table: _Table, *, is_rounded: bool) -> Iterator[str]:
    """Yield a line for whatever of the numbers is not in what was written, or not as it was logged."""
    hint = "'tail --json' has all"
    for key in OWN_COLUMNS:
        if key in columns.keys():  # noqa: SIM118 - a method
            yield f"a key is called {key!r} like a column, and was left out: {hint}"
    if is_rounded:
        for key, digits in table.digits.items():
            yield f"{len(digits)} whole numbers past 2**53 are rounded in {key!r}: CSV and JSON have all digits"


def _format(options: argparse.Namespace) -> str:
    if options.json:
        if options.format not in (None, "json"):
            raise UsageError(f"--json is --format json, not {options.format}", hint="give one of them")
        return "json"
    ending = options.output.suffix[1:].lower() if options.output is not None else ""
    return str(options.format or (ending if ending in _FORMATS else "csv"))


@contextmanager
def _output(path: Path | None) -> Iterator[BinaryIO]:
    """Give standard output, or a file that gets its name when all is in it."""
    if path is None:
        sys.stdout.flush()
        yield sys.stdout.buffer
        return
    with naming(path, always=True):
        if path.exists() and not path.is_file():  # /dev/null, a pipe: what is named is to stay what it is
            with path.open("wb") as file:
                yield file
        else:
            with _aside(Path(os.path.realpath(path))) as file:  # a link stays one, and what it leads to is written
                yield file


@contextmanager
def _aside(path: Path) -> Iterator[BinaryIO]:
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {str(path.parent)!r} to write {path.name!r} in", hint="make it first")
    aside = path.with_name(temporary_name(path.name, secrets.token_hex(4)))
    try:
        with aside.open("xb") as file:
            yield file
        aside.replace(path)
    except BaseException:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        raise


def _missing(columns: Columns, key: str, table: Mapping[str, Floats], attempts: bool) -> Missing:
    """Return which rows have nothing of `key`: those that are NaN and of no record that logged one."""
    found: Missing = np.isnan(table[key])
    if key in OWN_COLUMNS:
        return found
    series = columns.series(key, attempts=attempts)
    logged = np.isnan(series.values)
    if found.any() and logged.any():
        at = set(zip(_words(series.steps[logged]), series.times[logged].tolist(), strict=True))
        rows = zip(_words(table["step"]), table["timestamp"].tolist(), strict=True)
        found &= ~np.fromiter((pair in at for pair in rows), bool, len(found))
    return found


def _words(steps: Floats) -> list[Any]:
    """Return steps that can be compared: None where there is none, since NaN is no equal of itself."""
    return [None if step != step else step for step in steps.tolist()]


def _write_csv(file: BinaryIO, table: _Table) -> None:
    lines = _Lines(file)
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(list(table.numbers))
    for columns in table.rows():
        texts = [["" if value is None else _cell(value) for value in column] for column in columns]
        writer.writerows(zip(*texts, strict=True))


def _cell(value: float) -> str:
    return str(value) if isinstance(value, int) else as_word(value)


class _Lines:
    """What `csv` writes to, over a file of bytes."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, text: str) -> int:
        """Write text as UTF-8."""
        return self._file.write(text.encode("utf-8", "backslashreplace"))


def _write_json(file: BinaryIO, table: _Table) -> None:
    """Write one array, a record a line."""
    before = b"[\n"
    for columns in table.rows():
        for row in zip(*columns, strict=True):
            record = {key: value for key, value in zip(table.numbers, row, strict=True) if value is not None}
            file.write(before + orjson.dumps(plain(record)))
            before = b",\n"
    file.write(b"\n]\n" if before == b",\n" else b"[]\n")


def _write_parquet(file: BinaryIO, table: _Table) -> None:
    try:
        import pyarrow as pa  # type: ignore[import-untyped]  # an extra
        from pyarrow import parquet
    except ModuleNotFoundError:
        raise UsageError("parquet needs pyarrow", hint="pip install 'ml-logger[parquet]'") from None
    arrays = {key: pa.array(column, mask=table.missing[key]) for key, column in table.numbers.items()}
    parquet.write_table(pa.table(arrays), file)


_WRITERS = {"csv": _write_csv, "json": _write_json, "parquet": _write_parquet}
