"""Deciding what a file is and which lane it goes by. Pure."""

from __future__ import annotations

import functools
from typing import Literal

from ..layout import matches_any
from .agenda import Lane

Kind = Literal["stream", "whole"]


@functools.lru_cache(maxsize=1 << 12)  # asked several times whenever a stream has grown
def kind_of(path: str, streams: tuple[str, ...]) -> Kind:
    """Return whether `path` is an append-only stream (by the `streams` patterns) or a whole file."""
    return "stream" if matches_any(path, streams) else "whole"


def lane_of(kind: Kind, unshipped_bytes: int, batch_bytes: int) -> Lane:
    """Return the lane of a file: what one batch brings up to date is live, backlogs and whole files are bulk."""
    return "live" if kind == "stream" and unshipped_bytes <= batch_bytes else "bulk"
