"""What the cells of a table show, and what a call keeps whatever its cells are."""

import enum
import pathlib

import numpy as np
import pytest

from ml_logger import ML_Logger
from ml_logger.layout import escape_key


@pytest.fixture
def run(tmp_path):
    made = ML_Logger(tmp_path / "run")
    yield made
    made.close()


@pytest.mark.parametrize(
    ("silent", "is_shown"), [(np.True_, False), (1, False), (np.array(False), True), (None, True), (0, True)]
)
def test_silent_as_a_flag_of_any_kind(run, capsys, silent, is_shown):
    """A flag that is no plain bool is understood as one, and the call keeps its record and its table."""
    run.log(1, hidden=1, silent=silent)
    run.log(1, b=2, flush=True)
    assert ("hidden" in capsys.readouterr().out) == is_shown
    assert len(run.load_metrics()) == 2
    assert not run.failures


class Metric(str, enum.Enum):
    """A text that Python shows as ``Metric.LOSS``."""

    LOSS = "loss"


class Split(enum.Enum):
    TRAIN = "train"
    TEST = 2


KEYS = [
    (Metric.LOSS, "loss"),
    (Split.TRAIN, "train"),
    (Split.TEST, "Split.TEST"),
    (pathlib.PurePosixPath("a/b"), "a/b"),
    (3, "3"),
    (None, "None"),
    (("a", 1), "('a', 1)"),
    (np.float32(0.1), "0.1"),
    (np.datetime64(5, "25s"), "1970-01-01T00:02:05"),
]


@pytest.mark.parametrize(("key", "text"), KEYS, ids=[text for _, text in KEYS])
def test_a_key_is_shown_as_it_is_stored(run, capsys, key, text):
    """A key of any type has one text, in the files and in the tables, and names the files of what is no record."""
    run.log(1, {key: 0.5}, flush=True)
    run.log_params(section={key: 0.5})
    shown = [
        line.strip("│").replace("│", " ").split()[-2] for line in capsys.readouterr().out.splitlines() if "0.5" in line
    ]
    assert shown == [text.split()[-1]] * 2
    assert list(run.load_metrics()[0])[2:] == [text]
    assert run.reader.params == {"section": {text: 0.5}}
    run.log_tensor(1, {key: np.ones(2)})
    run.log_module(1, net={key: np.ones(2)})
    assert (pathlib.Path(run.log_directory) / "tensors" / escape_key(text) / "0001.npy").exists()
    with np.load(pathlib.Path(run.log_directory) / "modules/net/0001.npz") as net:
        assert net.files == [text]


@pytest.mark.parametrize("silent", [["train"], [Split.TRAIN], "train", {"train": 1}])
def test_a_key_kept_out_of_the_table(run, capsys, silent):
    """``silent`` names a key as it was given or as it is stored."""
    run.log(1, {Split.TRAIN: 0.5, "b": 2}, silent=silent, flush=True)
    shown = capsys.readouterr().out
    assert "0.5" not in shown
    assert " 2 " in shown
