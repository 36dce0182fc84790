"""A training process for the tests: logs some of everything into a directory, as fast or as slowly as it is told.

python training.py DIRECTORY STEPS STEP_S
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from ml_logger import ML_Logger

IMAGE_EVERY = 20


def log_step(logger: ML_Logger, step: int) -> None:
    """Log one step: a record, and now and then an image, a tensor and a histogram that no compression makes small."""
    rng = np.random.default_rng(step)
    logger.log(step, {"train/loss": rng.random(), "größe": rng.random()}, lr=1e-3, silent=True)
    if step % IMAGE_EVERY == 0:
        logger.log_image(step, sample=rng.integers(0, 256, (48, 48, 3), dtype=np.uint8))
        logger.log_tensor(step, **{"layer/w": rng.random((16, 16))})
        logger.log_histogram(step, bins=8, w=rng.random(100))
        logger.print("step", step)


def log_run(directory: Path, steps: int, step_s: float = 0.0) -> None:
    """Log a whole run of `steps` steps that take at least `step_s` seconds each."""
    with ML_Logger(directory) as logger:
        logger.log_params(Args={"steps": steps, "path": directory.name})
        for step in range(steps):
            log_step(logger, step)
            time.sleep(step_s)


if __name__ == "__main__":
    log_run(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
