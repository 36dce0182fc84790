"""A program that is not ours, for the tests: it writes a log in pieces of lines, and its checkpoint anew again and again.

python scribbling.py DIRECTORY PAUSE_S [ROUNDS]
"""

from __future__ import annotations

import itertools
import random
import sys
import time
from pathlib import Path

CHECKPOINT_BYTES = 60_000


def scribble(directory: Path, number: int) -> None:
    """Do round `number`: a line and a half of the log, a new file, and every fourth time the checkpoint, by rename."""
    dice = random.Random(number)
    with (directory / "foreign.log").open("a") as log:
        log.write(f"rest of {number - 1}\nround {number} begins and ")
    (directory / f"result {number % 50}.bin").write_bytes(dice.randbytes(dice.randrange(3000)))
    if number % 4 == 0:
        aside = directory / ".model.pt.tmp-1"
        aside.write_bytes(dice.randbytes(dice.randrange(CHECKPOINT_BYTES)))
        aside.rename(directory / "model.pt")


if __name__ == "__main__":
    target, pause_s = Path(sys.argv[1]), float(sys.argv[2])
    target.mkdir(parents=True, exist_ok=True)
    rounds = range(int(sys.argv[3])) if len(sys.argv) > 3 else itertools.count()
    for round_number in rounds:
        scribble(target, round_number)
        time.sleep(pause_s)
