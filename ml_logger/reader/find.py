"""Finding: the runs in a tree of files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from ..errors import NotHeld
from ..files import Entry, Files, LocalFiles
from ..layout import METRICS, PARAMETERS, RUN, is_hidden
from .cache import ColumnCache
from .media import KINDS
from .parts import joined, part_number
from .run import Run

_STREAMS = (RUN, METRICS, PARAMETERS)


def find_runs(
    root: str | os.PathLike[str] = "",
    *,
    files: Files | None = None,
    cache: ColumnCache | Literal["user"] | None = "user",
) -> list[Run]:
    """Return the runs at and under the directory `root`, or in `files` at and under the folder `root`, sorted by path.

    A run is a folder that holds a run's streams; links to folders are not followed. `cache` is as for `Run`.
    """
    if files is not None:
        return [Run(folder, files=files, cache=cache) for folder in sorted(run_folders(files, os.fspath(root)))]
    folders = sorted(run_folders(LocalFiles(root or ".")))
    return [Run(Path(root, folder), cache=cache) for folder in folders]


def run_folders(files: Files, folder: str = "") -> Iterator[str]:
    """Yield the path of every folder of a run at and under `folder`, as it is found."""
    waiting = [folder]
    while waiting:
        folder = waiting.pop()
        try:
            entries = files.list(folder)
        except NotHeld:  # not there, or gone since it was listed
            continue
        is_run = has_streams(entries)
        if is_run:
            yield folder
        waiting += [joined(folder, entry.name) for entry in entries if _is_looked_into(entry, is_run=is_run)]


def _is_looked_into(entry: Entry, *, is_run: bool) -> bool:
    is_folder = entry.kind == "dir" and not entry.is_link and not is_hidden(entry.name)
    return is_folder and not (is_run and entry.name in KINDS)


def has_streams(entries: Iterable[Entry]) -> bool:
    """Return whether a folder with these `entries` is that of a run."""
    return any(
        entry.kind == "file" and part_number(entry.name, stream) is not None for entry in entries for stream in _STREAMS
    )
