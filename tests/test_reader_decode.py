"""Lines become columns of numbers: exactly those that each line says by itself, whatever else is between them."""

from __future__ import annotations

import io
import json
import math

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st
from watched import MemoryFile

from ml_logger.reader.block import join
from ml_logger.reader.decode import decode, maybe_number, pieces_of
from ml_logger.reader.records import parsed, whole_lines

LINES = b"""{"_step":1,"_timestamp":5.5,"loss":0.1,"text":"1.5","flag":true}
{"_step":2,"_timestamp":6.5,"loss":"NaN","list":[1,2],"none":null}
{"_step":3,"_timestamp":7.5,"loss":-1e300,"inner":{"a":1},"large":123456789012345678901234567890}
{"_step":"four","_timestamp":8.5,"loss":"-Infinity","accuracy":7}
"""


def slowly(lines: bytes):
    """Return what `lines` say one by one: steps, times, points by key, last values, number of bad lines."""
    steps, times, points, last, bad, row = [], [], {}, {}, 0, 0
    for line in io.BytesIO(lines):
        record = parsed(line)
        if not isinstance(record, dict):
            bad += 1
            continue
        numbers = {key: number for key, value in record.items() if (number := maybe_number(value)) is not None}
        steps.append(numbers.pop("_step", math.nan))
        times.append(numbers.pop("_timestamp", math.nan))
        for key, number in numbers.items():
            points.setdefault(key, []).append((row, number))
        last.update(record)
        row += 1
    return steps, times, points, last, bad


def check(lines: bytes, block) -> None:
    """Hold a block to what `lines` say one by one."""
    steps, times, points, last, bad = slowly(lines)
    assert (block.count, block.bad_lines) == (len(steps), bad)
    np.testing.assert_array_equal(block.steps, np.array(steps))
    np.testing.assert_array_equal(block.times, np.array(times))
    assert block.columns.keys() == points.keys()
    for key, column in block.columns.items():
        rows = range(block.count) if column.rows is None else column.rows.tolist()
        assert list(rows) == [row for row, _ in points[key]]
        np.testing.assert_array_equal(column.values, np.array([value for _, value in points[key]]))
    assert json.dumps(block.last, sort_keys=True) == json.dumps(last, sort_keys=True)


def test_numbers_and_what_is_none():
    """Numbers, bools and the words for NaN and the infinities are points; text, lists, dicts and null are none."""
    block = decode(LINES)
    check(LINES, block)
    assert {key: column.values.tolist() for key, column in block.columns.items() if key != "loss"} == {
        "flag": [1],
        "large": [123456789012345678901234567890.0],
        "accuracy": [7],
    }


def test_truncated_at_every_length():
    """Of a file cut anywhere exactly the whole lines are read; with a newline behind the cut, one line more is bad or whole."""
    for size in range(len(LINES) + 1):
        whole = b"".join(lines for lines, _ in whole_lines(MemoryFile(LINES[:size]), 0))
        assert whole == LINES[: LINES.rfind(b"\n", 0, size) + 1]
        check(whole, decode(whole))
        check(LINES[:size] + b"\n", decode(LINES[:size] + b"\n"))


