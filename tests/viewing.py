"""Runs to look at, made by the real client, and the page that shows them.

The folder `make_runs` fills: three finished runs of a sweep (`sweep/lr=…`, media and texts in each), a `failed`, a `killed`,
and one that is `running` for as long as the block lasts and grows by `Runs.log_more`; `hostile` has scripts in every name and
value.

Run as a program it is the run that is killed: python viewing.py DIRECTORY
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from processes import clean_environment

from ml_logger import ML_Logger
from ml_logger.view.local import Site

STEPS = 200
RATES = (0.1, 0.01, 0.001)
SCRIPT = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"

README = """# The sweep

Three rates, **one seed**.

| rate | note |
|---|---|
| 0.1 | diverges |

<script>document.title = 'owned'</script>
"""


@dataclass
class Runs:
    """A folder of runs; `running` is the logger of the one that goes on."""

    root: Path
    running: ML_Logger
    next_step: int = 0

    def log_more(self, steps: int = 10) -> int:
        """Log so many more steps of the running run, and return the last one."""
        for step in range(self.next_step, self.next_step + steps):
            self.running.log(step, {"train/loss": 1 / (step + 1), "train/accuracy": step / (step + 50)}, silent=True)
        self.next_step += steps
        return self.next_step - 1


@contextmanager
def make_runs(root: Path) -> Iterator[Runs]:
    """Fill `root` with runs; one goes on until the block ends. What the client prints goes nowhere."""
    with contextlib.redirect_stdout(io.StringIO()):
        for seed, rate in enumerate(RATES):
            log_whole_run(root / f"sweep/lr={rate}", rate, seed)
        (root / "sweep" / "README.md").write_text(README, encoding="utf-8")
        log_failed_run(root / "failed")
        log_hostile_run(root / "hostile")
        killed = subprocess.Popen([sys.executable, __file__, root / "killed"], env=clean_environment({}))
        with ML_Logger(root / "running") as logger:
            logger.log_params(model={"lr": 0.05, "layers": 4}, seed=9)
            runs = Runs(root, logger)
            runs.log_more(50)
            assert killed.wait(60) == -signal.SIGKILL
            yield runs


@contextmanager
def looking(root: Path, *, port: int = 0) -> Iterator[Site]:
    """Serve the page over `root` until the block ends, by default on a free port; its ``url`` ends in ``/``."""
    with closing(Site(root, port=port)) as site:
        yield site


def log_whole_run(directory: Path, rate: float, seed: int, steps: int = STEPS) -> None:
    """Log a finished run with some of everything in it."""
    rng = np.random.default_rng(seed)
    with ML_Logger(directory) as logger:
        logger.log_params(model={"lr": rate, "layers": 4, "optim": {"name": "adam"}}, data={"set": "mnist"}, seed=seed)
        for step in range(steps):
            loss = math.exp(-step * rate / 10) + rng.normal(0, 0.02)
            logger.log(step, {"train/loss": loss, "train/accuracy": 1 - loss / 2}, silent=True)
            if step % 10 == 0:
                logger.log(step, {"val/loss": loss * 1.1, "lr": rate}, silent=True)
            if step % 40 == 0:
                log_media(logger, step, rng)
        logger.log(steps, {"train/loss": math.nan, "val/loss": math.inf}, silent=True)
        log_texts(logger)
    (directory / "README.md").write_text(f"# Rate {rate}\n\n- a list\n- `code`\n", encoding="utf-8")


def log_media(logger: ML_Logger, step: int, rng: np.random.Generator) -> None:
    """Log one of each kind of medium."""
    ramp = np.linspace(0, 1, 64)
    logger.log_image(step, sample=np.outer(ramp, np.roll(ramp, step)), noise=rng.random((32, 32, 3)))
    logger.log_video(step, rollout=[np.roll(np.outer(ramp, ramp), 8 * shift, axis=1) for shift in range(6)])
    logger.log_tensor(step, **{"layer/w": rng.normal(0, 1, (24, 40)), "bias": rng.normal(0, 1, 16)})
    logger.log_histogram(step, bins=24, **{"layer/w": rng.normal(step / 40, 1, 500), "grad": rng.normal(0, 0.1, 500)})
    logger.log_module(step, net={"w": rng.random((3, 4)), "b": rng.random(4)})


def log_texts(logger: ML_Logger) -> None:
    """Log text with colours, a progress bar, and what is no ASCII."""
    logger.print("\x1b[32mgreen\x1b[0m and \x1b[1;31mbold red\x1b[0m, naïve Größe 漢字 🚀")
    for percent in range(0, 101, 20):
        logger.print(f"epoch 1: {percent:3d}%", end="\r")
    logger.print("\nepoch 1 done")
    logger.log_text("a,b\n1,2", "table.csv", silent=True)
    logger.log_data("events", {"what": "restart"})


def log_failed_run(directory: Path) -> None:
    """Log a run that an exception ended."""
    with contextlib.suppress(ValueError), ML_Logger(directory) as logger:
        logger.log_params(model={"lr": 10.0, "layers": 4}, seed=1)
        for step in range(20):
            logger.log(step, {"train/loss": 2.0**step}, silent=True)
        raise ValueError("loss is not finite")


def log_hostile_run(directory: Path) -> None:
    """Log a run whose names and values are scripts."""
    with ML_Logger(directory) as logger:
        logger.log_params({SCRIPT: {SCRIPT: SCRIPT}})
        for step in range(5):
            logger.log(step, {SCRIPT: step, f"{SCRIPT}/loss": 1.0, "__proto__": 1, "constructor": 2}, silent=True)
        logger.log_image(0, **{SCRIPT: np.zeros((4, 4))})
        logger.log_text(SCRIPT, silent=True)
    (directory / "page.html").write_text("<script>parent.document.title = 'owned'</script>", encoding="utf-8")
    (directory / "picture.svg").write_text(
        "<svg xmlns='http://www.w3.org/2000/svg'><script>parent.document.title='owned'</script></svg>", encoding="utf-8"
    )
    (directory / "README.md").write_text(f"# {SCRIPT}\n\n[click](javascript:alert(1))\n\n{SCRIPT}\n", encoding="utf-8")


def log_killed_run(directory: Path) -> None:
    """Log some steps, and be killed in the middle of them."""
    with contextlib.redirect_stdout(io.StringIO()):
        logger = ML_Logger(directory)
        logger.log_params(model={"lr": 0.3, "layers": 2}, seed=2)
        for step in range(30):
            logger.log(step, {"train/loss": 1 / (step + 1)}, silent=True)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    log_killed_run(Path(sys.argv[1]))
