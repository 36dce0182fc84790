"""The pure modules of the curves, run in a browser on values: buckets, smoothing, bands over seeds, axes, filters, zooms."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import numpy as np
import orjson
import pytest
from browser import Browser
from playwright.sync_api import Page
from viewing import looking

from ml_logger.reader import bucketed

Call = Any
NAN = math.nan


@pytest.fixture(scope="module")
def page(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """Open the page over nothing: it is only there to load modules in."""
    with looking(tmp_path_factory.mktemp("nothing")) as site, closing(browser.new_page()) as opened:
        opened.goto(site.url)
        yield opened


def run(page: Page, script: str, *values: Any) -> Any:
    """Return what a JavaScript function gives for `values`; `load(NAME)` in it is a module of the page."""
    return page.evaluate(
        f"""values => {{
            const {{src}} = document.querySelector("script[src*='/app.js']");
            const load = (name) => import(src.replace("app.js", `${{name}}.js`));
            return ({script})(...values);
        }}""",
        list(values),
    )


def answer(heads: list[dict[str, Any]], blocks: list[bytes], **more: Any) -> str:
    """Return an answer with curves as the server writes it, in base 64."""
    head = {"origin": 0.0, "width": 1.0, "from": 0.0, "to": 9.0, "cursors": {"a": "1"}, "runs": ["a"], "keys": ["loss"]}
    line = orjson.dumps({**head, **more, "series": heads})
    whole = line + b" " * (-(len(line) + 1) % 4) + b"\n" + b"".join(blocks)
    return base64.b64encode(whole).decode()


def buckets(x: list[float], values: list[float], width: float = 1.0) -> tuple[dict[str, Any], bytes]:
    """Return the head and the bytes of one series."""
    cut = bucketed(np.array(x, np.float64), np.array(values, np.float64), 0.0, width)
    return {"run": 0, "key": 0, "buckets": len(cut), "points": len(x), "is_tail": False}, cut.packed()


DECODE = "const decoded = (text) => decode(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);"


def test_an_answer_is_read_without_copies(page: Page) -> None:
    """Each series has its run, its key and its buckets as the server cut them, as windows into the answer."""
    first, second = buckets([0, 1, 1.5, 8], [1, 2, NAN, math.inf]), buckets([3], [7])
    script = f"""async (text) => {{
        const {{decode, positions}} = await load("buckets");
        {DECODE}
        const {{series, grid}} = decoded(text);
        const listed = ([name, column]) => [name, Array.from(column, String)];
        const lists = series.map(({{buckets}}) => Object.entries(buckets).map(listed));
        return {{
            names: series.map(({{run, key, points}}) => [run, key, points]),
            columns: lists.map(Object.fromEntries), x: Array.from(positions(series[0].buckets, grid)),
            isOne: series.every(({{buckets}}) => buckets.mean.buffer === series[0].buckets.index.buffer),
        }}; }}"""
    read = run(page, script, answer([first[0], second[0]], [first[1], second[1]]))
    assert read["names"] == [["a", "loss", 4], ["a", "loss", 1]]
    assert read["columns"][0] == {
        "index": ["0", "1", "8"],
        "at": ["0", "0.5", "0"],
        "count": ["1", "2", "1"],
        "nan": ["0", "1", "0"],
        "above": ["0", "0", "1"],
        "below": ["0", "0", "0"],
        "last": ["1", "NaN", "Infinity"],
        **{name: ["1", "2", "NaN"] for name in ("min", "max", "mean")},
    }
    assert read["columns"][1]["last"] == ["7"]
    assert read["x"] == [0, 1.5, 8]
    assert read["isOne"]


def test_a_tail_replaces_the_end_of_a_series(page: Page) -> None:
    """From the tail's first bucket on a series is the tail, whether that was there before or not."""
    old, inside, behind = buckets([0, 1, 2], [1, 2, 3]), buckets([2, 3], [9, 10]), buckets([5], [11])
    script = f"""async (...texts) => {{
        const {{decode, withTail}} = await load("buckets");
        {DECODE}
        const [old, ...tails] = texts.map((text) => decoded(text).series[0].buckets);
        const whole = tails.map((tail) => withTail(old, tail));
        return whole.map(({{index, last}}) => [Array.from(index), Array.from(last)]); }}"""
    texts = [answer([head], [block]) for head, block in (old, inside, behind)]
    assert run(page, script, *texts) == [[[0, 1, 2, 3], [1, 2, 9, 10]], [[0, 1, 2, 5], [1, 2, 3, 11]]]


SMOOTH = """async (mean, count, weight, options) => {
    const {smoothed} = await load("smoothing");
    return Array.from(smoothed({mean, count}, weight, options), (value) => (Number.isNaN(value) ? null : value)); }"""


def test_smoothing_starts_at_the_first_value_and_leaves_gaps(page: Page) -> None:
    """The first value is not drawn towards 0, and behind a gap the average goes on from before it."""
    script = SMOOTH.replace("mean, count}", "mean: mean.map((v) => v ?? NaN), count}")
    curve = run(page, script, [4, None, 2], [1, 1, 1], 0.5, {})
    assert curve == [4, None, pytest.approx((0.25 * 4 + 0.5 * 2) / 0.75)]
    assert run(page, SMOOTH, [4, 1, 2], [1, 1, 1], 0, {}) == [4, 1, 2]


