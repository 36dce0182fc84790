"""The tab of curves in a browser, over runs that the real client made: drawing, zooming, reading, saving, and the URL."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from browser import PHONE, Opened
from charting import (
    LONG_STEPS,
    SCRIPT,
    SEEDS,
    SPIKE,
    SPIKE_STEP,
    Charted,
    bands,
    chart,
    drawn,
    lines,
    make_charted,
    noise,
)
from PIL import Image
from playwright.sync_api import Locator, Page, expect
from processes import wait_until
from viewing import looking

from ml_logger import ML_Logger
from ml_logger.view.assets import Plotly
from ml_logger.view.local import Site


@pytest.fixture(scope="module")
def charted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Charted]:
    with make_charted(tmp_path_factory.mktemp("charted")) as made:
        yield made


@pytest.fixture(scope="module")
def site(charted: Charted) -> Iterator[Site]:
    with looking(charted.root) as served:
        yield served


def curves(site: Site, **state: str) -> str:
    """Return the URL of the tab with this state."""
    return f"{site.url}#curves?" + "&".join(f"{name}={quote(value)}" for name, value in state.items())


def wait_for(look: Callable[[], Any], is_so: Callable[[Any], bool]) -> Any:
    """Wait until what `look` sees is so, and return it."""
    seen: list[Any] = []

    def holds() -> bool:
        seen.append(look())
        return is_so(seen[-1])

    wait_until(holds)
    return seen[-1]


def drag(page: Page, plot: Locator, start: float, end: float) -> None:
    """Drag over a plot from one share of its width to another."""
    box = plot.bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + start * box["width"], y)
    page.mouse.down()
    page.mouse.move(box["x"] + (start + end) / 2 * box["width"], y + 1)
    page.mouse.move(box["x"] + end * box["width"], y + 2)
    page.mouse.up()


# --- what is drawn


def test_each_metric_has_a_chart_in_the_group_of_its_name(site: Site, open_page: Opened) -> None:
    """Charts stand in groups by the part before the slash, those without one first; each has the runs that logged it."""
    page = open_page(curves(site))
    chart(page, "bare")
    groups = page.locator(".curves-group h2").all_inner_texts()
    assert groups[0] == "Metrics"
    assert groups[1:] == sorted(["hostile", "live", "long", "odd", "train"])
    assert set(lines(chart(page, "train/loss"))) == {f"seeds/s{seed}" for seed in SEEDS}


def test_a_metric_that_ends_with_a_word_or_nothing_has_its_curve(tmp_path: Path, open_page: Opened) -> None:
    """Its numbers are drawn whatever was logged behind them; a key that never had numbers has no chart."""
    with ML_Logger(tmp_path / "run") as logger:
        for step in range(20):
            logger.log(step, loss=float(step), gain=step, silent=True)
        logger.log(20, loss="diverged", gain=None, word="never a number", silent=True)
    with looking(tmp_path) as served:
        page = open_page(curves(served))
        for key in ("gain", "loss"):
            assert [y for _, y in lines(chart(page, key))["run"]] == list(range(20))
        assert page.locator(".chart").count() == 2


def test_a_run_without_steps_leads_to_wall_time(tmp_path: Path, open_page: Opened) -> None:
    """Its chart says that it has no steps, alone as beside one that has, and shows it over time at a click."""
    for name, first in (("none", None), ("steps", 0)):
        with ML_Logger(tmp_path / name) as logger:
            for value in range(9):
                logger.log(None if first is None else value, {"loss": value, name: value}, silent=True)
    with looking(tmp_path) as served:
        page = open_page(curves(served))
        alone, both = chart(page, "none"), chart(page, "loss")
        expect(both.locator(".chart-note.aside")).to_contain_text("1 run logged without steps")
        expect(alone.locator(".chart-note:not(.aside)")).to_contain_text("1 run logged without steps")
        alone.get_by_role("button", name="show over wall time").click()
        wait_for(lambda: set(lines(both)), lambda names: names == {"none", "steps"})
        expect(page.locator(".chart-note:visible")).to_have_count(0)


def test_a_metric_without_a_name_has_a_chart_like_others(tmp_path: Path, open_page: Opened) -> None:
    """It has a title, and is wide only while somebody enlarged it."""
    with ML_Logger(tmp_path / "run") as logger:
        for step in range(5):
            logger.log(step, {"": step, "other": step}, silent=True)
    with looking(tmp_path) as served:
        page = open_page(curves(served))
        card = chart(page, "")
        expect(card.locator("h3")).to_have_text("(no name)")
        expect(page.locator(".chart.wide")).to_have_count(0)
        card.get_by_role("button", name="Enlarge").click()
        expect(page.locator(".chart.wide h3")).to_have_text("(no name)")
        page.reload()
        expect(page.locator(".chart.wide h3")).to_have_text("(no name)")


def test_as_many_points_as_there_are_pixels_are_drawn_where_they_are(site: Site, open_page: Opened) -> None:
    """A short run is drawn point by point, without a band."""
    card = chart(open_page(curves(site, metrics="train/loss")), "train/loss")
    assert lines(card)["seeds/s1"] == [(step, pytest.approx(loss)) for step, loss in enumerate(noise(1, 60))]
    assert not bands(card)


def test_a_spike_among_thousands_of_points_stays(site: Site, open_page: Opened) -> None:
    """The band behind a bucketed curve reaches the one value that stands out, and the axis shows it."""
    card = chart(open_page(curves(site, metrics="wave")), "long/wave")
    (band,) = bands(card)
    peak = max((value, x) for x, text in zip(band["x"], band["y"], strict=True) if (value := float(text)) == value)
    assert peak[0] == SPIKE
    assert abs(peak[1] - SPIKE_STEP) < 20
    assert drawn(card)["layout"]["yaxis"]["range"][1] >= SPIKE


def test_outliers_leave_the_chart_where_that_is_wanted(site: Site, open_page: Opened) -> None:
    """With outliers clipped the axis shows the bulk of the values."""
    page = open_page(curves(site, metrics="wave"))
    chart(page, "long/wave")
    page.get_by_role("button", name="clip outliers").click()
    expect(page).to_have_url(curves(site, metrics="wave", clip="1"))
    top = wait_for(lambda: drawn(chart(page, "long/wave"))["layout"]["yaxis"]["range"][1], lambda end: end < SPIKE)
    assert 1 <= top < 3


def test_smoothing_is_the_debiased_average_with_the_raw_curve_behind(site: Site, open_page: Opened) -> None:
    """The slider smooths at once; a weight of 0.6 is what it is elsewhere; what was logged stays behind the line."""
    page = open_page(curves(site, metrics="train/loss"))
    card = chart(page, "train/loss")
    page.get_by_label("Smoothing, as a number").fill("0.6")
    page.get_by_label("Smoothing, as a number").press("Enter")
    expect(page).to_have_url(curves(site, metrics="train/loss", smooth="0.6"))
    wait_for(lambda: len(bands(card)), lambda count: count == len(SEEDS))
    value, mass, wanted = 0.0, 0.0, []
    for loss in noise(2, 60):
        value, mass = 0.6 * value + 0.4 * loss, 0.6 * mass + 0.4
        wanted.append(value / mass)
    assert [y for _, y in lines(card)["seeds/s2"]] == pytest.approx(wanted, rel=1e-5)


def test_nan_and_infinities_are_marked_where_they_are(site: Site, open_page: Opened) -> None:
    """NaN, +Inf and -Inf have a mark each at their step, the line has gaps there, and the readout names them."""
    page = open_page(curves(site, metrics="odd/"))
    card = chart(page, "odd/value")
    marks = {tuple(t["x"]): t["marker"]["symbol"] for t in drawn(card)["traces"] if t.get("yaxis") == "y2"}
    assert marks == {(3,): "x-thin-open", (5,): "triangle-up", (7,): "triangle-down"}
    gaps = [x for x, y in lines(card)["odd"] if math.isnan(y)]
    assert gaps == [3, 5, 7]
    card.locator(".plot").focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    expect(page.locator(".readout")).to_contain_text("step 3")
    expect(page.locator(".readout")).to_contain_text("NaN")


def test_axes_may_be_logarithmic(site: Site, open_page: Opened) -> None:
    """Both axes turn logarithmic, and the range on a logarithmic x begins behind 0."""
    page = open_page(curves(site, metrics="bare"))
    chart(page, "bare")
    page.get_by_role("button", name="log y").click()
    page.get_by_role("button", name="log x").click()
    layout = wait_for(lambda: drawn(chart(page, "bare"))["layout"], lambda layout: layout["xaxis"]["type"] == "log")
    assert layout["yaxis"]["type"] == "log"
    assert layout["yaxis"]["range"] == [pytest.approx(0.6), pytest.approx(9.4)]  # without step 0
    assert layout["xaxis"]["range"][0] == pytest.approx(0)


def test_a_log_axis_is_as_fine_at_its_left_end(site: Site, open_page: Opened) -> None:
    """The first steps of a long run are drawn one by one on a logarithmic x-axis."""
    page = open_page(curves(site, metrics="ramp", logx="1"))
    card = chart(page, "long/ramp")
    points = wait_for(lambda: lines(card)["long"], lambda points: [x for x, _ in points[1:6]] == [1, 2, 3, 4, 5])
    assert [x for x, _ in points] == sorted({x for x, _ in points})
    assert points[-1][0] == LONG_STEPS - 1


@pytest.mark.parametrize(("x", "kind"), [("time", "date"), ("relative", "linear")])
def test_x_may_be_time(site: Site, open_page: Opened, x: str, kind: str) -> None:
    """Curves over wall time or time since the start have as many points as over steps."""
    card = chart(open_page(curves(site, metrics="odd/", x=x)), "odd/value")
    assert drawn(card)["layout"]["xaxis"]["type"] == kind
    assert len(lines(card)["odd"]) >= 1


def test_runs_that_differ_in_their_seed_are_one_band(site: Site, open_page: Opened) -> None:
    """The mean of three seeds is one line, and the band reaches from their least to their greatest value."""
    page = open_page(curves(site, metrics="train/loss"))
    card = chart(page, "train/loss")
    page.get_by_label("Runs that differ in their seed").select_option("range")
    expect(page).to_have_url(curves(site, metrics="train/loss", seeds="range"))
    ((name, points),) = wait_for(lambda: lines(card), lambda all_lines: len(all_lines) == 1).items()
    assert name.endswith("3 seeds")
    values = list(zip(*(noise(seed, 60) for seed in SEEDS), strict=True))
    assert [y for _, y in points] == [pytest.approx(sum(three) / 3) for three in values]
    (band,) = bands(card)
    assert [float(y) for y in band["y"][:60]] == [pytest.approx(max(three)) for three in values]


# --- zoom, and what is new


def test_a_zoom_asks_the_server_for_that_range(site: Site, open_page: Opened) -> None:
    """Dragging over a chart asks for the range, finer; the URL has it, and a double click shows all again."""
    page = open_page(curves(site, metrics="ramp"))
    card = chart(page, "long/ramp")
    coarse = len(lines(card)["long"])
    with page.expect_request("**/view/api/curves") as asked:
        drag(page, card.locator(".plot"), 0.5, 0.6)
    low, high = (asked.value.post_data_json[end] for end in ("from", "to"))
    assert 1000 < low < high < 2500
    assert "zoom=long/ramp@" in page.url
    fine = wait_for(lambda: lines(card)["long"], lambda points: all(low - 1 <= step <= high + 1 for step, _ in points))
    assert high - low - 1 <= len(fine) < coarse
    card.locator(".plot").dblclick()
    expect(page).to_have_url(curves(site, metrics="ramp"))
    wait_for(lambda: drawn(card)["layout"]["xaxis"]["range"], lambda shown: shown == [0, LONG_STEPS - 1])


def test_new_points_appear_and_a_zoom_stays(site: Site, charted: Charted, open_page: Opened) -> None:
    """What a run logs while one looks is drawn without a reload; a zoom neither moves nor ends."""
    page = open_page(curves(site, metrics="live"))
    card = chart(page, "live/loss")
    page.evaluate("window.isTheSame = true")
    last = charted.log_more(5)
    wait_for(lambda: lines(card)["live"][-1][0], lambda x: x == last)
    page.evaluate(f"location.hash = '#curves?metrics=live&zoom=live/loss@10~{last + 20}'")
    wait_for(lambda: drawn(card)["layout"]["xaxis"]["range"], lambda shown: shown == [10, last + 20])
    later = charted.log_more(5)
    wait_for(lambda: lines(card)["live"][-1][0], lambda x: x == later)
    assert drawn(card)["layout"]["xaxis"]["range"] == [10, last + 20]
    assert page.evaluate("window.isTheSame")


def test_only_what_is_new_is_asked_for(site: Site, charted: Charted, open_page: Opened) -> None:
    """A question about what is new names the cursors of the runs; nothing is asked where nothing is new."""
    page = open_page(curves(site, metrics="live"))
    chart(page, "live/loss")
    with page.expect_request("**/view/api/curves") as asked:
        charted.log_more(1)
    assert asked.value.post_data_json["seen"]["live"]
    answer = asked.value.response()
    assert answer is not None
    (tail,) = json.loads(answer.body().partition(b"\n")[0])["series"]
    assert tail["is_tail"]
    assert tail["buckets"] <= 2


# --- reading, saving


def test_the_readout_has_all_runs_at_one_x_the_highest_first(site: Site, open_page: Opened) -> None:
    """Pointing at a chart lists the values of all its runs there, sorted; it goes when the pointer leaves."""
    page = open_page(curves(site, metrics="train/loss"))
    chart(page, "train/loss").locator(".plot").hover(position={"x": 200, "y": 80})
    rows = page.locator(".readout tbody tr")
    expect(rows).to_have_count(3)
    values = [float(text) for text in page.locator(".readout .number").all_inner_texts()]
    assert values == sorted(values, reverse=True)
    step = int(page.locator(".readout header").inner_text().removeprefix("step "))
    assert values[0] == pytest.approx(max(noise(seed, 60)[step] for seed in SEEDS), rel=1e-4)
    page.mouse.move(5, 5)
    expect(page.locator(".readout")).to_be_hidden()


def test_a_chart_is_worked_by_keyboard(site: Site, open_page: Opened) -> None:
    """Arrows read values, plus zooms where one reads, Escape leaves both, Enter enlarges."""
    page = open_page(curves(site, metrics="ramp"))
    plot = chart(page, "long/ramp").locator(".plot")
    plot.focus()
    page.keyboard.press("Shift+ArrowRight")
    expect(page.locator(".readout")).to_be_visible()
    page.keyboard.press("+")
    page.wait_for_url("**zoom=**")
    page.keyboard.press("Escape")
    expect(page.locator(".readout")).to_be_hidden()
    page.keyboard.press("Escape")
    expect(page).to_have_url(curves(site, metrics="ramp"))
    page.keyboard.press("Enter")
    expect(page.locator(".chart.wide")).to_have_count(1)


@pytest.mark.parametrize("metric", ["train/loss", "odd/value"], ids=["several runs", "one run"])
def test_the_csv_of_a_chart_has_every_record(site: Site, open_page: Opened, tmp_path: Path, metric: str) -> None:
    """The raw data of all runs of a chart come as one CSV, whatever is drawn of them."""
    page = open_page(curves(site, metrics=metric))
    card = chart(page, metric)
    with page.expect_download() as download:
        card.get_by_role("button", name="Raw data as CSV").click()
    download.value.save_as(tmp_path / "saved.csv")
    rows = list(csv.DictReader((tmp_path / "saved.csv").read_text(encoding="utf-8").splitlines()))
    if metric == "odd/value":
        assert [float(row[metric]) for row in rows][:5] == [0, 1, 2, pytest.approx(math.nan, nan_ok=True), 4]
    else:
        logged = {(row["run"], int(row["step"])): float(row[metric]) for row in rows}
        assert logged == {(f"seeds/s{seed}", i): loss for seed in SEEDS for i, loss in enumerate(noise(seed, 60))}


def test_a_chart_is_saved_as_a_picture(site: Site, open_page: Opened, tmp_path: Path) -> None:
    """The PNG is twice as fine as the screen, and has the curve's colours in it."""
    page = open_page(curves(site, metrics="train/loss"))
    card = chart(page, "train/loss")
    with page.expect_download() as download:
        card.get_by_role("button", name="Picture as PNG").click()
    download.value.save_as(tmp_path / "saved.png")
    with Image.open(tmp_path / "saved.png") as picture:
        assert picture.format == "PNG"
        assert picture.width == 2400
        assert len(picture.convert("RGB").getcolors(1 << 24) or ()) > 10


