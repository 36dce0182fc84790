"""What one check of the doctor found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .amounts import plain_text

Level = Literal["ok", "warn", "FAIL", "skip"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found, and, unless all is well, how to mend it."""

    level: Level
    check: str
    text: str
    mend: str | None = None

    def line(self) -> str:
        """Return it as one line."""
        text = plain_text(self.text) + (f" – {plain_text(self.mend)}" if self.mend else "")
        return f"{self.level:<5} {self.check:<9} {text}"
