"""The last moments of a process: exit functions after the logger's own, and workers of multiprocessing."""

import json
import multiprocessing
import subprocess
import sys

import pytest

from ml_logger.layout import part_of
from ml_logger.reader import Run

DEADLINE_S = 60


def python(code, *arguments):
    """Run `code` in a process of its own to its end."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, timeout=DEADLINE_S, capture_output=True, text=True)


def records(directory, stream="metrics.jsonl"):
    """Return the records of all parts of a stream."""
    parts = [path for path in directory.iterdir() if part_of(path.name, stream) is not None]
    return [json.loads(line) for path in parts for line in path.read_bytes().splitlines()]


ATEXIT_IMAGES = """
import atexit, sys
import numpy as np
noise = np.random.default_rng(0).integers(0, 256, (800, 800, 3), dtype=np.uint8)
def last():
    global other
    other = ml_logger.ML_Logger(sys.argv[1] + "/other")
    for number in range(8):
        run.log_image(number, late=noise)
        other.log_image(number, late=noise)
atexit.register(last)  # runs after all that importing ml_logger registered
import ml_logger
run = ml_logger.ML_Logger(sys.argv[1])
run.log_image(0, early=np.zeros((4, 4), np.uint8))
"""


def test_images_of_the_last_exit_function(tmp_path):
    """Images of an exit function that runs after the logger's own are stored, also those of a run that only begins there."""
    assert python(ATEXIT_IMAGES, tmp_path).stderr == ""
    assert (tmp_path / "images/early/0000.png").exists()
    for run in (tmp_path, tmp_path / "other"):
        assert len(list(run.glob("images/late/*.png"))) == 8
        assert [record["event"] for record in records(run, "run.jsonl")] == ["start", "end"]
        assert Run(run).state == "finished"


WORKERS = """
import multiprocessing, sys

def work(number):
    import numpy as np
    from ml_logger import ML_Logger
    work.run = ML_Logger(f"{sys.argv[1]}/{number}")
    for step in range(20): work.run.log_image(step, a=np.full((200, 200), step, np.uint8))
    work.run.log(1, last_table=number)

if __name__ == "__main__":
    workers = [multiprocessing.get_context(sys.argv[2]).Process(target=work, args=(n,)) for n in range(2)]
    for worker in workers: worker.start()
    for worker in workers: worker.join()
    assert "ml_logger" not in sys.modules
"""


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_workers_that_import_first(tmp_path, method):
    """A worker of multiprocessing leaves its images, last table and end, also if its parent never imported ml_logger."""
    script = tmp_path / "script.py"
    script.write_text(WORKERS)
    command = [sys.executable, script, tmp_path, method]
    result = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S)
    assert (result.returncode, result.stderr) == (0, "")
    for run in (tmp_path / "0", tmp_path / "1"):
        assert len(list(run.glob("images/a/*.png"))) == 20
        assert "last table" in (run / "text.log").read_text()
        assert [record["event"] for record in records(run, "run.jsonl")] == ["start", "end"]


EXITS = """
import sys
from ml_logger import ML_Logger
with ML_Logger(sys.argv[1]) as run:
    run.log(1, number=1)
    sys.exit(*eval(sys.argv[2]))
"""


@pytest.mark.parametrize(
    ("arguments", "state"), [("()", "finished"), ("(0,)", "finished"), ("(3,)", "failed"), ("('bad',)", "failed")]
)
def test_exit_in_a_with_block(tmp_path, arguments, state):
    """A run that is left by `sys.exit` has failed if the exit code says so."""
    python(EXITS, tmp_path, arguments)
    assert Run(tmp_path).state == state
