"""The whole of a run, for those who look at it."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Any

from ..files import Entry
from ..layout import is_hidden, matches_any
from ..reader import MediaFile
from ..reader.media import KINDS
from .open_runs import OpenRun
from .readme import NAME as README
from .words import word_of

_TEXTS = ("*.log", "*.txt")


def whole(found: OpenRun, version: int) -> dict[str, Any]:
    """Return a run as it is listed, and all that is in it beside its numbers; raises `NotHeld`."""
    run = found.run
    columns, entries = run.columns(), run.files.list(run.folder)
    return {
        **found.line(),
        "version": version,
        "sections": word_of(run.params),
        "keys": [
            {"key": key, "points": one.points, "first_step": one.first_step, "last_step": one.last_step}
            for key, one in columns.keys().items()
        ],
        "events": word_of(run.events),
        "attempts": len(columns.attempts),
        "bad_lines": run.bad_lines,
        "media": [one for kind in _kinds(entries) for one in _media(run.media(kind))],
        "histograms": list(run.histogram_keys()),
        "texts": [f"{run.folder}/{name}".lstrip("/") for name in _names(entries) if matches_any(name, _TEXTS)],
        "readme": README in _names(entries),
    }


def _names(entries: Iterable[Entry]) -> list[str]:
    return [entry.name for entry in entries if entry.kind == "file" and not is_hidden(entry.name)]


def _kinds(entries: Iterable[Entry]) -> list[str]:
    there = {entry.name for entry in entries if entry.kind == "dir"}
    return [kind for kind in KINDS if kind in there]


def _media(files: Iterable[MediaFile]) -> Iterable[dict[str, Any]]:
    for (kind, key), found in groupby(files, key=lambda file: (file.kind, file.key)):
        yield {"kind": kind, "key": key, "files": [_told(file) for file in found]}


def _told(file: MediaFile) -> dict[str, Any]:
    version = f"{file.size:x}-{file.mtime_ns:x}"
    return {"step": file.step, "name": file.name, "path": file.path, "version": version}