def test_every_bit_flipped():
    """One flipped bit changes its own line and no other, and is never an error."""
    for place in range(len(LINES) * 8):
        flipped = bytearray(LINES)
        flipped[place // 8] ^= 1 << place % 8
        whole = bytes(flipped[: flipped.rfind(b"\n") + 1])
        check(whole, decode(whole))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
KEYS = st.sampled_from(["_step", "_timestamp", "a", "b", "c", ""])
RECORDS = st.dictionaries(KEYS, JSON | st.sampled_from(["NaN", "Infinity", "-Infinity"]), max_size=4)
PIECES = st.sampled_from(
    [b"{}", b",", b"[", b"]", b"{", b"}", b'"a":1', b"{},{}", b'{"a":[{}', b"{}]}", b" ", b"\r", b"1"]
)
LINE = RECORDS.map(lambda record: json.dumps(record).encode()) | st.lists(PIECES, max_size=4).map(b"".join)


@given(st.lists(LINE, max_size=30), st.integers(1, 200))
@example([b'{"a":[{}', b"{}]}", b"{},{},{}"], 1000)  # joined to a list they would be as many values as they are lines
def test_lines_together_are_what_each_says_alone(lines, most_bytes):
    """Whatever the lines are, also such as would make sense only together, all at once gives what one by one gives."""
    whole = b"".join(line + b"\n" for line in lines)
    check(whole, decode(whole))
    assert b"".join(pieces_of(whole, most_bytes)) == whole
    check(whole, join([decode(piece) for piece in pieces_of(whole, most_bytes)]))


def test_bad_lines_among_many():
    """A few bad lines in a large piece are found, and the others are read."""
    good = b'{"_step":%d,"_timestamp":1.5,"a":2}\n'
    lines = b"".join(b'{"torn": [1, {"b\n' if number % 997 == 5 else good % number for number in range(5000))
    check(lines, decode(lines))
    assert decode(lines).bad_lines == 6


def test_all_keys_in_another_order():
    """Records with the same keys in any order are one table."""
    lines = b'{"_step":1,"a":2,"b":3}\n{"b":5,"_step":4,"a":6}\n'
    block = decode(lines)
    check(lines, block)
    assert all(column.rows is None for column in block.columns.values())


def test_keys_are_in_the_order_in_which_they_came():
    """What was logged first is first, also where it is logged again behind other keys, and in later pieces."""
    lines = b'{"_step":1,"b":1,"a":2}\n{"_step":1,"c":1}\n{"_step":2,"b":1,"a":2}\n'
    assert list(decode(lines).columns) == ["b", "a", "c"]
    assert list(join([decode(lines), decode(b'{"d":1,"c":2,"a":1}\n')]).columns) == ["b", "a", "c", "d"]


def test_keys_of_the_same_records_share_their_rows():
    """What only some records have costs the numbers of these records once, not once a key."""
    lines = b"".join(
        b'{"_step":%d,"a":1,"b":2}\n' % n if n % 3 else b'{"_step":%d,"c":1,"d":2}\n' % n for n in range(30)
    )
    block = join([decode(lines), decode(lines)])
    check(lines + lines, block)
    assert block.columns["c"].rows is block.columns["d"].rows
    assert block.columns["a"].rows is block.columns["b"].rows


def test_more_names_than_there_are_columns(monkeypatch):
    """A run that logs without end under new names has a bounded number of columns; its records are read all the same."""
    monkeypatch.setattr("ml_logger.reader.block.MOST_KEYS", 5)
    lines = b"".join(b'{"_step":%d,"key%d":1}\n' % (n, n) for n in range(10))
    block = join([decode(lines), decode(lines.replace(b"key", b"other"))])
    assert (block.count, len(block.columns), len(block.last)) == (20, 5, 5)


def test_a_very_long_line(monkeypatch):
    """A line past the bound is passed over as a bad one, without being held; the one behind it is read."""
    monkeypatch.setattr("ml_logger.reader.records.CHUNK_BYTES", 16)
    monkeypatch.setattr("ml_logger.reader.records.MOST_LINE_BYTES", 64)
    data = b'{"a":1}\n{"a":"' + b"x" * 500 + b'"}\n{"a":2}\n{"a":"' + b"y" * 500
    pieces = list(whole_lines(MemoryFile(data), 0))
    assert b"".join(lines for lines, _ in pieces) == b'{"a":1}\n\n{"a":2}\n'
    assert pieces[-1][1] == data.rindex(b'{"a":"y')
    assert max(len(lines) for lines, _ in pieces) <= 64


def test_deep_nesting_is_a_bad_line():
    """A line that no parser takes apart, also with a long number in it, is a bad one and no error."""
    deep = b"[" * 100_000
    lines = b'{"a":1}\n' + deep + b"\n" + deep + b"1234567890123456789012\n" + b'{"a":2}\n'
    assert (decode(lines).columns["a"].values.tolist(), decode(lines).bad_lines) == ([1, 2], 2)
