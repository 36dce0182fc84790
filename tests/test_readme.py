"""The documents are true: every Python block of the README and of the description of the files runs as it stands."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ml_logger import ML_Logger

ROOT = Path(__file__).parent.parent


def blocks(name):
    """Return the Python blocks of a document."""
    return re.findall(r"^```python\n(.*?)^```$", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


README = blocks("README.md")


def run_block(code, tmp_path):
    """Run `code` as a script in a directory, home and spool of its own."""
    script = tmp_path / "example.py"
    script.write_text(code.replace("/tmp/ml_logger", str(tmp_path / "ml_logger")), encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ML_LOGGER")}
    environment |= {"HOME": str(tmp_path / "home"), "MPLCONFIGDIR": str(tmp_path / "matplotlib")}
    command = [sys.executable, script]
    return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("code", README, ids=[str(index) for index in range(len(README))])
def test_examples_run(tmp_path, code):
    """An example ends well, warns about nothing, and leaves a run that says it finished."""
    result = run_block(code, tmp_path)
    complaints = [line for line in result.stderr.splitlines() if not line.startswith("Matplotlib is building")]
    assert (result.returncode, complaints) == (0, [])
    ends = [path.read_text().splitlines()[-1] for path in tmp_path.rglob("run.jsonl")]
    assert ends
    assert all('"state":"finished"' in end for end in ends)


def test_examples_leave_the_files_they_name(tmp_path):
    """The files that comments of the examples name are there."""
    for code in README:
        named = re.findall(r"\b((?:images|videos|figures|tensors|modules)/[\w/]+\.\w+)", code)
        if named:
            folder = tmp_path / str(README.index(code))
            folder.mkdir()
            run_block(code, folder)
            for name in named:
                assert list(folder.glob(f"runs/*/{name}")), name


def test_every_method_has_an_example():
    """No public method of the logger is without an example."""
    text = "\n".join(README)
    methods = {name for name in dir(ML_Logger) if not name.startswith("_")}
    told = {name for name in methods if f"logger.{name}" in text or f"{name} is" in text}
    assert methods - told == {"dropped", "failures", "tell_failure"}


def test_a_stranger_reads_the_files(tmp_path):
    """The example for reading without this library, run with the library out of reach, reads every kind of file."""
    with ML_Logger(tmp_path / "run1") as run:
        for step in range(3):
            run.log(step, loss=float("nan") if step else 0.5, silent=True)
        ML_Logger(tmp_path / "run1").log(3, loss=0.25, silent=True)
        run.log_tensor(1, w=np.eye(2))
        run.log_module(1, net={"0.weight": np.ones(3)})
        run.log_histogram(1, w=[1.0, 2.0], bins=2)
        run.log_data("episodes", {"length": 12})
    for number, loss in ((10, 10.0), (2, 2.0)):
        (tmp_path / f"run1/metrics.{number}.jsonl").write_text(
            f'{{"loss":{loss}}}\n{{"lo\n{{"loss":{loss}}}\n{{"loss":7'
        )
    (tmp_path / "run1/metrics.eval.jsonl").write_text('{"loss":7}\n')
    (code,) = blocks("docs/SPOOL_FORMAT.md")
    code = "import sys; sys.modules['ml_logger'] = None\n" + code
    code += "\nprint(loss.tolist(), weights.tolist(), net['0.weight'].tolist(), counts, edges, episodes)\n"
    result = run_block(code, tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    expected = "[0.5, nan, nan, 0.25, 2.0, 2.0, 10.0, 10.0] "
    expected += "[[1.0, 0.0], [0.0, 1.0]] [1.0, 1.0, 1.0] [1 1] [1. 1.5 2. ] [{'length': 12}]"
    assert " ".join(result.stdout.split()) == expected


@pytest.mark.parametrize("code", blocks("docs/TESTING.md"))
def test_faults_happen_as_described(tmp_path, code):
    """The example of the page about testing runs as it stands."""
    result = run_block(code, tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
