"""Disks that fill up, fail, vanish or lock: training goes on, losses are counted and told once, and every line parses."""

import json
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pytest

from ml_logger.layout import part_of

DEADLINE_S = 60


def parse_all(directory, stream="metrics.jsonl"):
    """Return the records of all parts of a stream, each line of which must be whole JSON."""
    parts = [path for path in sorted(directory.iterdir()) if part_of(path.name, stream) is not None]
    lines = [path.read_bytes().split(b"\n") for path in parts]
    assert all(part[-1] == b"" for part in lines)
    return [json.loads(line) for part in lines for line in part[:-1]]


def parse_all_in_order(directory):
    """Return the records of the metrics by their steps, from whichever part."""
    return sorted(parse_all(directory), key=lambda record: record["_step"])


def python(code, *arguments, before=(), **options):
    """Run `code` in a process of its own (`before` it the words of a command that starts it) and require that it ends well."""
    command = [*before, sys.executable, "-c", code, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, **options)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Traceback" not in result.stderr, result.stderr
    return result


# --- small file systems, in a mount namespace that ends with the process

MOUNTS = {
    "tmpfs": 'mount -t tmpfs -o size=256k none "$0"',
    "tmpfs-inodes": 'mount -t tmpfs -o size=1m,nr_inodes=9 none "$0"',
    "ext4": 'truncate -s 2M "$0.img" && mkfs.ext4 -q -b 1024 -O ^has_journal "$0.img" && mount -o loop "$0.img" "$0"',
    "ext4-4k": 'truncate -s 4M "$0.img" && mkfs.ext4 -q -b 4096 "$0.img" && mount -o loop "$0.img" "$0"',
}


@pytest.fixture
def on_small_disk(tmp_path):
    """Return a function that gives the words that start a process with a small disk mounted on a folder, and the folder."""

    def mounted(kind):
        folder = tmp_path / "disk"
        folder.mkdir()
        script = f'set -e; {MOUNTS[kind]} >&2; exec "$@"'
        before = ["unshare", "--mount", "sh", "-c", script, str(folder)]
        try:
            tried = subprocess.run([*before, "true"], capture_output=True, text=True, timeout=DEADLINE_S)
        except FileNotFoundError:
            pytest.skip("there is no unshare(1) to mount a small disk with")
        if tried.returncode:
            pytest.skip(f"mounting a {kind} is not permitted here: {tried.stderr.strip().splitlines()[-1]}")
        return before, folder

    return mounted


FULL = """
import json, os, shutil, sys
from pathlib import Path
import numpy as np
from ml_logger import ML_Logger

disk, out = map(Path, sys.argv[1:])
logger = ML_Logger(disk / "run")
kept, dropped, phase_of = [], [], {}

def log_step(number):
    before = logger.dropped
    logger.log(number, number=number, text="x" * (number * 53 % 700), silent=True)
    (kept if logger.dropped == before else dropped).append(number)
    if number % 5 == 0:
        logger.log(number, table=number, flush=True)
        logger.log_params(G={"number": number})
        logger.log_histogram(number, w=np.arange(50))
        logger.log_tensor(number, w=np.zeros((40, 40)))
        logger.print("step", number)

def fill():
    with open(disk / "ballast", "ab", buffering=0) as ballast:
        for size in (4096, 512, 1):
            try:
                while ballast.write(b"x" * size): pass
            except OSError:
                pass

for number in range(20): log_step(number)
first_losses = []
for turn in range(3):
    fill()
    for number in range(100 * turn + 100, 100 * turn + 150): log_step(number)
    first_losses.append(len(dropped))
    os.truncate(disk / "ballast", 0)
    for number in range(100 * turn + 150, 100 * turn + 160): log_step(number)
total = logger.dropped
logger.close()
os.unlink(disk / "ballast")
shutil.copytree(disk / "run", out)
print("\\n" + json.dumps({"kept": kept, "dropped": dropped, "total": total, "losses": first_losses}))
"""


@pytest.mark.parametrize("kind", ["tmpfs", "ext4", "ext4-4k"])
def test_full_disk(tmp_path, on_small_disk, kind):
    """A disk that is full three times costs the records of those times, counted and told once a stream, and nothing else."""
    before, disk = on_small_disk(kind)
    result = python(FULL, disk, tmp_path / "out", before=before)
    told = json.loads(result.stdout.splitlines()[-1])
    stored = Counter(record["number"] for record in parse_all(tmp_path / "out") if "number" in record)
    assert stored == Counter(told["kept"])
    assert 0 < told["losses"][0] < told["losses"][1] < told["losses"][2]
    assert {150 + 100 * turn + i for turn in range(3) for i in range(10)} <= stored.keys()
    for stream in ("parameters.jsonl", "histograms.jsonl"):
        assert parse_all(tmp_path / "out", stream)
    assert parse_all(tmp_path / "out", "run.jsonl")[-1]["dropped"] >= told["total"] > len(told["dropped"])
    warnings = [line.split()[0] for line in result.stderr.splitlines() if "can't be written" in line]
    assert str(disk / "run/metrics.jsonl") in warnings
    assert all(count == 1 for count in Counter(warnings).values())
    assert not list((tmp_path / "out").rglob(".*.tmp-*"))


