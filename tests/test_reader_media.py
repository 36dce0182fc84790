"""Whole files of a run are found by kind, key and step, and load as what was logged; frames and cards of a run."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
from watched import MemoryFiles

from ml_logger import ML_Logger
from ml_logger.errors import NotHeld, UsageError
from ml_logger.reader import Run, find_runs

PIXELS = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
CLIP = np.stack([PIXELS, PIXELS + 100, PIXELS[::-1]])
KEY = "train/../%\n.tmp" + "long" * 80


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("media")
    with ML_Logger(folder) as logger:
        for step in (2, 10, 1):
            logger.log_image(step, {KEY: PIXELS + step, "b": PIXELS[..., 0]})
        logger.log_image(rare=PIXELS)
        logger.log_image(3, "validation", sample=PIXELS)
        logger.log_video(3, clip=CLIP, fps=10)
        logger.log_tensor(4, w=np.eye(3, dtype=np.float16), words=np.array(["a", "bc"]))
        logger.log_module(5, net={"layer": {"w": np.ones(2)}}, single=np.arange(3))
        assert not logger.failures
    return Run(folder)


def test_files_are_found_by_key_and_step(run):
    """Any key is found again, its files in the order of their steps; one without a step comes last and says so."""
    assert [(file.key, file.step, file.name) for file in run.images(KEY)] == [
        (KEY, 1, "0001"),
        (KEY, 2, "0002"),
        (KEY, 10, "0010"),
    ]
    assert [file.step for file in run.images("b")] == [1, 2, 10]
    assert [file.step for file in run.images("rare")] == [None]
    assert {file.key for file in run.images()} == {KEY, "b", "rare"}
    assert (run.images("no such key"), run.figures()) == ([], [])
    assert [file.path for file in run.media("validation")] == ["validation/sample/0003.png"]


def test_files_load_as_what_was_logged(run):
    """Images, animations, tensors and modules come back as the arrays they were."""
    assert np.array_equal(run.images(KEY)[1].load(), PIXELS + 2)
    assert np.array_equal(run.images("b")[0].load(), PIXELS[..., 0])
    assert np.array_equal(run.videos("clip")[0].load(), CLIP)
    assert run.tensors("w")[0].load().dtype == np.float16
    assert run.tensors("words")[0].load().tolist() == ["a", "bc"]
    assert {name: array.tolist() for name, array in run.modules("net")[0].load().items()} == {"layer/w": [1, 1]}
    assert run.modules("single")[0].load().tolist() == [0, 1, 2]
    assert run.tensors("w")[0].read()[:6] == b"\x93NUMPY"


def pickled() -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([{}], dtype=object), allow_pickle=True)
    return file.getvalue()


@pytest.mark.parametrize(
    ("path", "data", "error"),
    [
        ("images/a/0001.png", b"\x89PNG\r\n\x1a\nno more", ValueError),
        ("images/a/0001.gif", b"", ValueError),
        ("tensors/a/0001.npy", b"\x93NUMPY", ValueError),
        ("tensors/a/0001.npy", pickled(), ValueError),
        ("tensors/a/0001.npy", b"", ValueError),
        ("modules/a/0001.npz", b"PK", ValueError),
        ("modules/a/0001.npz", b"PK\x03\x04 and no more", ValueError),
        ("figures/0001.svg", b"<svg/>", UsageError),
        ("figures/plain", b"", UsageError),
    ],
)
def test_a_file_that_cannot_be_loaded(path, data, error):
    """What is damaged or of another kind says so by one kind of error, and a pickle is never run."""
    files = MemoryFiles({path: data})
    (found,) = Run("", files=files).media(path.partition("/")[0])
    with pytest.raises(error):
        found.load()
    del files.content[path]
    with pytest.raises(NotHeld):
        found.read()


def test_names_that_are_no_steps_and_folders_of_others():
    """Hidden and temporary files are none; what somebody else put there has its name for a step that is none."""
    names = [
        "images/k/x.png",
        "images/k/-0005.png",
        "images/k/.0001.png.tmp-ab",
        "images/k/0001.png.part",
        "images/%FF/1.png",
    ]
    run = Run("", files=MemoryFiles(dict.fromkeys(names, b"")))
    assert [(file.key, file.step, file.name) for file in run.images()] == [
        ("%FF", 1, "1"),
        ("k", -5, "-0005"),
        ("k", None, "x"),
    ]


def test_text_is_that_of_all_parts():
    """What was printed comes part after part, also a line that is not ended yet; bytes that are no text are marked."""
    files = MemoryFiles({"text.log": b"one\n", "text.1.log": b"two \xff\nthr", "notes.txt": b"n"})
    run = Run("", files=files)
    assert (run.text(), run.text("notes.txt"), run.text("none.txt")) == ("one\ntwo \ufffd\nthr", "n", "")


def test_frames(tmp_path):
    """The table is a data frame of pandas or polars."""
    with ML_Logger(tmp_path) as logger:
        logger.log(1, loss=0.5, silent=True)
        logger.log(2, accuracy=True, silent=True)
    run = Run(tmp_path)
    pytest.importorskip("pandas")
    frame = run.to_pandas()
    assert (list(frame.columns), frame["loss"].isna().tolist()) == (
        ["step", "timestamp", "loss", "accuracy"],
        [False, True],
    )
    pytest.importorskip("polars")
    assert run.to_polars()["step"].to_list() == [1, 2]


@pytest.mark.parametrize("name", ["pandas", "polars"])
def test_a_frame_without_its_library(tmp_path, monkeypatch, name):
    """Where it is not installed one line says how to get it."""
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UsageError) as told:
        getattr(Run(tmp_path), f"to_{name}")()
    assert told.value.one_line() == f"{name} is not installed: pip install 'ml-logger[{name}]'"


def test_a_card_shows_text_as_text():
    """In a notebook every name and value of a run is escaped, cut, and bounded in number."""
    hostile = '<script>alert("x")</script>'
    record = b'{"_step":1,"%s":"%s"}\n' % ((hostile.replace('"', "'").encode(),) * 2)
    params = b'{"%s":{"k":"%s"},"many":{%s}}\n' % (
        hostile.replace('"', "'").encode(),
        b"x" * 5000,
        b",".join(b'"p%d":1' % number for number in range(100)),
    )
    start = b'{"event":"start","_timestamp":1e300,"host":"<b>h</b>"}\n'
    name = "<i>run</i>"
    files = MemoryFiles(
        {f"{name}/metrics.jsonl": record, f"{name}/parameters.jsonl": params, f"{name}/run.jsonl": start}
    )
    card = Run(name, files=files)._repr_html_()
    assert "<script" not in card
    assert "<i>" not in card
    assert "<b>h" not in card
    assert "&lt;script&gt;" in card
    assert "more</td>" in card
    assert len(card) < 10_000


def test_runs_are_found_in_any_files():
    """Folders of media in a run are not looked into, other folders are; a run may lie in another, and at the top."""
    names = [
        "metrics.jsonl",
        "images/k/run.jsonl",
        "eval/run.jsonl",
        "team/b/metrics~0123abcd.jsonl",
        "team/a/parameters.1.jsonl",
    ]
    files = MemoryFiles(
        dict.fromkeys([*names, "team/images/metrics.jsonl", ".hidden/metrics.jsonl", "x/other.jsonl"], b"")
    )
    assert [run.folder for run in find_runs(files=files)] == ["", "eval", "team/a", "team/b", "team/images"]
    assert [str(run.path) for run in find_runs("team", files=files)] == ["team/a", "team/b", "team/images"]
    assert find_runs("no such folder", files=files) == []
