"""The client's cost: what `ML_Logger` adds to the file write that it stands for.

``python -m bench.client`` measures, in one run and taking turns: the floor (orjson of the finished record and one
``os.write``), silent ``log()`` of ten numbers, the same with the printed table, ``log_image`` beside a copy of the array,
and the import beside numpy's. Numbers go to ``build/bench/client.json``.

The tail of ``log()`` is read against that of plain arithmetic which takes as long and touches no file: what is there as well
comes from the machine (the timer's ticks, the hypervisor), and the longer a call the more of it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from ml_logger import ML_Logger

from . import results
from .measure import Call, Case, Timing, resident_bytes, take_turns

_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE
_TEN_FLOATS: dict[str, Any] = {f"metric_{i}": (i + 1) / 7 for i in range(10)}
_TEN_FLOAT32: dict[str, Any] = {key: np.float32(value) for key, value in _TEN_FLOATS.items()}
_IMAGES_A_ROUND = 12  # 11 MB: well within the queue
_PIXELS = np.add.outer(np.arange(480), np.arange(640))[..., None].astype(np.uint8) + np.arange(3, dtype=np.uint8)

_ARITHMETIC = "arithmetic as long, no file"

_run_numbers = count()


@contextmanager
def _floor(folder: str, values: dict[str, Any]) -> Iterator[Call]:
    """The least that a durable-at-the-call record can cost: encode what is finished, write it."""
    record = {"_step": 0, "_timestamp": time.time(), **values}
    fd = os.open(f"{folder}/floor-{next(_run_numbers)}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND)

    def call(number: int) -> None:
        record["_step"] = number
        os.write(fd, orjson.dumps(record, option=_OPTIONS))

    try:
        yield call
    finally:
        os.close(fd)


@contextmanager
def _logging(folder: str, call_of: Callable[[ML_Logger], Call]) -> Iterator[Call]:
    """A logger in a directory of its own, standard output to a file."""
    run = f"{folder}/run-{next(_run_numbers)}"
    before = sys.stdout
    with ML_Logger(run) as logger, open(f"{run}/stdout", "w", encoding="utf-8") as sys.stdout:
        try:
            yield call_of(logger)
            logger.flush()
        finally:
            sys.stdout = before


@contextmanager
def _arithmetic(folder: str) -> Iterator[Call]:
    """As many additions as take the time of a silent ``log()`` of ten floats, found anew in each round."""
    numbers = [number / 7 for number in range(1000)]

    def call(_number: int) -> None:
        total = 0.0
        for number in numbers:
            total += number

    aside = tempfile.TemporaryDirectory(dir=folder)  # what is written here is nobody's cost
    with aside, _logging(aside.name, partial(_silent, _TEN_FLOATS)) as log:
        wanted_s = _median_s(log)
    for _ in range(2):  # from the far side of what is wanted, and once more from nearby
        del numbers[max(1, round(len(numbers) * wanted_s / _median_s(call))) :]
    yield call


def _median_s(call: Call) -> float:
    taken_s = []
    for number in range(500):
        began = time.perf_counter()
        call(number)
        taken_s.append(time.perf_counter() - began)
    return statistics.median(taken_s)


def _silent(values: dict[str, Any], logger: ML_Logger) -> Call:
    return lambda number: logger.log(number, silent=True, **values)


def _silent_dict(values: dict[str, Any], logger: ML_Logger) -> Call:
    return lambda number: logger.log(number, values, silent=True)


def _shown(values: dict[str, Any], logger: ML_Logger) -> Call:
    return lambda number: logger.log(number, **values)


def _image(logger: ML_Logger) -> Call:
    """A logger that has logged images before, all of them written by now."""
    first = _IMAGES_A_ROUND
    for number in range(first):
        logger.log_image(number, frame=_PIXELS)
    folder = Path(str(logger.log_directory), "images", "frame")
    while len(list(folder.glob("[0-9]*.png"))) < first:
        time.sleep(0.001)
    return lambda number: logger.log_image(first + number, frame=_PIXELS)


def _training_step() -> None:
    """Twenty milliseconds of a script's own work, in which the image before is encoded."""
    end = time.perf_counter() + 0.02
    while time.perf_counter() < end:
        sum(range(500))


@contextmanager
def _copy() -> Iterator[Call]:
    yield lambda _number: _PIXELS.copy()


