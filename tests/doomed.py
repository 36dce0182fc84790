"""Training processes that die in the middle of logging; run as a script so that each is a real process.

python doomed.py DIRECTORY COUNT SEED forks COUNT children from a process that has only imported the logger. Child `n` logs into
``DIRECTORY/<n>`` and writes the number of each call that returned to a pipe before it makes the next. Once a random number of
them has come through, it is made to die (`WAYS`), wherever it is by then. One line of JSON on stdout tells of each child:
how it was to die, how it did, and the last number that came through.
"""

from __future__ import annotations

import faulthandler
import json
import os
import random
import signal
import sys
import threading
from pathlib import Path

import numpy as np

from ml_logger import ML_Logger

DEADLINE_S = 60
EXIT_CODE = 7
MAX_CALLS = 60

WAYS = ("kill", "exit", "segfault")
ENDS = {"kill": -signal.SIGKILL, "exit": EXIT_CODE, "segfault": -signal.SIGSEGV}


def payload(number: int) -> str:
    """Return the text that record `number` carries: mostly short, now and then many pages long."""
    return str(number) * (20000 if number % 11 == 5 else number % 40)


def log_call(logger: ML_Logger, number: int) -> None:
    """Make call `number`: a record always, and with some of them an array, a histogram or a table."""
    logger.log(number, text=payload(number), number=number, silent=number % 3 > 0)
    if number % 7 == 1:
        logger.log_tensor(number, w=np.full((64, 64), number))
    if number % 7 == 2:
        logger.log_histogram(number, w=np.arange(number + 1))


def die_when_told(way: str, orders: int) -> None:
    """Wait for a byte, then end this process at once."""
    os.read(orders, 1)
    if way == "exit":
        os._exit(EXIT_CODE)
    faulthandler._sigsegv()


def live(directory: Path, way: str, acknowledged: int, orders: int) -> None:
    """Be the child: log until death."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if way != "kill":
        sys.setswitchinterval(1e-6)  # so that death comes in the middle of a call, not between two
        threading.Thread(target=die_when_told, args=(way, orders), daemon=True).start()
    logger = ML_Logger(directory)
    number = 0
    while True:
        log_call(logger, number)
        os.write(acknowledged, b"%d\n" % number)
        number += 1


def start(directory: Path, way: str) -> tuple[int, int, int]:
    """Fork a child; return its id, the pipe of its numbers, and the pipe of its orders."""
    numbers, orders = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            signal.alarm(DEADLINE_S)
            os.close(numbers[0])
            os.close(orders[1])
            live(directory, way, numbers[1], orders[0])
        finally:
            os._exit(1)
    os.close(numbers[1])
    os.close(orders[0])
    return pid, numbers[0], orders[1]


def let_die(directory: Path, way: str, calls: int) -> dict[str, object]:
    """Start a child, end it once `calls` calls have returned, and return what is known of it."""
    pid, numbers, orders = start(directory, way)
    with open(numbers, "rb") as file:
        lines = [file.readline() for _ in range(calls)]
        if way == "kill":
            os.kill(pid, signal.SIGKILL)
        else:
            os.write(orders, b"x")
        lines += file.readlines()
    os.close(orders)
    end = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return {"directory": str(directory), "way": way, "end": end, "last": int(lines[-1]) if lines else -1}


def main(root: Path, count: int, seed: int) -> None:
    """Let `count` children die, one after the other."""
    dice = random.Random(seed)
    for child in range(count):
        calls = dice.choice((0, 1, dice.randrange(MAX_CALLS)))
        print(json.dumps(let_die(root / str(child), WAYS[child % len(WAYS)], calls)), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
