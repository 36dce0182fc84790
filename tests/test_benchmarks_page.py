"""docs/BENCHMARKS.md, its plots and the README's table are what `make bench-report` writes from the measured JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.report import page, plots
from bench.report.__main__ import KEPT, ROOT, kept
from bench.report.markdown import heading, number, table, verdicts
from bench.report.measured import Measured, read, take_newer
from bench.report.sections import SECTIONS, TRACKING

MEASURED, PROSE = kept()
README = ROOT / "README.md"


def test_every_benchmark_is_kept():
    """Each benchmark of the report has its measured JSON and its explanation, and nothing lies there for none."""
    names = {section.name for section in SECTIONS}
    assert set(MEASURED) == names
    assert set(PROSE) == {*names, "intro"}


def test_the_page_is_what_the_command_writes():
    """Written anew from the JSON the page is the same: no figure in it was typed by hand."""
    assert page.report(MEASURED, PROSE) == (ROOT / "docs/BENCHMARKS.md").read_text(encoding="utf-8")


def test_the_readmes_table_is_what_the_command_writes():
    """The table of peers in the README is that of the JSON."""
    text = README.read_text(encoding="utf-8")
    assert page.with_peers(text, MEASURED[TRACKING.name]) == text


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.name)
def test_the_plot_shows_the_values_of_the_tables(section):
    """Each plot was drawn from the values that are in the JSON now, and has something to show in each of its panels."""
    bars = plots.bars(section, MEASURED[section.name])
    assert plots.mark(bars) in (KEPT / f"{section.name}.svg").read_text(encoding="utf-8")
    assert all(one.labels and None not in next(iter(one.series.values())) for one in bars)


def test_nothing_of_one_machine_is_in_it():
    """The JSON names no folder of the machine it was measured on."""
    for path in KEPT.glob("*.json"):
        assert '"/' not in path.read_text(encoding="utf-8"), path.name


def document(date: str = "2026-11-25T10:00:00+00:00", lost: int = 0) -> dict:
    """Return a small benchmark's JSON: two trackers, ours the slower one, and a promise that is missed if anything is lost."""
    rows = [{"tracker": name, "median_us": us} for name, us in (("ours", 9.5), ("theirs", 3))]
    killed = [{"tracker": name, "returned": 300, "lost": lost} for name in ("ours", "theirs")]
    target = {"promise": "lost", "measured": lost, "most": 0, "is_met": lost == 0}
    machine = {
        "date": date,
        "processor": "P",
        "cores": 2,
        "load_1_min": 1.0,
        "system": "S",
        "python": "3",
        "versions": {},
    }
    tables = {title: {"load_1_min": 1.0, "rows": rows} for title, rows in (("A: ten", rows), ("C: kill", killed))}
    return {
        "machine": machine,
        "tables": tables,
        "targets": [target],
        "missing": ["Aim"],
        "left_out": {"W&B": "boom"},
    }


def measured(tmp_path: Path, **kind) -> Measured:
    """Return that of a document."""
    (tmp_path / "one.json").write_text(json.dumps(document(**kind)), encoding="utf-8")
    return read(tmp_path / "one.json")


def test_a_missed_promise_and_a_losing_row_are_shown(tmp_path):
    """What is missed is counted and bold, the slower one stays where it was, and who was left out is named with the reason."""
    text = page.report({"tracking": measured(tmp_path, lost=7)}, {"intro": "Words."})
    assert "| lost | 0 | **7** | **missed** |" in text
    assert "| 0 | **1** | 2026-11-25 |" in text
    assert "| ours | 9.5 |\n| theirs | 3 |" in text
    assert "Left out: Aim (not installed here).\nLeft out: W&B (boom)." in text


def test_a_kept_promise_is_not_bold(tmp_path):
    """What is met says so without ado."""
    one = measured(tmp_path)
    assert verdicts(one.targets).splitlines()[-1] == "| lost | 0 | 0 | met |"
    assert "| 1 | 0 | 2026-11-25 |" in page.report({"tracking": one}, {"intro": ""})


def test_a_readme_without_a_place_is_refused(tmp_path):
    """A README that has lost the marks of the table is not guessed at."""
    with pytest.raises(ValueError, match="no place"):
        page.with_peers("# ML_Logger\n", measured(tmp_path))


@pytest.mark.parametrize(("new", "taken"), [("2026-11-26", True), ("2026-11-25", False), ("2026-11-24", False)])
def test_only_newer_measurements_are_taken(tmp_path, new, taken):
    """A measured file replaces a kept one only if it is of a later time."""
    for folder, day in (("build", new), ("docs", "2026-11-25")):
        (tmp_path / folder).mkdir()
        text = json.dumps(document(date=f"{day}T10:00:00+00:00"))
        (tmp_path / folder / "one.json").write_text(text, encoding="utf-8")
    assert take_newer("one", tmp_path / "build", tmp_path / "docs") is taken
    assert read(tmp_path / "docs/one.json").date[:10] == ("2026-11-26" if taken else "2026-11-25")


def test_the_first_measurement_is_taken(tmp_path):
    """Where nothing is kept yet any file is new; where nothing was measured nothing happens."""
    measured(tmp_path)
    (tmp_path / "docs").mkdir()
    assert take_newer("one", tmp_path, tmp_path / "docs")
    assert not take_newer("two", tmp_path, tmp_path / "docs")


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        *(("p999_us", "p99.9, µs"), ("wall_s_min", "wall, s (least)"), ("MiB_per_s", "MiB/s")),
        *(("cpu_us_per_call", "CPU µs/call"), ("idle_cpu_%", "idle CPU, %"), ("keys ms", "keys ms")),
    ],
)
def test_headings_name_their_unit(key, shown):
    """A key of the JSON becomes a heading with its unit."""
    assert heading(key) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0, "0"), (0.1234, "0.123"), (3.2476, "3.25"), (79.96, "80"), (183.4, "183"), (12043.0, "12,043")],
)
def test_numbers_have_three_digits(value, shown):
    """A measured number has three significant digits, one above a thousand all those before the point."""
    assert number(value) == shown


def test_a_value_that_only_some_rows_have_is_an_empty_cell():
    """Rows of different keys share one table."""
    assert table([{"case": "a"}, {"case": "b", "ms": 2}]).splitlines()[2:] == ["| a |  |", "| b | 2 |"]
