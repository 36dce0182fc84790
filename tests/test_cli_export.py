"""Parameters of runs are compared, and their numbers written for other programs: nothing is made up and nothing lost."""

from __future__ import annotations

import csv
import io
import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest

from ml_logger import ML_Logger
from ml_logger.cli import main


@pytest.fixture
def run(tmp_path: Path) -> Path:
    with ML_Logger(tmp_path / "one") as run:
        run.log_params(model={"lr": 0.1, "layers": [1, 2]}, seed=float("nan"))
        run.log(0, loss=1.0, silent=True)
        run.log(1, {"a,b\n": float("inf")}, silent=True)
        run.log(2, loss=float("nan"), note="text", silent=True)
        run.log(loss=0.1, silent=True)
    return tmp_path / "one"


def exported(run: Path, *words: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["export", str(run), *words]) == 0
    return capsys.readouterr().out


def test_csv(run: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """What a record lacks is empty, a NaN is a NaN, every digit is there, and any key is one cell of the heading."""
    assert main(["export", str(run)]) == 0
    rows = list(csv.reader(io.StringIO(capsysbinary.readouterr().out.decode())))
    assert rows[0] == ["step", "timestamp", "loss", "a,b\n"]
    assert [[row[0], *row[2:]] for row in rows[1:]] == [
        ["0", "1.0", ""],
        ["1", "", "Infinity"],
        ["2", "NaN", ""],
        ["", "0.1", ""],
    ]


def test_json(run: Path, tmp_path: Path) -> None:
    """An array of records that have what was logged; the ending of the file says the format."""
    assert main(["export", str(run), "-o", str(tmp_path / "x.json")]) == 0
    text = (tmp_path / "x.json").read_text()
    records = [{k: v for k, v in record.items() if k != "timestamp"} for record in json.loads(text)]
    assert records == [
        {"step": 0, "loss": 1.0},
        {"step": 1, "a,b\n": "Infinity"},
        {"step": 2, "loss": "NaN"},
        {"loss": 0.1},
    ]
    assert text.count("\n") == 6


def test_json_by_the_flag_of_all_commands(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--json is --format json, whatever the file's ending says; beside another format it is refused."""
    text = exported(run, "--format", "json", capsys=capsys)
    assert [record.get("step") for record in json.loads(text)] == [0, 1, 2, None]
    assert exported(run, "--json", capsys=capsys) == exported(run, "--json", "--format", "json", capsys=capsys) == text
    assert main(["export", str(run), "--json", "-o", str(tmp_path / "x.csv")]) == 0
    assert (tmp_path / "x.csv").read_text() == text
    assert main(["export", str(run), "--json", "--format", "csv"]) == 2
    assert "--json is --format json, not csv" in capsys.readouterr().err


def test_parquet(run: Path, tmp_path: Path) -> None:
    """Missing is null, and NaN is not."""
    parquet = pytest.importorskip("pyarrow.parquet")
    assert main(["export", str(run), "-o", str(tmp_path / "x.parquet")]) == 0
    table = parquet.read_table(tmp_path / "x.parquet").to_pydict()
    assert table["step"] == [0.0, 1.0, 2.0, None]
    assert table["loss"][:2] == [1.0, None]
    assert math.isnan(table["loss"][2])


def test_parquet_without_pyarrow(
    run: Path, tmp_path: Path, monkeypatch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where pyarrow is missing one line says how to get it, and no file is left."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert main(["export", str(run), "-o", str(tmp_path / "x.parquet")]) == 2
    assert "ml-logger[parquet]" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_attempts(tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """What a resumed run wrote anew counts once, unless all attempts are asked for."""
    for start in (0, 1):
        with ML_Logger(tmp_path / "run") as run:
            for step in range(start, 3):
                run.log(step, loss=float(10 * start + step), silent=True)
    for words, expected in (([], [0, 11, 12]), (["--attempts"], [0, 1, 2, 11, 12])):
        assert main(["export", str(tmp_path / "run"), "--format", "json", *words]) == 0
        assert [record["loss"] for record in json.loads(capsysbinary.readouterr().out)] == expected


def test_whole_numbers_have_every_digit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Those past what a float holds are written as they were logged, of resumed runs and among bad lines too."""
    big = 2**60
    lines = [f'{{"_step":{big + n},"_timestamp":{n},"loss":{2**53 + n},"giant":1{"0" * 400}}}\n' for n in range(10)]
    (tmp_path / "metrics.jsonl").write_text("".join(lines[:5]) + "bad\n" + "".join(lines[5:]))
    again = f'{{"_step":{big + 5000},"_timestamp":20,"loss":-{2**70 + 1},"half":0.5}}\n'
    (tmp_path / "metrics.1.jsonl").write_text('{"_step":3,"_timestamp":19,"other":1}\n' + again)
    for words in ([], ["--attempts"]):
        rows = list(csv.DictReader(io.StringIO(exported(tmp_path, *words, capsys=capsys))))
        assert [row["step"] for row in rows] == [*(str(big + n) for n in range(10)), "3", str(big + 5000)]
        assert [row["loss"] for row in rows] == [*(str(2**53 + n) for n in range(10)), "", str(-(2**70) - 1)]
        assert {row["giant"] for row in rows[:10]} == {"1" + "0" * 400}
        records = json.loads(exported(tmp_path, "--json", *words, capsys=capsys))
        assert [record["step"] for record in records] == [int(row["step"]) for row in rows]
        assert records[-1]["loss"] == -(2**70) - 1


def test_of_a_replaced_attempt_nothing_comes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a newer attempt wrote anew has the newer digits, each in its row."""
    first = [f'{{"_step":{n},"_timestamp":{n},"id":{2**60 + n}}}\n' for n in range(4)]
    second = [f'{{"_step":{n},"_timestamp":{10 + n},"id":{2**61 + n}}}\n' for n in range(2, 4)]
    (tmp_path / "metrics.jsonl").write_text("".join(first))
    (tmp_path / "metrics.1.jsonl").write_text("".join(second))
    rows = list(csv.DictReader(io.StringIO(exported(tmp_path, capsys=capsys))))
    assert [int(row["id"]) for row in rows] == [2**60, 2**60 + 1, 2**61 + 2, 2**61 + 3]


def test_what_is_not_written_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A key that is called like a column, and, of Parquet, numbers that are rounded."""
    (tmp_path / "metrics.jsonl").write_text(f'{{"_step":1,"timestamp":5,"id":{2**60 + 1}}}\n')
    assert main(["export", str(tmp_path)]) == 0
    told = capsys.readouterr().err
    assert told == "ml-logger: a key is called 'timestamp' like a column, and was left out: 'tail --json' has all\n"
    pytest.importorskip("pyarrow")
    assert main(["export", str(tmp_path), "-o", str(tmp_path / "x.parquet")]) == 0
    assert "1 whole numbers past 2**53 are rounded in 'id'" in capsys.readouterr().err


def test_a_place_that_can_not_be_written(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was named is in the line, not a file of another name that is written first."""
    assert main(["export", str(run), "-o", str(tmp_path / "no/a.csv")]) == 2
    assert capsys.readouterr().err.startswith(f"ml-logger: there is no folder '{tmp_path}/no' to write 'a.csv' in")
    assert main(["export", str(run), "-o", "/proc/x.csv"]) != 0  # there nobody may make a file
    assert capsys.readouterr().err.startswith("ml-logger: /proc/x.csv: ")


def test_a_link_is_written_through(run: Path, tmp_path: Path) -> None:
    """What it leads to gets the table, whether that is there yet or not, and the link stays."""
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to("data/x.csv")
    for _ in range(2):
        assert main(["export", str(run), "-o", str(tmp_path / "link")]) == 0
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "data/x.csv").read_text().startswith("step,timestamp,")
        (tmp_path / "data/x.csv").write_text("")


def test_an_odd_place_to_write_to(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is no plain file stays what it is; a folder that is not there is one line."""
    (tmp_path / "link").symlink_to("/dev/null")
    assert main(["export", str(run), "-o", str(tmp_path / "link")]) == 0
    assert (tmp_path / "link").is_symlink()
    assert main(["export", str(run), "-o", str(tmp_path / "none/x.csv")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


# --- diff


def test_diff(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Only what differs is shown, code 1; equal runs are silent, code 0, also with a NaN among their parameters."""
    with ML_Logger(tmp_path / "two") as other:
        other.log_params(model={"lr": 0.2, "layers": [1, 2]}, seed=float("nan"), extra={"x\x1b": True})
    capsys.readouterr()
    assert main(["diff", str(run), str(tmp_path / "two")]) == 1
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["PARAMETER", "one", "two"],
        ["model.lr", "0.1", "0.2"],
        ["extra.x\\x1b", "–", "True"],
    ]
    assert main(["diff", str(run), str(run)]) == 0
    assert capsys.readouterr().out == ""


def test_diff_document(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As JSON a missing value is null, and one that is there an object with it: so null itself can be told apart."""
    with ML_Logger(tmp_path / "two") as other:
        other.log_params(model={"lr": None, "layers": [1, 2]}, seed=float("nan"))
    capsys.readouterr()
    names = [str(run), str(tmp_path / "two"), str(run)]
    assert main(["diff", *names, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found == {"runs": names, "differs": {"model.lr": [{"value": 0.1}, {"value": None}, {"value": 0.1}]}}


def test_diff_of_one_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One run alone is a misuse; so that code 1 always means a difference."""
    assert main(["diff", str(run)]) == 2
    assert main(["diff", str(run), str(run / "none")]) == 3
    assert capsys.readouterr().err.count("\n") == 2
