"""The soak: memory over a million records stays where it was after the first hundred thousand.

``python -m bench.soak`` logs in every way that a training loop does in the long run: silent, with tables, numpy values, new
steps, text. Numbers go to ``build/bench/soak.json``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time

import numpy as np

from ml_logger import ML_Logger

from . import results
from .measure import resident_bytes

_SAMPLES = 10
_SLACK_BYTES = 2 << 20  # the allocator's own unrest


def _log_many(logger: ML_Logger, first: int, count: int) -> None:
    for step in range(first, first + count):
        if step % 10 == 0:
            logger.log(step, loss=1 / (step + 1), accuracy=np.float32(0.5), note=f"step {step}")
        else:
            logger.log(step, silent=True, loss=1 / (step + 1), accuracy=np.float32(0.5), epoch=step // 1000)


def main() -> None:
    """Log, sample the memory, print and write it; exit with 1 if it grew."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    count = parser.parse_args().records // _SAMPLES
    began, before, stdout = time.perf_counter(), time.process_time(), sys.stdout
    samples: list[dict[str, object]] = []
    with (
        tempfile.TemporaryDirectory(prefix="ml-logger-soak-") as folder,
        open(f"{folder}/stdout", "w", encoding="utf-8") as out,
    ):
        sys.stdout = out
        with ML_Logger(f"{folder}/run") as logger:
            for sample in range(_SAMPLES):
                _log_many(logger, sample * count, count)
                samples.append({"records": (sample + 1) * count, "rss_bytes": resident_bytes()})
        sys.stdout = stdout
    sizes = [int(str(sample["rss_bytes"])) for sample in samples]
    targets = [
        results.Target(
            "memory after the last record over that after a tenth, bytes", max(sizes) - sizes[0], _SLACK_BYTES
        )
    ]
    took = {"wall_s": round(time.perf_counter() - began, 1), "cpu_s": round(time.process_time() - before, 1)}
    path = results.write("soak", sections={"samples": samples, **took}, targets=targets)
    print(results.table(samples), took, results.verdicts(targets), f"written to {path}", sep="\n\n")
    sys.exit(0 if targets[0].is_met else 1)


if __name__ == "__main__":
    main()
