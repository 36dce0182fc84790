"""The page's views of one run or several, in a browser: images, histograms, tensors, text, params, overview, files, agents."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from browser import PHONE, Opened
from playwright.sync_api import Locator, Page, Route, expect
from runs_table import write_run
from serving import serving
from viewing import SCRIPT, Runs, looking, make_runs

from ml_logger import ML_Logger
from ml_logger.server.local_store import LocalStore
from ml_logger.view.local import Site
from ml_logger.wire import AsideFile, Heartbeat, SpoolBeat, encode_heartbeat

TABS = ("images", "histograms", "tensors", "text", "params", "overview", "files")
SANDBOXED = r"Blocked script execution in .* because the document's frame is sandboxed"
LONG = 10_300
RUN = "sweep/lr=0.1"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """Make runs, one of them with pictures of one early step and a long log."""
    with make_runs(tmp_path_factory.mktemp("runs")) as made:
        log_early_run(made.root / "early")
        yield made


@pytest.fixture(scope="module")
def site(runs: Runs) -> Iterator[Site]:
    with looking(runs.root) as served:
        yield served


def log_early_run(directory: Path) -> None:
    """Log pictures up to step 40, one without a step, histograms that are known, a long log and one with colours."""
    with ML_Logger(directory) as logger:
        logger.log_image(40, sample=np.zeros((8, 8)))
        logger.log_image(loose=np.eye(8))
        logger.log_histogram(10, bins=[0.0, 1.0, 2.0], known=[0.5, 1.5, 1.5])
        logger.log_histogram(20, bins=[0.0, 1.0, 2.0], known=[0.5, 0.5, 0.5, 1.5])
    (directory / "README.md").write_text(
        "![p](images/sample/0040.png) [log](long.log#end) [out](../../x)", encoding="utf-8"
    )
    (directory / "long.log").write_text("".join(f"line {i}\n" for i in range(LONG)), encoding="utf-8")


def picked(page: Page, *names: str) -> None:
    """Pick just these runs, by the state in the URL as a link has it."""
    expect(page.locator(".rail-run").first).to_be_attached()
    paths = json.dumps(names)
    hash_ = page.evaluate(
        f"""async () => {{
          const {{ shortId }} = await import("./view/static/short_id.js");
          return {paths}.map((path, i) => shortId(path) + i).join("");
        }}"""
    )
    page.evaluate("(word) => { location.hash = location.hash.split('?')[0] + '?r=' + word; }", hash_)
    expect(page.locator(".rail-run")).to_have_count(len(names))


def open_tab(open_page: Opened, site: Site, tab: str, *names: str, **how: Any) -> Page:
    """Open a tab with these runs picked."""
    page = open_page(f"{site.url}#{tab}", **how)
    if names:
        picked(page, *names)
    return page


def go(page: Page, **values: str) -> None:
    """Change values of the URL, as following a link does."""
    page.evaluate(
        """(values) => {
          const [tab, query] = location.hash.split("?");
          const search = new URLSearchParams(query);
          for (const [name, value] of Object.entries(values)) search.set(name, value);
          location.hash = `${tab}?${search}`;
        }""",
        values,
    )


def card(page: Page, key: str, run: str) -> Locator:
    """Return the card of one key of one run."""
    group = page.locator(".media-group", has=page.locator(".media-key bdi", has_text=re.compile(f"^{re.escape(key)}$")))
    return group.locator(f".media-card:has(.media-run[title='{run}'])")


# --- what computes, without a page around it


@pytest.fixture(scope="module")
def shell(browser: Any, site: Site) -> Iterator[Page]:
    """Return a page to import the pure modules into."""
    page = browser.new_page()
    page.goto(site.url)
    yield page
    page.close()


def lines_of(shell: Page, *pieces: str) -> list[list[dict[str, Any]]]:
    """Return the spans of each line that a terminal shows of the pieces; of styles what is not plain."""
    script = """async (pieces) => {
      const { Terminal, PLAIN } = await import("./view/static/terminal.js");
      const terminal = new Terminal(100);
      for (const piece of pieces) terminal.write(piece);
      const news = (style) => Object.fromEntries(Object.entries(style).filter(([name, value]) => value !== PLAIN[name]));
      return terminal.lines.map((line) => line.map(({ text, style }) => ({ text, ...news(style) })));
    }"""
    lines: list[list[dict[str, Any]]] = shell.evaluate(script, list(pieces))
    return lines


def test_a_terminal_shows_colours_and_styles(shell: Page) -> None:
    """The sixteen colours stay numbers for the theme; 256 and true colours are exact; styles begin and end by their codes."""
    assert lines_of(shell, "a\x1b[31mred\x1b[0m \x1b[1;4;96mx\x1b[22;24mz\x1b[39my") == [
        [
            {"text": "a"},
            {"text": "red", "fg": 1},
            {"text": " "},
            {"text": "x", "bold": True, "underline": True, "fg": 14},
            {"text": "z", "fg": 14},
            {"text": "y"},
        ]
    ]
    assert lines_of(
        shell, "\x1b[38;5;208ma\x1b[48;2;1;2;3mb\x1b[m\x1b[38:2::9:8:7mc\x1b[0;38;5;3md\x1b[0;48;5;244me"
    ) == [
        [
            {"text": "a", "fg": "#ff8700"},
            {"text": "b", "fg": "#ff8700", "bg": "#010203"},
            {"text": "c", "fg": "#090807"},
            {"text": "d", "fg": 3},
            {"text": "e", "bg": "#808080"},
        ]
    ]


def test_a_terminal_shows_the_last_state_of_what_overwrites_itself(shell: Page) -> None:
    """A carriage return, going up a line, erasing and going back leave what a terminal would show."""
    texts = [
        [line and line[0]["text"] for line in lines_of(shell, text)]
        for text in (
            "  1%\r 50%\r100%\ndone",
            "outer 1\ninner 1\x1b[A\router 2\n\rinner 9\x1b[A\router 3\n\n",
            "long word\rab\x1b[K\n",
            "abc\b\bX",
            "a\x1b[5Gb",
            "kept\r\n",
        )
    ]
    assert texts == [["100%", "done"], ["outer 3", "inner 9", []], ["ab", []], ["aXc"], ["a   b"], ["kept", []]]


def test_a_terminal_takes_pieces_cut_anywhere(shell: Page) -> None:
    """Whatever the text is cut into, the same is shown; what is no text, or can't be meant for a log, leaves no trace."""
    link = "\x1b]8;;http://x\x07link\x1b]8;;\x1b\\ "
    text = f"{link}\x1b[1;3;38;5;200mstyled\x1b[0m\x1b[2J\x1b(B\x00\x7f\x9b1m\r\nend\x1b[9999999A\x1b[99999999Gx"
    whole = lines_of(shell, text)
    assert whole == lines_of(shell, *text)
    assert whole[1:] == [[{"text": "end"}]]
    assert "".join(span["text"] for span in whole[0])[:11] == "link styled"


