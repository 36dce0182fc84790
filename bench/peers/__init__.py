"""What a user would ship files with: ML_Logger itself and the usual tools, each as a server process and a command.

A `Peer` serves a folder and has a command that ships another folder into it and ends. `is_durable` says whether what it has
shipped is fsynced by then.
"""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ..processes import Server


@dataclass(frozen=True)
class Place:
    """Where one shipping happens: from `source` to `mirror`; `work` is for configs and logs, empty at the start."""

    source: Path
    mirror: Path
    work: Path


@dataclass(frozen=True)
class Peer(ABC):
    """One way of shipping."""

    name: str
    is_durable: bool
    programs: ClassVar[tuple[str, ...]] = ()

    def missing(self) -> list[str]:
        """Return the programs it needs that are not installed."""
        return [program for program in self.programs if shutil.which(program) is None]

    @abstractmethod
    def serve(self, place: Place) -> AbstractContextManager[Server]:
        """Serve `place.mirror` until the block ends; the server accepts connections when it begins."""

    @abstractmethod
    def command(self, place: Place, port: int) -> list[str]:
        """Return the command that ships all of `place.source` to a server on `port` of this machine, and then ends."""
