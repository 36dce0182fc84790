"""The memory of images is used again, never while anybody still looks at it, and within a bound."""

import numpy as np
import pytest

from ml_logger import buffers

IMAGE = np.arange(200 * 300 * 3, dtype=np.uint8).reshape(200, 300, 3)


@pytest.fixture(autouse=True)
def spares(monkeypatch):
    """Spares of the test's own."""
    made = buffers._Spares()
    monkeypatch.setattr(buffers, "_spares", made)
    return made


def address(array):
    return array.__array_interface__["data"][0]


@pytest.mark.parametrize("dtype", ["u1", "<f4", ">u2", "?", "c16"])
@pytest.mark.parametrize("view", [np.s_[:], np.s_[::2], np.s_[:, ::-1], np.s_[:, :, :1]])
def test_a_copy_is_equal_and_apart(dtype, view):
    """Whatever its type and strides, a copy has the same values, and neither array sees changes of the other."""
    array = np.tile(IMAGE, (4, 1, 1)).astype(dtype)[view]
    copy = buffers.copied(array)
    assert copy.dtype == array.dtype
    assert np.array_equal(copy, array)
    assert copy.flags.c_contiguous
    assert copy.flags.writeable
    before = copy.copy()
    array[...] = 0
    assert np.array_equal(copy, before)


def test_memory_is_used_again():
    """The next copy of a size takes the memory of one that is gone."""
    first = buffers.copied(IMAGE)
    where = address(first)
    del first
    assert address(buffers.copied(IMAGE)) == where


def test_memory_in_use_is_left_alone():
    """As long as a view of a copy lives its memory is not given to another."""
    view = buffers.copied(IMAGE)[10:20]
    other = buffers.copied(np.zeros_like(IMAGE))
    assert np.array_equal(view, IMAGE[10:20])
    assert not other.any()


def test_spares_are_bounded(monkeypatch, spares):
    """What is kept for later never passes the bound, and the oldest go first."""
    monkeypatch.setattr(buffers, "SPARE_BYTES", 2 * IMAGE.nbytes)
    copies = [buffers.copied(IMAGE) for _ in range(5)]
    kept = [address(copy) for copy in copies[3:]]
    while copies:
        del copies[0]
    assert [address(block) for block in spares._blocks] == kept
    assert spares._held_bytes == 2 * IMAGE.nbytes


def test_nobody_waits_for_the_list(spares):
    """While another thread is at the list, or one of the parent was at the fork, copies are made all the same."""
    with spares._lock:
        for _ in range(3):
            assert np.array_equal(buffers.copied(IMAGE), IMAGE)
    assert not spares._blocks
