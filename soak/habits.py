"""The habits of trainers: what each logs at a step. Values are random, so that two trainers never write the same bytes."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .life import Life

FORK_RECORDS = 8
BURST_RECORDS = 400


@dataclass(frozen=True)
class Habit:
    """What a trainer does at each step, how large its streams may get, and after how many steps it starts itself anew."""

    log_step: Callable[[Life, int], None]
    segment_bytes: int = 64 << 20
    steps: int = 1 << 62


def metrics(life: Life, step: int) -> None:
    """Log as most do: a few floats a step."""
    life.metric(step, loss=random.random(), lr=random.random())


def images(life: Life, step: int) -> None:
    """Log an image every few steps."""
    metrics(life, step)
    if step % 5 == 0:
        life.image(step, np.random.default_rng().integers(0, 256, (40, 40, 3), dtype=np.uint8))


def tensors(life: Life, step: int) -> None:
    """Log a tensor every few steps."""
    metrics(life, step)
    if step % 5 == 0:
        life.tensor(step, np.random.default_rng().random((40, 40)))


def params(life: Life, step: int) -> None:
    """Log parameters again and again."""
    metrics(life, step)
    if step % 3 == 0:
        life.params(step=step, rate=random.random())


def text(life: Life, step: int) -> None:
    """Print at each step, in words of many bytes too."""
    metrics(life, step)
    life.text(f"größe 模型 {random.random()}" + " …" * random.randrange(40))


def tables(life: Life, step: int) -> None:
    """Print tables, and log histograms and data of its own."""
    life.metric(step, silent=False, loss=random.random(), score=random.random())
    life.logger.log_histogram(step, bins=8, w=np.random.default_rng().random(100))
    life.data("eval/rows", step=step, score=random.random())


def bursts(life: Life, step: int) -> None:
    """Log much at once, and little between."""
    for _ in range(BURST_RECORDS if step % 50 == 20 else 1):
        metrics(life, step)


def forks(life: Life, step: int) -> None:
    """Have a child log for some steps."""
    metrics(life, step)
    if step % 20 == 10:
        child = os.fork()
        if child == 0:
            _live_as_child(life, step, os.getppid())
        os.waitpid(child, 0)


def _live_as_child(life: Life, step: int, parent: int) -> None:
    life.begin_anew()
    for number in range(FORK_RECORDS):
        if os.getppid() == parent:  # nobody would end it once its parent is gone
            metrics(life, step + number)
            time.sleep(0.02)
    os._exit(0)


HABITS = {
    "metrics": Habit(metrics),
    "images": Habit(images),
    "params": Habit(params),
    "text": Habit(text),
    "tensors": Habit(tensors),
    "tables": Habit(tables),
    "parts": Habit(text, segment_bytes=4096),
    "bursts": Habit(bursts),
    "resumes": Habit(images, steps=60),
    "forks": Habit(forks),
}
