"""Curves in the terminal: every spike is there, axes have numbers, and what is not finite is said."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from terminal import on_terminal, plain

from ml_logger import ML_Logger
from ml_logger.cli import main
from ml_logger.cli.chart import Curve, Style, chart
from ml_logger.cli.ticks import clock_texts, duration_text, log_ticks, number_texts, ticks, time_ticks
from ml_logger.table import columns

SIZE = Style(width=60, height=8)
BRAILLE = range(0x2801, 0x2900)


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("logs")
    for number in range(2):
        with ML_Logger(root, prefix=f"seed{number}") as run:
            for step in range(50):
                run.log(
                    step,
                    {"loss": 1 / (step + 1), "train/norm": float(step), "train/rate": 1.0, "odd\x1bkey": 1},
                    silent=True,
                )
            run.log(50, loss=float("nan"), silent=True)
            run.log(51, loss=float("inf"), silent=True)
    return root


def field_of(lines: list[str]) -> list[str]:
    """Return what is drawn: behind the axis, without the two lines below."""
    return [line.replace("┤", "│").partition("│")[2] for line in lines[:-2]]


def curve(values: np.ndarray, label: str = "loss") -> Curve:
    return Curve(label, np.arange(len(values), dtype=float), np.asarray(values, float))


def test_every_spike_stays() -> None:
    """One value among a hundred thousand is drawn where it is, up to the top."""
    values = np.zeros(100_001)
    values[50_000] = 1.0
    top = field_of(chart([curve(values)], SIZE))[0]
    assert top.strip() != ""
    assert abs(top.index(top.strip()) - 28) <= 1  # the field has 60 columns less those of the labels
    assert len(top.strip()) == 1


def test_a_line_goes_from_corner_to_corner() -> None:
    """A straight line has its ends in the corners of the field and no hole between."""
    field = field_of(chart([curve(np.arange(3.0))], SIZE))
    width = max(map(len, field))
    assert ord(field[0][-1]) in BRAILLE
    assert len(field[0]) == width
    assert ord(field[-1][0]) in BRAILLE
    assert all(any(ord(row.ljust(width)[column]) in BRAILLE for row in field) for column in range(width))


@pytest.mark.parametrize("width", [20, 60, 200])
def test_size(width: int) -> None:
    """No line is wider than wished, and there are two more than rows."""
    lines = chart([curve(np.sin(np.arange(500) / 9) * 12345)], Style(width=width, height=8))
    assert len(lines) == 10
    assert max(map(columns, lines)) <= width


def test_what_is_not_finite_is_marked() -> None:
    """NaN and the infinities break the line and have marks of their own below it, at their places."""
    values = np.ones(101)
    values[25], values[50], values[75] = np.nan, np.inf, -np.inf
    lines = chart([curve(values)], Style(width=101 + 5, height=3))
    axis = lines[-2]
    start = axis.index("└") + 1
    assert len(axis) == start + 101
    assert {mark: axis.index(mark) - start for mark in "×↑↓"} == {"×": 25, "↑": 50, "↓": 75}
    assert any(row[:25].strip() and not row[25:26].strip() for row in field_of(lines))


def test_nothing_to_draw() -> None:
    """No point, none that is finite, and none above 0 on a logarithmic axis: one line says so."""
    for values, is_log in (([], False), ([np.nan], False), ([-1.0, 0.0], True)):
        assert chart([curve(np.array(values))], Style(width=60, height=8, is_log=is_log)) == [
            "no finite points to draw"
        ]


def test_one_point_and_the_largest_numbers() -> None:
    """A single point, a constant, and the ends of what a float can be are drawn without a warning."""
    for values in ([5.0], [0.0] * 9, [1e300, -1e300], [5e-324, 0.0], [1e15, 1e15 + 1], [-1.7e308, 0.0, 1.7e308]):
        assert any(ord(c) in BRAILLE for line in chart([curve(np.array(values))], SIZE) for c in line), values


def test_logarithmic() -> None:
    """On a logarithmic axis powers of ten lie apart evenly."""
    field = field_of(chart([curve(10.0 ** np.arange(0, 5))], Style(width=60, height=16, is_log=True)))
    heights = [
        next(row for row, line in enumerate(field) if len(line) > column and line[column] != " ")
        for column in (1, 26, -2)
    ]
    assert heights[0] - heights[1] == pytest.approx(heights[1] - heights[2], abs=1)


def test_letters_where_there_is_neither_colour_nor_braille() -> None:
    """Each curve has a letter then, and all is ASCII in the field."""
    lines = chart([curve(np.zeros(9)), curve(np.ones(9))], Style(width=60, height=8, has_braille=False))
    field = field_of(lines)
    assert set(field[0].strip()) == {"b"}
    assert set(field[-1].strip()) == {"a"}


def test_smoothing() -> None:
    """The average begins at the first value and lags behind a jump; raw values stay behind it in gray, with colour."""
    values = np.concatenate([np.zeros(50), np.ones(50)])
    smooth = Style(width=60, height=8, smooth=0.99)
    assert not any(line.strip() for line in field_of(chart([curve(values)], smooth))[:2])
    colored = chart([curve(values)], Style(width=60, height=8, smooth=0.99, is_colored=True))
    assert "\x1b[90m" in colored[0]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 10, ["0", "5", "10"]),
        (0.001, 0.0021, ["0.0010", "0.0015", "0.0020"]),
        (1e6, 4e6, ["1e+06", "2e+06", "3e+06", "4e+06"]),
    ],
)
def test_ticks(low: float, high: float, expected: list[str]) -> None:
    """Ticks lie at round numbers, with as many digits as tell them apart."""
    assert number_texts(*ticks(low, high, 4)) == expected


def test_ticks_of_time() -> None:
    """Times have round ticks too, and texts as on a clock."""
    assert [duration_text(t) for t in time_ticks(0, 7300, 5)] == ["0:00:00", "0:30:00", "1:00:00", "1:30:00", "2:00:00"]
    assert all(len(text) == 8 for text in clock_texts([1795363200.0, 1795363260.0]))
    assert all(len(text) == 11 for text in clock_texts([1795363200.0, 1795363200.0 + 86400]))
    assert clock_texts([1e300]) == ["1e+300"]
    assert log_ticks(0.002, 300, 9) == [0.01, 0.1, 1.0, 10.0, 100.0]


def test_the_command(logs: Path) -> None:
    """On a terminal the chart is as wide as it is, in colour, with a line that says what no look at it tells."""
    code, shown = on_terminal("plot", "seed0", "loss", "--with", "seed1", cwd=logs, columns=70)
    lines = plain(shown).splitlines()
    assert code == 0
    assert max(map(columns, lines)) <= 90
    assert lines[-2].startswith("⠶⠶ seed0 loss  52 points, last inf, 0.02 to 1, 1 NaN, 1 +Inf")
    assert "\x1b[36m" in shown
    assert "\x1b[33m" in shown


def test_patterns_and_steps(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A pattern takes all keys like it; in a pipe several curves have letters, over any x."""
    for x in ("step", "time", "relative"):
        assert main(["plot", str(logs / "seed0"), "train/*", "--x", x]) == 0
        out = capsys.readouterr().out
        assert "a train/norm  50 points" in out
        assert "b train/rate  50 points" in out


