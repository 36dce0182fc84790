"""Forked, spawned and copied loggers, all at once: no record torn, lost or doubled, and each process its own stream."""

import json
import subprocess
import sys
from collections import Counter

import pytest

from ml_logger.layout import part_of
from ml_logger.reader import Run

DEADLINE_S = 120
QUIET_FORK = ("-W", "ignore:This process:DeprecationWarning")  # 3.12 warns of what is tested: a fork beside threads
THREADS = 2


def python(code, *arguments):
    """Run `code` in a process of its own, and require that it ends well and says nothing on stderr."""
    command = [sys.executable, *QUIET_FORK, "-c", code, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def parts(directory, stream="metrics.jsonl"):
    """Return the records of each part of a stream; every line must be whole."""
    found = [path for path in directory.iterdir() if part_of(path.name, stream) is not None]
    lines = [path.read_bytes().split(b"\n") for path in found]
    assert all(part[-1] == b"" for part in lines)
    return [[json.loads(line) for line in part[:-1]] for part in lines]


def assert_one_process_a_part(directory):
    """Assert that each part of the metrics and of the events comes from one process."""
    for stream in ("metrics.jsonl", "run.jsonl"):
        assert all(len({record["pid"] for record in part}) == 1 for part in parts(directory, stream))


CROWD = """
import multiprocessing, os, sys, threading
from ml_logger import ML_Logger

def log_all(logger, thread, count):
    for number in range(count):
        logger.log(number, pid=os.getpid(), thread=thread, number=number, text="x" * (number * 37 % 5000), silent=True)
        if number % 10 == 0:
            logger.log_params(G={"pid": os.getpid(), "thread": thread})

def work(logger, threads, count, barrier):
    barrier.wait(60)
    workers = [threading.Thread(target=log_all, args=(logger, t, count)) for t in range(threads)]
    for worker in workers: worker.start()
    for worker in workers: worker.join()
    assert not logger.failures and not logger.dropped

if __name__ == "__main__":
    directory, method, processes, threads, count = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
    context = multiprocessing.get_context(method)
    logger = ML_Logger(directory)
    logger.log(0, pid=os.getpid(), thread=-1, number=0, silent=True)
    barrier = context.Barrier(processes)
    crowd = [context.Process(target=work, args=(logger, threads, count, barrier)) for _ in range(processes)]
    for process in crowd: process.start()
    for process in crowd: process.join()
    assert [process.exitcode for process in crowd] == [0] * processes
    logger.log(1, pid=os.getpid(), thread=-1, number=1, silent=True)
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_eight_processes_with_sixteen_threads(tmp_path, method):
    """Eight processes with sixteen threads each log at once through an inherited or pickled logger: all is there once."""
    script = tmp_path / "crowd.py"
    script.write_text(CROWD)
    command = [sys.executable, script, tmp_path / "run", method, "8", "16", "20"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S)
    assert (result.returncode, result.stderr) == (0, "")
    found = parts(tmp_path / "run")
    assert sorted(map(len, found)) == [2] + [16 * 20] * 8
    assert_one_process_a_part(tmp_path / "run")
    for part in found:
        counts = Counter((record["thread"], record["number"]) for record in part)
        assert set(counts.values()) == {1}
        assert all(record["text"] == "x" * (record["number"] * 37 % 5000) for record in part if record["thread"] >= 0)
    assert sorted(len(part) for part in parts(tmp_path / "run", "parameters.jsonl")) == [32] * 8
    assert Run(tmp_path / "run").state == "finished"
    assert [len(part) for part in parts(tmp_path / "run", "run.jsonl")] == [2] * 9


DATA_LOADER = """
import multiprocessing, os, sys
from ml_logger import ML_Logger

class Dataset:
    def __init__(self, logger): self.logger = logger
    def __getitem__(self, index):
        self.logger.log(index, pid=os.getpid(), number=index)
        self.logger.print("loaded", index)
        return index

def serve(dataset, indices, batches):
    for index in iter(indices.get, None):
        batches.put(dataset[index])

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[2])
    with ML_Logger(sys.argv[1]) as logger:
        logger.log(-1, pid=os.getpid(), number=-1)
        indices, batches = context.Queue(), context.Queue()
        workers = [context.Process(target=serve, args=(Dataset(logger), indices, batches), daemon=True) for _ in range(3)]
        for worker in workers: worker.start()
        for index in range(60): indices.put(index)
        for _ in range(60):
            got = batches.get(timeout=60)
            logger.log(got, pid=os.getpid(), number=1000 + got)
        if sys.argv[3] == "terminate":
            for worker in workers: worker.terminate()
        else:
            for _ in workers: indices.put(None)
        for worker in workers: worker.join(60)
        assert all(worker.exitcode is not None for worker in workers)