INODES = """
import json, os, shutil, sys
from pathlib import Path
import numpy as np
from ml_logger import ML_Logger

disk, out = map(Path, sys.argv[1:])
logger = ML_Logger(disk / "run", segment_bytes=2000)
logger.log(0, number=0, silent=True)
taken = []
try:
    while True: taken.append(os.open(disk / f"taken{len(taken)}", os.O_CREAT)), os.close(taken[-1])
except OSError:
    pass
for number in range(1, 100):
    logger.log(number, number=number, text="x" * 100, silent=True)
    logger.log_histogram(number, w=np.arange(5))
    logger.log_tensor(number, w=np.arange(5))
losses = logger.dropped
for number in range(len(taken)): os.unlink(disk / f"taken{number}")
logger.log(100, number=100, silent=True)
logger.log_histogram(100, w=np.arange(5))
after = logger.dropped
logger.close()
shutil.copytree(disk / "run", out)
print(json.dumps({"losses": losses, "after": after}))
"""


def test_no_more_files(tmp_path, on_small_disk):
    """Where no file can be made any more, open streams go on past their segment, and new ones begin once there is room."""
    before, disk = on_small_disk("tmpfs-inodes")
    told = json.loads(python(INODES, disk, tmp_path / "out", before=before).stdout.splitlines()[-1])
    assert [record["number"] for record in parse_all_in_order(tmp_path / "out")] == list(range(101))
    assert [record["_step"] for record in parse_all(tmp_path / "out", "histograms.jsonl")] == [100]
    assert told == {"losses": 99, "after": 99}


BROKEN = """
import json, os, subprocess, sys
from pathlib import Path
import numpy as np
from ml_logger import ML_Logger

disk = Path(sys.argv[1])
logger = ML_Logger(disk / "run")
logger.log(0, number=0, silent=True)
subprocess.run(["mount", "-o", "remount,abort", disk], check=False, stderr=subprocess.DEVNULL)
for number in range(1, 50):
    logger.log(number, number=number, flush=True)
    logger.log_params(G={"number": number})
    logger.log_histogram(number, w=np.arange(5))
    logger.log_tensor(number, w=np.arange(5))
losses = logger.dropped
logger.close()
print("\\n" + json.dumps({"losses": losses}))
"""


def test_broken_disk(tmp_path, on_small_disk):
    """A file system that shuts itself down after an error costs the records, counted, and training goes on."""
    before, disk = on_small_disk("ext4")
    result = python(BROKEN, disk, before=before)
    assert json.loads(result.stdout.splitlines()[-1])["losses"] >= 49 * 3
    warnings = [line.split()[0] for line in result.stderr.splitlines() if "can't be written" in line]
    assert warnings
    assert all(count == 1 for count in Counter(warnings).values())


# --- limits of the process

LIMITED = """
import resource, sys
import numpy as np
from ml_logger import ML_Logger
logger = ML_Logger(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
for number in range(200):
    logger.log(number, number=number, text="x" * (number * 31 % 900), silent=["text"])
    logger.log_params(G={"number": number})
assert logger.dropped == 0, logger.dropped
logger.log(200, number=200, text="x" * 20_000, silent=True)
logger.log_tensor(200, w=np.zeros(5000))
assert logger.dropped == 1, logger.dropped
logger.log(201, number=201, silent=True)
assert logger.dropped == 1, logger.dropped
"""


def test_limited_file_size(tmp_path):
    """Under `ulimit -f` a stream goes on in its next part; only a record that is larger by itself is lost, and counted."""
    python(LIMITED, tmp_path / "run")
    assert [record["number"] for record in parse_all_in_order(tmp_path / "run")] == [*range(200), 201]
    assert sorted(record["G"]["number"] for record in parse_all(tmp_path / "run", "parameters.jsonl")) == list(
        range(200)
    )
    assert all(path.stat().st_size <= 10_000 for path in (tmp_path / "run").iterdir() if path.is_file())
    assert not list((tmp_path / "run").rglob("*.npy"))


