"""Answers in a row that moved a file no further: after a few, receiver and spool will not agree on it. Pure."""

from __future__ import annotations

from collections import Counter

MAX_STALLS = 3


class Stalls:
    """How often in a row nothing came of each file."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def note(self, path: str) -> bool:
        """Count one more; return whether they are too many, which begins anew."""
        self._counts[path] += 1
        if self._counts[path] <= MAX_STALLS:
            return False
        del self._counts[path]
        return True

    def count(self, path: str) -> int:
        """Return how many there were in a row."""
        return self._counts[path]

    def forget(self, path: str) -> None:
        """Begin anew with `path`: it got on, or is gone."""
        self._counts.pop(path, None)
