"""Ctrl-C, SystemExit, signal handlers and hostile surroundings in the middle of a call: the files stay consistent."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter

import pytest

from ml_logger.layout import part_of
from ml_logger.reader import Run

DEADLINE_S = 90


def python(code, *arguments):
    """Run `code` in a process of its own, and require that it ends well."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    result = subprocess.run(
        command, capture_output=True, text=True, errors="replace", timeout=DEADLINE_S, env=environment
    )
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    return result


def records(directory, stream="metrics.jsonl"):
    """Return the records of all parts of a stream; every line must be whole."""
    parts = [path for path in directory.iterdir() if part_of(path.name, stream) is not None]
    lines = [path.read_bytes().split(b"\n") for path in parts]
    assert all(part[-1] == b"" for part in lines)
    return [json.loads(line) for part in lines for line in part[:-1]]


INTERRUPTED = """
import json, random, signal, sys
from ml_logger import ML_Logger

kind = {"KeyboardInterrupt": KeyboardInterrupt, "SystemExit": SystemExit}[sys.argv[2]]
dice = random.Random(int(sys.argv[3]))
run = ML_Logger(sys.argv[1], segment_bytes=100_000)

def interrupt(*_):
    raise kind

signal.signal(signal.SIGALRM, interrupt)
returned, interrupted, number = [], 0, 0
while interrupted < 500:
    try:
        signal.setitimer(signal.ITIMER_REAL, dice.uniform(1e-6, 1e-3))
        while True:
            number += 1
            run.log(number, number=number, text="x" * (number * 31 % 3000), silent=number % 4 > 0)
            returned.append(number)
            if number % 3 == 0: run.print("logged", number)
    except kind:
        interrupted += 1
signal.setitimer(signal.ITIMER_REAL, 0)
run.log(0, number=0, silent=True)
assert not run.failures and not run.dropped, (run.failures, run.dropped)
run.close()
print("\\n" + json.dumps([0, *returned]))
"""


@pytest.mark.parametrize("kind", ["KeyboardInterrupt", "SystemExit"])
def test_interrupts_at_random_moments(tmp_path, kind):
    """500 interrupts in the middle of calls all reach the script, which logs on: no record is lost, doubled or torn."""
    returned = json.loads(python(INTERRUPTED, tmp_path, kind, len(kind)).stdout.splitlines()[-1])
    stored = Counter(record["number"] for record in records(tmp_path))
    assert set(stored.values()) == {1}
    assert not set(returned) - stored.keys()
    texts = {record["number"]: record["text"] for record in records(tmp_path) if "text" in record}
    assert all(text == "x" * (number * 31 % 3000) for number, text in texts.items())
    assert Run(tmp_path).state == "finished"


CTRL_C = """
import signal, sys
from ml_logger import ML_Logger
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts what runs in the background without it
run = ML_Logger(sys.argv[1])
number = 0
while number < 200_000:
    run.log(number, number=number, silent=True)
    print(number, flush=True)
    number += 1
"""


