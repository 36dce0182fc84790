"""A shipper that says behind every round how far it is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from ..errors import BadAnswer, ShipError
from .config import AgentConfig
from .couriers import Staff
from .ledger import Ledger
from .progress import Progress
from .scanner import Problem
from .settling import Clock
from .shipper import Round, Shipper
from .status_file import StatusFile


class TellingShipper(Shipper):
    """Ships as `Shipper` does, and tells `status` of it: failures at once, all else when it is due."""

    def __init__(
        self, spool: Path, config: AgentConfig, ledger: Ledger, staff: Staff, clock: Clock, status: StatusFile
    ) -> None:
        super().__init__(spool, config, ledger, staff, clock, Progress(last_ack_at=status.latest().last_ack_at))
        self._status = status

    def ship_once(self, complete_paths: Iterable[str] = (), folders: Iterable[str] | None = None) -> Round:
        """Do one round as `Shipper.ship_once`; the next one is wanted no later than there is something to tell."""
        try:
            done = super().ship_once(complete_paths, folders)
        except (ShipError, BadAnswer) as error:
            self._status.tell_error(error.one_line(), self.progress)
            raise
        self._status.tell(self.progress)
        return replace(done, next_look_in_s=min(done.next_look_in_s, self._status.due_in_s()))

    def unshipped(self) -> list[Problem]:
        """Return what `Shipper.unshipped` does, and tell how far it is, due or not: it is asked at the end."""
        left = super().unshipped()
        self._status.tell(self.progress, is_last=True)
        return left
