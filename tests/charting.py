"""Runs whose curves are known point by point, the page over them, and what a test looks at in a chart."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Locator, Page

from ml_logger import ML_Logger

LONG_STEPS = 4000
SPIKE_STEP, SPIKE = 2777, 50.0
SEEDS = (0, 1, 2)
SCRIPT = "<img src=x onerror=\"document.title='owned'\"><b>&amp;bold</b>"


def noise(seed: int, steps: int) -> list[float]:
    """Return what a run of `charts/seeds` logs as ``train/loss``."""
    return [float(value) for value in np.random.default_rng(seed).normal(1, 0.1, steps)]


@dataclass
class Charted:
    """A folder of runs to draw; `live` is the logger of the one that goes on."""

    root: Path
    live: ML_Logger
    next_step: int = 0

    def log_more(self, steps: int) -> int:
        """Log so many more steps of the living run, and return the last one."""
        for step in range(self.next_step, self.next_step + steps):
            self.live.log(step, {"live/loss": 1 / (step + 1)}, silent=True)
        self.next_step += steps
        return self.next_step - 1


@contextmanager
def make_charted(root: Path) -> Iterator[Charted]:
    """Fill `root`: `seeds/…` (60 steps each), `long` (a spike), `odd` (NaN, infinities), a hostile one, `live`."""
    with contextlib.redirect_stdout(io.StringIO()):
        for seed in SEEDS:
            _log_seed(root / f"seeds/s{seed}", seed)
        _log_long(root / "long")
        _log_odd(root / "odd")
        with ML_Logger(root / f"hostile {SCRIPT.replace('/', '|')}") as logger:
            for step in range(5):
                logger.log(step, {f"hostile/{SCRIPT}": float(step)}, silent=True)
        with ML_Logger(root / "live") as logger:
            charted = Charted(root, logger)
            charted.log_more(20)
            yield charted


def _log_seed(directory: Path, seed: int) -> None:
    with ML_Logger(directory) as logger:
        logger.log_params(model={"lr": 0.1}, seed=seed)
        for step, loss in enumerate(noise(seed, 60)):
            logger.log(step, {"train/loss": loss, "train/accuracy": step / 60}, silent=True)


def _log_long(directory: Path) -> None:
    with ML_Logger(directory) as logger:
        for step in range(LONG_STEPS):
            value = SPIKE if step == SPIKE_STEP else math.sin(step / 100)
            logger.log(step, {"long/wave": value, "long/ramp": step}, silent=True)


def _log_odd(directory: Path) -> None:
    with ML_Logger(directory) as logger:
        odd = {3: math.nan, 5: math.inf, 7: -math.inf}
        for step in range(10):
            logger.log(step, {"odd/value": odd.get(step, float(step)), "bare": 10.0**step}, silent=True)


def chart(page: Page, name: str) -> Locator:
    """Return the card of a chart, scrolled to and drawn."""
    card = page.locator(".chart").and_(page.locator(f"[data-chart={_quoted(name)}]"))
    card.evaluate("card => card.scrollIntoView({block: 'nearest'})")
    card.and_(page.locator(".drawn")).wait_for()
    return card


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def drawn(card: Locator) -> dict[str, Any]:
    """Return what plotly.js draws: its `traces` (`x`, `y`, `mode`, `name` …) and its `layout`."""
    return card.locator(".plot-canvas").evaluate(
        """gd => ({layout: gd.layout, traces: gd.data.map(trace => ({
            ...trace, x: Array.from(trace.x), y: Array.from(trace.y, String)}))})"""
    )


def lines(card: Locator) -> dict[str, list[tuple[float, float]]]:
    """Return the points of each line by its name."""
    return {
        trace["name"]: list(zip(trace["x"], map(float, trace["y"]), strict=True))
        for trace in drawn(card)["traces"]
        if trace["mode"] == "lines" and "fill" not in trace
    }


def bands(card: Locator) -> list[dict[str, Any]]:
    """Return what is drawn as bands: closed outlines."""
    return [trace for trace in drawn(card)["traces"] if "fill" in trace]
