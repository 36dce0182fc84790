"""Whatever is logged becomes one line of strict JSON, and the rest of the record survives what can't."""

import dataclasses
import datetime
import decimal
import enum
import json
import math
import pathlib
import re
import uuid
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_logger import Color
from ml_logger.encode import encode_record, scalar, text_of
from ml_logger.reader import as_numbers

SPOOL_FORMAT = pathlib.Path(__file__).parent.parent / "docs" / "SPOOL_FORMAT.md"


def refuse_constant(name):
    raise AssertionError(f"{name} is not strict JSON")


def stored(value):
    """Return what a strict reader finds for `value`, and what was told as unstorable."""
    told = []
    line = encode_record({"before": 1, "key": value, "after": 2}, lambda key, v: told.append(key))
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    record = json.loads(line, parse_constant=refuse_constant)
    assert (record["before"], record["after"]) == (1, 2)
    return record["key"], told


class Hue(enum.Enum):
    RED = "red"
    NOT_A_NUMBER = math.nan


@dataclasses.dataclass
class Point:
    x: float
    y: object


class Tensor:
    """What a scalar of an unknown library looks like."""

    def __init__(self, value):
        self.value = value

    def item(self):
        if isinstance(self.value, list):
            raise TypeError("only one element tensors can be converted")
        return self.value


class Listed(Tensor):
    def tolist(self):
        return self.value


class Eager:
    """A tensor that only knows how to become numpy."""

    def __init__(self, value):
        self.value = np.array(value)

    def numpy(self):
        return self.value


