"""Images, animations, figures, tensors, weights and files: whole files of a run, with what was logged in them."""

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ml_logger import ML_Logger
from ml_logger.image import figure_png
from ml_logger.layout import check_path
from ml_logger.reader import Run

DEADLINE_S = 60
PIXELS = np.arange(3 * 4 * 3, dtype=np.uint8).reshape(3, 4, 3)


@pytest.fixture
def run(tmp_path):
    made = ML_Logger(tmp_path / "run")
    yield made
    made.close()


def stored(run, name):
    run.flush()
    return np.asarray(Image.open(Path(run.log_directory) / name))


def frames(run, name):
    run.flush()
    with Image.open(Path(run.log_directory) / name) as image:
        assert image.is_animated
        shown = []
        for index in range(image.n_frames):
            image.seek(index)
            shown.append(np.asarray(image).copy())
        return image.info, shown


class Figure:
    """What the logger knows of a matplotlib figure."""

    canvas = None

    def __init__(self, colour=7):
        self.colour = colour
        self.options = {}

    def savefig(self, file, **options):
        self.options = options
        Image.new("RGB", (5, 4), (self.colour, 0, 0)).save(file, options["format"])


# --- images


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 1), (3, 4, 2), (3, 4, 3), (3, 4, 4)])
def test_channels(run, shape):
    """H×W and H×W×C with 1 to 4 channels are stored with the pixels that were logged."""
    image = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    run.log_image(5, view=image)
    assert np.array_equal(stored(run, "images/view/0005.png"), image.reshape(shape[:2] + shape[2:] * (shape[-1] != 1)))


def test_channels_first(run):
    """C×H×W is an image where the call says so, and refused as a strange H×W×C where not."""
    run.log_image(1, a=PIXELS.transpose(2, 0, 1), grey=PIXELS[None, :, :, 0], channels_first=True)
    assert np.array_equal(stored(run, "images/a/0001.png"), PIXELS)
    assert np.array_equal(stored(run, "images/grey/0001.png"), PIXELS[:, :, 0])


def test_float_rule_and_nan(run, caplog):
    """Floats are 0..1, or 0..255 if any is above 1; NaN is shown as 0 and warned about once a key."""
    for step in range(2):
        run.log_image(
            step, unit=np.array([[0, 0.5, 1]]), bytes=np.array([[0, 128.0, 255]]), nan=np.array([[np.nan, 1]])
        )
    assert stored(run, "images/unit/0000.png").tolist() == [[0, 128, 255]]
    assert stored(run, "images/bytes/0000.png").tolist() == [[0, 128, 255]]
    assert stored(run, "images/nan/0001.png").tolist() == [[0, 255]]
    assert [m for m in caplog.messages if "NaN" in m] == caplog.messages
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK", "I;16", "LA"])
def test_pillow_images(run, mode):
    """Pillow images of every mode keep their colours, palettes too."""
    picture = Image.fromarray(PIXELS).convert("L" if mode == "I;16" else mode).convert(mode)
    run.log_image(1, a=picture)
    expected = picture.convert("RGB") if mode in ("P", "CMYK") else picture
    assert np.array_equal(stored(run, "images/a/0001.png"), np.asarray(expected))


@pytest.mark.parametrize("image", [np.zeros((0, 0)), np.zeros((2, 3, 5)), np.zeros(3), 1.0, "text", object(), None])
def test_what_is_no_image(run, caplog, image):
    """Something that is no image is refused with one warning that names the key; nothing is raised."""
    for step in range(2):
        run.log_image(step, bad=image, good=PIXELS)
    assert stored(run, "images/good/0001.png").shape == (3, 4, 3)
    assert len(caplog.messages) == 1
    assert "'bad'" in caplog.text
    assert not list(Path(run.log_directory).glob("images/bad*"))


def test_what_changes_after_the_call(run):
    """The pixels are those of the moment of the call, also while they wait in the queue."""
    gate = threading.Event()
    run._encoder.submit("gate", 0, lambda: gate.wait(DEADLINE_S))
    image, clip = PIXELS.copy(), np.stack([PIXELS, PIXELS[::-1]])
    run.log_image(1, a=image)
    run.log_video(1, a=clip)
    image[:] = clip[:] = 0
    gate.set()
    assert np.array_equal(stored(run, "images/a/0001.png"), PIXELS)
    assert np.array_equal(frames(run, "videos/a/0001.png")[1][0], PIXELS)


