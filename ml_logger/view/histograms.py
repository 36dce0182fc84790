"""Histograms of one key over the steps, thinned evenly where there are more than can be told apart."""

from __future__ import annotations

import numpy as np

from ..reader import KeySummary, Run
from .answers import Reply, json_reply

USUAL = 200
MOST = 2000
"""So many are sent, unless others are asked for, and at most."""


def histograms(run: Run, key: str, most: int) -> Reply:
    """Return at most `most` of a key's histograms, the first and the last among them."""
    total = run.histogram_keys().get(key, KeySummary(0, None, None)).points
    found = run.histograms(key, most=most) if total else []
    return json_reply(
        {
            "steps": [None if np.isnan(one.step) else one.step for one in found],
            "edges": [one.edges for one in found],
            "counts": [one.counts for one in found],
            "total": total,
        }
    )