def unitless(kind, value):
    """Return a time of numpy without a unit, which new versions of it warn about."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.array(value, kind)[()]


VALUES = [
    (0.1, 0.1),
    (True, True),
    (None, None),
    ("text", "text"),
    (math.nan, "NaN"),
    (math.inf, "Infinity"),
    (-math.inf, "-Infinity"),
    ([1, math.nan, None], [1, "NaN", None]),
    ([0.5], [0.5]),
    ({"a": {"b": -math.inf}}, {"a": {"b": "-Infinity"}}),
    (2**53 + 1, 2**53 + 1),
    (2**64 - 1, 2**64 - 1),
    (2**64, 2**64),
    (-(2**63) - 1, -(2**63) - 1),
    (10**300, 10**300),
    ([10**30], [10**30]),
    (10**5000, hex(10**5000)),
    (decimal.Decimal("0.1"), 0.1),
    (decimal.Decimal("NaN"), "NaN"),
    (decimal.Decimal("-Infinity"), "-Infinity"),
    (decimal.Decimal("1E+999999"), "1E+999999"),
    (datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc), "2026-01-02T03:04:05+00:00"),
    (datetime.date(2026, 1, 2), "2026-01-02"),
    (datetime.timedelta(seconds=1.5), 1.5),
    (Hue.RED, "red"),
    (Hue.NOT_A_NUMBER, "NaN"),
    (pathlib.Path("a/b"), "a/b"),
    (b"bytes \xff", "bytes \\xff"),
    ({3}, [3]),
    ((1, 2), [1, 2]),
    ({1: "a", None: "b"}, {"1": "a", "None": "b"}),
    (Point(1.0, math.nan), {"x": 1.0, "y": "NaN"}),
    (np.array(1.5), 1.5),
    (np.array([1.5]), 1.5),
    (np.array([[[7]]]), 7),
    (np.array([1.0, math.nan]), [1.0, "NaN"]),
    (np.array([[1, 2], [3, 4]])[:, ::-1], [[2, 1], [4, 3]]),
    (np.array(["a", "b"]), ["a", "b"]),
    (np.array([]), []),
    (np.float32(0.1), 0.1),
    (np.float32("nan"), "NaN"),
    (np.longdouble(0.5), 0.5),
    (np.clongdouble(2), 2.0),
    (np.bool_(True), True),
    (np.str_("s"), "s"),
    (np.longdouble("1e4000"), "1e+4000"),
    (np.datetime64("2026-01-02"), "2026-01-02"),
    (np.datetime64("2026-01"), "2026-01"),
    (np.datetime64("2026-01-02T03:04:05", "ns"), "2026-01-02T03:04:05"),
    (np.datetime64("2026-01-02T03:04:05.000120"), "2026-01-02T03:04:05.000120"),
    (np.datetime64("2026-01-02T03:04:05.123456789"), "2026-01-02T03:04:05.123456789"),
    (np.datetime64(5, "25s"), "1970-01-01T00:02:05"),
    (np.array(5, "M8[25s]"), "1970-01-01T00:02:05"),
    (np.array([[5]], "M8[25s]"), "1970-01-01T00:02:05"),
    (np.array([1, 2], "M8[25s]"), ["1970-01-01T00:00:25", "1970-01-01T00:00:50"]),
    (np.array([1, 2], ">M8[25s]"), ["1970-01-01T00:00:25", "1970-01-01T00:00:50"]),
    (np.array([], "M8[25s]"), []),
    (np.array([np.datetime64(5, "25s"), 3], object), ["1970-01-01T00:02:05", 3]),
    (np.array([(1, 5, [1, 2])], "i4,M8[25s],2m8[2m]"), [1, "1970-01-01T00:02:05", [120.0, 240.0]]),
    (np.zeros(2, "M8[25s],f2"), [["1970-01-01T00:00:00", 0.0]] * 2),
    ({"a": [(np.datetime64(5, "25s"),)]}, {"a": [["1970-01-01T00:02:05"]]}),
    (enum.Enum("Day", {"ONE": np.datetime64(5, "25s")}).ONE, "1970-01-01T00:02:05"),
    (Point(1.0, np.datetime64(5, "25s")), {"x": 1.0, "y": "1970-01-01T00:02:05"}),
    (Color(np.datetime64(5, "25s"), "red"), "1970-01-01T00:02:05"),
    (np.datetime64(2**63 - 1, "D"), "25252734927768524-07-27"),
    (np.timedelta64(5, "25s"), 125.0),
    (np.timedelta64(1500, "ns"), 1.5e-06),
    (np.timedelta64(2**62, "W"), 2.0**62 * 604800),
    (np.timedelta64(5, "2M"), "10 months"),
    (np.timedelta64(5, "Y"), "5 years"),
    (unitless("m8", 5), 5),
    *((np.datetime64("NaT", unit), "NaT") for unit in ("D", "ns", "25s", "Y")),
    *((np.timedelta64("NaT", unit), "NaT") for unit in ("D", "ns", "25s", "Y")),
    (unitless("M8", "NaT"), "NaT"),
    (unitless("m8", "NaT"), "NaT"),
    (np.array(["NaT", "2026-01-02"], "M8[D]"), ["NaT", "2026-01-02"]),
    (np.ma.array([1, 2], mask=[0, 1]), [1, None]),
    (np.arange(3, dtype=">f2"), [0.0, 1.0, 2.0]),
    (np.void(b"abc"), "abc"),
    ([np.float32(0.1), None], [0.1, None]),
    (Tensor(0.25), 0.25),
    (Tensor(math.nan), "NaN"),
    (Listed([0.25]), 0.25),
    (Listed([1.0, math.inf]), [1.0, "Infinity"]),
    (Eager(0.5), 0.5),
    (Eager([1, 2]), [1, 2]),
]


@pytest.mark.parametrize(
    ("value", "expected"), VALUES, ids=[f"{i}-{type(v).__name__}" for i, (v, _) in enumerate(VALUES)]
)
def test_values(value, expected):
    """Every kind of value has its JSON form and none of these is told as unstorable."""
    got, told = stored(value)
    assert got == expected
    assert type(got) is type(expected)
    assert not told


@pytest.mark.parametrize("kind", "bhilqBHILQefd")
def test_numpy_scalars_read_back_equal(kind):
    """The extremes of every numpy number type come back as the same number of that type."""
    dtype = np.dtype(kind)
    info = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    for value in (dtype.type(info.max), dtype.type(info.min), dtype.type(1)):
        got, _ = stored(value)
        assert dtype.type(got) == value


def test_negative_zero_keeps_its_sign():
    """-0.0 is not 0.0."""
    assert math.copysign(1, stored(-0.0)[0]) == -1
    assert math.copysign(1, stored([-0.0, None])[0][0]) == -1


class Broken:
    def __repr__(self):
        raise OSError("no repr either")

    def item(self):
        raise OSError("not today")


def cycle():
    loop = [1]
    loop.append(loop)
    return loop


def deep():
    nested = []
    for _ in range(5000):
        nested = [nested]
    return nested


@pytest.mark.parametrize(
    "value", [object(), Broken(), 1j, Tensor, lambda: 0, cycle(), deep(), {"in": {"side": object()}}, Tensor([1, 2])]
)
def test_unstorable_becomes_its_repr_and_is_told(value):
    """What has no JSON form costs itself alone, and the caller hears of its key once."""
    _, told = stored(value)
    assert told == ["key"]


def test_lone_surrogates_are_escaped():
    """Text that is not Unicode is kept readable, as a value and as a key."""
    assert stored("a\ud800")[0] == "'a\\ud800'"
    assert json.loads(encode_record({"k\udfff": 1})) == {"k\\udfff": 1}


def test_keys_that_are_not_text():
    """Keys of any type become text, numbers as they are written."""
    record = encode_record({1: 1, 0.5: 2, None: 3, np.int64(7): 4, ("a",): 5})
    assert json.loads(record) == {"1": 1, "0.5": 2, "None": 3, "7": 4, "('a',)": 5}


def test_scalar_unwraps_only_single_elements():
    """A step may be an array or tensor of one element; other values pass as they are."""
    assert scalar(np.array([3])) == scalar(np.int64(3)) == scalar(Tensor(3)) == 3
    both, moment = np.array([1, 2]), np.datetime64("2026-01-02", "ns")
    assert scalar(both) is both
    assert scalar(moment) is moment  # not the number of its nanoseconds
    assert scalar("3") == "3"


def test_text_for_people():
    """A number is shown with its own digits, whatever library it comes from."""
    shown = [np.float32(0.1), np.array([0.1], dtype=np.float32), Tensor(0.1), 10, (64,), None]
    assert [text_of(value) for value in shown] == ["0.1", "0.1", "0.1", "10", "(64,)", "None"]
    assert text_of(Broken()) == "<Broken whose repr fails>"


def test_any_text_of_numpy_is_shown():
    """A text or bytes of numpy is shown as it is, also one of a single character, and odd arrays by what they say."""
    assert [text_of(v) for v in (np.str_("a"), np.str_("ab"), np.bytes_(b"a"))] == ["a", "ab", "b'a'"]
    assert text_of(np.array([(1, 2)], dtype="i4,i4")) == "(1, 2)"


@given(st.integers(-(2**63) + 1, 2**63 - 1), st.sampled_from(["us", "ns", "ps", "fs", "as", "7ns"]))
def test_points_in_time_read_back_the_same(ticks, unit):
    """numpy makes the same moment of the text that is stored for one, to the last digit."""
    moment = np.datetime64(ticks, unit)
    assert np.datetime64(stored(moment)[0]) == moment


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.dates() | st.decimals(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.integers(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), json_like, max_size=5))
def test_anything_is_one_line_of_strict_json(record):
    """For any nested record the result is one line that a strict reader parses, with every key in it."""
    line = encode_record(record)
    assert line.count(b"\n") == 1
    assert len(json.loads(line, parse_constant=refuse_constant)) == len(record)


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers())
def test_numbers_read_back_the_same(number):
    """Every finite float and every integer of any size comes back the same, on both paths."""
    assert json.loads(encode_record({"k": number}))["k"] == number
    assert json.loads(encode_record({"k": number, "n": None}))["k"] == number


class Shouting(str):
    """Text that is shown otherwise than it is."""

    def __str__(self):
        return self.upper()


class Metric(str, enum.Enum):
    LOSS = "loss"


@dataclasses.dataclass
class Hidden:
    shown: int
    _kept: float


zones = st.none() | st.builds(lambda s: datetime.timezone(datetime.timedelta(seconds=s)), st.integers(-40000, 40000))
moments = st.datetimes(*map(datetime.datetime.fromisoformat, ("1700-01-01", "2200-01-01")))  # what nanoseconds can hold
lone_values = (
    st.builds(np.datetime64, moments, st.sampled_from(["D", "s", "ms", "us", "ns"]))
    | st.builds(lambda moment: np.array([moment], "M8[ns]"), moments)
    | st.datetimes(timezones=zones)
    | st.dates()
    | st.times()
    | st.uuids()
    | st.builds(Shouting, st.text())
    | st.just(Metric.LOSS)
    | st.builds(Hidden, st.integers(0, 9), st.floats())
    | st.builds(np.float32, st.floats(width=32))
    | st.builds(np.float16, st.floats(width=16))
    | st.floats()
    | st.integers()
    | st.text()
)


@given(st.dictionaries(st.sampled_from("ab"), lone_values, min_size=1) | lone_values)
def test_a_value_is_stored_the_same_whatever_is_beside_it(value):
    """A record that needs the slow path stores its other values as the fast path does."""
    alone = json.loads(encode_record({"k": value}))
    assert json.loads(encode_record({"k": value, "list": [1, None]})) == alone | {"list": [1, None]}


def test_an_array_keeps_its_digits_beside_nan():
    """The elements of an array that holds NaN or an infinity are stored with the digits that they have without it."""
    assert stored(np.array([[0.1, math.nan], [-math.inf, 0.2]], np.float32))[0] == [[0.1, "NaN"], ["-Infinity", 0.2]]


def test_values_that_orjson_knows_and_numpy_shows_otherwise():
    """Dates of numpy have one form as well alone as in an array, ids are text, and a dataclass keeps every field."""
    day = np.datetime64("2026-01-02")
    assert stored(np.array([day, day], "M8[ns]"))[0] == ["2026-01-02T00:00:00"] * 2
    assert stored([day, None])[0] == ["2026-01-02", None]
    assert stored([uuid.UUID(int=1)]) == (["00000000-0000-0000-0000-000000000001"], [])
    assert stored(Hidden(1, 2.5))[0] == {"shown": 1, "_kept": 2.5}


def test_keys_are_their_text_however_they_are_shown():
    """A key that is a text of an enum is stored as that text, as the same member is as a value."""
    assert json.loads(encode_record({Metric.LOSS: 1, "n": {Metric.LOSS: Metric.LOSS}})) == {
        "loss": 1,
        "n": {"loss": "loss"},
    }


def test_the_largest_integer_that_is_a_number():
    """An integer of as many bits as the description of the files says is a number, a longer one exact text."""
    bits = int(re.search(r"more than ([0-9,]+) bits", SPOOL_FORMAT.read_text(encoding="utf-8"))[1].replace(",", ""))
    assert stored(2**bits - 1)[0] == 2**bits - 1
    assert stored(-(2**bits))[0] == hex(-(2**bits))


def test_a_text_that_reads_nan_is_stored_as_the_number_is():
    """The text "NaN" and the number have one form in the files, and the description of the files says so."""
    assert encode_record({"k": "NaN"}) == encode_record({"k": math.nan})
    assert as_numbers("NaN") != as_numbers("NaN")  # only NaN is not itself
    assert "can't be told from the number" in SPOOL_FORMAT.read_text(encoding="utf-8")
