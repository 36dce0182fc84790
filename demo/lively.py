"""Runs to look at: two sweeps of a few days, one run that failed, one that was killed, and one that goes on until Ctrl-C.

    python demo/lively.py DIRECTORY        and beside it        ml-logger view DIRECTORY

What is learnt is made up, the files are the real client's: its clock is set back, so that it looks like days.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from ml_logger import ML_Logger, green, percent, red, yellow

Array = NDArray[np.float64]

STEPS, EVALUATE_EVERY, DRAW_EVERY = 3000, 60, 500
HOUR_S = 3600.0
CLASSES = 10

README = """# Digits and pendulums

Two sweeps that show what the page draws.

| sweep | question | answer so far |
|---|---|---|
| `digits/` | width or rate? | **rate**: 0.003 is best at both widths |
| `pendulum/` | does clipping help? | yes, and it costs nothing |

The `digits/mlp-lr0.03-w256-s0` run diverged: see its note.
"""


class Clock:
    """A clock that is set, and moves on by `tick_s` each time it is read."""

    def __init__(self, now: float, tick_s: float) -> None:
        self.now, self.tick_s = now, tick_s

    def __call__(self) -> float:
        """Return the time in seconds since the epoch."""
        self.now += self.tick_s
        return self.now


@contextmanager
def run_at(directory: Path, hours_ago: float, step_s: float) -> Iterator[ML_Logger]:
    """Log a run that began so many hours ago; what it prints goes to its own files only."""
    clock = Clock(time.time() - hours_ago * HOUR_S, step_s)
    with patch("time.time", clock), contextlib.redirect_stdout(io.StringIO()), ML_Logger(directory) as logger:
        yield logger
    for path in directory.rglob("*"):
        os.utime(path, (clock.now, clock.now))


# --- what is "learnt"


def blob(row: float, column: float, width: float, size: int = 56) -> Array:
    """Return a bell on a square."""
    y, x = np.mgrid[0:size, 0:size] / size
    return np.asarray(np.exp(-((y - row) ** 2 + (x - column) ** 2) / width**2))


def digit_like(kind: int, noise: float, rng: np.random.Generator) -> Array:
    """Return strokes that come out of the noise as training goes on."""
    angle = np.linspace(0, 2 * np.pi * (0.5 + kind / 12), 22)
    strokes = sum(blob(0.5 - 0.28 * np.cos(a), 0.5 + 0.22 * np.sin(a * (1 + kind % 3)), 0.06) for a in angle)
    return np.asarray(np.clip((1 - noise) * np.clip(strokes, 0, 1) + noise * rng.random((56, 56)), 0, 1))


def loss_at(step: int, rate: float, width: int, rng: np.random.Generator) -> float:
    """Return a loss that falls as a power of the step; too high a rate turns it."""
    floor = 0.32 - 0.05 * np.log10(width / 32) + 0.05 * abs(np.log10(rate / 3e-3))
    falling = 2.3 * (1 + step * rate * 12) ** -0.55
    spike = 0.6 * np.exp(-((step % 1100) ** 2) / 400) if step > 800 else 0.0
    return float((floor + falling + spike) * (1 + 0.07 * rng.standard_normal()))


def confusion(progress: float, rng: np.random.Generator) -> Array:
    """Return shares of what was taken for what."""
    mistakes = rng.random((CLASSES, CLASSES)) * (1 - progress)
    table = np.eye(CLASSES) * (1 + 6 * progress) + mistakes
    return np.asarray(table / table.sum(axis=1, keepdims=True))


# --- the runs


def log_digits(logger: ML_Logger, rate: float, width: int, seed: int, steps: int = STEPS) -> None:
    """Log one run of the first sweep."""
    rng = np.random.default_rng([seed, width])
    logger.log_params(
        model={"kind": "mlp", "width": width, "depth": 3},
        optim={"name": "adamw", "lr": rate, "weight_decay": 0.01},
        data={"set": "digits", "batch": 128},
        seed=seed,
    )
    for step in range(steps):
        log_digit_step(logger, step, rate, width, rng)


def log_digit_step(logger: ML_Logger, step: int, rate: float, width: int, rng: np.random.Generator) -> None:
    """Log one step: numbers always, an evaluation and pictures now and then."""
    loss = loss_at(step, rate, width, rng)
    accuracy = float(np.exp(-loss * 0.55))
    warm = min(1.0, step / 200) * 0.5 * (1 + np.cos(np.pi * step / STEPS))
    numbers = {"train/loss": loss, "train/accuracy": accuracy, "optim/lr": rate * warm}
    numbers["optim/grad_norm"] = loss * (1 + abs(rng.standard_normal()))
    logger.log(step, numbers, silent=True)
    if step % EVALUATE_EVERY == 0:
        evaluated = loss * 1.06 + 0.00003 * step * (width / 256)
        logger.log(step, {"eval/loss": evaluated, "eval/accuracy": float(np.exp(-evaluated * 0.5))}, silent=True)
        shown = green(accuracy, percent) if accuracy > 0.7 else yellow(accuracy, percent)
        logger.print(f"step {step:5d}  loss {loss:.4f}  accuracy {shown}")
    if step % DRAW_EVERY == 0:
        draw_digits(logger, step, rng)


def draw_digits(logger: ML_Logger, step: int, rng: np.random.Generator) -> None:
    """Log samples, a confusion table and the weights."""
    progress = step / STEPS
    rows = [np.hstack([digit_like(5 * r + c, 0.85 * (1 - progress), rng) for c in range(5)]) for r in range(2)]
    logger.log_image(step, samples=np.vstack(rows))
    weights = rng.normal(0, 0.4 - 0.25 * progress, (24, 48)) + progress * np.outer(np.sin(np.arange(24)), np.ones(48))
    logger.log_image(step, **{"layers/first": (weights - weights.min()) / np.ptp(weights)})
    logger.log_tensor(step, confusion=confusion(progress, rng), **{"layers/first": weights})
    spread = 0.02 + 0.2 * progress
    logger.log_histogram(
        step,
        bins=48,
        **{"weights/first": rng.normal(0, spread, 4000), "weights/last": rng.laplace(progress, spread, 2000)},
    )


def log_pendulum(logger: ML_Logger, clip: float, seed: int, steps: int = 1500) -> None:
    """Log one run of the second sweep."""
    rng = np.random.default_rng([seed, 7])
    logger.log_params(algo={"name": "ppo", "clip": clip, "horizon": 2048}, env={"name": "Pendulum-v1"}, seed=seed)
    for step in range(steps):
        reward = -1500 * np.exp(-step / (260 + 500 * clip)) - 160 + 45 * rng.standard_normal()
        numbers = {"reward/mean": float(reward), "reward/std": float(abs(60 * rng.standard_normal()))}
        logger.log(step, {**numbers, "policy/entropy": 1.4 * np.exp(-step / 700)}, silent=True)
        if step % 500 == 0:
            angles = np.linspace(0, (2.6 - step / 800) * np.pi, 12)
            frames = [blob(0.5 - 0.35 * np.cos(a), 0.5 + 0.35 * np.sin(a), 0.12, 64) for a in angles]
            logger.log_video(step, rollout=[np.clip(frame, 0, 1) for frame in frames])


def make_runs(root: Path) -> None:
    """Write the runs that are over; it takes about ten seconds."""
    (root / "digits").mkdir(parents=True, exist_ok=True)
    (root / "README.md").write_text(README, encoding="utf-8")
    ages = itertools.count(56, -2.7)
    for clip, seed in itertools.product((0.1, 0.2), (0, 1)):
        with run_at(root / f"pendulum/ppo-clip{clip}-s{seed}", next(ages), 3.1) as logger:
            log_pendulum(logger, clip, seed)
    for rate, width, seed in itertools.product((1e-3, 3e-3), (64, 256), (0, 1)):
        with run_at(root / f"digits/mlp-lr{rate:g}-w{width}-s{seed}", next(ages), 1.3) as logger:
            log_digits(logger, rate, width, seed)
    make_diverged(root / "digits/mlp-lr0.03-w256-s0", next(ages))
    make_killed(root / "digits/mlp-lr0.01-w256-s0", next(ages))


def make_diverged(directory: Path, hours_ago: float) -> None:
    """Write a run that an exception ended, with a note and a tag."""
    with contextlib.suppress(FloatingPointError), run_at(directory, hours_ago, 1.3) as logger:
        log_digits(logger, 0.03, 256, 0, 700)
        logger.log(700, {"train/loss": float("nan"), "train/accuracy": 0.1}, silent=True)
        logger.print(red("loss is not finite"))
        raise FloatingPointError("loss is not finite")
    note = "pinned: false\ntags: [diverged]\nnote: too high a rate for this width\n"
    (directory / ".notes.yml").write_text(note, encoding="utf-8")


def make_killed(directory: Path, hours_ago: float) -> None:
    """Write a run that ended without a word."""
    with run_at(directory, hours_ago, 1.3) as logger:
        log_digits(logger, 0.01, 256, 0, 1900)
    events = directory / "run.jsonl"
    last_ns = events.stat().st_mtime_ns
    events.write_text(events.read_text(encoding="utf-8").splitlines(keepends=True)[0], encoding="utf-8")
    os.utime(events, ns=(last_ns, last_ns))


@contextmanager
def run_that_goes_on(root: Path) -> Iterator[Iterator[None]]:
    """Open a run that is half through; each `next` logs one more step of it."""
    clock = Clock(time.time() - 0.6 * HOUR_S, 1.3)
    rate, width, rng = 3e-3, 128, np.random.default_rng(5)
    with contextlib.redirect_stdout(io.StringIO()), ML_Logger(root / "digits/mlp-lr0.003-w128-s0") as logger:
        with patch("time.time", clock):
            log_digits(logger, rate, width, 5, STEPS // 2)
        yield (log_digit_step(logger, step, rate, width, rng) for step in itertools.count(STEPS // 2))


def main() -> None:
    """Make the runs in the directory that is named, and go on with one of them."""
    root = Path(sys.argv[1])
    make_runs(root)
    with contextlib.suppress(KeyboardInterrupt), run_that_goes_on(root) as steps:
        print(f"one run goes on until Ctrl-C; look at it with: ml-logger view {root}", file=sys.stderr)
        for _ in steps:
            time.sleep(0.5)


if __name__ == "__main__":
    main()
