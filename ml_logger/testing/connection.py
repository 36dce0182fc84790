"""The agent's ledger on a disk that fails: SQLite's statements, each of which can fail or be the last one."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .faults import Faults

NEEDS_ROOM = ("insert", "commit", "create")
"""The statements that fail where the disk is full."""


class FaultyConnect:
    """Stands where `sqlite3.connect` stands: ``Ledger(file, connect=FaultyConnect(faults))``.

    A statement is called by its first word in lower case (``insert``), and each row of a list is a statement of its own. No
    disk is below a database in memory, so there the process can die and nothing else.
    """

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._opened: list[sqlite3.Connection] = []

    def __call__(self, name: str | Path, **settings: Any) -> sqlite3.Connection:
        """Open a database."""
        faults, is_on_disk = self._faults, name != ":memory:"

        class Connection(sqlite3.Connection):
            def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
                error = faults.maybe_error(sql.split(maxsplit=1)[0].lower())
                if isinstance(error, OSError) and is_on_disk:
                    raise sqlite3.OperationalError("database or disk is full") from error
                if error is not None and not isinstance(error, OSError):
                    raise error
                return super().execute(sql, parameters)

            def executemany(self, sql: str, parameters: Iterable[Any], /) -> sqlite3.Cursor:
                for row in parameters:
                    self.execute(sql, row)
                return self.cursor()

        self._opened.append(sqlite3.connect(name, factory=Connection, **settings))
        return self._opened[-1]

    def let_go(self) -> None:
        """Close what is open, as the end of the process does: what was not committed never was."""
        for connection in self._opened:
            connection.close()
        self._opened.clear()
