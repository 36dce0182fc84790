"""Every value a training script logs comes back as what it was."""

import collections.abc
import datetime
import decimal
import enum
import json
import math
import pathlib
import struct
import subprocess
import sys

import numpy as np
import pytest

from ml_logger import Color, ML_Logger
from ml_logger.reader import read_records


class Mode(enum.Enum):
    FAST = "fast"


class Level(enum.IntEnum):
    HIGH = 3


class TorchScalar:
    """A tensor of torch: bfloat16 has no numpy form; a gradient does not stop tolist; on CUDA only item copies."""

    def __init__(self, value, fails=()):
        self.value, self.fails = value, fails

    def _give(self, name):
        if name in self.fails:
            raise RuntimeError(f"{name} of a tensor that requires grad")
        return self.value

    def tolist(self):
        return self._give("tolist")

    def item(self):
        return self._give("item")

    def numpy(self):
        raise TypeError("Got unsupported ScalarType BFloat16")


class JaxScalar:
    """An array of jax: item and tolist, and __array__ for numpy."""

    dtype = "bfloat16"
    shape = ()

    def item(self):
        return 0.5

    def tolist(self):
        return 0.5


class TensorFlowScalar:
    """An eager tensor of tensorflow: numpy() is all it has."""

    def numpy(self):
        return np.float16(0.5)


def read_back(tmp_path, value):
    with ML_Logger(tmp_path / "run") as run:
        run.log(1, before=1, x=value, behind=2, silent=True)
    (line,) = (tmp_path / "run/metrics.jsonl").read_text().splitlines()
    json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    (record,) = run.load_metrics()
    assert (record["before"], record["behind"]) == (1, 2)
    assert not run.failures
    return record["x"]


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (1, 1),
        (2**53 + 1, 2**53 + 1),
        (-(2**63), -(2**63)),
        (2**64 + 1, 2**64 + 1),
        (10**400, 10**400),
        (0.1, 0.1),
        (1e-320, 1e-320),
        (True, True),
        (None, None),
        ("text\n\0ü漢", "text\n\0ü漢"),
        (decimal.Decimal("0.1"), 0.1),
        (datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc), "2026-01-02T03:04:05+00:00"),
        (datetime.date(2026, 1, 2), "2026-01-02"),
        (datetime.timedelta(seconds=1.5), 1.5),
        (Mode.FAST, "fast"),
        (Level.HIGH, 3),
        (pathlib.PurePosixPath("a/b"), "a/b"),
        (b"bytes", "bytes"),
        (b"\xff", "\\xff"),
        ([1, [2.5, None]], [1, [2.5, None]]),
        ((1, 2), [1, 2]),
        ({"a": {"b": 1}}, {"a": {"b": 1}}),
        (np.arange(3), [0, 1, 2]),
        (np.array(2.5), 2.5),
        (np.array([[2.5]]), 2.5),
        ([np.float32(0.5), np.int64(2)], [0.5, 2]),
        (np.array(["a"]), "a"),
        (np.str_("a"), "a"),
        (np.array([], dtype=float), []),
        (TorchScalar(0.5), 0.5),
        (TorchScalar(0.5, fails=["tolist"]), 0.5),
        (TorchScalar([[0.5]]), 0.5),
        (TorchScalar([0.5, 1.5]), [0.5, 1.5]),
        (TorchScalar(True), True),
        (TorchScalar(2**60), 2**60),
        (JaxScalar(), 0.5),
        (TensorFlowScalar(), 0.5),
        ([TorchScalar(0.5), TensorFlowScalar()], [0.5, 0.5]),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_values(tmp_path, value, stored):
    """Numbers, text, times, enums, paths, arrays and tensors of every library come back, ints exactly."""
    answer = read_back(tmp_path, value)
    assert answer == stored
    assert type(answer) is type(stored)


