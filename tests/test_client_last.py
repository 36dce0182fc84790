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


FAILING = """
import multiprocessing, sys
if sys.argv[3] == "early": import ml_logger

ENDS = {"returns": "pass", "exits": "sys.exit(0)", "raises": "1 / 0", "complains": "sys.exit('bad')", "code": "sys.exit(3)"}

def work(name):
    from ml_logger import ML_Logger
    run = ML_Logger(sys.argv[1] + "/" + name)
    run.log(1, last_table=name)
    if sys.argv[4] == "global": work.run = run
    exec(ENDS[name])

if __name__ == "__main__":
    try:
        raise OSError("what the parent handles is not the worker's failure")
    except OSError:
        workers = [multiprocessing.get_context(sys.argv[2]).Process(target=work, args=(name,)) for name in ENDS]
        for worker in workers: worker.start()
    for worker in workers: worker.join()
"""


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
@pytest.mark.parametrize(
    ("imported", "kept"), [("early", "local"), ("early", "global"), ("late", "local"), ("late", "global")]
)
def test_workers_that_fail(tmp_path, method, imported, kept):
    """A worker of multiprocessing whose target raises, or exits with an error, has failed, and says of what if Python does."""
    script = tmp_path / "script.py"
    script.write_text(FAILING)
    command = [sys.executable, script, tmp_path, method, imported, kept]
    assert subprocess.run(command, capture_output=True, timeout=DEADLINE_S).returncode == 0
    ends = {}
    for run in (path for path in tmp_path.iterdir() if path.is_dir()):
        _, end = records(run, "run.jsonl")
        ends[run.name] = (end["state"], *([end.get("error")] if sys.version_info < (3, 13) else []))
        assert "last table" in (run / "text.log").read_text()
    expected = {
        "returns": ("finished", None),
        "exits": ("finished", None),
        "raises": ("failed", "ZeroDivisionError: division by zero"),
        "complains": ("failed", "SystemExit: bad"),
        "code": ("failed", "SystemExit: 3"),
    }
    assert ends == {name: end[: len(ends[name])] for name, end in expected.items()}


NOWHERE = """
import multiprocessing, sys
from ml_logger import ML_Logger, logger

def work(run, number):
    run.log(number, last_table=number)

if __name__ == "__main__":
    for run in (logger, ML_Logger()):
        workers = [multiprocessing.get_context(sys.argv[1]).Process(target=work, args=(run, n)) for n in range(2)]
        for worker in workers: worker.start(); worker.join()
"""


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_workers_without_a_directory(tmp_path, method):
    """A worker whose logger stores nothing prints its last table all the same, once."""
    script = tmp_path / "script.py"
    script.write_text(NOWHERE)
    result = subprocess.run(
        [sys.executable, script, method], capture_output=True, text=True, timeout=DEADLINE_S, cwd=tmp_path
    )
    assert result.stdout.count("last table") == 4
    assert "Traceback" not in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["script.py"]


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