def test_a_terminal_is_bounded(shell: Page) -> None:
    """A log keeps its last lines, a line its beginning, however long they are; an escape that never ends costs nothing."""
    counts = shell.evaluate("""async () => {
      const { Terminal, plainText } = await import("./view/static/terminal.js");
      const many = new Terminal(100);
      for (let i = 0; i < 5000; i++) many.write(`line ${i}\\n`);
      const wide = new Terminal(100);
      wide.write("x".repeat(1_000_000) + "\\x1b]".repeat(10_000));
      const width = wide.lines[0][0].text.length;
      return [many.lines.length, many.dropped, plainText(many.lines[0]), width, wide.pending.length < 5000];
    }""")
    assert counts == [100, 4901, "line 4901", 20_000, True]


def test_the_file_of_a_step_is_the_nearest_earlier(shell: Page) -> None:
    """At a step there is its file, else the last before it, said to be no exact one; before the first there is none."""
    picks = shell.evaluate("""async () => {
      const { pickAt, stepsOf, indexAt } = await import("./view/static/steps.js");
      const files = [0, 40, 10].map((step) => ({ step, name: String(step), path: String(step) }));
      const loose = [{ step: null, name: "a", path: "a" }, { step: null, name: "b", path: "b" }];
      const seen = (pick) => pick && [pick.file.path, pick.isExact];
      const picked = [0, 39, 40, 99, null].map((step) => seen(pickAt(files, step)));
      const indices = [-1, 0, 11, 99, null].map((step) => indexAt([0, 10, 40], step));
      return [stepsOf(files), picked, seen(pickAt(files.slice(1, 2), 3)), seen(pickAt(loose, 5)), indices];
    }""")
    exact = [["0", True], ["10", False], ["40", True], ["40", False], ["40", True]]
    assert picks == [[0, 10, 40], exact, None, ["b", True], [0, 0, 1, 2, 2]]


def test_counts_are_shared_out_and_none_gets_lost(shell: Page) -> None:
    """Bins laid over another grid keep their sum; what lies over the border of two cells goes to both by length."""
    results = shell.evaluate("""async () => {
      const { rebinned, rangeOf, columnEdges, thinned, binAt, ticks } = await import("./view/static/bins.js");
      const grid = { low: 0, high: 4, cells: 4 };
      const sum = (list) => list.reduce((a, b) => a + b, 0);
      const odd = rebinned([-0.3, 0.77, 2.5, 3.9], [5, 7, 11], { low: -1, high: 5, cells: 37 });
      const spiky = { steps: [], edges: [[0, 1, 100]], counts: [[1000, 1]] };
      return [[...rebinned([0.5, 2.5], [8], grid)], [...rebinned([2, 2, 4], [3, 2], grid)], Math.abs(sum(odd) - 23) < 1e-9,
        rangeOf(spiky), rangeOf(spiky, 0.9).high < 3, columnEdges([0, 10, 40]), thinned(100, 3),
        [-1, 0, 0.5, 1, 2, 3].map((value) => binAt([0, 1, 2], value)), ticks(0, 10, 5)];
    }""")
    assert results == [
        *([2, 4, 2, 0], [0, 0, 4, 1], True, {"low": 0, "high": 100}, True, [-5, 5, 25, 55], [0, 50, 99]),
        *([-1, 0, 0, 1, 1, -1], [0, 2, 4, 6, 8, 10]),
    ]