@pytest.mark.parametrize("code", [*"?bBhHiIlLqQefdg"])
def test_numpy_scalars_of_every_type(tmp_path, code):
    """A scalar, a 0-d and a 1-element array of every type of numpy are one number."""
    scalar = np.dtype(code).type(1)
    for index, value in enumerate((scalar, np.array(scalar), np.array([scalar]))):
        assert read_back(tmp_path / str(index), value) == 1


def bits(number):
    return struct.pack(">d", number)


@pytest.mark.parametrize("kind", [float, np.float16, np.float32, np.float64, np.array, TorchScalar, lambda v: [v]])
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, -0.0])
def test_special_floats(tmp_path, kind, number):
    """NaN, the infinities and minus zero come back the same, from every kind of number, and the file is strict JSON."""
    answer = read_back(tmp_path, kind(number))
    answer = answer[0] if isinstance(answer, list) else answer
    assert (math.isnan(answer) and math.isnan(number)) or bits(answer) == bits(number)


ODD_TYPES = """
import numpy as np
import sys
from ml_logger import Color, ML_Logger

ODD = [
    *(np.datetime64(5, unit) for unit in ("25s", "2D", "7ns", "as", "Y")),
    *(np.datetime64("NaT", unit) for unit in ("25s", "ns", "D")),
    *(np.zeros(3, kind) for kind in ("M8[25s]", ">M8[25s]", "m8[25s]", "M8[as]", "V3", "i4,M8[25s]", "O", "U3", "S3")),
    *(np.zeros(3, kind) for kind in ("e", ">e", ">f", ">d", ">H", "g", "G", "F", ">i8", "?", "V0")),
    *(np.zeros(shape) for shape in ((), (0,), (0, 3), (3, 0), (1,) * 32)),
    *(np.arange(12.0)[::-2], np.arange(12.0).reshape(3, 4).T, np.broadcast_to(5.0, (4,)), np.ma.array([1, 2], mask=[0, 1])),
    *(np.void(b"abc"), np.frombuffer(bytes(17), np.uint8)[1:].view("f8"), np.frombuffer(bytes([2, 0]), np.bool_)),
    *(np.float32, np.sin, np.dtype("M8[25s]"), np.arange(3).flat, np.ma.masked, np.str_("a"), np.longdouble("1e4000")),
]
with ML_Logger(sys.argv[1]) as run:
    for index, value in enumerate(ODD):
        for x in (value, [value], {"in": (value,)}, Color(value, "red"), {(index, repr(value)): value}):
            print(index, repr(value)[:60], flush=True)
            run.log(index, before=1, x=x, after=2, silent=True)
            run.log_params(before=1, x=x, after=2)
            run.log_data("data", x)
        run.log_tensor(index, value=value)
        run.log_module(index, net=[value])
print("alive", len(ODD))
"""


def test_no_type_of_numpy_ends_the_process(tmp_path):
    """No scalar or array of numpy, of whatever type, unit, order or shape, ends the process or costs its record the rest."""
    child = subprocess.run([sys.executable, "-c", ODD_TYPES, str(tmp_path)], capture_output=True, text=True, timeout=60)
    last = child.stdout.rpartition("\n")[0].rpartition("\n")[2]
    assert last.startswith("alive"), (last, child.returncode, child.stderr)
    records = list(read_records(tmp_path / "metrics.jsonl"))
    assert len(records) == 5 * int(last.split()[1])
    assert all((record["before"], record["after"]) == (1, 2) for record in records)
    assert len(list(read_records(tmp_path / "parameters.jsonl"))) == len(records)


class Proxy:
    """An object that stands for another one, which is not there: whatever it is asked, it raises."""

    def _raise(self, *_):
        raise RuntimeError("working outside of a context")

    __getattr__ = __bool__ = __eq__ = __iter__ = __len__ = __float__ = __array__ = __str__ = __repr__ = _raise
    __hash__ = object.__hash__


class Touchy(type):
    def __getattribute__(cls, name):
        raise RuntimeError("a class that is never asked")


class BadMapping(collections.abc.Mapping):
    def __getitem__(self, key):
        raise KeyError(key)

    def __iter__(self):
        return iter("ab")

    def __len__(self):
        return 2


