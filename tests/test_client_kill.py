"""Processes that die in the middle of logging: every record whose call returned is read back, with plain json."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from doomed import ENDS, WAYS, payload

from ml_logger.layout import part_of

DOOMED = Path(__file__).parent / "doomed.py"
DEATHS = 200
BATCHES = 4


def whole_lines(directory, stream):
    """Return the records of a stream that dying may have cut only behind its last newline."""
    parts = sorted(
        (part_of(path.name, stream), path) for path in directory.iterdir() if part_of(path.name, stream) is not None
    )
    return [json.loads(line) for _, path in parts for line in path.read_bytes().split(b"\n")[:-1]]


def assert_kept(directory, last):
    """Assert that calls 0 to `last` are all there, whole and once, and at most one more that had not returned yet."""
    records = whole_lines(directory, "metrics.jsonl") if directory.exists() else []
    numbers = [record["number"] for record in records]
    assert numbers in (list(range(last + 1)), list(range(last + 2)))
    assert all(record["text"] == payload(record["number"]) for record in records)
    arrays = {n: np.load(directory / f"tensors/w/{n:04d}.npy") for n in range(last + 1) if n % 7 == 1}
    assert all((array == n).all() and array.shape == (64, 64) for n, array in arrays.items())
    if last >= 2:
        bins = {record["_step"]: record["w"]["counts"] for record in whole_lines(directory, "histograms.jsonl")}
        assert all(sum(bins[n]) == n + 1 for n in range(last + 1) if n % 7 == 2)
    if last >= 0:
        assert whole_lines(directory, "run.jsonl")[0]["event"] == "start"
        whole = [path for path in directory.glob("tensors/w/*") if not path.name.startswith(".")]
        assert all(np.load(path).shape == (64, 64) for path in whole)


@pytest.mark.parametrize("seed", range(BATCHES))
def test_death_at_a_random_moment(tmp_path, seed):
    """After kill -9, os._exit or a segfault, every record whose call returned is there once and whole."""
    command = [sys.executable, DOOMED, tmp_path, str(DEATHS // BATCHES), str(seed)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    deaths = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(deaths) == DEATHS // BATCHES, result.stderr
    for death in deaths:
        assert death["end"] == ENDS[death["way"]], death
        assert_kept(Path(death["directory"]), death["last"])
    assert {death["way"] for death in deaths} == set(WAYS)
    assert any(death["last"] > 10 for death in deaths)
