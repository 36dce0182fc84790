"""Images become PNG files that show what was logged."""

import io

import numpy as np
import pytest
from PIL import Image

from ml_logger.image import BadImage, as_pixels, encode_png


def through_png(image):
    return np.asarray(Image.open(io.BytesIO(encode_png(as_pixels(image)))))


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 2), (3, 4, 3), (3, 4, 4), (1, 1)])
def test_bytes_are_kept(shape):
    """uint8 of every number of channels comes back the same."""
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert np.array_equal(through_png(image), image)


@pytest.mark.parametrize("kind", ["uint8", "uint16", ">u2"])
@pytest.mark.parametrize("view", [np.s_[:], np.s_[::-1, ::2]])
def test_rows_of_noise_are_kept(kind, view):
    """Every bit of many rows comes back, whatever the byte order and strides of the array."""
    bits = np.iinfo(kind).bits
    image = np.random.default_rng(1).integers(0, 1 << bits, (97, 131)).astype(kind)[view]
    assert np.array_equal(through_png(image), image)


def test_one_channel_is_grey():
    """H×W×1 is the same as H×W."""
    image = np.arange(12, dtype=np.uint8).reshape(3, 4, 1)
    assert np.array_equal(through_png(image), image[:, :, 0])


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ([[0.0, 0.5, 1.0]], [[0, 128, 255]]),
        ([[0.0, 128.0, 255.0]], [[0, 128, 255]]),
        ([[-1.0, 2.0, 300.0]], [[0, 2, 255]]),
        ([[np.nan, np.inf, -np.inf]], [[0, 255, 0]]),
        ([[False, True]], [[0, 255]]),
        ([[-5, 100, 300]], [[0, 100, 255]]),
    ],
)
def test_values(image, expected):
    """Floats are 0..1, or 0..255 if any is above 1; all is clipped; NaN is black; bool is black and white."""
    for kind in (np.array(image), np.array(image)[:, ::-1][:, ::-1]):
        assert through_png(kind).tolist() == expected


@pytest.mark.parametrize("kind", ["e", "f", "d"])
def test_every_float_type(kind):
    """Half, single and double precision give the same picture."""
    image = np.linspace(0, 1, 6).reshape(2, 3).astype(kind)
    assert through_png(image).tolist() == [[0, 51, 102], [153, 204, 255]]


def test_sixteen_bits():
    """uint16 keeps its 16 bits as H×W, and its upper 8 in colour."""
    image = np.array([[0, 1, 65535]], dtype=np.uint16)
    assert through_png(image).tolist() == [[0, 1, 65535]]
    assert through_png(np.stack([image] * 3, axis=-1))[0, :, 0].tolist() == [0, 0, 255]


class Tensor:
    """A tensor that needs a gradient and lives on a device."""

    def __init__(self, array):
        self.array = array

    def detach(self):
        return self

    def cpu(self):
        return self.array


def test_other_kinds_of_image():
    """Pillow images, nested lists and tensors are images too."""
    pixels = np.array([[0, 7]], dtype=np.uint8)
    for image in (Image.fromarray(pixels), [[0, 7]], Tensor(pixels), pixels[:, ::-1][:, ::-1]):
        assert np.array_equal(through_png(image), pixels)


def test_pixels_are_a_copy():
    """What the caller does to its array afterwards does not reach the pixels."""
    image = np.ones((2, 2), dtype=np.uint8)
    pixels = as_pixels(image)
    image[:] = 0
    assert pixels.all()


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((0, 0)), "0×0 has no pixels"),
        (np.zeros((2, 3, 5)), "not 2×3×5"),
        (np.zeros(3), "not 3"),
        (1.0, "a scalar"),
        (np.array([["a"]]), "pixels are numbers"),
    ],
)
def test_what_is_no_image(image, message):
    """Something that is no image is refused with its shape or type."""
    with pytest.raises(BadImage, match=message):
        as_pixels(image)