def test_a_full_queue_loses_nothing(tmp_path):
    """With a queue of no bytes the caller encodes each image itself, and it is on disk when the call returns."""
    with ML_Logger(tmp_path / "run", image_queue_bytes=0) as run:
        run.log_image(1, a=PIXELS)
        assert np.array_equal(np.asarray(Image.open(tmp_path / "run/images/a/0001.png")), PIXELS)


def test_the_end_waits_within_its_bound(tmp_path, caplog):
    """Closing gives up on the images at its bound, and says how many are left."""
    gate = threading.Event()
    run = ML_Logger(tmp_path / "run", exit_timeout_s=0.01)
    run._encoder.submit("gate", 0, lambda: gate.wait(DEADLINE_S))
    run.close()
    gate.set()
    assert "1 images were not written within 0.01 s" in caplog.text


def python(code, *arguments, **options):
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        **options,
    )


def test_the_end_of_the_script_waits_for_images(tmp_path):
    """A script that just ends has all its images written."""
    code = """if True:
        import sys, numpy as np, ml_logger
        run = ml_logger.ML_Logger(sys.argv[1])
        for step in range(30):
            run.log_image(step, a=np.full((200, 200, 3), step, dtype=np.uint8))
    """
    result = python(code, tmp_path / "run")
    assert (result.returncode, result.stderr) == (0, "")
    assert len(list((tmp_path / "run/images/a").iterdir())) == 30
    assert Run(tmp_path / "run").state == "finished"


def test_forked_workers_store_their_images(tmp_path):
    """A forked worker has an encoder of its own, and its images are there when it has ended."""
    code = """if True:
        import multiprocessing, sys, numpy as np, ml_logger
        run = ml_logger.ML_Logger(sys.argv[1])
        run.log_image(0, parents=np.zeros((50, 50)))
        def work(number):
            run.log_image(number, child=np.full((50, 50), number, dtype=np.uint8))
        workers = [multiprocessing.get_context("fork").Process(target=work, args=(n,)) for n in range(4)]
        [worker.start() for worker in workers]
        [worker.join() for worker in workers]
    """
    result = python(code, tmp_path / "run")
    assert (result.returncode, result.stderr) == (0, "")
    assert len(list((tmp_path / "run/images/child").iterdir())) == 4
    assert len(list((tmp_path / "run/images/parents").iterdir())) == 1


