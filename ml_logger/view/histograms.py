"""Histograms of one key over the steps, thinned evenly where there are more than can be told apart. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..reader import Histogram
from .answers import Reply, json_reply

USUAL = 200
MOST = 2000
"""So many are sent, unless others are asked for, and at most."""


def histograms(found: Sequence[Histogram], most: int) -> Reply:
    """Return at most `most` of a key's histograms, the first and the last among them."""
    total = len(found)
    chosen = (
        found if total <= most else [found[number] for number in np.linspace(0, total - 1, most).round().astype(int)]
    )
    answer: dict[str, Any] = {
        "steps": [None if np.isnan(one.step) else one.step for one in chosen],
        "edges": [one.edges for one in chosen],
        "counts": [one.counts for one in chosen],
        "total": total,
    }
    return json_reply(answer)
