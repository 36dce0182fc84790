"""Aim with a local repository; read back by its own classes, after the indexing that its server would do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aim
from aim.storage.context import Context

from . import IMAGE, KEYS, Held


class _Run:
    def __init__(self, folder: Path) -> None:
        self._run = aim.Run(repo=str(folder), system_tracking_interval=None, capture_terminal_logs=False)
        self.finish = self._run.close

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.track(dict(values), step=step)

    def log_image(self, step: int, pixels: Any) -> None:
        self._run.track(aim.Image(pixels), name=IMAGE, step=step)


def open_run(folder: Path) -> _Run:
    """Begin a run without what it tells of the machine."""
    return _Run(folder)


def held(folder: Path) -> Held:
    """Return what the run has."""
    from aim.sdk.index_manager import RepoIndexManager  # what only reading needs

    repository = aim.Repo(str(folder))
    (name,) = repository.list_all_runs()
    RepoIndexManager.get_index_manager(repository).index(name)
    run = aim.Repo(str(folder)).get_run(name)
    series = [run.get_metric(key, Context({})) for key in KEYS]
    steps = Counter(step for metric in series if metric is not None for step in metric.values.sparse_list()[0])
    images = run.get_image_sequence(IMAGE, Context({}))
    whole = sum(count == len(KEYS) for count in steps.values())
    return Held(whole, 0 if images is None else len(images.values.sparse_list()[0]))
