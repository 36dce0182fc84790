"""DVCLive without a DVC experiment, which would need a Git repository; read back by its own function for tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dvclive import Live
from dvclive.utils import parse_tsv

from . import IMAGE, KEYS, Held


class _Run:
    def __init__(self, folder: Path) -> None:
        self._live = Live(str(folder), save_dvc_exp=False, dvcyaml=None)
        self.finish = self._live.end

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._live.step = step
        for key, value in values.items():
            self._live.log_metric(key, value)
        self._live.next_step()

    def log_image(self, step: int, pixels: Any) -> None:
        self._live.step = step
        self._live.log_image(f"{IMAGE}/{step}.png", pixels)
        self._live.next_step()


def open_run(folder: Path) -> _Run:
    """Begin a run."""
    return _Run(folder)


def held(folder: Path) -> Held:
    """Return what its tables have; of images, how many files can be opened."""
    from PIL import Image

    tables = [folder / "plots/metrics" / f"{key}.tsv" for key in KEYS]
    lines = [
        line
        for key, table in zip(KEYS, tables, strict=True)
        if table.exists()
        for line in parse_tsv(table)
        if line[key]
    ]
    steps = Counter(line["step"] for line in lines)
    images = list(folder.glob(f"plots/images/{IMAGE}/*.png"))
    for path in images:
        Image.open(path).load()
    return Held(sum(count == len(KEYS) for count in steps.values()), len(images))