def test_a_key_that_is_not_there(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The line names a key that is near, and the code says that it is not there."""
    assert main(["plot", str(logs / "seed0"), "los"]) == 3
    assert "it has loss" in capsys.readouterr().err
    assert main(["plot", str(logs / "seed0"), "\x1b]0;x\x07"]) == 3
    error = capsys.readouterr().err
    assert error[:-1].isprintable()
    assert error.count("\n") == 1


def test_document(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As JSON a curve is what is drawn: buckets with what is in them."""
    assert main(["plot", str(logs / "seed0"), "loss", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["key"], found["points"], sum(found["count"]), sum(found["nan"]), sum(found["above"])) == (
        "loss",
        52,
        52,
        1,
        1,
    )
    assert found["x"][0] == 0
    assert found["max"][0] == 1.0


@pytest.mark.parametrize("first", [0, 7, 2**60, 1.7e308])
def test_a_document_has_points_where_they_are(first: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where there are no more points than buckets each x is that of a point, and else that of the last one of its bucket."""
    (tmp_path / "metrics.jsonl").write_text("".join(f'{{"_step":{first + n},"loss":{n}}}\n' for n in range(50)))
    assert main(["plot", str(tmp_path), "loss", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["x"] == sorted({float(first + n) for n in range(50)})
    assert sum(found["count"]) == 50


@pytest.mark.parametrize("x", ["time", "relative"])
def test_records_without_a_time(x: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Over time there is nothing to draw of them, which is said, and no warning comes."""
    (tmp_path / "metrics.jsonl").write_text('{"_step":1,"loss":1}\n{"_step":2,"loss":2}\n')
    assert main(["plot", str(tmp_path), "loss", "--x", x]) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines()[0] == "no finite points to draw"
    assert shown.err == ""
