"""The disks of the soak: small file systems of their own where they can be mounted, and plain folders where not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from small_disk import SmallDisk


@dataclass(frozen=True)
class Place:
    """A folder by the name its processes know it by, and as this process sees it; the disk it is on, if it can be filled."""

    path: Path
    seen: Path
    disk: SmallDisk | None = None

    @property
    def enter(self) -> tuple[str, ...]:
        """Return the words that start a command where the disk is mounted."""
        return self.disk.machine.enter if self.disk else ()

    def end(self) -> None:
        """Let the disk go, and all that is on it."""
        if self.disk:
            self.disk.end()
            self.path.parent.with_name("disk.img").unlink()


def plain(folder: Path) -> Place:
    """Return a place on the disk that all share."""
    return _made(Place(folder / "data", folder / "data"))


def small(size_mib: int) -> Callable[[Path], Place]:
    """Return what makes places on disks of so many MiB; `WhyNot` where that is not permitted here."""

    def make(folder: Path) -> Place:
        folder.mkdir()
        try:
            disk = SmallDisk(folder / "disk", "ext4", f"{size_mib}M")
        except pytest.skip.Exception as reason:  # what the tests do where they can't have one
            raise WhyNot(str(reason)) from None
        return _made(Place(folder / "disk" / "data", disk.seen / "data", disk))

    return make


class WhyNot(Exception):
    """There are no small disks here, and why."""


def _made(place: Place) -> Place:
    place.seen.mkdir(parents=True)
    return place
