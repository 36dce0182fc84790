"""Histograms: what `log_histogram` stored, as arrays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .block import Floats
from .decode import maybe_number
from .records import Record


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


def histograms_in(record: Record) -> Iterator[Histogram]:
    """Yield the histograms of one record of ``histograms.jsonl``; what is none is passed over."""
    step, time = (maybe_number(record.get(name)) for name in ("_step", "_timestamp"))
    for key, value in record.items():
        if not isinstance(value, dict):
            continue
        counts, edges = _maybe_floats(value.get("counts")), _maybe_floats(value.get("edges"))
        if counts is None or edges is None or len(edges) != len(counts) + 1:
            continue
        left_out = value.get("not_finite", 0)
        yield Histogram(
            key,
            np.nan if step is None else step,
            np.nan if time is None else time,
            counts,
            edges,
            left_out if isinstance(left_out, int) else 0,
        )


def _maybe_floats(values: Any) -> Floats | None:
    if not isinstance(values, list):
        return None
    numbers = [maybe_number(value) for value in values]
    return None if None in numbers else np.array(numbers, dtype=np.float64)