def test_a_kill_leaves_whole_images_only(tmp_path):
    """A script killed in the middle of its images leaves none that is torn."""
    code = """if True:
        import sys, numpy as np, ml_logger
        run = ml_logger.ML_Logger(sys.argv[1])
        rng = np.random.default_rng(0)
        for step in range(100000):
            run.log_image(step, a=rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
            if step == 20:
                run.flush()
                print("go", flush=True)
    """
    with subprocess.Popen([sys.executable, "-c", code, tmp_path / "run"], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"go\n"
        process.send_signal(signal.SIGKILL)
    images = [p for p in (tmp_path / "run/images/a").iterdir() if not p.name.startswith(".")]
    assert len(images) >= 21
    for path in images:
        with Image.open(path) as image:
            image.load()


def test_namespaces_stay_inside(run, caplog):
    """A namespace that leads out of the run is refused with a warning; a key can't lead anywhere."""
    run.log_image(1, "../out", a=PIXELS)
    run.log_image(1, "/abs", a=PIXELS)
    run.log_tensor(1, "a/../../b", a=PIXELS)
    run.log_module(1, ".hidden", a=PIXELS)
    run.log_image(1, **{"../../up": PIXELS})
    run.flush()
    assert sum(run.failures.values()) == 4
    files = {str(p.relative_to(run.log_directory)) for p in Path(run.log_directory).rglob("*.*") if p.is_file()}
    assert files == {"run.jsonl", "images/%2E.%2F..%2Fup/0001.png"}


def test_namespace_spellings(run):
    """A slash at the end of a namespace changes nothing, and an empty one is the run itself."""
    run.log_image(1, "a/", x=PIXELS)
    run.log_image(1, "", x=PIXELS)
    run.log_image(1, "b/c", x=PIXELS)
    for name in ("a/x/0001.png", "x/0001.png", "b/c/x/0001.png"):
        assert np.array_equal(stored(run, name), PIXELS)


# --- animations


@pytest.mark.parametrize("kind", ["array", "list", "pillow", "grey", "channels_first"])
def test_videos(run, kind):
    """A list of frames or a T×H×W×C array is an animated PNG of its frames that loops."""
    clip = np.stack([PIXELS, PIXELS[::-1], PIXELS[::-1]])  # a frame that equals the one before is a frame too
    given = {
        "array": clip,
        "list": list(clip),
        "pillow": [Image.fromarray(frame) for frame in clip],
        "grey": clip[..., 0],
        "channels_first": clip.transpose(0, 3, 1, 2),
    }[kind]
    run.log_video(3, a=given, fps=25, channels_first=kind == "channels_first")
    info, shown = frames(run, "videos/a/0003.png")
    assert (info["loop"], info["duration"]) == (0, 40.0)
    assert np.array_equal(np.stack(shown), clip[..., 0] if kind == "grey" else clip)


def test_log_image_of_many_frames(run):
    """log_image makes an animation of a list or a 4-D array, and log_animation is another name of log_video."""
    clip = np.stack([PIXELS, PIXELS[::-1]])
    run.log_image(1, list=list(clip), array=clip, fps=2)
    run.log_animation(1, clip=clip)
    for name in ("images/list/0001.png", "images/array/0001.png", "videos/clip/0001.png"):
        assert np.array_equal(np.stack(frames(run, name)[1]), clip)
    assert frames(run, "images/list/0001.png")[0]["duration"] == 500


def test_floats_of_a_video_are_scaled_together(run):
    """A dark frame of a clip in 0..255 is not taken for one in 0..1."""
    run.log_video(1, a=np.array([[[0.0, 1.0]], [[0.0, 255.0]]]))
    assert np.stack(frames(run, "videos/a/0001.png")[1]).tolist() == [[[0, 1]], [[0, 255]]]


def test_one_frame(run):
    """A clip of one frame is a still picture."""
    run.log_video(1, a=PIXELS[None])
    assert np.array_equal(stored(run, "videos/a/0001.png"), PIXELS)


@pytest.mark.parametrize(
    ("clip", "fps", "message"),
    [
        ([PIXELS, PIXELS[:2]], 10, "one shape"),
        ([], 10, "no frames"),
        (np.zeros((0, 4, 4)), 10, "no pixels"),
        (np.zeros((2, 2, 2)), 0, "frames a second"),
        (np.zeros((2, 2, 2)), float("nan"), "frames a second"),
        (np.zeros((1, 2, 2, 2, 2)), 10, "T×H×W×C"),
    ],
)
def test_what_is_no_video(run, caplog, clip, fps, message):
    """Frames that do not belong together, none at all, or an impossible rate are refused with a warning."""
    run.log_video(1, a=clip, fps=fps)
    run.flush()
    assert message in caplog.text
    assert len(caplog.messages) == 1


def test_images_without_a_step_are_files_of_their_own(run, monkeypatch):
    """Without a step no image replaces another, however quickly they come."""
    monkeypatch.setattr(time, "time_ns", lambda: 1_795_363_200_123_456_789)
    for _ in range(20):
        run.log_image(a=PIXELS)
        run.log_tensor(a=PIXELS)
    run.flush()
    for folder in ("images/a", "tensors/a"):
        names = sorted(path.name for path in (Path(run.log_directory) / folder).iterdir())
        assert len(names) == 20
        assert all(name.startswith("1795363200123456") for name in names)


@pytest.mark.parametrize("place", ["step", "namespace"])
def test_values_in_a_dict(run, place):
    """A dict in the place of the step or of the namespace holds values, as it does for log."""
    for method in (run.log_image, run.log_video, run.log_tensor, run.log_module):
        values = {"a": np.stack([PIXELS, PIXELS])} if method == run.log_video else {"a": PIXELS}
        if place == "step":
            method(values, index=3)
        else:
            method(3, values)
    run.flush()
    files = {str(path.relative_to(run.log_directory)) for path in Path(run.log_directory).rglob("0003.*")}
    assert files == {"images/a/0003.png", "videos/a/0003.png", "tensors/a/0003.npy", "modules/a/0003.npy"}
    assert not run.failures


# --- figures


def test_figures_are_drawn_by_themselves(run):
    """Anything with savefig and a canvas is a figure: by log_pyplot with or without a key, and in log_image."""
    figure = Figure()
    run.log_pyplot(3, figure, dpi=50)
    assert figure.options == {"format": "png", "dpi": 50}
    run.log_pyplot(3, Figure(9), key="loss curve")
    run.log_image(3, both=Figure(8), clip=[Figure(1), Figure(2)])
    assert stored(run, "figures/0003.png")[0, 0].tolist() == [7, 0, 0]
    assert stored(run, "figures/loss curve/0003.png")[0, 0].tolist() == [9, 0, 0]
    assert stored(run, "images/both/0003.png")[0, 0].tolist() == [8, 0, 0]
    assert len(frames(run, "images/clip/0003.png")[1]) == 2


def test_figures_of_another_format(run):
    """The format of savefig is the suffix of the file."""
    figure = Figure()
    run.log_pyplot(3, figure, format="JPEG")
    run.log_pyplot(4, figure, format=None)
    assert {path.name for path in (Path(run.log_directory) / "figures").iterdir()} == {"0003.jpeg", "0004.png"}
    assert not run.failures


def test_structured_arrays(run):
    """A structured array is stored if numpy reads it back without pickle, and refused if not."""
    table = np.array([(1, 0.5, [1, 2])], dtype=[("n", "i4"), ("x", "f8"), ("pair", "i2", (2,))])
    run.log_tensor(1, table=table, objects=np.array([(1, None)], dtype=[("n", "i4"), ("x", object)]))
    assert np.array_equal(np.load(Path(run.log_directory) / "tensors/table/0001.npy"), table)
    assert sum(run.failures.values()) == 1


def test_a_histogram_of_complex_numbers(run, caplog):
    """Complex numbers have no histogram; dropping a part of them would show a wrong one."""
    run.log_histogram(1, spectrum=np.array([1 + 2j]), good=[1.0])
    assert "real numbers" in caplog.text
    assert [one.key for one in run.reader.histograms()] == ["good"]


def test_a_figure_in_the_place_of_the_step(run):
    """log_pyplot(fig) stores that figure, under the step that is named, or under the time."""
    run.log_pyplot(Figure(9), index=3)
    assert stored(run, "figures/0003.png")[0, 0].tolist() == [9, 0, 0]
    run.log_pyplot(Figure(8))
    assert [path.stem.isdecimal() for path in (Path(run.log_directory) / "figures").iterdir()] == [True, True]
    run.log_pyplot(Figure(7), 4)
    assert stored(run, "figures/0004.png")[0, 0].tolist() == [7, 0, 0]


def test_no_figure(run, caplog, monkeypatch):
    """Without a figure there is a warning; pyplot is looked for only where the script has imported it."""
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    run.log_pyplot(1)
    run.log_pyplot(1, "no figure")
    assert "no matplotlib figure" in caplog.text
    assert "matplotlib.pyplot" not in sys.modules


def test_real_matplotlib(run, tmp_path, monkeypatch):
    """A figure of matplotlib itself, its axes, and in log_image."""
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path / "matplotlib"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of matplotlib's own imports
        from matplotlib.figure import Figure as RealFigure

        figure = RealFigure(figsize=(2, 1), dpi=40)
        axes = figure.subplots()
        axes.plot([1, 2, 3])
        run.log_pyplot(1, figure)
        run.log_pyplot(2, axes)
        run.log_image(3, a=figure)
        assert figure_png(figure)[:8] == b"\x89PNG\r\n\x1a\n"
    for name in ("figures/0001.png", "figures/0002.png", "images/a/0003.png"):
        assert stored(run, name).shape == (40, 80, 4)
    assert not run.failures


# --- arrays


class Tensor:
    """A tensor of torch, as far as the logger can see: on a device, with a gradient, in a type that numpy lacks."""

    def __init__(self, array, dtype="torch.float32", depth=0):
        self.array, self.dtype, self.depth = np.asarray(array), dtype, depth

    def detach(self):
        return Tensor(self.array, self.dtype, 1)

    def cpu(self):
        return Tensor(self.array, self.dtype, self.depth + 1)

    def float(self):
        return Tensor(self.array.astype(np.float32), "torch.float32", self.depth)

    def __array__(self, dtype=None, copy=None):
        if self.dtype == "torch.bfloat16" or self.depth < 2:
            raise TypeError("can't convert it")
        return self.array


@pytest.mark.parametrize("dtype", ["b1", "u1", "i8", "f2", "f4", "f8", "c16", "U3", "M8[s]"])
def test_tensors_keep_their_type(run, dtype):
    """Arrays of every type numpy stores without pickle come back the same."""
    array = np.array([0, 1, 1]).astype(dtype)
    run.log_tensor(2, a=array)
    loaded = np.load(Path(run.log_directory) / "tensors/a/0002.npy", allow_pickle=False)
    assert loaded.dtype == array.dtype
    assert np.array_equal(loaded, array)


def test_tensors_of_torch(run):
    """Tensors on a device with a gradient are stored, bfloat16 as the float32 that holds it exactly."""
    run.log_tensor(1, a=Tensor([1.5, 2]), b=Tensor([1.5], "torch.bfloat16"))
    run.log_image(1, a=Tensor(PIXELS))
    run.log_histogram(1, a=Tensor([0.0, 1.0]), bins=2)
    folder = Path(run.log_directory)
    assert np.load(folder / "tensors/a/0001.npy").tolist() == [1.5, 2]
    assert np.load(folder / "tensors/b/0001.npy").dtype == np.float32
    assert np.array_equal(stored(run, "images/a/0001.png"), PIXELS)
    assert [(one.counts.tolist(), one.edges.tolist()) for one in run.reader.histograms("a")] == [([1, 1], [0, 0.5, 1])]


class Net:
    """A module of torch, as far as the logger can see."""

    def state_dict(self):
        return {"0.weight": Tensor(np.eye(2)), "file": Tensor([1.0]), "step": 3, "a/b": Tensor([2.0]), "none": None}


def test_modules(run):
    """A state dict is an .npz by its names, whatever they are; numpy alone reads it."""
    run.log_module(7, net=Net())
    with np.load(Path(run.log_directory) / "modules/net/0007.npz", allow_pickle=False) as loaded:
        assert {name: loaded[name].tolist() for name in loaded.files} == {
            "0.weight": [[1, 0], [0, 1]],
            "file": [1],
            "step": 3,
            "a/b": [2],
        }
    assert not run.failures


def test_nested_modules_and_what_is_no_array(run, caplog):
    """Nested states are joined with slashes; what is no array is left out with a warning; an array alone is an .npy."""
    state = {"a": {"b": [np.zeros(2), np.ones(2)]}, "a/b": {"0": 5}, "bad": object(), "lr": [0.1, 0.2], "name": "adam"}
    run.log_module(1, opt=state, alone=np.ones(3))
    with np.load(Path(run.log_directory) / "modules/opt/0001.npz", allow_pickle=False) as loaded:
        assert set(loaded.files) == {"a/b/0", "a/b/1", "a/b/0~", "lr", "name"}
        assert loaded["lr"].tolist() == [0.1, 0.2]
    assert np.load(Path(run.log_directory) / "modules/alone/0001.npy").tolist() == [1, 1, 1]
    assert [m for m in caplog.messages if "'bad'" in m] == caplog.messages


def test_a_bad_histogram_does_not_stop_the_others(run):
    """A value that is no array costs its own histogram only."""
    run.log_histogram(1, bad=object(), good=[1, 2])
    assert [one.key for one in run.reader.histograms()] == ["good"]
    assert run.failures.total() == 1


# --- files


def test_files_are_copied_as_they_are_now(tmp_path, run):
    """A file is stored under its name, byte for byte as at the call; by absolute path, relative, and again."""
    source = tmp_path / "config.yaml"
    source.write_bytes(os.urandom(3 << 20))
    was = source.read_bytes()
    run.log_file(source)
    source.write_text("changed")
    assert (tmp_path / "run/files/config.yaml").read_bytes() == was
    run.log_file(str(source), "more/files/")
    assert (tmp_path / "run/more/files/config.yaml").read_text() == "changed"
    (tmp_path / ".env").write_text("x")
    run.log_file(tmp_path / ".env")
    assert (tmp_path / "run/files/%2Eenv").read_text() == "x"


def test_files_that_are_refused(tmp_path, run, caplog):
    """A missing file, a namespace that leads out and a stream of the logger's own are refused with a warning."""
    source = tmp_path / "metrics.jsonl"
    source.write_text("mine")
    run.log(1, a=1, silent=True)
    run.log_data("files/open.jsonl", 1)
    (tmp_path / "open.jsonl").write_text("mine")
    before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*.jsonl")}
    run.log_file(tmp_path / "missing")
    run.log_file(source, "../out")
    run.log_file(source, "/out")
    run.log_file(source, "")
    run.log_file(tmp_path / "open.jsonl")
    run.log_file(tmp_path)
    assert sum(run.failures.values()) == 6
    assert caplog.messages
    assert {p: p.read_bytes() for p in (tmp_path / "run").rglob("*.*")} == before
    run.log_file(source)
    assert (tmp_path / "run/files/metrics.jsonl").read_text() == "mine"


def test_nothing_is_stored_without_a_directory(caplog):
    """Without a log directory the calls do nothing, with one warning for all."""
    run = ML_Logger()
    run.log_image(1, a=PIXELS)
    run.log_video(1, a=[PIXELS])
    run.log_pyplot(1, Figure())
    run.log_tensor(1, a=PIXELS)
    run.log_module(1, a=Net())
    run.log_file(__file__)
    run.log_data("a", 1)
    run.log_histogram(1, a=[1])
    run.flush()
    assert len(caplog.messages) == 1
    assert not run.failures


LONG = [
    "k" * 300,
    "k" * 1001,
    "k" * 2030,
    "k" * 100_000,
    "k" * 99_999 + "l",
    "é/" * 500,
    "%~" * 700,
    "\ud800" * 400,
    "." * 5000,
]


def test_keys_of_any_length(run):
    """A key of any length names a folder of its own, always the same; a receiver takes it, with the run's place before it."""
    for step in range(2):
        run.log_tensor(step, {key: np.full(3, step) for key in LONG})
        run.log_image(step, dict.fromkeys(LONG, PIXELS))
    run.flush()
    root = Path(run.log_directory)
    for namespace, suffix in (("tensors", "npy"), ("images", "png")):
        files = sorted(path.relative_to(root).as_posix() for path in (root / namespace).rglob(f"*.{suffix}"))
        assert len(files) == 2 * len(LONG)
        assert len({path.rpartition("/")[0] for path in files}) == len(LONG)
        assert all(check_path(f"{'place/' * 50}{path}") for path in files)
    digest = hashlib.sha256(b"k" * 1001).hexdigest()[:16]
    assert np.load(root / f"tensors/{'k' * 200}%~{digest}/0001.npy").tolist() == [1, 1, 1]
    assert not run.failures


@pytest.mark.parametrize("step", ["s" * 3000, "/" * 90, 10**300, "漢" * 83])
def test_steps_of_any_length(run, step):
    """A step that is a long text or number names a file as a key does."""
    run.log_tensor(step, a=np.arange(3))
    (path,) = Path(run.log_directory).rglob("*.npy")
    assert np.load(path).tolist() == [0, 1, 2]
    assert len(path.name.encode()) <= 255
    assert not run.failures


@pytest.mark.parametrize("name", ["x" * 250, "漢" * 83])
def test_files_with_long_names(run, tmp_path, name):
    """A file whose name is as long as a name may be is copied under it."""
    (tmp_path / name).write_text("content")
    run.log_file(tmp_path / name)
    assert (Path(run.log_directory) / "files" / name).read_text() == "content"


@pytest.mark.parametrize(("name", "is_taken"), [("d" * 230, True), ("d" * 249, False), ("漢" * 83, False)])
def test_streams_with_long_names(run, name, is_taken, caplog):
    """A stream's name leaves room for the numbers of its parts; a longer one is refused with a warning."""
    for _ in range(2):
        run.log_data(name, {"a": 1})
        run.close()
    assert len(run.reader.data(name)) == 2 * is_taken
    assert len(caplog.messages) == (not is_taken)


def test_what_is_no_file_is_not_copied(run, tmp_path, caplog):
    """A pipe, a device or a folder is refused with a warning, and none of them holds up training."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero", tmp_path):
        run.log_file(path)
    assert run.failures == {"log_file: ValueError": 3}
    assert not (Path(run.log_directory) / "files").exists()
