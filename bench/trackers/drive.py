"""One run of one tracker, in a process of its own: what a training script would do, and what that cost.

``python -m bench.trackers.drive CASE MODULE [OPTION …] --folder F --answer A`` writes what it found to the file ``A`` as JSON,
since a tracker may print what it likes. The cases: ``records`` and ``images`` log back to back, close, and have the disk keep
it all; ``paced`` logs records at the pace of a training until it is killed, and keeps in ``A`` how many calls have returned;
``held`` tells what a run holds.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import resource
import struct
import time
from collections.abc import Callable
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any

from . import KEYS, Run

RECORDS_PER_S = 100.0
"""The pace of ``paced``."""

COUNTER = struct.Struct("<q")
"""How many calls of ``paced`` have returned: what is in a mapped file outlives the process, however it ends."""

_WARM_UP = 10
_VALUES = {key: (number + 1) / 7 for number, key in enumerate(KEYS)}

Call = Callable[[int], None]


def _pixels() -> Any:
    """Return 256×256×3 of uint8, the same for all: a gradient with noise in its lower bits."""
    import numpy as np  # not before the tracker's own import has been timed

    gradient = np.add.outer(np.arange(256), np.arange(256))[..., None] // 2 + np.arange(3)
    return (gradient + np.random.default_rng(5).integers(0, 16, gradient.shape)).astype(np.uint8)


def _call_of(run: Run, case: str) -> Call:
    if case == "images":
        pixels = _pixels()
        return lambda step: run.log_image(step, pixels)
    return lambda step: run.log(step, _VALUES)


def measure(run: Run, case: str, folder: Path, most_calls: int, most_s: float) -> dict[str, Any]:
    """Log until `most_calls` or `most_s` are over, close, and wait for the disk; return what that took."""
    call, before_bytes = _call_of(run, case), size_bytes(folder)
    for step in range(_WARM_UP):
        call(step)
    before_s = cpu_s()
    began = time.perf_counter_ns()
    durations_ns = _timed(call, most_calls, most_s)
    run.finish()
    _have_kept(folder)
    durable_s = (time.perf_counter_ns() - began) / 1e9
    steps = len(durations_ns) + _WARM_UP
    return {
        "durations_us": [duration / 1000 for duration in durations_ns],
        "durable_s": durable_s,
        "cpu_s": cpu_s() - before_s,
        "bytes_per_call": (size_bytes(folder) - before_bytes) / steps,
        "logged": steps,
    }


def _timed(call: Call, most_calls: int, most_s: float) -> list[int]:
    clock, durations_ns = time.perf_counter_ns, []
    end_ns = clock() + round(most_s * 1e9)
    for step in range(_WARM_UP, _WARM_UP + most_calls):
        began = clock()
        call(step)
        done = clock()
        durations_ns.append(done - began)
        if done > end_ns:
            break
    return durations_ns


def _have_kept(folder: Path) -> None:
    """Return once the disk has all files and folders below `folder`."""
    for path in [folder, *folder.rglob("*")]:
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            continue
        fd = os.open(path, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)


def size_bytes(folder: Path) -> int:
    """Return the size of all files below `folder`."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def cpu_s() -> float:
    """Return the CPU seconds of this process and of the helpers that a tracker started."""
    from bench.processes import children
    from bench.processes import cpu_s as family_cpu_s

    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    living_s = sum(map(family_cpu_s, children(os.getpid())))
    return time.process_time() + ended.ru_utime + ended.ru_stime + living_s


def rss_bytes() -> int:
    """Return the most memory that this process and its helpers had, each by itself, in sum."""
    from bench.processes import family
    from bench.processes import rss_bytes as most_bytes

    return sum(map(most_bytes, family(os.getpid())))


def log_at_a_pace(run: Run, counter: Path) -> None:
    """Log records for ever, and count in `counter` those whose call has returned."""
    counter.write_bytes(bytes(COUNTER.size))
    with counter.open("r+b") as file, mmap.mmap(file.fileno(), COUNTER.size) as returned:
        began_s = time.perf_counter()
        for step in count():
            time.sleep(max(0.0, began_s + step / RECORDS_PER_S - time.perf_counter()))
            run.log(step, _VALUES)
            COUNTER.pack_into(returned, 0, step + 1)


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("case", choices=("records", "images", "paced", "held"))
    parser.add_argument("module")
    parser.add_argument("options", nargs="*")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--answer", type=Path, required=True)
    parser.add_argument("--calls", type=int, default=2_000)
    parser.add_argument("--seconds", type=float, default=2.0)
    given = parser.parse_args()
    began_s = time.perf_counter()
    tracker = import_module(f".{given.module}", __package__)
    import_s = time.perf_counter() - began_s
    if given.case == "held":
        given.answer.write_text(json.dumps(tracker.held(given.folder, *given.options)._asdict()), encoding="utf-8")
        return
    run = tracker.open_run(given.folder, *given.options)
    open_s = time.perf_counter() - began_s - import_s
    if given.case == "paced":
        log_at_a_pace(run, given.answer)
    found = measure(run, given.case, given.folder, given.calls, given.seconds)
    found |= {"import_s": import_s, "open_s": open_s, "rss_bytes": rss_bytes()}
    given.answer.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