FEW_DESCRIPTORS = """
import os, resource, sys
import numpy as np
from ml_logger import ML_Logger
logger = ML_Logger(sys.argv[1], segment_bytes=1000)
logger.log(0, number=0, silent=True)
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
taken = []
try:
    while True: taken.append(os.open(os.devnull, os.O_RDONLY))
except OSError:
    pass
for number in range(1, 100):
    logger.log(number, number=number, silent=True)
    logger.log_histogram(number, w=np.arange(5))
    logger.log_tensor(number, w=np.arange(5))
assert logger.dropped == 99, logger.dropped
for fd in taken: os.close(fd)
logger.log(100, number=100, silent=True)
logger.log_histogram(100, w=np.arange(5))
assert logger.dropped == 99
"""


def test_no_more_descriptors(tmp_path):
    """A process that has used up its descriptors keeps logging into the streams that are open."""
    python(FEW_DESCRIPTORS, tmp_path / "run")
    assert [record["number"] for record in parse_all_in_order(tmp_path / "run")] == list(range(101))
    assert [record["_step"] for record in parse_all(tmp_path / "run", "histograms.jsonl")] == [100]


CLOSED_BY_USER = """
import os, sys
from ml_logger import ML_Logger
logger = ML_Logger(sys.argv[1])
for number in range(50):
    logger.log(number, number=number, silent=True)
    logger.print(number)
    if number % 10 == 3:
        os.closerange(3, 64)
        theirs = [os.open(sys.argv[2] + f"/{number}-{i}", os.O_CREAT | os.O_RDWR) for i in range(20)]
os.closerange(3, 64)
theirs = [os.open(sys.argv[2] + f"/last-{i}", os.O_CREAT | os.O_RDWR) for i in range(40)]
logger.close()
assert [os.write(fd, b"mine") for fd in theirs] == [4] * 40  # close() has closed none of them
"""


def test_descriptors_closed_by_the_script(tmp_path):
    """os.closerange() in the script, and files of its own under the same numbers, cost no record and harm none of them."""
    (tmp_path / "theirs").mkdir()
    python(CLOSED_BY_USER, tmp_path / "run", tmp_path / "theirs")
    assert sorted(record["number"] for record in parse_all(tmp_path / "run")) == list(range(50))
    texts = "".join(path.read_text() for path in (tmp_path / "run").glob("text*.log"))
    assert sorted(map(int, texts.split())) == list(range(50))
    assert {path.read_bytes() for path in (tmp_path / "theirs").iterdir()} == {b"", b"mine"}


# --- directories that go or lock

DELETED = """
import glob, shutil, sys, threading, time
from ml_logger import ML_Logger
sys.setswitchinterval(1e-5)
logger = ML_Logger(sys.argv[1] + "/a/run")
logged = threading.Semaphore(0)
numbers = iter(range(10**9))
is_over = False

def train():
    while not is_over:
        number = next(numbers)
        logger.log(number, number=number, silent=number % 5 > 0)
        logger.log_params(G={"number": number})
        logged.release()

trainer = threading.Thread(target=train)
trainer.start()
for _ in range(50):
    for _ in range(20): logged.acquire()
    shutil.rmtree(sys.argv[1] + "/a", ignore_errors=True)
is_over = True
trainer.join()
shutil.rmtree(sys.argv[1] + "/a", ignore_errors=True)
deadline = time.monotonic() + 30
while not glob.glob(sys.argv[1] + "/a/run/metrics*") and time.monotonic() < deadline:
    logger.log(silent=True)
before = logger.dropped
for number in range(10): logger.log(number, last=number, silent=True)
assert logger.dropped == before
assert not logger.failures, logger.failures
"""


def test_directory_deleted_again_and_again(tmp_path):
    """While somebody deletes the run fifty times training goes on, and soon after the last time all is stored again."""
    python(DELETED, tmp_path)
    last = [record["last"] for record in parse_all(tmp_path / "a/run") if "last" in record]
    assert last == list(range(10))


LOCKED = """
import os, sys
import numpy as np
from ml_logger import ML_Logger
directory = sys.argv[1] + "/run"
is_root = os.geteuid() == 0
os.mkdir(directory)

def set_mode(mode):
    if is_root: os.seteuid(0)
    os.chmod(directory, mode)
    if is_root: os.seteuid(65534)

set_mode(0o777)
logger = ML_Logger(directory, segment_bytes=2000)
logger.log(0, number=0, silent=True)
set_mode(0o555)
for number in range(1, 100):
    logger.log(number, number=number, text="x" * 50, silent=True)
    logger.log_histogram(number, w=np.arange(5))
    logger.log_tensor(number, w=np.arange(5))
assert logger.dropped == 99, logger.dropped
assert sum(logger.failures.values()) == 99, logger.failures
set_mode(0o777)
logger.log(100, number=100, silent=True)
logger.log_histogram(100, w=np.arange(5))
logger.log_tensor(100, w=np.arange(5))
assert logger.dropped == 99 and sum(logger.failures.values()) == 99
"""