def test_colours_have_zero_in_the_middle_where_signs_differ(shell: Page) -> None:
    """Numbers of both signs get the scale of two sides, others that of amounts; what is no number is transparent."""
    results = shell.evaluate("""async () => {
      const { scaleFor, colourAt, pixelsOf } = await import("./view/static/colormap.js");
      const pixels = [...pixelsOf([[0, "NaN"], [2, "Infinity"]], scaleFor(0, 2))];
      return [scaleFor(-1, 4), scaleFor(1, 4).name, colourAt("diverging", 0.5), pixels];
    }""")
    scale = {"name": "diverging", "low": -4, "high": 4}
    assert results == [scale, "viridis", [247] * 3, [68, 1, 84, 255, 0, 0, 0, 0, 253, 231, 37, 255, 0, 0, 0, 0]]


# --- images


def test_one_slider_moves_the_pictures_of_all_runs(open_page: Opened, site: Site) -> None:
    """Arrow keys move all keys and runs to a step, which the URL has; a run without it shows an earlier one and says so."""
    page = open_tab(open_page, site, "images", "sweep/lr=0.1", "sweep/lr=0.01", "early")
    shown = card(page, "sample", "sweep/lr=0.1")
    expect(shown.locator("figcaption")).to_have_text("step 160")
    expect(card(page, "sample", "early").locator("figcaption")).to_have_text("step 40, none at 160")
    page.keyboard.press("ArrowLeft")
    expect(shown.locator("figcaption")).to_have_text("step 120")
    expect(shown.locator("img")).to_have_attribute(
        "src", re.compile(rf"^view/files/{re.escape(quote('sweep/lr=0.1/images/sample/0120.png'))}\?v=")
    )
    expect(page).to_have_url(re.compile("im.step=120"))
    page.locator(".step-bar input").fill("0")
    expect(card(page, "sample", "early").locator("figcaption")).to_have_text("the first is of step 40")
    expect(card(page, "sample", "sweep/lr=0.01").locator("figcaption")).to_have_text("step 0")
    expect(card(page, "rollout", "sweep/lr=0.1").locator("img")).to_have_js_property("naturalWidth", 64)
    expect(card(page, "loose", "early").locator("figcaption")).to_contain_text("no step")
    page.reload()
    expect(card(page, "sample", "sweep/lr=0.01").locator("figcaption")).to_have_text("step 0")
    page.get_by_placeholder("Filter keys").fill("noi")
    expect(page.locator(".media-key bdi")).to_have_text(["noise"])


def test_dragging_the_slider_is_no_burden_for_the_address_bar(open_page: Opened, site: Site) -> None:
    """However fast the slider moves, the pictures follow at once; the URL has the last step, written a few times a second."""
    page = open_tab(open_page, site, "images", RUN)
    expect(card(page, "sample", RUN).locator("figcaption")).to_have_text("step 160")
    written = page.evaluate("""() => {
      const slider = document.querySelector(".step-bar input");
      const before = history.replaceState;
      let count = 0;
      history.replaceState = (...all) => { count++; before.apply(history, all); };
      for (let i = 0; i < 400; i++) { slider.value = i % 4; slider.dispatchEvent(new Event("input")); }
      return [count, document.querySelector(".step-label").textContent];
    }""")
    assert written[0] < 40
    assert written[1] == "step 120 of 160"
    expect(page).to_have_url(re.compile("im.step=120"))


def test_a_picture_opens_in_full_size(open_page: Opened, site: Site) -> None:
    """A small picture is enlarged with hard edges; a click shows it over the page, arrow keys go on there, Esc closes it."""
    page = open_tab(open_page, site, "images", RUN)
    small = card(page, "noise", RUN).locator("img")
    expect(small).to_have_css("image-rendering", "pixelated")
    small.click()
    full = page.locator("dialog.full img")
    expect(full).to_have_js_property("width", 22 * 32)  # whole pixels, as many as fit
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".full-caption")).to_have_text("step 120")
    expect(full).to_have_attribute("src", re.compile(r"noise/0120\.png\?v="))
    page.keyboard.press("Escape")
    expect(page.locator("dialog.full")).to_have_count(0)
    expect(card(page, "noise", RUN).locator("figcaption")).to_have_text("step 120")


