"""Deciding: which of the scanned files there is something to do for, in which order. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from ..layout import matches_any
from .scanner import LocalFile

Kind = Literal["stream", "whole"]


@dataclass(frozen=True)
class Plan:
    """What is due now, streams apart from whole files, and in how many seconds the first unsettled file may be ready."""

    streams: tuple[LocalFile, ...]
    wholes: tuple[LocalFile, ...]
    settling: tuple[LocalFile, ...]
    settles_in_s: float | None


def kind_of(path: str, streams: Sequence[str]) -> Kind:
    """Return whether `path` is an append-only stream (by the `streams` patterns) or a whole file."""
    return "stream" if matches_any(path, streams) else "whole"


def make_plan(
    files: Iterable[LocalFile], *, age_s_of: Callable[[LocalFile], float], streams: Sequence[str], settle_s: float
) -> Plan:
    """Return what to do for `files`, none of which is done.

    A whole file must be complete: not changed for `settle_s` seconds. Streams come in the order of their paths, whole files
    oldest first.
    """
    due_streams, due_wholes, settling = [], [], []
    wait_s: float | None = None
    for file in files:
        if kind_of(file.path, streams) == "stream":
            due_streams.append(file)
        elif (age_s := age_s_of(file)) >= settle_s:
            due_wholes.append(file)
        else:
            settling.append(file)
            wait_s = min(settle_s - age_s, settle_s if wait_s is None else wait_s)
    due_streams.sort(key=lambda f: f.path)
    due_wholes.sort(key=lambda f: (f.signature.mtime_ns, f.path))
    return Plan(tuple(due_streams), tuple(due_wholes), tuple(settling), wait_s)