def test_directory_made_read_only():
    """In a directory that takes no new files any more open streams go on; what needs a new file is counted and told once."""
    with tempfile.TemporaryDirectory() as folder:  # not tmp_path: another user must reach it
        Path(folder).chmod(0o755)
        result = python(LOCKED, folder)
        run = Path(folder) / "run"
        assert [record["number"] for record in parse_all_in_order(run)] == list(range(101))
        assert [record["_step"] for record in parse_all(run, "histograms.jsonl")] == [100]
        assert [path.name for path in run.glob("tensors/w/*")] == ["0100.npy"]
        assert len(result.stderr.splitlines()) == 2


IMMUTABLE = """
import subprocess, sys
from ml_logger import ML_Logger
logger = ML_Logger(sys.argv[1])
def set_immutable(sign): subprocess.run(["chattr", sign + "i", sys.argv[1] + "/metrics.jsonl"], check=True)
logger.log(0, number=0, silent=True)
set_immutable("+")
try:
    for number in range(1, 20): logger.log(number, number=number, silent=True)
    losses = logger.dropped
finally:
    set_immutable("-")
logger.log(20, number=20, silent=True)
assert logger.dropped == losses == 19, losses
"""


def test_file_made_immutable(tmp_path, on_small_disk):
    """A stream that takes no writes any more costs counted records, told once; when it does again logging goes on in it."""
    if not shutil.which("chattr"):
        pytest.skip("there is no chattr(1)")
    before, disk = on_small_disk("ext4-4k")
    copy = f"import shutil; shutil.copytree({str(disk / 'run')!r}, {str(tmp_path / 'out')!r})"
    result = python(IMMUTABLE + "logger.close()\n" + copy, disk / "run", before=before)
    assert [record["number"] for record in parse_all(tmp_path / "out")] == [0, 20]
    assert result.stderr.count("can't be written") == 1


RELATIVE = """
import os, sys
from ml_logger import LogDirectoryError, ML_Logger
os.chdir(sys.argv[1])
logger = ML_Logger("runs/one")
logger.log(0, number=0, silent=True)
os.mkdir("elsewhere")
os.chdir("elsewhere")
logger.log(1, number=1, silent=True)
logger.log_params(G={"a": 1})
os.rmdir("../elsewhere")  # the current directory is gone altogether
logger.log(2, number=2, silent=True)
logger.log_histogram(2, w=[1.0, 2.0])
logger.close()
logger.log(3, number=3, silent=True)
with ML_Logger(os.path.join(sys.argv[1], "runs/two")) as other:
    other.log(0, number=0, silent=True)
try:
    ML_Logger("runs/three")
except LogDirectoryError as error:
    assert "deleted" in error.one_line()
else:
    raise AssertionError("a relative directory has no place to start from")
"""


def test_relative_directory_and_chdir(tmp_path):
    """A relative directory stays where it was when the script changes its directory, or has none any more."""
    python(RELATIVE, tmp_path)
    assert [record["number"] for record in parse_all(tmp_path / "runs/one")] == [3, 0, 1, 2]
    assert len(parse_all(tmp_path / "runs/two")) == 1
    assert parse_all(tmp_path / "runs/one", "histograms.jsonl")
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


AGAIN = """
import sys
from ml_logger import ML_Logger
with ML_Logger(sys.argv[1]) as one, ML_Logger(sys.argv[1]) as two:
    for number in range(50):
        (one, two)[number % 2].log(number, number=number, run=int(sys.argv[2]), text="x" * 100, silent=True)
"""


def test_runs_again_in_one_directory(tmp_path):
    """Two loggers of three runs, two of which go on at once: six streams, every record once, older files untouched."""
    python(AGAIN, tmp_path / "run", 0)
    first = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    command = [sys.executable, "-c", AGAIN, tmp_path / "run"]
    both = [subprocess.Popen([*command, str(number)], stderr=subprocess.PIPE) for number in (1, 2)]
    assert [process.communicate(timeout=DEADLINE_S)[1] for process in both] == [b"", b""]
    assert [process.returncode for process in both] == [0, 0]
    assert all((tmp_path / "run" / name).read_bytes() == content for name, content in first.items())
    records = Counter((record["run"], record["number"]) for record in parse_all(tmp_path / "run"))
    assert records == Counter((run, number) for run in range(3) for number in range(50))
    assert len(list((tmp_path / "run").glob("metrics*.jsonl"))) == 6
