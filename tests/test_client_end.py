"""The end of the interpreter: atexit functions, threads that outlive it, images that wait, standard output that is gone."""

import json
import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from ml_logger.layout import part_of
from ml_logger.reader import Run

DEADLINE_S = 60
QUIET_FORK = ("-W", "ignore:This process:DeprecationWarning")  # 3.12 warns of what is tested: a fork beside threads


def python(code, *arguments, **options):
    """Run `code` in a process of its own to its end."""
    command = [sys.executable, *QUIET_FORK, "-c", code, *map(str, arguments)]
    return subprocess.run(command, timeout=DEADLINE_S, **({"capture_output": True, "text": True} | options))


def records(directory, stream="metrics.jsonl"):
    """Return the records of all parts of a stream; every line must be whole."""
    parts = [path for path in directory.iterdir() if part_of(path.name, stream) is not None]
    lines = [path.read_bytes().split(b"\n") for path in parts]
    assert all(part[-1] == b"" for part in lines)
    return [json.loads(line) for part in lines for line in part[:-1]]


AT_EXIT = """
import atexit, sys
atexit.register(lambda: run.log(3, number=3))  # runs after all that importing ml_logger registered
import ml_logger
run = ml_logger.ML_Logger(sys.argv[1])
atexit.register(lambda: run.log(2, number=2))
run.log(1, number=1)
"""


def test_atexit_functions_of_before_and_after_the_import(tmp_path):
    """What functions at exit log is stored, whether they run before or after the logger's own; the run has one end."""
    result = python(AT_EXIT, tmp_path)
    assert result.stderr == ""
    assert [record["number"] for record in records(tmp_path)] == [1, 2, 3]
    assert [record["event"] for record in records(tmp_path, "run.jsonl")] == ["start", "end"]
    assert Run(tmp_path).state == "finished"
    assert result.stdout.count("number") == 2


FAILED = """
import atexit, sys
atexit.register(lambda: run.log(2, number=2))
import ml_logger
run = ml_logger.ML_Logger(sys.argv[1])
run.log(1, number=1)
1 / 0
"""


def test_failed_script_stays_failed(tmp_path):
    """A script that raises has failed, also when something is logged after the logger's end."""
    assert "ZeroDivisionError" in python(FAILED, tmp_path).stderr
    assert [record["number"] for record in records(tmp_path)] == [1, 2]
    assert Run(tmp_path).state == "failed"


THREADS = """
import os, sys, threading
from ml_logger import ML_Logger
run = ML_Logger(sys.argv[1])
started = threading.Barrier(7)

def log_on(thread, count):
    number = 0
    while count is None or number < count:
        run.log(number, thread=thread, number=number, silent=number % 4 > 0)
        os.write(2, b"%d %d\\n" % (thread, number))
        if number == 5: started.wait()
        number += 1

for thread in range(3): threading.Thread(target=log_on, args=(thread, None), daemon=True).start()
for thread in range(3, 6): threading.Thread(target=log_on, args=(thread, 200)).start()
started.wait()
"""


def test_threads_at_the_end(tmp_path):
    """Threads log on while the interpreter ends, daemons to the very last: what returned is stored, and the run finished."""
    result = python(THREADS, tmp_path)
    assert result.returncode == 0
    assert "Traceback" not in result.stderr, result.stderr
    returned = Counter(tuple(map(int, line.split())) for line in result.stderr.splitlines())
    stored = Counter((record["thread"], record["number"]) for record in records(tmp_path))
    assert set(stored.values()) == {1}
    assert not returned - stored
    assert len(stored) - len(returned) <= 3  # a daemon may stop between a record and its return
    assert {(thread, number) for thread in range(3, 6) for number in range(200)} <= stored.keys()
    assert Run(tmp_path).state == "finished"
    assert [record["event"] for record in records(tmp_path, "run.jsonl")] == ["start", "end"]


IMAGES = """
import sys, threading
import numpy as np
from ml_logger import ML_Logger
run = ML_Logger(sys.argv[1], image_queue_bytes=int(sys.argv[2]))
noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
for step in range(40): run.log_image(step, noise=noise + np.uint8(step))
"""


@pytest.mark.parametrize("queue_bytes", [1 << 30, 600_000, 0])
def test_exit_waits_for_images(tmp_path, queue_bytes):
    """A script that ends at once leaves every image it logged, whether the queue held them all, a few or none."""
    assert python(IMAGES, tmp_path, queue_bytes).stderr == ""
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    for step in range(40):
        with Image.open(tmp_path / f"images/noise/{step:04d}.png") as image:
            assert (np.asarray(image) == noise + np.uint8(step)).all()
    assert Run(tmp_path).state == "finished"


STUCK = """
import sys, threading
import numpy as np
import ml_logger.image
from ml_logger import ML_Logger
ml_logger.image.encode_png = lambda *arguments, **options: threading.Event().wait()
run = ML_Logger(sys.argv[1], exit_timeout_s=0.1)
for step in range(3): run.log_image(step, a=np.zeros((4, 4), np.uint8))
run.log(1, number=1)
"""


