"""The reader's cost: lines to columns, columns to buckets, and how long the first and the second look at a long run take.

``python -m bench.reader`` decodes metric lines of ten numbers and cuts a million points into a thousand buckets, both in CPU
time. Then processes of their own look at a run of a million records of ten numbers, and at one of ten million of two, first
without and then with the cache: until the keys are known, and until one key is in buckets. The runs are made once, 1.3 GB,
and kept in ``build/bench/``. Numbers go to ``build/bench/reader.json``.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ml_logger.reader import Run, bucketed, bucketed_pieces, grid
from ml_logger.reader.cache import ColumnCache
from ml_logger.reader.decode import decode

from . import corpus, results

_DECODED_BYTES = 16 << 20
_POINTS = 10**6
_BUCKETS = 1000
_SPIKES = 100


@dataclass(frozen=True)
class Long:
    """A long run: `numbers` of each record, and how long the second look may take until its keys are known."""

    records: int
    numbers: int
    most_second_ms: float

    @property
    def name(self) -> str:
        """What it is called in the results."""
        return f"{self.records:,} records of {self.numbers}"

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return results.FOLDER / "runs" / f"{self.records}x{self.numbers}"


LONG = (Long(10**6, 10, 50.0), Long(10**7, 2, 100.0))


def _us_a_record(rounds: int) -> list[dict[str, Any]]:
    lines = corpus.line_block(_DECODED_BYTES)
    lines = lines[: lines.rfind(b"\n") + 1]
    records = lines.count(b"\n")
    us = [_timed(lambda: decode(lines)) * 1e6 / records for _ in range(rounds)]
    median = statistics.median(us)
    return [{"decoded": f"{records:,} records", "us a record": round(median, 2), "records a s": round(1e6 / median)}]


def _timed(call: Callable[[], object]) -> float:
    began = time.process_time()
    call()
    return time.process_time() - began


def _bucketing(rounds: int) -> list[dict[str, Any]]:
    noise = np.random.default_rng(3)
    x, values = np.arange(float(_POINTS)), noise.standard_normal(_POINTS)
    spikes = (
        noise.choice(_POINTS // 2048, _SPIKES, replace=False) + noise.random(_SPIKES)
    ) * 2048  # two to a bucket at most
    spikes = spikes.astype(np.int64)
    values[spikes] += np.where(np.arange(_SPIKES) % 2, 100.0, -100.0)
    gaps = np.where(np.arange(_POINTS) % 1000 == 7, np.nan, values)
    ranks = np.concatenate([x[::2], x[1::2]]), np.concatenate([values[::2], values[1::2]])
    cases = {"in order": (x, values), "one in 1,000 is NaN": (x, gaps), "two ranks, one behind the other": ranks}
    return [_bucketing_row(name, *case, np.sort(values[spikes]), rounds) for name, case in cases.items()]


def _bucketing_row(name: str, x: Any, values: Any, spikes: Any, rounds: int) -> dict[str, Any]:
    origin, width = grid(0.0, float(_POINTS), _BUCKETS)
    ms = [_timed(lambda: bucketed(x, values, origin, width)) * 1e3 for _ in range(rounds)]
    buckets = bucketed(x, values, origin, width)
    extremes = np.concatenate([buckets.min, buckets.max])
    return {
        "a million points": name,
        "ms": round(statistics.median(ms), 2),
        "shortest ms": round(min(ms), 2),
        "buckets": len(buckets),
        "spikes kept": int(np.isin(spikes, extremes).sum()),
    }


def _make(long: Long) -> None:
    """Write a long run as a client does, in parts of 64 MiB, unless it is there."""
    if (long.folder / "made").exists():
        return
    shutil.rmtree(long.folder, ignore_errors=True)
    long.folder.mkdir(parents=True)
    keys = [f"metric_{number}" for number in range(long.numbers)]
    form = '{"_step":%d,"_timestamp":%.6f,' + ",".join(f'"{key}":%.17g' for key in keys) + "}\n"
    noise, parts, size = np.random.default_rng(4), 0, 64 << 20
    file = None
    for start in range(0, long.records, 10_000):
        rows = noise.random((10_000, long.numbers)).tolist()
        lines = "".join(form % (start + n, 1.8e9 + (start + n) * 0.01, *row) for n, row in enumerate(rows)).encode()
        if size + len(lines) > 64 << 20:
            name = f"metrics.{parts}.jsonl" if parts else "metrics.jsonl"
            file, parts, size = (long.folder / name).open("wb", buffering=0), parts + 1, 0
        assert file is not None
        file.write(lines)
        size += len(lines)
    (long.folder / "made").touch()


def _look(folder: Path, cache: Path) -> None:
    """Look at a run and print how long that took: what a process of its own does."""
    run, marks = Run(folder, cache=ColumnCache(cache)), [time.perf_counter()]
    columns = run.columns()
    keys = columns.keys()
    marks.append(time.perf_counter())
    series = columns.series("metric_0")
    pieces = [(piece.steps, piece.values) for piece in series.pieces]
    buckets = bucketed_pieces(pieces, *grid(0.0, float(len(series)), _BUCKETS))
    marks.append(time.perf_counter())
    run.columns()
    marks.append(time.perf_counter())
    keys_ms, buckets_ms, again_ms = ((after - before) * 1e3 for before, after in pairwise(marks))
    found = {"keys_ms": keys_ms, "buckets_ms": buckets_ms, "again_ms": again_ms, "cpu_s": time.process_time()}
    found["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({**found, "points": len(series), "keys": len(keys), "buckets": len(buckets)}))


def _looked(long: Long) -> list[dict[str, Any]]:
    cache = results.FOLDER / "runs" / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    rows = []
    for name in ("first", "second"):
        command = [sys.executable, "-m", "bench.reader", "--look", str(long.folder), str(cache)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        assert found["points"] == long.records
        row = {"look": f"{long.name}, {name}", "keys ms": round(found["keys_ms"], 1)}
        row |= {"one key in buckets, ms": round(found["buckets_ms"], 1), "again ms": round(found["again_ms"], 2)}
        rows.append({**row, "CPU s": round(found["cpu_s"], 2), "peak MiB": round(found["peak_mib"])})
    size = sum(path.stat().st_size for path in cache.rglob("*") if path.is_file())
    rows[0]["cache MiB"] = round(size / (1 << 20))
    shutil.rmtree(cache)
    return [{**row, "cache MiB": row.get("cache MiB", "")} for row in rows]


def _measure(rounds: int) -> int:
    report = results.Report()
    decoded = _us_a_record(rounds)
    report.add("lines to columns", decoded)
    report.judge("decoding a record of ten numbers, µs of one core", decoded[0]["us a record"], 1e6 / 300_000)
    bucketing = _bucketing(rounds)
    report.add("columns to buckets", bucketing)
    report.judge("a million points in a thousand buckets, ms", bucketing[0]["ms"], 5.0)
    report.judge("spikes that are lost", sum(_SPIKES - row["spikes kept"] for row in bucketing), 0)
    for long in LONG:
        _make(long)
        looks = _looked(long)
        report.add(f"looks at {long.name}", looks)
        report.judge(f"{long.name}: keys at the second look, ms", looks[1]["keys ms"], long.most_second_ms)
        report.judge(f"{long.name}: most memory of the first look, MiB", looks[0]["peak MiB"], 500)
    print(results.verdicts(report.targets))
    print(report.write("reader"))
    return 0 if all(target.is_met for target in report.targets) else 1


def main() -> int:
    """Measure; 0 if every promise held."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--look", nargs=2, type=Path, metavar=("FOLDER", "CACHE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.look is not None:
        _look(*options.look)
        return 0
    return _measure(options.rounds)


if __name__ == "__main__":
    sys.exit(main())