def nested(depth):
    inner = []
    for _ in range(depth):
        inner = [inner]
    return inner


HOSTILE = {
    "proxy": Proxy,
    "class": lambda: Touchy("Untouchable", (), {}),
    "mapping": BadMapping,
    "depth": lambda: nested(3000),
    "integer": lambda: 10**5000,
    "masked": lambda: np.ma.masked_all((3, 3)),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_values_cost_nothing_else(tmp_path, capsys, kind):
    """Whatever a value raises when it is asked, the others of its call are stored and shown, and so are other sections."""
    value = HOSTILE[kind]()
    with ML_Logger(tmp_path) as run:
        run.log(1, {"good": 1, "bad": value, "after": 2}, flush=True)
        run.log(2, good=1, bad=2 if kind == "class" else Color(value, "red", lambda v: f"{v:.3f}"), after=2, flush=True)
        run.log(3 if kind in ("mapping", "class") else value, good=1, after=2, flush=True)
        run.log_params(good={"a": 1}, bad=value, after={"a": 1, "bad": value, "after": 2})
    shown = capsys.readouterr().out
    assert (shown.count(" good "), shown.count(" after ")) == (4, 5)
    assert [(record["good"], record["after"]) for record in run.load_metrics()] == [(1, 2)] * 3
    params = run.reader.params
    assert (params["good"], params["after"]["a"], params["after"]["after"]) == ({"a": 1}, 1, 2)
    assert "bad" in params
    assert not run.failures


@pytest.mark.parametrize(
    "step", [np.zeros((2, 2)), decimal.Decimal("sNaN"), [1, 2], math.nan, {1, 2}, np.datetime64("NaT", "s")]
)
def test_odd_steps(tmp_path, capsys, step):
    """A step that can't be compared is no reason to lose a table."""
    with ML_Logger(tmp_path) as run:
        run.log(step, a=1)
        run.log(step, b=2)
    assert [("a" in record, "b" in record) for record in run.load_metrics()] == [(True, False), (False, True)]
    shown = capsys.readouterr().out
    assert all(f"│         {key}          │" in shown for key in "ab")
    assert not run.failures


class Fails:
    def __repr__(self):
        raise ValueError("no repr either")


@pytest.mark.parametrize("value", [object(), "\ud800", [object()], Fails(), 1 + 2j, print, {"a": {1, object()}}])
def test_what_cannot_be_stored(tmp_path, caplog, value):
    """A value without JSON form becomes text, told once a key; the rest of its record is kept."""
    with ML_Logger(tmp_path / "run") as run:
        for step in range(3):
            run.log(step, good=step, bad=value, silent=True)
    records = run.load_metrics()
    assert [r["good"] for r in records] == [0, 1, 2]
    assert all("bad" in r for r in records)
    assert len(caplog.messages) <= 1
    assert not run.failures


def test_a_cycle(tmp_path, caplog):
    """A list that holds itself is stored up to there, and told once."""
    cycle = [1]
    cycle.append(cycle)
    first, second = read_back(tmp_path, cycle)
    assert (first, type(second)) == (1, str)
    assert len(caplog.messages) == 1


def test_mutation_after_the_call(tmp_path):
    """Arrays, lists and dicts that change after the call do not change what was logged."""
    array, inner = np.arange(3.0), {"a": [1]}
    with ML_Logger(tmp_path) as run:
        run.log(1, array=array, inner=inner, silent=True)
        run.log_data("data", inner)
        run.log_tensor(1, array=array)
        run.log_module(1, net={"w": array})
        run.log_histogram(1, bins=1, array=array)
        array[:] = 9
        inner["a"][0] = 9
    (record,) = run.load_metrics()
    assert (record["array"], record["inner"], run.reader.data("data")) == ([0, 1, 2], {"a": [1]}, [{"a": [1]}])
    assert np.load(tmp_path / "tensors/array/0001.npy").tolist() == [0, 1, 2]
    with np.load(tmp_path / "modules/net/0001.npz") as net:
        assert net["w"].tolist() == [0, 1, 2]