def test_new_pictures_come_by_themselves(open_page: Opened, site: Site, runs: Runs) -> None:
    """A picture that is logged while one looks is there without a reload, and the slider at its end goes on to it."""
    page = open_tab(open_page, site, "images", "running", RUN)
    expect(card(page, "sample", RUN)).to_be_visible()
    runs.running.log_image(300, fresh=np.ones((4, 4)))
    runs.running.flush()
    runs.log_more(1)
    expect(card(page, "fresh", "running").locator("img")).to_have_js_property("naturalWidth", 4)
    expect(page.locator(".step-label")).to_have_text("step 300, the last")


def test_what_is_written_anew_is_shown_anew(open_page: Opened, tmp_path: Path) -> None:
    """A picture and a tensor of the same step as before, while one looks; the browser's cache shows no old one."""
    with ML_Logger(tmp_path / "run") as logger, looking(tmp_path) as site:
        logger.log_image(1, latest=np.ones((4, 4)))
        logger.log_tensor(1, latest=np.ones((4, 4)))
        logger.flush()
        pictures, tensors = open_page(f"{site.url}#images"), open_page(f"{site.url}#tensors")
        expect(pictures.locator(".picture img")).to_have_js_property("naturalWidth", 4)
        expect(tensors.locator(".tensor-facts")).to_contain_text("4 × 4")
        logger.log_image(1, latest=np.ones((6, 6)))
        logger.log_tensor(1, latest=np.ones((6, 6)))
        logger.flush()
        expect(pictures.locator(".picture img")).to_have_js_property("naturalWidth", 6)
        expect(tensors.locator(".tensor-facts")).to_contain_text("6 × 6")


def test_a_torn_picture_among_good_ones_says_so(open_page: Opened, tmp_path: Path) -> None:
    """Moved over by the slider it is told of in words, and the good one behind it is shown again."""
    with ML_Logger(tmp_path) as logger:
        for step in (0, 1, 2):
            logger.log_image(step, sample=np.eye(8))
    torn = next(path for path in (tmp_path / "images/sample").iterdir() if "1" in path.stem)
    torn.write_bytes(torn.read_bytes()[:20])
    with looking(tmp_path) as site:
        page = open_page(f"{site.url}#images")
        expect(page.locator(".picture img")).to_have_js_property("naturalWidth", 8)
        page.keyboard.press("ArrowLeft")
        expect(page.locator(".picture-none")).to_have_text("can't be shown")
        page.keyboard.press("ArrowLeft")
        expect(page.locator(".picture img")).to_have_js_property("naturalWidth", 8)


# --- histograms, tensors


def painted(canvas: Locator) -> int:
    """Return how many different colours a canvas has."""
    colours: int = canvas.evaluate("""(canvas) => {
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      return new Set(new Uint32Array(data.buffer)).size;
    }""")
    return colours


def test_histograms_are_drawn_and_read(open_page: Opened, site: Site) -> None:
    """As heat map and as ridge; pointer and arrow keys tell the step, the bin and its count; the form is in the URL."""
    page = open_tab(open_page, site, "histograms", "early", RUN)
    known = card(page, "known", "early")
    expect(known.locator(".histogram-said")).to_have_text("2 histograms, steps 10 to 20")
    canvas = known.locator("canvas")
    assert painted(canvas) > 3
    box = canvas.bounding_box()
    assert box is not None
    canvas.hover(position={"x": box["width"] - 40, "y": 160})
    expect(known.locator(".histogram-said")).to_have_text("step 20 · 0 to 1 · count 3 of 4 (75 %)")
    canvas.hover(position={"x": 80, "y": 40})
    expect(known.locator(".histogram-said")).to_have_text("step 10 · 1 to 2 · count 2 of 3 (66.7 %)")
    page.get_by_role("button", name="Ridge").click()
    expect(page).to_have_url(re.compile("hi.form=ridge"))
    canvas.focus()
    page.keyboard.press("ArrowRight")
    expect(known.locator(".histogram-said")).to_have_text("step 20 · 0 to 1 · count 3 of 4 (75 %)")
    page.keyboard.press("ArrowUp")
    expect(known.locator(".histogram-said")).to_have_text("step 10 · 0 to 1 · count 1 of 3 (33.3 %)")
    assert painted(card(page, "layer/w", RUN).locator("canvas")) > 20


