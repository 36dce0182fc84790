"""Series: the points of one key, or of one key's news."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .block import NO_FLOATS, Floats
from .held import HeldNumbers


@dataclass(frozen=True, slots=True)
class Points:
    """Points that follow each other, all three float64 of one length; what is still in a file is read when it is asked for."""

    held_steps: Floats | HeldNumbers
    held_times: Floats | HeldNumbers
    held_values: Floats | HeldNumbers

    def __len__(self) -> int:
        return len(self.held_values)

    @property
    def steps(self) -> Floats:
        """The step of each point, NaN where none was given."""
        return np.asarray(self.held_steps)

    @property
    def times(self) -> Floats:
        """When each point was logged, in seconds since the epoch; NaN where that is not known."""
        return np.asarray(self.held_times)

    @property
    def values(self) -> Floats:
        """The values."""
        return np.asarray(self.held_values)


class Series:
    """The points of one key in the order of their records: `steps`, `times` (seconds since the epoch) and `values`.

    All three are float64 and of one length. `pieces` are the same points without a copy, for whom that is enough.
    """

    def __init__(self, pieces: Sequence[Points] = ()) -> None:
        self.pieces = tuple(piece for piece in pieces if len(piece))

    def __len__(self) -> int:
        return sum(map(len, self.pieces))

    def __repr__(self) -> str:
        return f"<Series of {len(self):,} points>"

    @cached_property
    def steps(self) -> Floats:
        """The step of each point, NaN where none was given."""
        return self._joined(lambda piece: piece.steps)

    @cached_property
    def times(self) -> Floats:
        """When each point was logged, in seconds since the epoch."""
        return self._joined(lambda piece: piece.times)

    @cached_property
    def values(self) -> Floats:
        """The values."""
        return self._joined(lambda piece: piece.values)

    def _joined(self, part_of: Callable[[Points], Floats]) -> Floats:
        arrays = [part_of(piece) for piece in self.pieces]
        return arrays[0] if len(arrays) == 1 else np.concatenate(arrays) if arrays else NO_FLOATS
