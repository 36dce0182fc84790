"""Attempts: which parts of a run's metrics are one after another's, and which values a newer one replaces.

All is decided **for one key**, of those parts that have it, in their order (`columns.in_order`). A part lasts, for a key, from
its first record to its last one with that key: what its process logs later under other names says nothing about this one.
One that lasted at the same time as another ran beside it (a rank, a worker), and one that begins at a step that none has
reached goes on (the next segment, a job resumed where it ended): both belong to the attempt before. Any other, **one that
begins at a step that was reached already, is a new attempt**, and its values replace those of older ones from its first step
on. Where there is no step or no time nothing is known, and nothing is replaced.

Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from .block import Span


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a key: the numbers of its parts, and the least step at which one of them began (NaN: none)."""

    parts: tuple[int, ...]
    first_step: float

    def joined_by(self, part: int, span: Span) -> Attempt:
        """Return this attempt with one part more."""
        return Attempt((*self.parts, part), _least(self.first_step, span.first_step))


def attempts_among(spans: Mapping[int, Span]) -> tuple[Attempt, ...]:
    """Return the attempts that the parts with these `spans`, by number and in their order, are; the newest last."""
    found: list[Attempt] = []
    now = Span()  # when those ran that may still be running, and the step that was reached
    for part, span in spans.items():
        is_apart = _is_apart(now, span)
        if not found or (is_apart and span.first_step <= now.most_step):
            found.append(Attempt((part,), span.first_step))
            now = span
        else:
            found[-1] = found[-1].joined_by(part, span)
            both = _both(now, span)
            now = replace(span, most_step=both.most_step) if is_apart else both
    return tuple(found)


def replaced_from(attempts: Sequence[Attempt], parts: int) -> list[float]:
    """Return for each of so many `parts` the step from which newer attempts replace its values; infinity if none does."""
    found, step = [math.inf] * parts, math.inf
    for attempt in reversed(attempts):
        for part in attempt.parts:
            found[part] = step
        step = min(step, attempt.first_step)
    return found


def by_end(spans: Sequence[Span]) -> list[int]:
    """Return the numbers of the parts with these `spans`, the one that has the last word last.

    Of those that ran beside each other that is the one that logged last; of others the last in their order.
    """
    groups: list[list[int]] = []
    now = Span()
    for part, span in enumerate(spans):
        if not groups or _is_apart(now, span):
            groups.append([])
            now = span
        groups[-1].append(part)
        now = _both(now, span)
    return [part for group in groups for part in sorted(group, key=lambda part: _end(spans[part]))]


def _is_apart(one: Span, other: Span) -> bool:
    """Whether one was over before the other began, whatever the order; any comparison with NaN says no."""
    return other.first_time > one.last_time or other.last_time < one.first_time


def _both(one: Span, other: Span) -> Span:
    """Return from when to when either ran, whichever began first, and the step that was reached."""
    return replace(one.then(other), first_time=_least(one.first_time, other.first_time))


def _end(span: Span) -> float:
    return -math.inf if math.isnan(span.last_time) else span.last_time


def _least(one: float, other: float) -> float:
    return one if one <= other or math.isnan(other) else other
