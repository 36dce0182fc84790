"""Digits: the whole numbers of a run that no float holds, as its lines have them."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import compress
from typing import Any

import numpy as np

from ..reader import Run
from ..reader.block import Floats
from ..reader.columns import Columns
from ..reader.decode import maybe_number
from ..reader.records import Record, records_of

MOST_EXACT = 2**53
"""Up to here each whole number is a float."""

Digits = Mapping[str, Mapping[int, int]]
"""By the name of a column and the number of a row."""


def digits_of(run: Run, columns: Columns, table: Mapping[str, Floats], *, attempts: bool) -> Digits:
    """Return the whole numbers in a `table` of `columns` from 2**53 on; reads lines only where there may be any."""
    found: dict[str, dict[int, int]] = {
        name: {} for name, column in table.items() if name != "timestamp" and (np.abs(column) >= MOST_EXACT).any()
    }
    end = 0
    for part, is_row in zip(columns.parts, columns.rows(attempts=attempts), strict=True) if found else ():
        start, end = end, end + int(is_row.sum())
        records = compress(records_of(run.files, part.path), is_row.tolist())
        for row, record in zip(range(start, end), records, strict=False):
            for name, digits in found.items():
                value = _maybe_value(record, name)
                if (
                    value is not None and maybe_number(value) == table[name][row]
                ):  # an older attempt's is not in the table
                    digits[row] = value
    return {name: digits for name, digits in found.items() if digits}


def _maybe_value(record: Record, name: str) -> int | None:
    value: Any = record.get("_step" if name == "step" else name)
    return value if type(value) is int and abs(value) >= MOST_EXACT else None
