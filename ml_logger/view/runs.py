"""What a run is to those who look: one line in the table of runs, and the whole of it."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from itertools import groupby
from typing import Any

from ..errors import NotHeld
from ..files import Files
from ..layout import HISTOGRAMS, RUN, is_hidden
from ..reader import Histogram, MediaFile, Run
from ..reader.find import has_streams, run_folders
from ..reader.histograms import histograms_in
from .answers import Reply, json_reply
from .followed import Followed
from .keeping import notes_in
from .words import word_of

_MEDIA = ("images", "videos", "figures", "tensors", "modules")


class KnownRuns:
    """The runs below the top of `files`, each kept with what was read of it."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._runs: dict[str, Run] = {}
        self._histograms: dict[str, Followed[Histogram]] = {}

    def all(self) -> Iterable[Run]:
        """Yield every run, by path."""
        return [self._run(folder) for folder in sorted(run_folders(self._files))]

    def get(self, path: str) -> Run:
        """Return the run at `path`; raises `NotHeld`."""
        if not has_streams(self._files.list(path)):
            raise NotHeld(f"{path[:200]!a} is no run")
        return self._run(path)

    def histograms(self, path: str) -> list[Histogram]:
        """Return the histograms of the run at `path`, of all keys; raises `NotHeld`."""
        run = self.get(path)
        followed = self._histograms.setdefault(path, Followed(self._files, histograms_in))
        return [one for part in followed.look(run.parts(HISTOGRAMS)) for one in part]

    def _run(self, path: str) -> Run:
        return self._runs.setdefault(path, Run(path, files=self._files))


def list_runs(runs: Iterable[Run]) -> Reply:
    """Return one line for each run."""
    lines = [line(run) for run in runs]
    return json_reply({"version": 0, "is_whole": True, "is_scanning": False, "runs": lines, "gone": []})


def one_run(run: Run) -> Reply:
    """Return one run whole."""
    return json_reply({**line(run), **_rest(run)})


def line(run: Run) -> dict[str, Any]:
    """Return a run as it is listed."""
    life, columns = run.life, run.columns()
    last = columns.last_values()
    parts = run.parts(RUN)
    heard = max([part.mtime_ns / 1e9 for part in parts] + [last.get("_timestamp", 0.0)], default=None)
    return {
        "path": run.folder,
        "version": zlib.crc32(repr((run.version, life)).encode()),
        "state": life.state,
        "heard": heard,
        "started": life.started,
        "ended": life.ended,
        "host": life.host,
        "pid": life.pid,
        "records": columns.count,
        "step": last.get("_step"),
        "params": run.flat_params,
        "last": {key: word_of(value) for key, value in last.items() if not key.startswith("_")},
        "notes": notes_in(run.files, run.folder),
    }


def _rest(run: Run) -> dict[str, Any]:
    columns = run.columns()
    names = [entry.name for entry in run.files.list(run.folder) if entry.kind == "file"]
    before = f"{run.folder}/" if run.folder else ""
    return {
        "sections": run.params,
        "keys": [
            {"key": key, "points": one.points, "first_step": one.first_step, "last_step": one.last_step}
            for key, one in columns.keys().items()
        ],
        "events": run.events,
        "attempts": len(columns.attempts),
        "bad_lines": run.bad_lines,
        "media": [one for kind in _MEDIA for one in _media(run.media(kind))],
        "histograms": sorted({one.key for one in run.histograms()}) if run.parts(HISTOGRAMS) else [],
        "texts": [before + name for name in names if name.endswith((".log", ".txt")) and not is_hidden(name)],
        "readme": "README.md" in names,
    }


def _media(files: Iterable[MediaFile]) -> Iterable[dict[str, Any]]:
    for (kind, key), found in groupby(files, key=lambda file: (file.kind, file.key)):
        yield {
            "kind": kind,
            "key": key,
            "files": [{"step": file.step, "name": file.name, "path": file.path} for file in found],
        }