def test_exit_waits_no_longer_than_its_bound(tmp_path):
    """If images can't be written in time the process ends all the same, says how many are missing, and writes its end."""
    result = python(STUCK, tmp_path)
    assert result.returncode == 0
    assert result.stderr.splitlines() == [
        "3 images were not written within 0.1 s; a larger exit_timeout_s waits longer"
    ]
    assert [record["number"] for record in records(tmp_path)] == [1]
    assert Run(tmp_path).state == "finished"


CUT_SHORT = """
import sys
import numpy as np
from ml_logger import ML_Logger
run = ML_Logger(sys.argv[1], exit_timeout_s=0.0)
noise = np.random.default_rng(0).integers(0, 256, (500, 500, 3), dtype=np.uint8)
for step in range(50): run.log_image(step, noise=noise)
"""


def test_images_that_are_cut_short(tmp_path):
    """Whatever the encoder is doing when the process ends, each image that has its name is whole."""
    result = python(CUT_SHORT, tmp_path)
    assert result.returncode == 0
    stored = [path for path in tmp_path.glob("images/noise/*") if not path.name.startswith(".")]
    for path in stored:
        with Image.open(path) as image:
            image.load()
    assert len(stored) < 50
    assert "images were not written within 0.0 s" in result.stderr


INHERITED = """
import os, signal, sys
import numpy as np
from ml_logger import ML_Logger
run = ML_Logger(sys.argv[1])
noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8)
for step in range(30): run.log_image(step, parent=noise)
for number in range(10):
    child = os.fork()
    if child == 0:
        signal.alarm(50)
        written, replace = [], os.replace
        os.replace = lambda *names: written.append(names) or replace(*names)
        for step in range(3): run.log_image(step, **{f"child{number}": noise})
        run.close()
        os._exit(0 if len(written) == 3 and not run.failures else 9)
    assert os.waitpid(child, 0)[1] == 0
"""


def test_fork_while_images_wait(tmp_path):
    """Children that are forked while images wait write their own, once, and leave the parent's to the parent."""
    assert python(INHERITED, tmp_path).stderr == ""
    assert len(list((tmp_path / "images/parent").iterdir())) == 30
    assert [len(list((tmp_path / f"images/child{number}").iterdir())) for number in range(10)] == [3] * 10


TABLES = """
import os, sys
from ml_logger import ML_Logger
run = ML_Logger(sys.argv[1])
for number in range(3000):
    run.log(number, number=number)
    run.print(number, flush=number % 100 == 0)
run.log_params(G={"a": 1})
assert not run.failures, run.failures
open(sys.argv[1] + "/done", "w").close()
"""


def test_broken_pipe(tmp_path):
    """A reader of the tables that goes away (`| head`) costs the tables on the screen and nothing else."""
    reading, writing = os.pipe()
    os.close(reading)
    result = python(TABLES, tmp_path, capture_output=False, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (tmp_path / "done").exists()
    assert [record["number"] for record in records(tmp_path)] == list(range(3000))
    assert "Traceback" not in result.stderr
    assert Run(tmp_path).state == "finished"
    assert (tmp_path / "text.log").read_text(encoding="utf-8").count("│       number       │") == 3000


def test_reader_that_takes_a_few_lines(tmp_path):
    """The same with a reader that leaves in the middle."""
    process = subprocess.Popen([sys.executable, "-c", TABLES, tmp_path], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.readline()
    process.stdout.close()
    assert b"Traceback" not in process.stderr.read()
    process.wait(DEADLINE_S)
    process.stderr.close()
    assert [record["number"] for record in records(tmp_path)] == list(range(3000))


NO_OUTPUT = """
import ctypes, os, sys
from ml_logger import ML_Logger
assert sys.stdout is None and sys.stderr is None
run = ML_Logger(sys.argv[1])
for number in range(10):
    run.log(number, number=number, flush=True)
    run.log_params(G={"number": number})
    ctypes.CDLL(None).puts(b"a library prints")
    ctypes.CDLL(None).fflush(None)
    for fd in (0, 1, 2):
        try: os.write(fd, b"stray")
        except OSError: pass
run.close()
assert not run.failures and not run.dropped
"""


def test_started_without_standard_streams(tmp_path):
    """Where the shell closed 0, 1 and 2, a stream never takes their numbers: what libraries print stays out of it."""
    command = ["sh", "-c", 'exec "$@" 0<&- 1>&- 2>&-', "sh", sys.executable, "-c", NO_OUTPUT, tmp_path]
    assert subprocess.run(command, timeout=DEADLINE_S).returncode == 0
    assert [record["number"] for record in records(tmp_path)] == list(range(10))
    assert len(records(tmp_path, "parameters.jsonl")) == 10
    assert "stray" not in (tmp_path / "text.log").read_text(encoding="utf-8")


CLOSED = """
import os, sys
from ml_logger import ML_Logger
run = ML_Logger(sys.argv[1])
run.log(1, number=1)
sys.stdout.close()
run.log(2, number=2, flush=True)
run.print("x")
os.closerange(0, 3)
run.log(3, number=3, flush=True)
run.close()
assert not run.failures and not run.dropped
os._exit(0)
"""


def test_script_closes_its_output(tmp_path):
    """A script that closes sys.stdout, and then the descriptors, logs on."""
    assert python(CLOSED, tmp_path).returncode == 0
    assert [record["number"] for record in records(tmp_path)] == [1, 2, 3]