"""


@pytest.mark.parametrize("end", ["leave", "terminate"])
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_of_a_data_loader(tmp_path, method, end):
    """Workers that log through the dataset's logger while training logs too: all records, one stream a process."""
    script = tmp_path / "loader.py"
    script.write_text(DATA_LOADER)
    command = [sys.executable, script, tmp_path / "run", method, end]
    result = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S)
    assert (result.returncode, result.stderr) == (0, "")
    numbers = sorted(record["number"] for part in parts(tmp_path / "run") for record in part)
    assert numbers == [-1, *range(60), *range(1000, 1060)]
    assert_one_process_a_part(tmp_path / "run")
    texts = "".join(path.read_text() for path in (tmp_path / "run").glob("text*.log"))
    assert sorted(int(line.split()[1]) for line in texts.splitlines() if line.startswith("loaded")) == list(range(60))


FORKS = """
import os, signal, sys, threading
from ml_logger import ML_Logger

sys.setswitchinterval(1e-4)  # more forks in the middle of a call
THREADS = int(sys.argv[3])
logger = ML_Logger(sys.argv[1])
is_over, counts = threading.Event(), {}

def log_on(thread):
    number = 0
    while not is_over.is_set():
        if thread == 0:
            logger.log(number, pid=os.getpid(), who=thread, number=number, flush=True)
        else:
            logger.log(number, pid=os.getpid(), who=thread, number=number, silent=True)
        number += 1
    counts[thread] = number

def log_as_child(child):
    signal.alarm(60)
    for number in range(3):
        logger.log(number, pid=os.getpid(), who=100 + child, number=number, silent=not printing, flush=printing)
    logger.close()
    ok = not logger.dropped and not logger.failures
    os._exit(0 if ok else 9)

printing = sys.argv[2] == "printing"
threads = [threading.Thread(target=log_on, args=(t,)) for t in range(THREADS)]
for thread in threads: thread.start()
ends = []
for child in range(200):
    pid = os.fork()
    if pid == 0:
        log_as_child(child)
    ends.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
is_over.set()
for thread in threads: thread.join()
assert ends == [0] * 200, ends
print("\\ncounts", *(counts[t] for t in range(THREADS)))
"""


@pytest.mark.parametrize("table", ["silent", "printing"])
def test_fork_while_other_threads_log(tmp_path, table):
    """A fork at any moment of another thread's call leaves a child that logs at once, and a parent that loses nothing."""
    command = [sys.executable, *QUIET_FORK, "-c", FORKS, tmp_path / "run", table, str(THREADS)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S)
    assert (result.returncode, result.stderr) == (0, "")
    counts = [int(count) for count in result.stdout.splitlines()[-1].split()[1:]]
    found = parts(tmp_path / "run")
    assert_one_process_a_part(tmp_path / "run")
    assert len(found) == 201
    numbers = Counter((record["who"], record["number"]) for part in found for record in part)
    parents = {(thread, number) for thread in range(THREADS) for number in range(counts[thread])}
    assert numbers == Counter(parents | {(100 + child, number) for child in range(200) for number in range(3)})


COPIES = """
import copy, os, pickle, sys
from ml_logger import ML_Logger
with ML_Logger(sys.argv[1]) as logger:
    logger.log(0, pid=os.getpid(), who="original", silent=True)
    for how in (lambda l: pickle.loads(pickle.dumps(l)), copy.deepcopy, copy.copy):
        with how(logger) as copied:
            copied.log(1, pid=os.getpid(), who="copy", silent=True)
        with how(copied) as again:
            again.log(2, pid=os.getpid(), who="copy of a closed copy", silent=True)
    logger.log(3, pid=os.getpid(), who="original", silent=True)
"""


def test_copies_open_streams_of_their_own(tmp_path):
    """Pickled, deep and shallow copies, of open and of closed loggers, write on in files of their own."""
    python(COPIES, tmp_path / "run")
    found = Counter(tuple(record["who"] for record in part) for part in parts(tmp_path / "run"))
    assert found == {("copy",): 3, ("copy of a closed copy",): 3, ("original", "original"): 1}
    assert Run(tmp_path / "run").state == "finished"


GRANDCHILDREN = """
import os, sys
from ml_logger import ML_Logger
logger = ML_Logger(sys.argv[1])
depth = 0
logger.log(depth, pid=os.getpid(), depth=depth)
while depth < 5:
    child = os.fork()
    if child:
        assert os.waitpid(child, 0)[1] == 0
        logger.log(10 + depth, pid=os.getpid(), depth=depth)
        break
    depth += 1
    logger.log(depth, pid=os.getpid(), depth=depth)
"""


def test_children_of_children(tmp_path):
    """Six generations that leave through the interpreter's end: each has its own stream with its own start and end."""
    shown = python(GRANDCHILDREN, tmp_path / "run")
    assert_one_process_a_part(tmp_path / "run")
    depths = sorted([record["depth"] for record in part] for part in parts(tmp_path / "run"))
    assert depths == [[0, 0], [1, 1], [2, 2], [3, 3], [4, 4], [5]]
    events = [[record["event"] for record in part] for part in parts(tmp_path / "run", "run.jsonl")]
    assert events == [["start", "end"]] * 6
    assert shown.count("╒") == 11