def test_names_and_keys_are_shown_letter_by_letter(site: Site, open_page: Opened, tmp_path: Path) -> None:
    """A script in the name of a run or a metric is text in the title, the readout, and what plotly.js is given."""
    page = open_page(curves(site, metrics="hostile"))
    card = chart(page, f"hostile/{SCRIPT}")
    expect(card.locator("h3")).to_have_text(f"hostile/{SCRIPT}")
    card.locator(".plot").hover()
    expect(page.locator(".readout-name")).to_have_text(f"hostile {SCRIPT.replace('/', '|')}")
    assert all("<" not in name and "&lt;b&gt;&amp;amp;" in name for name in lines(card))
    with page.expect_download() as download:
        card.get_by_role("button", name="Picture as PNG").click()
    download.value.save_as(tmp_path / "saved.png")
    assert page.locator(".plot img, .readout img, .chart b").count() == 0
    assert "owned" not in page.title()


# --- the URL, and what stands where nothing is


def test_a_link_shows_a_colleague_the_same(site: Site, open_page: Opened) -> None:
    """Filter, axes, smoothing, folds, the enlarged chart and zooms are in the URL, and come back from it."""
    state = {"x": "relative", "smooth": "0.5", "logy": "1", "clip": "1", "seeds": "std", "metrics": "/train|odd/"}
    page = open_page(curves(site, **state, folded="odd", wide="train/loss"))
    card = chart(page, "train/loss")
    assert page.get_by_label("Filter metrics").input_value() == "/train|odd/"
    assert page.get_by_label("Smoothing, as a number").input_value() == "0.5"
    assert page.get_by_label("What x is").input_value() == "relative"
    assert page.get_by_label("Runs that differ in their seed").input_value() == "std"
    for name in ("log y", "clip outliers"):
        expect(page.get_by_role("button", name=name)).to_have_attribute("aria-pressed", "true")
    assert page.locator("details.curves-group:not([open])").get_attribute("data-group") == "odd"
    expect(card.and_(page.locator(".wide"))).to_have_count(1)
    page.get_by_role("button", name="log y").click()
    page.go_back()
    expect(page.get_by_role("button", name="log y")).to_have_attribute("aria-pressed", "true")