def test_a_bucket_that_fills_does_not_make_the_end_tremble(page: Page) -> None:
    """A bucket with a tenth of the usual points moves the average a tenth as far, about."""
    full = run(page, SMOOTH, [1] * 20 + [2], [10] * 21, 0.9, {})[-1]
    begun = run(page, SMOOTH, [1] * 20 + [2], [10] * 20 + [1], 0.9, {})[-1]
    assert 0 < begun - 1 < (full - 1) / 8


def test_a_zoom_shows_the_same_smoothed_curve(page: Page) -> None:
    """Finer buckets of a part, with the memory of what came before, give what the coarse ones gave."""
    script = """async (values) => {
        const {smoothed, memoryBefore, usualCount} = await load("smoothing");
        const means = (n) => Array.from({length: values.length / n}, (_, i) =>
            values.slice(i * n, i * n + n).reduce((a, b) => a + b) / n);
        const coarse = {index: means(8).map((_, i) => i), mean: means(8), count: means(8).map(() => 8)};
        const whole = smoothed(coarse, 0.95);
        const fine = {mean: means(2).slice(200), count: means(2).slice(200).map(() => 2)};
        const part = smoothed(fine, 0.95, {usual: usualCount(coarse.count), before: memoryBefore(coarse, 50, 0.95)});
        return [Array.from(whole.subarray(50)), Array.from(part.filter((_, i) => i % 4 === 3))]; }"""
    values = (np.sin(np.arange(800) / 90) + np.random.default_rng(0).normal(0, 0.05, 800)).tolist()
    whole, part = run(page, script, values)
    assert part == pytest.approx(whole, abs=5e-3)


def test_runs_are_grouped_by_all_params_but_the_seed(page: Page) -> None:
    """Runs that differ only in a seed are one group, named by what tells it from the others; without a seed a run is alone."""
    runs = [
        {"path": "a", "params": {"model.lr": 0.1, "seed": 0, "depth": 3}},
        {"path": "b", "params": {"model.lr": 0.1, "seed": 1, "depth": 3}},
        {"path": "c", "params": {"model.lr": 0.2, "train.random_seed": 1, "depth": 3}},
        {"path": "d", "params": {"model.lr": 0.1, "depth": 3}},
        {"path": "e", "params": {"model.lr": 0.1, "depth": 3}},
        {"path": "f", "params": {"model.lr": 0.2, "train.random_seed": 2, "depth": 3}},
    ]
    groups = run(page, "async (runs) => (await load('seed_bands')).groupedBySeed(runs)", runs)
    assert [group["members"] for group in groups] == [["a", "b"], ["c", "f"], ["d"], ["e"]]
    assert [group["name"] for group in groups] == ["lr=0.1 · 2 seeds", "lr=0.2 · 2 seeds", "d", "e"]


def test_a_band_takes_what_lies_between_the_points_of_a_run(page: Page) -> None:
    """A run without a point in a bucket counts with what is on the way between its neighbours, and not beyond its ends."""
    script = """async (lines, kind) => {
        const {bandOver} = await load("seed_bands");
        const typed = lines.map(([index, y]) =>
            ({index: Int32Array.from(index), x: Float64Array.from(index), y: Float64Array.from(y)}));
        const listed = ([name, column]) => [name, Array.from(column)];
        return Object.fromEntries(Object.entries(bandOver(typed, kind)).map(listed)); }"""
    lines = [[[0, 2, 4], [0, 2, 4]], [[1, 3], [3, 5]]]
    band = run(page, script, lines, "range")
    assert band["index"] == band["x"] == [0, 1, 2, 3, 4]
    assert band["members"] == [1, 2, 2, 2, 1]
    assert (band["low"], band["high"]) == ([0, 1, 2, 3, 4], [0, 3, 4, 5, 4])
    assert band["mean"] == [0, 2, 3, 4, 4]
    spread = run(page, script, lines, "std")
    assert spread["high"][1] == pytest.approx(2 + math.sqrt(2))


def test_outliers_are_what_lies_far_from_nine_tenths(page: Page) -> None:
    """Clipped, a range leaves the spike out; unclipped it has it; on a log axis it is in logarithms, of what is above 0."""
    script = """async (values, isLog, isClipped) => {
        const {yRange} = await load("y_range");
        const y = Float64Array.from(values);
        return yRange([{x: y.map((_, i) => i), y, low: null, high: null}], [0, y.length], {isLog, isClipped}); }"""
    values = [*range(100), 1e6]
    assert run(page, script, values, False, False)[1] > 1e6
    low, high = run(page, script, values, False, True)
    assert -50 < low <= 0
    assert 99 < high < 200
    assert run(page, script, [0, -1, 1, 1000], True, False) == [pytest.approx(-0.15), pytest.approx(3.15)]
    assert run(page, script, [], False, True) == [0, 1]