def test_ctrl_c_ends_training(tmp_path):
    """A real SIGINT ends the script as Python ends it, all that returned is stored, and the run counts as failed."""
    process = subprocess.Popen([sys.executable, "-c", CTRL_C, tmp_path], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    lines = [process.stdout.readline() for _ in range(200)]
    process.send_signal(signal.SIGINT)
    lines += process.stdout.readlines()
    errors = process.stderr.read()
    assert process.wait(DEADLINE_S) == -signal.SIGINT
    process.stdout.close()
    process.stderr.close()
    assert errors.rstrip().endswith(b"KeyboardInterrupt")
    last = int([line for line in lines if line.endswith(b"\n")][-1])
    numbers = [record["number"] for record in records(tmp_path)]
    assert numbers in (list(range(last + 1)), list(range(last + 2)))
    assert Run(tmp_path).state == "failed"


HANDLER_LOGS = """
import faulthandler, random, signal, sys
from ml_logger import ML_Logger
faulthandler.dump_traceback_later(60, exit=True)
run = ML_Logger(sys.argv[1], segment_bytes=100_000)
handled = 0

def handle(*_):
    global handled
    run.log(handled, handled=handled, text="y" * 100, silent=handled % 3 > 0)
    run.print("caught", handled)
    handled += 1
    if handled < 500: signal.setitimer(signal.ITIMER_REAL, dice.uniform(1e-6, 1e-3))

dice = random.Random(0)
signal.signal(signal.SIGALRM, handle)
signal.setitimer(signal.ITIMER_REAL, 1e-3)
number = 0
while handled < 500:
    run.log(number, number=number, text="x" * (number * 31 % 3000), silent=number % 4 > 0)
    number += 1
assert not run.failures and not run.dropped, (run.failures, run.dropped)
run.close()
with open(sys.argv[2], "w") as out:
    print(number, handled, file=out)
"""


def test_signal_handler_that_logs(tmp_path):
    """A signal handler of the script may log in the middle of a call: nothing hangs, and both records are stored once."""
    python(HANDLER_LOGS, tmp_path / "run", tmp_path / "out")
    number, handled = map(int, (tmp_path / "out").read_text().split())
    found = records(tmp_path / "run")
    assert Counter(record["number"] for record in found if "number" in record) == Counter(range(number))
    assert Counter(record["handled"] for record in found if "handled" in record) == Counter(range(handled))


FULL_PIPE = """
import contextlib, os, signal, sys
from ml_logger import ML_Logger
reading, writing = os.pipe()
os.set_blocking(reading, False)
os.dup2(writing, 1)
run = ML_Logger(sys.argv[1])
handled = 0

def handle(*_):  # the print it interrupts still holds the buffer, so this one can't be written
    global handled
    handled += 1
    drain()
    run.print("handled", handled, flush=True)
    run.log(handled, handled=handled, flush=True)
    if handled < 5: signal.setitimer(signal.ITIMER_REAL, 0.05)

def drain():
    with contextlib.suppress(BlockingIOError): os.read(reading, 1 << 20)

signal.signal(signal.SIGALRM, handle)
signal.setitimer(signal.ITIMER_REAL, 0.05)
number = 0
while handled < 5:
    run.print("printed", "x" * 1000, flush=True)
    number += 1
drain()
assert not run.failures and not run.dropped, (run.failures, run.dropped)
sys.stdout = None
text = open(sys.argv[1] + "/text.log").read()
starts = [line.split(" ")[0] for line in text.splitlines()]
assert starts.count("printed") == number and starts.count("handled") == handled
"""


def test_signal_handler_that_prints_in_a_print(tmp_path):
    """A handler that prints while a print waits for a full pipe costs its text on the screen, and is no failure."""
    python(FULL_PIPE, tmp_path)
    assert {record["handled"] for record in records(tmp_path)} >= set(range(1, 6))


UNTOUCHED = """
import signal, sys, threading
def handlers(): return {s: signal.getsignal(s) for s in signal.valid_signals()}
def mine(*_): pass
if sys.argv[2] == "own":
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGCHLD, signal.SIGALRM, signal.SIGHUP):
        signal.signal(number, mine)
before = handlers(), signal.pthread_sigmask(signal.SIG_BLOCK, ()), signal.getitimer(signal.ITIMER_REAL)
wakeup = signal.set_wakeup_fd(-1)
import numpy as np
import ml_logger
from ml_logger import ML_Logger
def all_calls():
    with ML_Logger(sys.argv[1]) as run:
        run.log(1, a=1)
        run.log_params(G={"a": 1})
        run.log_image(1, a=np.zeros((4, 4)))
        run.log_tensor(1, a=np.zeros(4))
        run.log_histogram(1, a=np.zeros(4))
        run.print("x")
        run.flush()
all_calls()
thread = threading.Thread(target=all_calls)
thread.start()
thread.join()
ml_logger.logger.configure(sys.argv[1])
ml_logger.logger.log(2, a=2)
after = handlers(), signal.pthread_sigmask(signal.SIG_BLOCK, ()), signal.getitimer(signal.ITIMER_REAL)
assert before == after
assert wakeup == signal.set_wakeup_fd(-1) == -1
"""


@pytest.mark.parametrize("handlers", ["default", "own"])
def test_signal_handlers_stay(tmp_path, handlers):
    """No call touches a signal handler, mask, timer or wake-up descriptor, in whatever thread."""
    assert python(UNTOUCHED, tmp_path, handlers).stderr == ""


BAD_HANDLER = """
import logging, sys
import numpy as np
from ml_logger import ML_Logger

class Broken(logging.Handler):
    def emit(self, record): raise ValueError("a handler of the script's")

logging.getLogger().addHandler(Broken())
run = ML_Logger(sys.argv[1])
run.log(1, "no dict")
run.log(2, number=2, odd=object(), silent=True)
run.log_image(3, a=np.zeros((0, 0)))
run.log_data("../outside", 1)
run.log(4, number=4, silent=True)
"""


def test_warnings_that_raise(tmp_path):
    """A logging handler of the script that raises at our warnings does not stop training."""
    assert python(BAD_HANDLER, tmp_path).stderr == ""
    assert 4 in [record.get("number") for record in records(tmp_path)]


DEEP = """
import sys
from ml_logger import ML_Logger
run = ML_Logger(sys.argv[1])
run.log(-1, number=-1)
returned = []

def descend(depth):
    run.log(depth, number=depth)
    returned.append(depth)
    descend(depth + 1)

try:
    descend(0)
except RecursionError:
    pass
run.log(-2, number=-2)
lost = sum(run.failures.values()) + run.dropped
run.close()
assert len(returned) > 800
assert lost < 100
print("\\n", len(returned), lost)
"""


def test_stack_that_runs_out(tmp_path):
    """A call without stack left is counted as a failure or raises Python's own error; the file stays whole."""
    returned, lost = map(int, python(DEEP, tmp_path).stdout.split()[-2:])
    numbers = [record["number"] for record in records(tmp_path)]
    assert numbers[:1] + numbers[-1:] == [-1, -2]
    assert Counter(numbers).most_common(1)[0][1] == 1
    assert len(numbers) >= returned + 2 - lost
