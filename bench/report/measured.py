"""What a benchmark measured, as its JSON file has it, and which of two files is the newer one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Measured:
    """One run of one benchmark: where and when, tables of rows by their titles, promises, and what else it notes."""

    machine: Mapping[str, Any]
    tables: Mapping[str, list[Row]]
    targets: list[Row]
    notes: Mapping[str, Any]

    @property
    def date(self) -> str:
        """When it was written: ISO 8601, UTC."""
        return str(self.machine["date"])

    def rows(self, title: str) -> list[Row]:
        """Return the rows of the table whose title begins like this; none if there is no such table."""
        return next((rows for name, rows in self.tables.items() if name.startswith(title)), [])


def read(path: Path) -> Measured:
    """Return what a file holds; raises `KeyError` if a part is missing."""
    found = json.loads(path.read_text(encoding="utf-8"))
    machine, tables, targets = (found.pop(name) for name in ("machine", "tables", "targets"))
    return Measured(machine, {title: table["rows"] for title, table in tables.items()}, targets, found)


def take_newer(name: str, measured: Path, kept: Path) -> bool:
    """Copy ``name.json`` from `measured` over that in `kept` if it is the newer one, or the only one; say whether it was."""
    source, target = (folder / f"{name}.json" for folder in (measured, kept))
    if not source.exists() or (target.exists() and _date(source) <= _date(target)):
        return False
    shutil.copyfile(source, target)
    return True


def _date(path: Path) -> str:
    return str(json.loads(path.read_text(encoding="utf-8"))["machine"]["date"])
