"""Many trainings in one process: streams that each get a line at even distances, with the time of its writing in it.

``python -m bench.writers FOLDER --streams 200 --lines-per-s 10 --seconds 20`` writes a first line to each stream, says so,
waits for a line on standard input, writes, and ends. As with the client one line is one `write`, and an open stream is locked.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import sys
import time
from pathlib import Path

import orjson

from .corpus import record_values


def _open(path: Path) -> int:
    path.parent.mkdir(parents=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC)
    fcntl.flock(fd, fcntl.LOCK_SH)
    return fd


def _write(fd: int, values: dict[str, object]) -> None:
    os.write(
        fd,
        orjson.dumps(
            {**values, "_timestamp": round(time.time(), 6)},
            option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE,
        ),
    )


def main() -> None:
    """Write."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--streams", type=int, required=True)
    parser.add_argument("--lines-per-s", type=float, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    options = parser.parse_args()
    values = record_values()
    fds = [_open(options.folder / f"run_{number:03d}" / "metrics.jsonl") for number in range(options.streams)]
    for fd in fds:
        _write(fd, next(values))
    print("ready", flush=True)
    sys.stdin.readline()
    began_s, lines = time.monotonic(), round(options.seconds * options.lines_per_s * options.streams)
    for number in range(lines):
        due_s = began_s + number / (options.lines_per_s * options.streams)
        time.sleep(max(0.0, due_s - time.monotonic()))
        _write(fds[number % options.streams], next(values))


if __name__ == "__main__":
    main()
