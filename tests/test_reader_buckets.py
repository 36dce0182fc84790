"""Buckets hold every point of a curve once, keep every spike, and lie on one grid whoever asks."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_logger.reader import bucketed, bucketed_pieces, grid


def slowly(x, values, origin, width):
    """Return what each bucket holds, point by point."""
    found = {}
    for position, value in zip(x, values, strict=True):
        if math.isfinite(position) and abs((position - origin) / width) < 2**31 - 1:
            found.setdefault(math.floor((position - origin) / width), []).append((position, value))
    return found


def check(x, values, origin, width, cut=None):
    x, values = np.array(x, dtype=float), np.array(values, dtype=float)
    cut = len(x) if cut is None else cut
    buckets = bucketed_pieces([(x[:cut], values[:cut]), (x[cut:], values[cut:])], origin, width)
    expected = slowly(x.tolist(), values.tolist(), origin, width)
    assert buckets.index.tolist() == sorted(expected)
    for number, index in enumerate(buckets.index.tolist()):
        points = [value for _, value in expected[index]]
        finite = [value for value in points if math.isfinite(value)]
        assert buckets.count[number] == len(points)
        assert buckets.nan[number] == sum(map(math.isnan, points))
        assert (buckets.above[number], buckets.below[number]) == (points.count(math.inf), points.count(-math.inf))
        last_at = (expected[index][-1][0] - origin) / width - index
        np.testing.assert_array_equal([buckets.last[number], buckets.at[number]], [points[-1], last_at])
        extremes = [min(finite), max(finite)] if finite else [math.nan] * 2
        np.testing.assert_array_equal([buckets.min[number], buckets.max[number]], extremes)
        np.testing.assert_allclose(
            buckets.mean[number], sum(finite) / len(finite) if finite else math.nan, rtol=1e-9, atol=1e-9
        )


VALUES = st.floats(-1e6, 1e6) | st.sampled_from([math.nan, math.inf, -math.inf])
POINTS = st.lists(st.tuples(st.integers(-400, 400).map(lambda n: n / 8), VALUES), max_size=60)
WIDTHS = st.integers(-3, 6).map(lambda power: 2.0**power)


@given(POINTS, WIDTHS, st.integers(-5, 5), st.booleans(), st.integers(0, 60))
def test_each_bucket_is_what_its_points_say(points, width, origin, is_sorted, cut):
    """Count, NaN and infinities, smallest, largest, mean and last are those of its points, in order or not, in pieces too."""
    points = sorted(points, key=lambda point: point[0]) if is_sorted else points
    check([x for x, _ in points], [value for _, value in points], origin * width, width, cut)


def test_positions_that_are_none():
    """Points without a position, or out of every reach, are left out; the others stay where they are."""
    check([math.nan, 1.0, math.inf, 2.0, -math.inf, 1e300], [1, 2, 3, 4, 5, 6], 0.0, 1.0)
    check([math.nan], [1], 0.0, 1.0)
    check([1e300], [1], 0.0, 1.0)
    check([], [], 0.0, 1.0)


@pytest.mark.parametrize("is_sorted", [True, False])
def test_every_spike_stays(is_sorted):
    """Of a million points in a thousand buckets each of a hundred spikes is in the `max` or `min` of its bucket."""
    rng = np.random.default_rng(5)
    x, values = np.arange(1e6), rng.standard_normal(10**6)
    spikes = rng.choice(10**6, 100, replace=False)
    values[spikes] = np.where(np.arange(100) % 2, 100.0, -100.0) * (1 + np.arange(100))
    order = np.arange(10**6) if is_sorted else rng.permutation(10**6)
    origin, width = grid(0, 1e6, 1000)
    buckets = bucketed(x[order], values[order], origin, width)
    assert 500 <= len(buckets) <= 1001
    place = {index: number for number, index in enumerate(buckets.index.tolist())}
    for spike in spikes.tolist():
        number = place[math.floor((spike - origin) / width)]
        wanted = values[spike]
        assert buckets.max[number] >= wanted > 50 or buckets.min[number] <= wanted < -50
    assert buckets.count.sum() == 10**6


NUMBERS = st.floats(-1e12, 1e12)


@given(NUMBERS, NUMBERS, st.integers(1, 2000))
def test_the_grid_covers_with_about_as_many(one, other, count):
    """Its width is a power of two and its origin a multiple of that; it needs half to all of the buckets, and one more."""
    low, high = sorted((one, other))
    origin, width = grid(low, high, count)
    assert math.frexp(width)[0] == 0.5
    assert origin / width == math.floor(origin / width)
    assert origin <= low < origin + width
    if high - low > 16 * max(math.ulp(low), math.ulp(high)) * count:
        assert count / 2 - 1 <= (high - low) / width <= count


def test_the_grid_of_odd_ranges():
    """No span, a span of nothing that can be told apart, infinities: there is a grid all the same."""
    for low, high in (
        (0, 0),
        (5.0, 5.0),
        (1e18, 1e18 + 128),
        (2.0**60, 2.0**60),
        (math.nan, math.nan),
        (-math.inf, math.inf),
        (0, 1e308),
    ):
        origin, width = grid(low, high, 800)
        assert math.isfinite(origin)
        assert 0 < width < math.inf
        assert origin < origin + width
        assert len(bucketed(np.array([float(low)]), np.array([1.0]), origin, width)) == math.isfinite(low)


@pytest.mark.parametrize("step", [2.0**60, -(2.0**60), 1.7e308])
def test_positions_that_no_float_tells_apart(step):
    """Large steps that are one float lie in one bucket, also on a grid too narrow for them."""
    x, values = np.full(10, step), np.arange(10.0)
    for origin, width in (grid(step, step, 800), (step, 1.0)):
        buckets = bucketed(x, values, origin, width)
        assert (buckets.count.tolist(), buckets.max.tolist(), buckets.last.tolist()) == ([10], [9], [9])


def test_a_curve_that_grows_stays_on_its_grid():
    """The buckets of the old points are the same, whether the new ones are there or asked for alone."""
    x, values = np.arange(1000.0), np.sin(np.arange(1000.0))
    origin, width = grid(0, 500, 100)
    before, after, tail = (
        bucketed(x[part], values[part], origin, width) for part in (np.s_[:500], np.s_[:], np.s_[496:])
    )
    assert after.max.tolist()[: len(before) - 1] == before.max.tolist()[:-1]
    assert after.index.tolist() == before.index.tolist()[:-1] + tail.index.tolist()
    assert np.array_equal(after.mean[len(before) - 1 :], tail.mean)


def test_packed():
    """What is sent is little-endian: the indexes, then nine arrays of float32; no finite number becomes infinite."""
    buckets = bucketed(np.array([0.5, 1.5, 2.5]), np.array([1e300, -math.inf, math.nan]), 0.0, 1.0)
    data = buckets.packed()
    assert len(data) == 3 * 10 * 4
    assert np.frombuffer(data[:12], "<i4").tolist() == [0, 1, 2]
    arrays = np.frombuffer(data[12:], "<f4").reshape(9, 3)
    assert arrays[0].tolist() == [0.5, 0.5, 0.5]
    assert (arrays[1].tolist(), arrays[3].tolist(), arrays[4].tolist()) == ([1, 1, 1], [0, 0, 0], [0, 1, 0])
    assert arrays[6][0] == np.finfo(np.float32).max
    assert arrays[8][1] == -math.inf


def test_indexes_ascend():
    """Buckets of any input come in order, each once."""
    rng = np.random.default_rng(1)
    index = bucketed(rng.random(10_000) * 1e5, rng.random(10_000), 0.0, 0.5).index
    assert all(one < other for one, other in pairwise(index.tolist()))