def _cases(folder: str) -> list[Case]:
    each: dict[str, Any] = {"calls": _IMAGES_A_ROUND, "warm_up": 0}
    logged: list[tuple[str, Callable[[ML_Logger], Call]]] = [
        ("log, silent, 10 floats", partial(_silent, _TEN_FLOATS)),
        ("log, silent, 10 float32", partial(_silent, _TEN_FLOAT32)),
        ("log, silent, a dict of 10", partial(_silent_dict, _TEN_FLOATS)),
        ("log, table, 10 floats", partial(_shown, _TEN_FLOATS)),
    ]
    return [
        Case("floor, 10 floats", partial(_floor, folder, _TEN_FLOATS)),
        Case("floor, 10 float32", partial(_floor, folder, _TEN_FLOAT32)),
        Case(_ARITHMETIC, partial(_arithmetic, folder)),
        *(Case(name, partial(_logging, folder, call_of)) for name, call_of in logged),
        Case("copy, 640×480×3, one a step", _copy, between=_training_step, **each),
        Case("log_image, 640×480×3, one a step", partial(_logging, folder, _image), between=_training_step, **each),
        Case("copy, 12 at once", _copy, **each),
        Case("log_image, 12 at once", partial(_logging, folder, _image), **each),
    ]


def _import_ms(rounds: int) -> dict[str, float]:
    """Return the median time of each import in a fresh interpreter that has loaded nothing else, in ms."""
    paths = [str(Path(__file__).resolve().parent.parent), sysconfig.get_paths()["purelib"]]
    program = "import sys; sys.path[:0] = {!r}; import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"
    taken: dict[str, list[float]] = {"numpy": [], "ml_logger": []}
    for _ in range(rounds + 1):
        for module, times_s in taken.items():
            command = [sys.executable, "-I", "-S", "-c", program.format(paths, module)]
            times_s.append(float(subprocess.run(command, capture_output=True, check=True).stdout))
    return {module: round(statistics.median(times_s[1:]) * 1000, 1) for module, times_s in taken.items()}


def _ratio(timings: dict[str, Timing], name: str, floor: str) -> float:
    """Return the median over the rounds of the ratio of two medians that were measured one after the other."""
    pairs = zip(timings[name].rounds, timings[floor].rounds, strict=True)
    return statistics.median(a.percentile_us(0.5) / b.percentile_us(0.5) for a, b in pairs)


def _targets(timings: dict[str, Timing], import_ms: dict[str, float]) -> list[results.Target]:
    undisturbed = {name: timing.over_rounds(0.999, undisturbed=True) for name, timing in timings.items()}
    arithmetic_us = undisturbed[_ARITHMETIC]
    table_us = timings["log, table, 10 floats"].median_us - timings["log, silent, 10 floats"].median_us
    return [
        *(
            target
            for kind in ("10 floats", "10 float32")
            for target in (
                results.Target(
                    f"silent, {kind}: median over the floor's",
                    _ratio(timings, f"log, silent, {kind}", f"floor, {kind}"),
                    4.0,
                ),
                results.Target(
                    f"silent, {kind}: p99.9 in µs, interrupted calls left out (arithmetic as long: {arithmetic_us:.1f})",
                    undisturbed[f"log, silent, {kind}"],
                    100.0,
                ),
            )
        ),
        results.Target("the printed table: µs more in the median", table_us, 60.0),
        results.Target(
            "log_image, one a step: median over a copy's",
            _ratio(timings, "log_image, 640×480×3, one a step", "copy, 640×480×3, one a step"),
            3.0,
        ),
        results.Target("import: time over numpy's", import_ms["ml_logger"] / import_ms["numpy"], 2.0),
    ]


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--rounds", type=int, default=25, help="how often every case has its turn")
    parser.add_argument("--dir", help="where to write (default: the system's temporary directory)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ml-logger-bench-", dir=options.dir) as folder:
        timings = take_turns(_cases(folder), options.rounds, folder)
    import_ms = _import_ms(options.rounds)
    report = results.Report(targets=_targets(timings, import_ms))
    report.add("calls", [timing.summary() for timing in timings.values()])
    report.add("imports, each in a new process", [{"module": module, "ms": ms} for module, ms in import_ms.items()])
    print(f"memory at the end: {resident_bytes() >> 20} MiB", results.verdicts(report.targets), sep="\n\n")
    print(f"written to {report.write('client', rss_bytes=resident_bytes())}")


if __name__ == "__main__":
    main()
