"""The ml-logger command shows runs and compares trees, and says in one line what is wrong."""

import json
import os
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


def shell(line, cwd, **env):
    """Run a line of shell, in which ``$ML`` is the command, and return its code, and what it wrote to its two outputs."""
    done = subprocess.run(
        ["sh", "-c", line], cwd=cwd, capture_output=True, timeout=60, env={**os.environ, "ML": COMMAND, **env}
    )
    return done.returncode, done.stdout, done.stderr.decode()


@pytest.mark.parametrize("words", ["ls", "ls --json", "export exp/one"])
@pytest.mark.parametrize(("to", "why"), [(">&-", "Bad file descriptor"), ("> /dev/full", "No space left on device")])
def test_an_output_that_takes_nothing(logs, words, to, why):
    """It is named in one line and with code 1, whether it is closed or full."""
    assert shell(f"$ML {words} {to}", logs) == (1, b"", f"ml-logger: standard output: {why}\n")


def test_errors_stay_out_of_the_output(logs):
    """With standard error closed an error is seen in the code alone."""
    assert shell("$ML show nothing 2>&-", logs) == (3, b"", "")


def test_an_output_that_is_not_needed(logs, tmp_path):
    """Who writes to a file needs no standard output, and what is opened does not take its place."""
    assert shell(f"$ML export exp/one -o {tmp_path}/x.csv >&-", logs) == (0, b"", "")
    assert (tmp_path / "x.csv").read_text().startswith("step,timestamp,loss,accuracy\n1,")


def test_an_output_of_ascii(tmp_path):
    """Of an encoding that lacks characters a frame is drawn in ASCII, others are escapes, and JSON is the same as ever."""
    with ML_Logger(tmp_path, prefix="für") as run:
        run.log(1, größe="│", silent=True)
    ascii_only = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    code, shown, told = shell("$ML ls && $ML tail für", tmp_path, **ascii_only)
    assert (code, told) == (0, "")
    assert b"f\\xfcr " in shown.splitlines()[1]
    assert shown.splitlines()[2] == b"+" + b"=" * 20 + b"+" + b"=" * 20 + b"+"
    assert shell("$ML ls --json", tmp_path, **ascii_only) == shell("$ML ls --json", tmp_path)
    assert json.loads(shell("$ML ls --json", tmp_path, **ascii_only)[1])[0]["last"] == {"größe": "│"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ls", "-n", "-22"], "argument -n/--most: '-22' is not a whole number of at least 1"),
        (["ls", "-n", "0"], "argument -n/--most: '0' is not a whole number of at least 1"),
        (["tail", ".", "-n", "-1"], "argument -n/--records: '-1' is not a whole number of at least 0"),
        (["plot", ".", "loss", "--smooth", "x"], "argument --smooth: 'x' is not a number from 0 to 0.999"),
        (["plot", ".", "loss", "--smooth", "nan"], "argument --smooth: 'nan' is not a number from 0 to 0.999"),
        (["plot", ".", "loss", "--width", "3"], "argument --width: '3' is not a whole number from 4 to 1000"),
    ],
)
def test_numbers_that_make_no_sense(words, said, capsys):
    """They are refused, in words that say which are taken."""
    assert main(words) == 2
    assert capsys.readouterr().err.startswith(f"ml-logger: {said}")


def test_nothing_of_a_run_turns_the_writing_round(tmp_path, capsys):
    """What makes a terminal write from right to left comes as an escape, in any command and in its errors."""
    with ML_Logger(tmp_path / "run") as run:
        run.log_params(**{"s\u202e": {"k\u202e": "v\u202e"}})
        run.log(1, {"m\u202e": "w\u202e"}, silent=True)
    capsys.readouterr()
    for command in ("show", "tail", "ls"):
        assert main([command, str(tmp_path / "run")]) == 0
    assert main(["show", str(tmp_path / "no\u202e")]) == 3
    shown = capsys.readouterr()
    assert "\u202e" not in shown.out + shown.err
    assert all(f"{letter}\\u202e" in shown.out for letter in "skvmw")
    assert "no\\u202e" in shown.err


def test_names_that_are_no_text(tmp_path, capsys):
    """In JSON a byte that is no UTF-8 and a lone surrogate are their escapes, without quotes."""
    run = tmp_path / os.fsdecode(b"run\xff\xfe")
    run.mkdir()
    (run / "metrics.jsonl").write_text('{"_step":1234567890123456789,"k\\ud800":"v\\ud800"}\n')
    (run / "run.jsonl").write_text('{"event":"start","_timestamp":1.0,"host":"\\ud800","pid":1234567890123456789}\n')
    assert main(["ls", str(tmp_path), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["path"], found["host"]) == ("run\\udcff\\udcfe", "\\ud800")
    assert found["last"] == {"k\\ud800": "v\\ud800"}


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