def test_metrics_are_filtered_while_one_types(site: Site, open_page: Opened) -> None:
    """The charts left are those that match; where none does the page says so and shows all again."""
    page = open_page(curves(site))
    chart(page, "bare")
    page.get_by_label("Filter metrics").fill("acc")
    expect(page.locator(".chart h3")).to_have_text(["train/accuracy"])
    page.get_by_label("Filter metrics").fill("nothing like this")
    page.get_by_role("button", name="Show all metrics").click()
    expect(page.locator(".chart h3").first).to_have_text("bare")


def test_charts_are_drawn_when_they_are_near_and_let_go_when_far(site: Site, open_page: Opened) -> None:
    """Only charts near to what is seen are drawn; those left far behind are emptied."""
    page = open_page(curves(site), size=(700, 300))
    chart(page, "bare")
    last = page.locator(".chart").last
    assert last.locator(".main-svg").count() == 0
    last.scroll_into_view_if_needed()
    expect(last.locator(".main-svg").first).to_be_attached()
    expect(page.locator(".chart").first.locator(".main-svg")).to_have_count(0)


def test_of_many_picked_runs_twenty_are_drawn_at_first(tmp_path: Path, open_page: Opened) -> None:
    """More than twenty picked runs are drawn when one asks for them."""
    for number in range(23):
        with ML_Logger(tmp_path / f"r{number:02d}") as logger:
            logger.log(0, loss=number, silent=True)
            logger.log(1, loss=number, silent=True)
    with looking(tmp_path) as site:
        page = open_page(site.url)
        page.locator(".run").first.click()
        page.keyboard.press("a")
        page.get_by_role("tab", name="Curves").click()
        card = chart(page, "loss")
        assert len(lines(card)) == 20
        page.get_by_role("button", name="Show all 23").click()
        wait_for(lambda: len(lines(card)), lambda count: count == 23)


