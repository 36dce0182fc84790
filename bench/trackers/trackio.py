"""trackio, which keeps its projects below ``TRACKIO_DIR``; read back by its own storage, as its command does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import trackio

from . import IMAGE, KEYS, Held

_PROJECT, _RUN = "bench", "run"


class _Run:
    def __init__(self) -> None:
        trackio.init(project=_PROJECT, name=_RUN, embed=False)
        self.finish = trackio.finish

    def log(self, step: int, values: Mapping[str, float]) -> None:
        trackio.log(dict(values), step=step)

    def log_image(self, step: int, pixels: Any) -> None:
        trackio.log({IMAGE: trackio.Image(pixels)}, step=step)


def open_run(_folder: Path) -> _Run:
    """Begin a run, in the folder that the environment names."""
    return _Run()


def held(folder: Path) -> Held:
    """Return what trackio's storage gives of the run; of images, how many of their files can be opened."""
    from PIL import Image
    from trackio.sqlite_storage import SQLiteStorage

    logs = SQLiteStorage.get_logs(_PROJECT, _RUN)
    images = [log[IMAGE] for log in logs if IMAGE in log]
    for image in images:
        Image.open(folder / "media" / image["file_path"]).load()
    return Held(sum(all(key in log for key in KEYS) for log in logs), len(images))
