"""Stretches: what a piece of a stream file holds, and where it lies in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .block import Block, join
from .follow import Place
from .held import HeldFile


@dataclass(frozen=True, slots=True)
class Stretch:
    """The bytes from `start` up to `place` as a block; `identity` is that of the part (see `PartColumns`).

    `files` are those that its numbers are still in.
    """

    start: int
    place: Place
    identity: int
    block: Block
    files: tuple[HeldFile, ...] = ()

    @property
    def size(self) -> int:
        """How many bytes of the stream it covers."""
        return self.place.offset - self.start

    def is_whole(self) -> bool:
        """Return whether nobody has cut or written into the files that its numbers are in."""
        return all(file.is_whole() for file in self.files)


def joined_stretch(stretches: Sequence[Stretch]) -> Stretch:
    """Return one stretch for several that follow each other."""
    last = stretches[-1]
    return Stretch(stretches[0].start, last.place, last.identity, join([stretch.block for stretch in stretches]))
