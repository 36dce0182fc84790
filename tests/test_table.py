"""Tables are fixed byte for byte."""

import re
import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_logger.table import Cell, columns, params_table, printable, step_table

ONE_ROW = """\
╒════════════════════╤════════════════════╕
│        some        │        0.1         │
╘════════════════════╧════════════════════╛
"""

TWO_ROWS = """\
╒════════════════════╤════════════════════╕
│  some var/smooth   │         10         │
├────────────────────┼────────────────────┤
│        some        │       85.0%        │
╘════════════════════╧════════════════════╛
"""

PARAMS = """\
═════════════════════════════════════════════════════
              G               
───────────────────────────────┬─────────────────────
           env_name            │ MountainCar-v0      
             seed              │ None                
         value_params          │ (64,)               
target_network_update_interval │ 500                 
═══════════════════════════════╧═════════════════════
             RUN              
───────────────────────────────┬─────────────────────
        log_directory          │ /mnt/slab/krypton/machine_learning/ge_dqn/2017-11-20/162048.353909-MountainCar-v0-prioritized_replay(True)
          checkpoint           │ checkpoint.cp       
           log_file            │ output.log          
═══════════════════════════════╧═════════════════════
"""  # noqa: E501, W291 - the golden text as it must be


def test_one_row():
    """One value gives three lines with both cells centred in 20 columns."""
    assert step_table({"some": Cell("0.1")}) == ONE_ROW


def test_two_rows():
    """Rows are separated by a rule, keep their order, and show `_` as a space."""
    assert step_table({"some_var/smooth": Cell("10"), "some": Cell("85.0%")}) == TWO_ROWS


def test_no_rows():
    """No cells print nothing at all."""
    assert step_table({}) == ""
    assert params_table({}) == ""


def test_padded_then_coloured():
    """The codes stand around the padded cell, so that taking them away gives the plain table."""
    text = step_table({"some": Cell("0.1", "yellow")}, is_colored=True)
    assert "│\x1b[33m        0.1         \x1b[0m│" in text
    assert re.sub(r"\x1b\[[0-9;]*m", "", text) == ONE_ROW


def test_default_colour_has_no_codes():
    """A colour called default, or one that does not exist, writes no code."""
    cells = {"a": Cell("1", "default"), "b": Cell("2", "no such colour")}
    assert "\x1b" not in step_table(cells, is_colored=True)


def test_long_value_is_cut_at_the_width():
    """A long value is cut with an ellipsis so that no line is wider than the terminal."""
    text = step_table({"a": Cell("x" * 200)}, width=80)
    assert {columns(line) for line in text.splitlines()} == {80}
    assert "x…│" in text
    assert "x" * 200 in step_table({"a": Cell("x" * 200)})


def test_narrow_terminal_keeps_twenty_columns():
    """A terminal narrower than the smallest table still gets the smallest table."""
    assert step_table({"some": Cell("0.1")}, width=10) == ONE_ROW


@pytest.mark.parametrize("value", ["学习率", "e\u0301te\u0301", "日本語" * 30, "👍 ok", "a\u200bb"])
def test_borders_stay_aligned(value):
    """Wide and combining characters keep every line of a table equally wide, cut or not."""
    for width in (None, 60):
        text = step_table({"key": Cell("1"), value[:3]: Cell(value)}, width=width)
        assert len({columns(line) for line in text.splitlines()}) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (unicodedata.normalize("NFD", "학습률"), 6),
        (unicodedata.normalize("NFD", "학습률.png") * 2, 20),
        ("❤\ufe0f", 2),
        ("☀\ufe0f☀", 3),
        ("👍\ufe0f", 2),
        ("soft\xadhyphen", 11),
        ("\ufe0f", 0),
    ],
)
def test_columns_as_terminals_count_them(text, expected):
    """Hangul in pieces is as wide as whole, an emoji selector makes a symbol wide, and a soft hyphen is shown."""
    assert columns(text) == expected
    assert len({columns(line) for line in step_table({"key": Cell(text * 30)}, width=60).splitlines()}) == 1


def test_wide_width_is_counted_in_columns():
    """Three wide characters take six columns, so seven spaces stand on either side."""
    assert "│       学习率       │" in step_table({"k": Cell("学习率")})


def test_braces_are_text():
    """Braces and percent signs in keys and values stand in the table as they are."""
    for is_colored in (False, True):
        lines = step_table({"{a}": Cell("{0} %s"), "{": Cell("}", "red")}, is_colored=is_colored).splitlines()
        assert lines[1] == f"│{'{a}':^20}│{'{0} %s':^20}│"
        assert f"│{'{':^20}│" in lines[3]


@given(st.dictionaries(st.text(max_size=40), st.builds(Cell, st.text(max_size=60)), max_size=5))
def test_any_text_gives_equally_wide_lines(cells):
    """Whatever the keys and values, the table is 2n+1 lines of one width that split only at newlines."""
    lines = step_table(cells).split("\n")[:-1]
    assert len(lines) == (2 * len(cells) + 1 if cells else 0)
    assert len({columns(line) for line in lines}) <= 1


def test_params_golden():
    """Sections of parameters: title in 30 columns, keys centred in 30, values never cut."""
    sections = {
        "G": {"env_name": "MountainCar-v0", "seed": "None", "value_params": "(64,)"}
        | {"target_network_update_interval": "500"},
        "RUN": {
            "log_directory": "/mnt/slab/krypton/machine_learning/ge_dqn/2017-11-20/"
            "162048.353909-MountainCar-v0-prioritized_replay(True)",
            "checkpoint": "checkpoint.cp",
            "log_file": "output.log",
        },
    }
    assert params_table(sections) == PARAMS
    coloured = params_table(sections, is_colored=True)
    assert "\x1b[33m              G               \x1b[0m\n" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == PARAMS


def test_control_characters_are_escaped():
    """A newline or an escape code in a value can't break the frame."""
    assert printable("a\nb\x1b[31m\u2028\ud800") == "a\\nb\\x1b[31m\\u2028\\ud800"
    assert printable("été") == "été"


def test_not_printable_is_what_unicode_says():
    """Control characters, surrogates and line separators are escaped, each of them, and nothing else is."""
    for character in map(chr, [*range(0x3000), *range(0xD7FF, 0xE001), 0x10FFFF]):
        is_escaped = unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
        assert printable(character) == (ascii(character)[1:-1] if is_escaped else character)


@pytest.mark.parametrize("piece", ["学", "é\u0301x", "line\n", "\x00"])
def test_a_huge_value_does_not_hold_up_training(piece):
    """A table with a value or key of megabytes is made at once, by what the first 1,000 characters are."""
    huge = piece * (10_000_000 // len(piece))
    started = time.process_time()
    text = step_table({huge: Cell(huge, "red"), "b": Cell("2")}, width=100, is_colored=True)
    whole = step_table({"a": Cell(huge)})
    assert time.process_time() - started < 0.5
    assert len(text) < 100_000
    assert "…" in whole


def test_a_huge_parameter_is_shown_whole():
    """A parameter of megabytes is shown whole, in well under the second that a long look at each character would take."""
    huge = "学习率 of a line\n" * 600_000
    started = time.process_time()
    text = params_table({"G": {"notes": huge}})
    assert time.process_time() - started < 1.5
    assert huge.replace("\n", "\\n") in text
