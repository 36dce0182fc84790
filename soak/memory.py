"""Memory: what the agents and the receiver have in RAM, once a second, and how fast it grows."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

WARM_UP_S = 60.0
"""A process that has just begun grows into its work: that is no slope. One that lives no longer has none."""

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Series:
    """The memory of one life: seconds since it began, and bytes."""

    began_s: float
    ages_s: list[float] = field(default_factory=list)
    sizes_bytes: list[int] = field(default_factory=list)

    def worn_in(self) -> list[tuple[float, int]]:
        """Return the samples after the warm-up."""
        return [(a, s) for a, s in zip(self.ages_s, self.sizes_bytes, strict=True) if a >= WARM_UP_S]


@dataclass
class Memory:
    """The samples of every life of every process that is looked at, by the name of its role."""

    lives: dict[str, dict[int, Series]] = field(default_factory=dict)

    def sample(self, role: str, pid: int, now_s: float) -> None:
        """Add one sample of the process `pid`."""
        with suppress(OSError):
            size = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * _PAGE_BYTES
            series = self.lives.setdefault(role, {}).setdefault(pid, Series(now_s))
            series.ages_s.append(now_s - series.began_s)
            series.sizes_bytes.append(size)

    def write(self, path: Path) -> None:
        """Write all samples as a table: role, process, seconds since it began, MiB."""
        with path.open("w", encoding="utf-8") as file:
            for role, lives in self.lives.items():
                for pid, series in lives.items():
                    samples = zip(series.ages_s, series.sizes_bytes, strict=True)
                    file.writelines(f"{role},{pid},{age_s:.1f},{size / (1 << 20):.2f}\n" for age_s, size in samples)

    def row(self, role: str) -> dict[str, object]:
        """Return the figures of one role: lives, the seconds that were looked at worn in, most MiB, and the slope."""
        lives = list(self.lives.get(role, {}).values())
        worn_in = [series.worn_in() for series in lives]
        most = max((size for series in lives for size in series.sizes_bytes), default=0)
        slope = slope_per_s(worn_in)
        return {
            "process": role,
            "lives": len(lives),
            "worn_in_s": round(sum(samples[-1][0] - samples[0][0] for samples in worn_in if samples)),
            "most_MiB": round(most / (1 << 20), 1),
            "slope_MiB_per_h": None if slope is None else round(slope * 3600 / (1 << 20), 2),
        }


def slope_per_s(lives: Sequence[Sequence[tuple[float, float]]]) -> float | None:
    """Return the slope that fits all `lives` best (least squares), each with a level of its own; None without two samples."""
    above = below = 0.0
    for samples in lives:
        middle_s = sum(at for at, _ in samples) / max(1, len(samples))
        level = sum(size for _, size in samples) / max(1, len(samples))
        above += sum((at - middle_s) * (size - level) for at, size in samples)
        below += sum((at - middle_s) ** 2 for at, _ in samples)
    return above / below if below else None
