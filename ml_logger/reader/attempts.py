"""Attempts: which parts of a run's metrics are one after another's, and which values a newer one replaces.

Parts come in the order in which they began. One that begins before all those before it have ended ran beside them (another
rank, a worker), and one that begins at a step that none has reached goes on (the next segment, a job resumed where it
ended): both belong to the attempt before. One that begins later, **at a step that was reached already, is a new attempt**.
From the step at which an attempt began its values replace those of older ones, key by key: what a script adds under names
of its own hides nothing. Where there is no step or no time nothing is known, and nothing is replaced.

Pure.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from .block import Span


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt: the numbers of its parts, and the step at which it began (NaN: none)."""

    parts: tuple[int, ...]
    first_step: float


def attempts_among(spans: Sequence[Span]) -> list[Attempt]:
    """Return the attempts that parts with these `spans`, in the order in which they began, are; the newest last."""
    found: list[Attempt] = []
    so_far = Span()
    for number, span in enumerate(spans):
        if found and not _is_new(so_far, span):
            found[-1] = Attempt((*found[-1].parts, number), _first(found[-1].first_step, span.first_step))
            so_far = so_far.then(span)
        else:
            found.append(Attempt((number,), span.first_step))
            so_far = span
    return found


def _is_new(before: Span, span: Span) -> bool:
    """Whether a part is a new attempt beside what came before; any comparison with NaN says no."""
    return span.first_time > before.last_time and span.first_step <= before.most_step


def replaced_from(attempts: Sequence[Attempt], keys: Sequence[Collection[str]], key: str) -> list[float]:
    """Return for each part the step from which newer attempts replace its values of `key`; infinity if none does.

    `keys` are the keys of each part.
    """
    found = [math.inf] * len(keys)
    step = math.inf
    for attempt in reversed(attempts):
        for part in attempt.parts:
            found[part] = step
        if any(key in keys[part] for part in attempt.parts):
            step = min(step, attempt.first_step)
    return found


def _first(one: float, other: float) -> float:
    return other if math.isnan(one) else one