def test_points_without_a_logarithm_are_counted(page: Page) -> None:
    """Those in sight at 0 and below; NaN and the infinities are marked elsewhere."""
    script = """async (values, low, high) => {
        const {countWithoutLogarithm} = await load("y_range");
        const y = Float64Array.from(values, Number);
        return countWithoutLogarithm([{x: y.map((_, i) => i), y}, {x: y.map((_, i) => i), y}], [low, high]); }"""
    values = [0, -1, 1, "NaN", "-Infinity", -1e-9, -5]
    assert run(page, script, values, 0, 6) == 2 * 4
    assert run(page, script, values, 1, 5) == 2 * 2
    assert run(page, script, [], 0, 1) == 0


def test_dates_go_to_plotly_and_back(page: Page) -> None:
    """A zoom on wall time comes back as the seconds it was, whatever way plotly.js spells the dates."""
    script = """async () => {
        const {xScale, shownRange, drawnRange} = await load("axes");
        const scale = xScale("time", [1795000000, 1795003600], false);
        const spelled = (ms) => new Date(ms).toISOString().replace("T", " ").replace("Z", "");
        const [low, high] = drawnRange(scale, [1795000000, 1795003600.25]);
        const midnight = new Date(Math.floor(low / 86400000) * 86400000).toISOString().slice(0, 10);
        return [shownRange(scale, [spelled(low), spelled(high)]), shownRange(scale, [midnight, spelled(high)])[0]]; }"""
    (low, high), midnight = run(page, script)
    assert (low, high) == (1_795_000_000, 1_795_003_600.25)
    assert 0 <= low - midnight < 86_400


def test_zooms_are_written_and_read_back(page: Page) -> None:
    """Charts with any name keep their ranges in the URL; what can't be read is left out."""
    script = """async (zooms, text) => {
        const {ZOOMS} = await load("curve_settings");
        const written = ZOOMS.write(new Map(zooms));
        return [written, [...ZOOMS.read(written)], [...ZOOMS.read(text)]]; }"""
    zooms = [
        ["a,b@c~1%", {"x": [1, 2.5], "y": None}],
        ["y", {"x": None, "y": [-1e-9, 1e9]}],
        ["z", {"x": [0, 1], "y": [0, 2]}],
        ["now", {"x": [1_795_363_200.125, 1_795_363_200.25], "y": None}],
        ["far", {"x": [2**53 - 4, 2**53 - 1], "y": [1 / 3, 1 / 3 + 2**-40]}],
    ]
    written, back, odd = run(page, script, zooms, "loss@2~1,@@~,%E0%A4%A,good@1~2")
    assert back[:4] == zooms[:4]
    (left, right), (low, high) = back[4][1]["x"], back[4][1]["y"]
    assert (left, right) == (2**53 - 4, 2**53 - 1)
    assert high - low == pytest.approx(2**-40, rel=1e-4)
    assert written.count(",") == 4
    assert odd == [["good", {"x": [1, 2], "y": None}]]


def test_metrics_are_grouped_filtered_and_pinned(page: Page) -> None:
    """Names sort as people count, words filter in any order, slashes make an expression, and an unfinished one is text."""
    script = """async (keys, filters, pinned) => {
        const {grouped, filtered, pinnedCharts} = await load("metric_groups");
        const groups = grouped(keys, pinnedCharts(pinned));
        const names = (some) => some.flatMap(({charts}) => charts.map(({title}) => title));
        return [names(groups), ...filters.map((filter) => names(filtered(groups, filter)))]; }"""
    keys = ["train/layer10", "train/layer2", "loss", "val/loss", "/odd"]
    every, *filtered = run(
        page, script, keys, ["LAYER2 train", "/^val|10$/", "/(", "l/l"], [7, None, {"yKey": "x", "title": 3}]
    )
    assert every == ["x", "/odd", "loss", "train/layer2", "train/layer10", "val/loss"]
    assert filtered == [["train/layer2"], ["train/layer10", "val/loss"], [], ["val/loss"]]


def test_a_beginning_is_put_together_from_finer_pieces(page: Page) -> None:
    """Each piece holds up to its end, no point is in two, and places ascend."""
    script = """async () => {
        const {earlyEnds, joined} = await load("strands");
        const {COLUMNS} = await load("buckets");
        const whole = {origin: 0, width: 64};
        const ends = earlyEnds(whole, 64 * 640, 1);
        const piece = (width, count) => ({grid: {origin: 0, width}, buckets: Object.fromEntries([
            ["index", Int32Array.from({length: count}, (_, i) => i)],
            ...COLUMNS.map((name) => [name, new Float32Array(count)])])});
        const strand = joined(piece(64, 640), [piece(4, 700), piece(1, 700)], ends);
        return [ends, Array.from(strand.x), Array.from(strand.slots)]; }"""
    ends, x, slots = run(page, script)
    assert ends == [64 * 40, 4 * 40]
    assert x == [*range(160), *range(160, 2560, 4), *range(2560, 64 * 640, 64)]
    assert slots == sorted(set(slots))