def test_tensors_tell_what_they_are(open_page: Opened, site: Site, runs: Runs) -> None:
    """Shape, type, statistics and a heat map with its scale; a file of several arrays offers each; the file can be had."""
    page = open_tab(open_page, site, "tensors", RUN)
    array = np.load(runs.root / RUN / "tensors/layer%2Fw/0160.npy")
    weights = card(page, "layer/w", RUN)
    facts = weights.locator(".tensor-facts")
    for fact in ("24 × 40", "float64", "960"):
        expect(facts).to_contain_text(fact)
    expect(facts).to_contain_text(f"{array.max():.4g}")
    weights.locator(".tensor-heat").hover(position={"x": 1, "y": 1})
    expect(weights.locator(".tensor-said")).to_have_text(f"row 0, column 0: {float(f'{array[0, 0]:.5g}')}")
    page.locator(".step-bar input").fill("0")
    expect(weights.locator("figcaption")).to_contain_text("step 0")
    with page.expect_download() as download:
        weights.get_by_role("link").click()
    assert Path(download.value.path()).read_bytes() == (runs.root / RUN / "tensors/layer%2Fw/0000.npy").read_bytes()
    net = card(page, "net", RUN)
    net.get_by_label("Array").select_option("b")
    expect(net.locator(".tensor-facts")).to_contain_text("elements4")


def test_what_has_no_step_or_no_date_is_told_as_such(open_page: Opened, shell: Page, tmp_path: Path) -> None:
    """Histograms without steps have numbers, those among others are counted; a time that is no date is seconds."""
    script = """async (times) => {
      const { dateText, shortDateText } = await import("./view/static/format.js");
      return times.flatMap((time) => [dateText(time), shortDateText(time, 1795363200)]);
    }"""
    assert shell.evaluate(script, [1e300, -1e13]) == ["1e300 s", "1e300 s", "-1e13 s", "-1e13 s"]
    with ML_Logger(tmp_path) as logger:
        for step in (None, 2, 3):
            logger.log_histogram(step, bins=[0.0, 1.0, 2.0], mixed=[0.5, 1.5])
            logger.log_histogram(None, bins=[0.0, 1.0, 2.0], none=[0.5, 1.5])
    with looking(tmp_path) as site:
        page = open_page(f"{site.url}#histograms")
        expect(
            page.locator(".histogram-said", has_text="2 histograms, steps 2 to 3; 1 more without a step")
        ).to_be_visible()
        expect(page.locator(".histogram-said", has_text="3 histograms, numbers 1 to 3")).to_be_visible()


def test_arrows_move_the_slider_right_after_its_tab_was_opened(open_page: Opened, site: Site) -> None:
    """The tab that was clicked has the focus, and keeps no key for itself."""
    page = open_tab(open_page, site, "overview", RUN)
    page.get_by_role("tab", name="Images").click()
    expect(page.locator(".step-label")).to_have_text("step 160, the last")
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".step-label")).to_have_text("step 120 of 160")


# --- text


def test_the_log_has_its_colours_and_no_stale_progress(open_page: Opened, site: Site) -> None:
    """Colours and styles are shown as such; of a progress bar the last state is left; other texts can be chosen."""
    page = open_tab(open_page, site, "text", RUN)
    log = page.locator(".log")
    expect(log).to_contain_text("epoch 1: 100%")
    expect(log).not_to_contain_text("80%")
    expect(log.locator(".ansi-fg", has_text="green")).to_have_css("color", "rgb(20, 120, 60)")
    expect(log.locator(".ansi-bold", has_text="bold red")).to_have_css("font-weight", "700")
    expect(log).to_contain_text("naïve Größe 漢字 🚀")


def test_a_long_log_is_followed_until_one_scrolls_up(open_page: Opened, site: Site, runs: Runs) -> None:
    """Its last 10,000 lines are kept; new ones come by themselves, and don't move what one has scrolled up to read."""
    page = open_tab(open_page, site, "text", "early")
    expect(page.locator(".log-size")).to_contain_text("the last 10,000 lines of")
    expect(page.locator(".log-line").last).to_have_text(f"line {LONG - 1}")
    expect(page.locator(".log-line").last).to_be_in_viewport()
    append(runs.root / "early/long.log", "news 1\n")
    expect(page.locator(".log-line").last).to_have_text("news 1")
    expect(page.locator(".log-line").last).to_be_in_viewport()
    page.locator(".log").evaluate("(log) => { log.scrollTop -= 900; }")
    expect(page.get_by_role("button", name="To the end")).to_be_visible()
    append(runs.root / "early/long.log", "news 2\nnews 3\n")
    expect(page.get_by_role("button", name="2 new lines")).to_be_visible()
    expect(page.locator(".log-line").last).not_to_be_in_viewport()
    page.get_by_role("button", name="2 new lines").click()
    expect(page.locator(".log-line", has_text="news 3")).to_be_in_viewport()
    expect(page.get_by_role("button", name="To the end")).to_be_hidden()