def test_charts_that_a_folder_names_come_first(tmp_path: Path, open_page: Opened) -> None:
    """`.charts.yml` at the top and nearest above a run pin charts, of several keys too; what else they say is left alone."""
    with ML_Logger(tmp_path / "team" / "run") as logger:
        for step in range(3):
            logger.log(step, loss=step, accuracy=1 - step, silent=True)
    (tmp_path / ".charts.yml").write_text("charts: [accuracy]", encoding="utf-8")
    (tmp_path / "team" / ".charts.yml").write_text(
        "charts:\n- loss\n- {yKeys: [loss, accuracy], title: both}\n- {type: video, glob: '*.mp4'}\n", encoding="utf-8"
    )
    with looking(tmp_path) as site:
        page = open_page(curves(site))
        assert set(lines(chart(page, "pinned loss, accuracy"))) == {"run · loss", "run · accuracy"}
        assert page.locator(".chart h3").all_inner_texts()[:3] == ["accuracy", "loss", "both"]
        assert page.locator(".curves-group h2").first.inner_text() == "Pinned"


def test_without_plotly_the_page_says_how_to_get_it(
    charted: Charted, open_page: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the server has no plotly.js the tab names the command that installs it, and asks for nothing."""
    monkeypatch.setattr(Plotly, "maybe_path", lambda plotly: None)
    with looking(charted.root) as site:
        page = open_page("about:blank")
        page.on("request", lambda request: open_page.errors.append("asked") if "plotly.js" in request.url else None)
        page.goto(curves(site))
        expect(page.locator(".notice")).to_contain_text("pip install 'ml-logger[view]'")


def test_before_the_first_run_the_page_waits_for_it(tmp_path: Path, open_page: Opened) -> None:
    """An empty folder is no error, and the first run that comes is drawn."""
    with looking(tmp_path) as site:
        page = open_page(curves(site))
        expect(page.locator(".notice")).to_contain_text("No run yet")
        with ML_Logger(tmp_path / "first") as logger:
            logger.log(0, loss=1.0, silent=True)
            logger.log(1, loss=2.0, silent=True)
        chart(page, "loss")


@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
def test_a_phone_shows_charts_as_wide_as_it_is(site: Site, open_page: Opened, is_dark: bool) -> None:
    """At 390 px nothing is wider than the screen, and a tap reads the values."""
    page = open_page(curves(site, metrics="train/loss"), size=PHONE, is_dark=is_dark)
    card = chart(page, "train/loss")
    box = card.bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= PHONE[0]
    assert page.evaluate("document.querySelector('.view').scrollWidth") <= PHONE[0]
    card.locator(".plot").tap()
    expect(page.locator(".readout tbody tr")).to_have_count(3)
    readout = page.locator(".readout").bounding_box()
    assert readout is not None
    assert readout["x"] + readout["width"] <= PHONE[0]
