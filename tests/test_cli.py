"""The ml-logger command shows runs and compares trees, and says in one line what is wrong."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ml_logger import ML_Logger
from ml_logger.cli import main

COMMAND = str(Path(sys.executable).parent / "ml-logger")


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch):
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def logs(tmp_path, capsys):
    with ML_Logger(tmp_path / "logs", prefix="exp/one") as run:
        run.log_params(G={"rate": 0.001, "name": None})
        run.log(1, loss=0.25, accuracy=1 / 3)
        run.log(2, loss=float("nan"))
    capsys.readouterr()
    return tmp_path / "logs"


def test_ls(logs, capsys):
    """ls names each run with its state, its age, last step and last values."""
    assert main(["ls", str(logs)]) == 0
    heading, line = capsys.readouterr().out.splitlines()
    assert heading.split() == ["RUN", "STATE", "STARTED", "STEP", "loss", "accuracy"]
    assert re.fullmatch(r"exp/one  finished  +\d+ s ago  +2   nan  0.333333", line)


def test_show(logs, capsys):
    """show prints the parameters and the last values as the tables that training prints."""
    assert main(["show", str(logs / "exp/one")]) == 0
    out = capsys.readouterr().out
    assert "             rate              │ 0.001               \n" in out
    assert "│        loss        │        nan         │\n" in out
    assert out.splitlines()[-1].startswith("finished, 2 records, last step 2, started 20")


def test_verify(logs, tmp_path, capsys):
    """verify exits with 0 and one line for equal trees, else with 1 and a line per difference."""
    shutil.copytree(logs, tmp_path / "mirror")
    assert main(["verify", str(logs), str(tmp_path / "mirror")]) == 0
    assert capsys.readouterr().out.startswith("equal: 4 files, ")
    (tmp_path / "mirror/exp/one/metrics.jsonl").unlink()
    assert main(["verify", str(logs), str(tmp_path / "mirror")]) == 1
    assert capsys.readouterr().out == "missing 'exp/one/metrics.jsonl'\n"


def test_verify_as_json(logs, tmp_path, capsys):
    """As JSON comes what was found, with the same exit codes."""
    mirror = tmp_path / "mirror"
    shutil.copytree(logs, mirror)
    assert main(["verify", str(logs), str(mirror), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found.pop("bytes") > 0
    assert found == {"is_equal": True, "files": 4, "missing": [], "extra": [], "differs": []}
    (mirror / "exp/one/metrics.jsonl").rename(mirror / "more")
    with (mirror / "exp/one/run.jsonl").open("r+b") as file:
        file.seek(5)
        file.write(b"\0")
    assert main(["verify", str(logs), str(mirror), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["is_equal"], found["files"], found["missing"]) == (False, 3, ["exp/one/metrics.jsonl"])
    assert (found["extra"], found["differs"]) == (["more"], [{"path": "exp/one/run.jsonl", "at": 5}])


@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        (2, []),
        (2, ["no-such-command"]),
        (3, ["ls"]),
        (3, ["ls", "no-such-directory"]),
        (3, ["show", "."]),
        (2, ["verify", "."]),
        (3, ["verify", ".", "no-such-directory"]),
        (2, ["--no-such-flag"]),
    ],
)
def test_bad_usage_is_one_line(tmp_path, code, arguments):
    """Every misuse of the installed command is one line on stderr that names the thing; what is not there is code 3, else 2."""
    result = subprocess.run([COMMAND, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout) == (code, "")
    assert result.stderr.startswith("ml-logger")
    assert result.stderr.count("\n") == 1


def test_no_progress_bar_in_a_pipe(logs):
    """Without a terminal nothing but the result is written."""
    result = subprocess.run([COMMAND, "verify", logs, logs], capture_output=True, text=True, timeout=60)
    assert result.stderr == ""
    assert result.stdout.startswith("equal: ")


def test_reader_of_the_output_goes_away(logs):
    """A closed pipe (`ml-logger show … | head`) ends the command without a traceback."""
    process = subprocess.Popen([COMMAND, "show", logs / "exp/one"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(60) == 0
