"""Results: one JSON file a run in ``build/bench/`` and a table for people, with the machine and the versions in both."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent.parent / "build" / "bench"


@dataclass(frozen=True)
class Target:
    """A promise and what was measured: the number must be below `most`."""

    promise: str
    measured: float
    most: float

    @property
    def is_met(self) -> bool:
        """Whether the promise held in this run."""
        return self.measured <= self.most


@dataclass
class Report:
    """A benchmark's tables and targets as they come, each table printed at once."""

    tables: dict[str, Any] = field(default_factory=dict)
    targets: list[Target] = field(default_factory=list)

    def add(self, title: str, rows: Sequence[Mapping[str, object]]) -> None:
        """Print a table and keep it, with the load of the machine then."""
        load = round(os.getloadavg()[0], 1)
        self.tables[title] = {"load_1_min": load, "rows": rows}
        print(f"{title} (load {load})", table(rows), sep="\n", end="\n\n", flush=True)

    def judge(self, promise: str, measured: float, most: float) -> None:
        """Keep a promise and what was measured."""
        self.targets.append(Target(promise, measured, most))

    def write(self, name: str, **sections: Any) -> Path:
        """Write all of it and return the path of the file; a later run replaces it."""
        judged = [{**asdict(target), "is_met": target.is_met} for target in self.targets]
        found = {"machine": machine(), **sections, "tables": self.tables, "targets": judged}
        path = FOLDER / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        return path


def machine() -> dict[str, Any]:
    """Return where and when this runs: processor, cores, load, system, versions, and the time in UTC."""
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load_1_min": round(os.getloadavg()[0], 2),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("ml-logger", "numpy", "orjson", "pillow")},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def file_system(path: Path) -> str:
    """Return the type of the file system that holds `path`, such as ext4; "unknown" where the system does not tell."""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()]
    except OSError:
        return "unknown"
    holding = [(len(place), kind) for place, kind in mounts if path.resolve().is_relative_to(place)]
    return max(holding)[1] if holding else "unknown"


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """Return `rows` as aligned text, the keys of the first as the heading; the first column left, the others right."""
    heading = list(rows[0])
    lines = [heading, *([_shown(row[key]) for key in heading] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(heading))]
    return "\n".join(
        "  ".join(
            text.rjust(width) if i else text.ljust(width)
            for i, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def _shown(value: object) -> str:
    return f"{value:,}" if isinstance(value, (int, float)) else str(value)


def verdicts(targets: Sequence[Target]) -> str:
    """Return one line a target: met or missed, measured, promised."""
    return "\n".join(
        f"{'met   ' if t.is_met else 'MISSED'}  {t.promise}: {t.measured:,.2f} (at most {t.most:,.2f})" for t in targets
    )