def append(path: Path, text: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(text)


def test_a_log_is_searched_and_wrapped(open_page: Opened, site: Site) -> None:
    """What is searched for is counted and gone to, the last first, on with Enter; long lines break if one wants."""
    page = open_tab(open_page, site, "text", "early")
    expect(page.locator(".log-line").last).to_be_in_viewport()
    page.get_by_placeholder("Search").fill("LINE 51")
    expect(page.locator(".log-found")).to_have_text("110 of 110")
    expect(page.locator(".log-line", has_text=re.compile(r"^line 5199$"))).to_be_in_viewport()
    page.get_by_placeholder("Search").press("Enter")
    expect(page.locator(".log-found")).to_have_text("1 of 110")
    expect(page.locator(".log-line", has_text=re.compile(r"^line 510$"))).to_be_in_viewport()
    page.get_by_placeholder("Search").press("Shift+Enter")
    expect(page.locator(".log-found")).to_have_text("110 of 110")
    page.get_by_label("Wrap").check()
    expect(page.locator(".log-line").first).to_have_css("white-space", "pre-wrap")
    expect(page).to_have_url(re.compile("find=LINE.*wrap=1"))


def test_the_newest_part_of_a_resumed_run_is_followed(open_page: Opened, tmp_path: Path) -> None:
    """The part with the highest number is shown, and a newer one as it comes; who reads further up goes on when at the end."""

    def resume(text: str) -> None:
        with ML_Logger(tmp_path) as logger:
            logger.log_text(text, silent=True)

    for attempt in range(11):
        resume(f"attempt {attempt}")
    resume("\n".join(f"attempt 11, {line}" for line in range(300)))
    with looking(tmp_path) as site:
        page = open_page(f"{site.url}#text")
        last = page.locator(".log-line").last
        expect(last).to_have_text("attempt 11, 299")
        page.locator(".log").evaluate("log => { log.scrollTop -= 900; }")
        expect(page.get_by_role("button", name="To the end")).to_be_visible()
        resume("attempt 12")
        expect(page.get_by_label("Text", exact=True).locator("option")).to_have_count(13)
        expect(last).to_have_text("attempt 11, 299")
        page.get_by_role("button", name="To the end").click()
        expect(last).to_have_text("attempt 12")
        resume("attempt 13")
        expect(last).to_have_text("attempt 13")


def test_a_log_that_is_rotated_is_shown_anew(open_page: Opened, tmp_path: Path) -> None:
    """Nothing of the old one stays where a longer one took its place between two looks."""
    write_run(tmp_path / "run", 0)
    log = tmp_path / "run/app.log"
    log.write_text("".join(f"old {line}\n" for line in range(1000)))
    with looking(tmp_path) as site:
        page = open_page(f"{site.url}#text")
        expect(page.locator(".log-line").last).to_have_text("old 999")
        passing = tmp_path / "run/.new"
        passing.write_text("".join(f"new {line}\n" for line in range(1500)))
        log.rename(log.with_suffix(".log.1"))
        passing.rename(log)
        expect(page.locator(".log-line").last).to_have_text("new 1499")
        expect(page.locator(".log-line").first).to_have_text("new 0")
        assert page.locator(".log-line").count() == 1500


# --- params, overview


def test_params_stand_side_by_side_with_their_differences(open_page: Opened, site: Site) -> None:
    """One column a run; what differs is marked, or alone if one wants."""
    page = open_tab(open_page, site, "params", "sweep/lr=0.1", "sweep/lr=0.01", "sweep/lr=0.001")
    expect(page.locator(".params thead th")).to_have_text(
        ["Parameter", "sweep/lr=0.1", "sweep/lr=0.01", "sweep/lr=0.001"]
    )
    expect(page.locator(".params tr", has_text="layers").locator("td")).to_have_text(["4", "4", "4"])
    expect(page.locator(".params tr.differs th bdi")).to_have_text(["seed", "lr"])
    page.get_by_label("Only what differs").check()
    expect(page.locator(".params td")).to_have_text(["0", "1", "2", "0.1", "0.01", "0.001"])
    page.get_by_placeholder("Filter parameters").fill("nothing")
    page.get_by_role("button", name="Show all").click()
    expect(page.locator(".params td")).to_have_count(6)


def test_an_overview_tells_how_a_run_is(open_page: Opened, site: Site) -> None:
    """State, error, place and last values of the run that is chosen; its README is rendered in the page's own colours."""
    page = open_tab(open_page, site, "overview", "failed", RUN, is_dark=True)
    expect(page.locator(".overview-error")).to_have_text("ValueError: loss is not finite")
    expect(page.locator(".overview-facts")).to_contain_text("20 records, last step 19")
    page.get_by_label("Run", exact=True).select_option(label="sweep/lr=0.1")
    expect(page.locator(".overview h2 .state")).to_have_text("finished")
    expect(page.locator(".overview-last tr", has_text="val/loss").locator("td")).to_have_text(["Infinity", "200", "21"])
    readme = page.frame_locator(".readme-frame")
    expect(readme.locator("h1")).to_have_text("Rate 0.1")
    expect(readme.locator("body")).to_have_css("color", "rgb(227, 231, 237)")
    height = page.locator(".readme-frame").evaluate(
        "(frame) => [frame.clientHeight, frame.contentDocument.body.scrollHeight]"
    )
    assert height[0] >= height[1] > 50


# --- files


def test_files_are_browsed_and_previewed(open_page: Opened, site: Site, runs: Runs) -> None:
    """Folders open, the way up leads back, texts and pictures are shown, downloads are whole; a link has all of it."""
    page = open_tab(open_page, site, "files", RUN)
    names = page.locator(".file-name bdi")
    expect(names.first).to_have_text("images")
    page.get_by_role("button", name="images", exact=True).click()
    page.get_by_role("button", name="sample", exact=True).click()
    expect(names).to_have_text([f"{step:04d}.png" for step in range(0, 200, 40)])
    page.get_by_role("button", name="0040.png", exact=True).click()
    expect(page.locator(".preview-picture")).to_have_js_property("naturalWidth", 64)
    page.reload()
    expect(page.locator(".preview-picture")).to_have_js_property("naturalWidth", 64)
    page.get_by_role("button", name="lr=0.1", exact=True).click()
    expect(page.locator(".files-pane")).to_be_hidden()
    page.get_by_role("button", name="table.csv", exact=True).click()
    expect(page.locator(".files-pane .log")).to_have_text(re.compile("a,b.*1,2", re.DOTALL))
    with page.expect_download() as download:
        page.get_by_role("link", name="Download metrics.jsonl").click()
    assert download.value.suggested_filename == "metrics.jsonl"
    assert Path(download.value.path()).read_bytes() == (runs.root / RUN / "metrics.jsonl").read_bytes()
    go(page, fd="no/such/folder", ff="")
    open_page.tolerate("404")
    page.get_by_role("button", name="To the top").click()
    expect(page.locator(".files-table")).to_contain_text("sweep")


# --- whatever a run holds


def test_nothing_of_a_hostile_run_runs(open_page: Opened, site: Site) -> None:
    """Scripts in keys, texts, params, README, names, pages and pictures are text in every view, or stand in a sandbox."""
    open_page.tolerate(SANDBOXED)
    page = open_tab(open_page, site, "images", "hostile")
    expect(page.locator(".media-key bdi")).to_have_text([SCRIPT])
    seen = {
        "text": (".log", SCRIPT),
        "params": (".params td", SCRIPT),
        "overview": (".overview-last", SCRIPT),
        "files": (".files-table", "page.html"),
    }
    for tab, (where, text) in seen.items():
        page.locator(f"#tab-{tab}").click()
        expect(page.locator(where).first).to_contain_text(text)
    expect(page.frame_locator(".readme-frame").locator("body")).to_contain_text("<script>")
    for name in ("page.html", "picture.svg"):
        with page.expect_response(re.compile(re.escape(name))) as response:
            page.get_by_role("button", name=name, exact=True).click()
        assert "sandbox" in response.value.headers["content-security-policy"]
        expect(page.locator(".preview-frame")).to_have_attribute("sandbox", "")
    assert page.title() == f"Files · {site_title(page)}"
    assert page.evaluate("document.querySelectorAll('main img[onerror], main script').length") == 0


def site_title(page: Page) -> str:
    return page.locator(".place").inner_text()


def test_a_readme_has_its_pictures_and_leads_to_its_files(open_page: Opened, site: Site) -> None:
    """What it names relatively to itself is loaded or led to, and what lies outside is no link."""
    page = open_tab(open_page, site, "overview", "early")
    readme = page.frame_locator(".readme-frame")
    expect(readme.locator("img")).to_have_js_property("naturalWidth", 8)
    expect(readme.locator("a", has_text="log")).to_have_attribute("href", "view/files/early/long.log")
    expect(readme.locator("a", has_text="out")).not_to_have_attribute("href", re.compile(""))


def test_the_files_of_a_run_leave_the_picks_as_they_are(open_page: Opened, site: Site) -> None:
    """From the overview one comes to the run's folder, and all else of the view stays."""
    page = open_tab(open_page, site, "overview", RUN, "failed")
    page.locator(".overview-head").get_by_role("button", name="Files").click()
    expect(page.locator(".crumb[aria-current]")).to_have_text("lr=0.1")
    expect(page.locator(".file-name", has_text="metrics.jsonl")).to_be_visible()
    expect(page.locator(".rail-run")).to_have_count(2)


def test_a_run_that_is_deleted_while_one_looks_is_told_of(open_page: Opened, tmp_path: Path) -> None:
    """Every view says that it was deleted, and the files don't go elsewhere by themselves."""
    open_page.tolerate("404")  # a view that asks in between
    write_run(tmp_path / "kept", 0)
    write_run(tmp_path / "run", 1)
    with looking(tmp_path) as site:
        page = open_page(f"{site.url}#files")
        picked(page, "run")
        expect(page.locator(".file-name", has_text="metrics.jsonl")).to_be_visible()
        shutil.rmtree(tmp_path / "run")
        expect(page.locator(".view .notice h2")).to_have_text("The run was deleted")
        for tab in ("curves", "images", "text", "params", "overview"):
            page.evaluate("(tab) => { location.hash = location.hash.replace(/#[a-z]+/, '#' + tab); }", tab)
            expect(page.locator(f".view-{tab} .notice h2").first).to_have_text("The picked run was deleted")


def test_where_there_is_nothing_the_page_says_what_logs_it(open_page: Opened, tmp_path: Path) -> None:
    """A run without pictures, histograms, tensors, text or params shows the line of Python that logs some."""
    with ML_Logger(tmp_path / "bare") as logger:
        logger.log(0, {"loss": 1.0}, silent=True)
    with looking(tmp_path) as bare:
        page = open_page(f"{bare.url}#images")
        for tab, call in (
            *(("images", "log_image"), ("histograms", "log_histogram"), ("tensors", "log_tensor")),
            *(("text", "logger.print"), ("params", "log_params")),
        ):
            page.locator(f"#tab-{tab}").click()
            expect(page.locator(".notice code")).to_contain_text(call)


def test_a_view_that_can_not_be_loaded_says_so(open_page: Opened, site: Site) -> None:
    """Views come when their tab is opened first; where one's module doesn't come, that is said, with the way on."""
    page = open_page(f"{site.url}#runs")
    expect(page.locator("#tab-text")).to_be_visible()
    open_page.tolerate(r"ERR_FAILED")
    page.route("**/view/static/text.js*", lambda route: route.abort())
    page.locator("#tab-text").click()
    expect(page.locator(".notice")).to_contain_text("The view could not be loaded")
    page.unroute_all(behavior="wait")
    page.get_by_role("button", name="Load the page again").click()
    expect(page.locator(".log-line").first).to_be_visible()


def test_every_view_fits_a_phone(open_page: Opened, site: Site) -> None:
    """At 390 px nothing but tables and texts, which scroll by themselves, is wider than the screen."""
    page = open_tab(open_page, site, "images", RUN, "sweep/lr=0.01", size=PHONE, is_dark=True)
    for tab in TABS:
        page.locator(f"#tab-{tab}").click()
        ready = {"files": ".files-table td", "text": ".log-line", "params": ".params td", "overview": ".overview h2"}
        expect(page.locator(ready.get(tab, ".media-card")).first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
        assert page.locator("#view").evaluate("(view) => view.scrollWidth - view.clientWidth") <= 0, tab


def test_agents_are_listed_with_what_they_have_left(open_page: Opened, runs: Runs) -> None:
    """At a receiver: when each agent was heard, its backlog, what it set aside and why, its error, the runs alive."""
    counts = {
        "backlog_files": 3,
        "backlog_bytes": 4096,
        "shipped_files": 5,
        "shipped_bytes": 600,
        "errors": 2,
        "aside": 3,
    }
    told = {
        "last_error": "the receiver refused the token",
        "runs_alive": (RUN, "gone/run"),
        "oldest_unshipped_s": 700.0,
    }
    odd = (AsideFile("run/odd name", "a name that no receiver keeps"), AsideFile(SCRIPT, SCRIPT))
    spool = SpoolBeat("/data/logs", "a", **counts, **told, aside_files=odd)  # type: ignore[arg-type]
    beats = [Heartbeat("a", "gpu-7", "0.1.0", 4711, 1.0, (spool,)), Heartbeat("b", SCRIPT, "0.1.0", 1, 1.0, ())]

    def hear_late(route: Route) -> None:
        answer = route.fetch()
        agents = answer.json()["agents"]
        route.fulfill(
            response=answer, json={"agents": [a | {"age_s": 600.0 if a["source"] == "b" else 2.0} for a in agents]}
        )

    with closing(LocalStore(runs.root)) as store, serving(store, token="a-token-to-look") as receiver:
        for beat in beats:
            assert receiver.post("/v1/heartbeat", encode_heartbeat(beat)).status_code == 200
        page = open_page(f"{receiver.url}/#agents")
        page.route("**/view/api/agents", hear_late)
        page.locator("#token").fill("a-token-to-look")
        page.keyboard.press("Enter")
        first = page.locator(".agent", has_text="gpu-7")
        for text in ("3 files, 4 KiB", "set aside3 files", "the receiver refused the token", "and 1 more file"):
            expect(first).to_contain_text(text)
        expect(first.locator(".agent-aside tr")).to_have_text(["run/odd namea name that no receiver keeps", SCRIPT * 2])
        silent = page.locator(".agent", has_text=SCRIPT).locator("header", has_text=SCRIPT)
        expect(silent.locator(".state")).to_have_text("silent")
        first.get_by_role("link", name=RUN).click()
        expect(page.locator(".overview h2")).to_contain_text("lr=0.1")
        page.unroute_all(behavior="wait")
