"""Doubts: the files of which what the ledger says is not to be relied on before they were asked about or compared. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Doubts:
    """The paths in doubt, by the reason.

    `unknown`: what the receiver holds is not known (files that were there before the agent and are not in the ledger, and
    those that a receiver may have lost). `unsure`: shipped files of which no signature tells whether their bytes are the same.
    `anew`: streams that do not begin with what was shipped of them.
    """

    unknown: set[str] = field(default_factory=set)
    unsure: set[str] = field(default_factory=set)
    anew: set[str] = field(default_factory=set)

    def has_position(self, path: str) -> bool:
        """Whether the ledger's position of `path` counts."""
        return path not in self.unknown and path not in self.anew

    def forget(self, path: str) -> None:
        """Drop `path`: both sides agree on it, or it is gone."""
        self.unknown.discard(path)
        self.unsure.discard(path)
        self.anew.discard(path)
