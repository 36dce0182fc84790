"""Long runs: memory, descriptors and threads stay flat however much is logged."""

import json
import subprocess
import sys

import pytest

DEADLINE_S = 1800
GROWTH_BYTES = 4 << 20

LONG = """
import json, os, sys, threading
import numpy as np
from pathlib import Path
from ml_logger import ML_Logger
from ml_logger.spool import is_being_written

directory, count, kind = sys.argv[1], int(sys.argv[2]), sys.argv[3]
run = ML_Logger(directory, segment_bytes=1 << 20, image_queue_bytes=1 << 20)
values = {f"layer/{i}": i / 7 for i in range(8)}
picture = np.zeros((64, 64, 3), np.uint8)

def look():
    with open("/proc/self/statm") as file:
        resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return resident, len(os.listdir("/proc/self/fd")), threading.active_count()

def log_step(step):
    if kind == "silent":
        run.log(step, values, loss=np.float32(step), silent=True)
    elif kind == "table":
        run.log(step, values, loss=step / 3)
    else:
        run.log(step, {f"key/{step}": step}, odd=object(), silent=True)
        run.log_image(step % 50, picture=picture)
        run.log_histogram(step, bins=4, w=values["layer/1"])
        run.log_tensor(step % 50, w=picture)
        run.log_data("rows", {"step": step})
        run.log_params(G={"step": step})

looks = []
for step in range(count):
    log_step(step)
    if step % (count // 10) == count // 10 - 1:
        run.flush()
        looks.append(look())
        for part in Path(directory).glob("*.*"):  # finished parts go, or a million tables would fill the disk of the tests
            if not is_being_written(str(part)): part.unlink()
assert run.dropped == 0 and not run.failures, (run.dropped, run.failures)
sys.stderr.write(json.dumps(looks))
"""


def assert_flat(tmp_path, count, kind):
    """Log `count` steps in a process of its own, which may hold no more at the end than after a tenth of them."""
    command = [sys.executable, "-c", LONG, tmp_path, str(count), kind]
    result = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=DEADLINE_S)
    assert result.returncode == 0, result.stderr
    looks = json.loads(result.stderr.splitlines()[-1])
    memory, descriptors, threads = zip(*looks, strict=True)
    assert max(memory) - memory[0] < GROWTH_BYTES, memory
    assert max(descriptors) <= descriptors[0] + 1, descriptors
    assert max(threads) <= threads[0] + 1, threads


@pytest.mark.parametrize(("kind", "count"), [("silent", 100_000), ("table", 10_000), ("everything", 500)])
def test_memory_is_flat(tmp_path, kind, count):
    """A shorter version of the long runs below, with the same bound."""
    assert_flat(tmp_path, count, kind)


@pytest.mark.soak
@pytest.mark.parametrize(("kind", "count"), [("silent", 1_000_000), ("table", 1_000_000), ("everything", 50_000)])
def test_memory_is_flat_over_a_million_records(tmp_path, kind, count):
    """A million records, with and without tables, and 50,000 steps with everything that can be logged, hold no more memory."""
    assert_flat(tmp_path, count, kind)
