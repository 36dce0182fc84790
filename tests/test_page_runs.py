"""The page's frame and its table of runs, in a browser, over runs that the real client made."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import PHONE, Opened
from playwright.sync_api import Locator, Page, expect
from processes import wait_until
from viewing import RATES, Runs, looking, make_runs

from ml_logger import ML_Logger
from ml_logger.view.local import Site

MANY = 1000
GONE = r"ERR_CONNECTION_REFUSED|ERR_EMPTY_RESPONSE|ERR_CONNECTION_RESET"
SWEEP = [f"sweep/lr={rate}" for rate in RATES]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    with make_runs(tmp_path_factory.mktemp("runs")) as made:
        yield made


@pytest.fixture(scope="module")
def site(runs: Runs) -> Iterator[Site]:
    with looking(runs.root) as served:
        yield served


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Serve a thousand runs, the last of which began last."""
    root = tmp_path_factory.mktemp("crowd")
    for number in range(MANY):
        write_run(root / f"group-{number % 7}/run-{number:04d}", number)
    with looking(root) as served:
        yield served


def write_run(folder: Path, number: int) -> None:
    """Write a finished run as the client does, without its time."""
    begin = 1_795_000_000 + 100 * number
    records = [
        ("run", {"event": "start", "_timestamp": begin, "host": f"gpu{number % 3}", "pid": number}),
        ("run", {"event": "end", "_timestamp": begin + 60, "state": "finished", "pid": number}),
        ("parameters", {"_timestamp": begin, "seed": number, "model": {"depth": number % 5, "kind": "mlp"}}),
        ("metrics", {"_step": 7, "_timestamp": begin + 30, "loss": number / MANY}),
    ]
    folder.mkdir(parents=True)
    for name, record in records:
        with (folder / f"{name}.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


def row(page: Page, path: str) -> Locator:
    """Return the row of a run."""
    return page.locator(f'.run[data-path="{path}"]')


def paths(page: Page) -> list[str]:
    """Return the runs that are shown, from the top."""
    read = "rows => rows.sort((a, b) => a.dataset.index - b.dataset.index).map(row => row.dataset.path)"
    return page.locator(".grid-body .run").evaluate_all(read)


def columns(page: Page) -> list[str]:
    return page.get_by_role("columnheader").evaluate_all("heads => heads.map(head => head.dataset.column)")


def picked(page: Page) -> set[str]:
    return set(page.locator(".run.picked").evaluate_all("rows => rows.map(row => row.dataset.path)"))


def expect_paths(page: Page, wanted: list[str]) -> None:
    wait_for(lambda: paths(page), wanted)


def wait_for(look: Callable[[], Any], wanted: Any) -> None:
    """Wait until `look` returns `wanted`; says what it returned last."""
    last: list[Any] = [None]

    def is_so() -> bool:
        last[0] = look()
        return bool(last[0] == wanted)

    try:
        wait_until(is_so, 20)
    except TimeoutError:
        assert last[0] == wanted


def type_filter(page: Page, text: str) -> None:
    page.get_by_label("Filter the runs").fill(text)


def colour(page: Page, path: str) -> str:
    """Return the colour that is drawn for a picked run."""
    swatch = row(page, path).locator(".swatch")
    return str(swatch.evaluate("swatch => getComputedStyle(swatch).borderTopColor"))


# --- what the table shows


def test_each_run_has_a_row_with_its_state_and_last_values(site: Site, open_page: Opened) -> None:
    """States are told by words beside the icons; last values and params are there, special floats as their words."""
    page = open_page(site.url)
    states = {SWEEP[0]: "finished", "failed": "failed", "killed": "killed", "running": "running", "hostile": "finished"}
    for path, state in states.items():
        expect(row(page, path).locator(".state")).to_have_text(state)
    expect(row(page, SWEEP[0])).to_contain_text("NaN")
    expect(page.locator(".count")).to_have_text("7 runs")
    assert page.title() == f"Runs · {Path(page.locator('.place').inner_text()).name}"


def test_the_table_is_filtered_while_one_types(site: Site, open_page: Opened) -> None:
    """Words, comparisons and regular expressions; one that can't be read is told of and hides nothing."""
    page = open_page(site.url)
    for text, wanted in (
        ("SWEEP lr=0.01", {SWEEP[1]}),
        ("state=failed", {"failed"}),
        ("lr>=0.05 -failed", {SWEEP[0], "running", "killed"}),
        ("model.layers=2", {"killed"}),
        ("/^sweep.*1$/", {*SWEEP}),
        ("/(/", {*SWEEP, "failed", "killed", "running", "hostile"}),
    ):
        type_filter(page, text)
        wait_for(lambda: set(paths(page)), wanted)
    expect(page.get_by_label("Filter the runs")).to_have_attribute("aria-invalid", "true")
    expect(page.locator(".count")).to_contain_text("Invalid regular expression")
    type_filter(page, "nothing at all")
    page.get_by_role("button", name="Clear the filter").click()
    expect(page.locator(".count")).to_have_text("7 runs")


def test_a_click_on_a_head_sorts(site: Site, open_page: Opened) -> None:
    """By a param and by a last value, up and down; what a run does not have is behind in both directions."""
    page = open_page(f"{site.url}#runs?q=-hostile")
    head = page.locator('[data-column="p:model.lr"]')
    ascending = [SWEEP[2], SWEEP[1], "running", SWEEP[0], "killed", "failed"]
    head.click()
    expect_paths(page, ascending)
    expect(head).to_have_attribute("aria-sort", "ascending")
    head.click()
    expect_paths(page, ascending[::-1])
    page.locator('[data-column="m:train/accuracy"]').click()
    wait_for(lambda: set(paths(page)[-2:]), {"failed", "killed"})


def test_runs_are_grouped_by_any_column_and_groups_fold(site: Site, open_page: Opened) -> None:
    """A group says how many it has; folded it hides them, and that is in the link."""
    page = open_page(f"{site.url}#runs?q=sweep")
    page.get_by_label("Group by").select_option("p:model.lr")
    groups = page.locator(".group")
    expect(groups.locator(".leaf")).to_have_text(["0.001", "0.01", "0.1"])
    page.get_by_label("Group by").select_option("state")
    expect(groups.locator(".group-count")).to_have_text(["3 runs"])
    groups.first.click()
    expect_paths(page, [])
    page.reload()
    expect(groups).to_have_attribute("aria-expanded", "false")
    assert paths(page) == []


def test_only_params_that_differ_have_a_column(site: Site, open_page: Opened) -> None:
    """Of the runs that are shown; any other can be chosen, and the link has the choice."""
    page = open_page(f"{site.url}#runs?q=-hostile")
    wait_for(lambda: "p:model.layers" in columns(page), True)
    type_filter(page, "sweep")
    wait_for(lambda: {name for name in columns(page) if name.startswith("p:")}, {"p:model.lr", "p:seed"})
    page.get_by_role("button", name="Columns").click()
    page.get_by_role("dialog").get_by_label("data.set").check()
    page.get_by_role("button", name="Done").click()
    page.reload()
    wait_for(lambda: "p:data.set" in columns(page), True)
    expect(row(page, SWEEP[0])).to_contain_text("mnist")


def test_the_differences_of_the_picked_runs_are_a_table(site: Site, open_page: Opened) -> None:
    """One line a param that differs, what is not as in the first run marked; on demand all of them."""
    page = open_page(f"{site.url}#runs?q=sweep")
    row(page, SWEEP[0]).wait_for()
    page.keyboard.press("x")
    for path in SWEEP:
        row(page, path).get_by_role("checkbox").click()
    page.get_by_role("button", name="Differences").click()
    table = page.locator(".compare-table")
    expect(table.locator("thead th")).to_have_text(["Param", *SWEEP])
    expect(table.locator("tr", has_text="model.lr").locator("td")).to_have_text([str(rate) for rate in RATES])
    expect(table.locator("td.other")).to_have_text(["0.01", "0.001", "1", "2"])
    expect(table.locator("tr", has_text="data.set")).to_have_count(0)
    page.get_by_label("also what is the same").check()
    expect(table.locator("tr", has_text="data.set").locator("td")).to_have_text(["mnist"] * 3)


# --- picking


def test_a_few_runs_are_picked_at_first_and_new_ones_join(crowd: Site, open_page: Opened) -> None:
    """The ten newest of a thousand, each in a colour of its own."""
    page = open_page(crowd.url)
    expect(page.locator(".picks")).to_contain_text("10 picked")
    newest = [f"group-{number % 7}/run-{number:04d}" for number in range(MANY - 10, MANY)]
    assert picked(page) == set(newest)
    assert len({colour(page, path) for path in newest}) == 10


def test_picking_by_mouse_and_by_a_range(site: Site, open_page: Opened) -> None:
    """A click picks one, shift and a click all up to there; who stays picked keeps the colour, in every view."""
    page = open_page(f"{site.url}#runs?s=name")
    row(page, "failed").wait_for()
    page.keyboard.press("x")
    wait_for(lambda: picked(page), set())
    row(page, "hostile").get_by_role("checkbox").click()
    row(page, SWEEP[1]).get_by_role("checkbox").click(modifiers=["Shift"])
    wait_for(lambda: picked(page), {"hostile", "killed", "running", SWEEP[2], SWEEP[1]})
    before = {path: colour(page, path) for path in ("running", SWEEP[1])}
    row(page, "hostile").get_by_role("checkbox").click()
    row(page, "failed").get_by_role("checkbox").click()
    wait_for(lambda: picked(page), {"failed", "killed", "running", SWEEP[2], SWEEP[1]})
    page.reload()
    wait_for(lambda: picked(page), {"failed", "killed", "running", SWEEP[2], SWEEP[1]})
    assert {path: colour(page, path) for path in before} == before


def test_everything_is_done_from_the_keyboard(site: Site, open_page: Opened) -> None:
    """Filter, go down, pick, open, pin, read the keys, and Esc closes one thing after the other."""
    page = open_page(f"{site.url}#runs?s=name")
    row(page, "failed").wait_for()
    keys = page.keyboard
    keys.press("x")
    keys.press("/")
    keys.type("sweep")
    wait_for(lambda: len(paths(page)), 3)
    for key in ("ArrowDown", "j", "j", "k", "Shift+ArrowDown"):
        keys.press(key)
    wait_for(lambda: picked(page), {SWEEP[1], SWEEP[0]})
    keys.press("Space")
    wait_for(lambda: picked(page), {SWEEP[1]})
    keys.press("Enter")
    expect(page.get_by_label("Run", exact=True)).to_contain_text(SWEEP[0])
    keys.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_contain_text("filter the runs")
    keys.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    keys.press("Escape")
    expect(page.get_by_label("Run", exact=True)).to_be_hidden()
    keys.press("Escape")
    expect(page.locator(".count")).to_have_text("7 runs")
    current = page.get_by_role("grid").get_attribute("aria-activedescendant")
    assert page.locator(f"#{current}").get_attribute("data-path") == SWEEP[0]


# --- the URL


def test_a_link_shows_a_colleague_the_same(site: Site, open_page: Opened) -> None:
    """Filter, order, groups, picks and their colours; what is copied names the picks even if nobody chose them."""
    page = open_page(f"{site.url}#runs?q=lr&s=-p:seed&g=state")
    row(page, SWEEP[0]).wait_for()
    colours = {path: colour(page, path) for path in SWEEP}
    page.evaluate("navigator.clipboard.writeText = async (text) => { window.copied = text }")
    page.get_by_role("button", name="Copy link").click()
    page.wait_for_function("window.copied")
    link = page.evaluate("window.copied")
    assert len(link) < 200
    other = open_page(link)
    expect_paths(other, paths(page))
    wait_for(lambda: picked(other), picked(page))
    assert {path: colour(other, path) for path in SWEEP} == colours


def test_back_undoes_and_forward_does_again(site: Site, open_page: Opened) -> None:
    """A sort, a group and an opened run are steps of the history; what is typed is not."""
    page = open_page(site.url)
    row(page, "failed").locator("button").click()
    expect(page.get_by_label("Run", exact=True)).to_contain_text("Failed at")
    page.get_by_label("Group by").select_option("state")
    expect(page.locator(".group")).not_to_have_count(0)
    type_filter(page, "sweep")
    page.go_back()
    expect(page.locator(".group")).to_have_count(0)
    page.go_back()
    expect(page.get_by_label("Run", exact=True)).to_be_hidden()
    page.go_forward()
    expect(page.get_by_label("Run", exact=True)).to_contain_text("Failed at")


# --- while runs go on


def test_a_run_that_goes_on_is_seen_going_on(site: Site, runs: Runs, open_page: Opened) -> None:
    """New steps and new runs appear without a reload, under the filter that holds."""
    page = open_page(f"{site.url}#runs?q=/^(running|late)/")
    expect_paths(page, ["running"])
    last = runs.log_more()
    expect(row(page, "running").get_by_role("gridcell", name=str(last), exact=True)).to_be_visible()
    with ML_Logger(runs.root / "late") as logger:
        logger.log(0, loss=1.0, silent=True)
    expect_paths(page, ["late", "running"])
    expect(page.get_by_label("Filter the runs")).to_have_value("/^(running|late)/")
    shutil.rmtree(runs.root / "late")
    expect_paths(page, ["running"])


def test_a_run_that_is_deleted_while_it_is_open_says_so(tmp_path: Path, open_page: Opened) -> None:
    """The picked run stays in sight as deleted, until one lets go of it."""
    for number in range(3):
        write_run(tmp_path / f"run-{number}", number)
    with looking(tmp_path) as site:
        page = open_page(site.url)
        row(page, "run-1").locator("button").click()
        shutil.rmtree(tmp_path / "run-1")
        expect(page.get_by_text("This run was deleted while you looked at it.")).to_be_visible()
        wait_for(lambda: set(paths(page)), {"run-0", "run-2"})


def test_where_there_is_no_run_the_page_says_how_to_make_one(tmp_path: Path, open_page: Opened) -> None:
    """Two lines of Python that do it, and the run appears by itself."""
    with looking(tmp_path) as site:
        page = open_page(site.url)
        expect(page.get_by_text("No run yet")).to_be_visible()
        expect(page.locator("pre")).to_contain_text("from ml_logger import ML_Logger")
        write_run(tmp_path / "first", 1)
        expect_paths(page, ["first"])


def test_a_server_that_is_gone_is_told_of_and_found_again(tmp_path: Path, open_page: Opened) -> None:
    """What was there stays in sight; when the server is back the page goes on by itself."""
    open_page.tolerate(GONE)
    write_run(tmp_path / "first", 1)
    with looking(tmp_path) as site:
        page = open_page(site.url)
        expect_paths(page, ["first"])
    expect(page.get_by_role("alert")).to_contain_text("The server does not answer")
    assert paths(page) == ["first"]
    write_run(tmp_path / "second", 2)
    with looking(tmp_path, port=int(site.url.rsplit(":", 1)[1].strip("/"))):
        page.get_by_role("button", name="Try now").click()
        expect_paths(page, ["second", "first"])
        expect(page.locator(".banner")).to_be_hidden()


# --- many, small


def test_a_thousand_runs_are_a_few_rows_in_the_page(crowd: Site, open_page: Opened) -> None:
    """Only what one sees is drawn; scrolled to the end the last ones are, and the filter goes over all."""
    page = open_page(f"{crowd.url}#runs?s=p:seed")
    expect(page.locator(".count")).to_have_text("1,000 runs")
    assert page.get_by_role("row").count() < 80
    page.get_by_role("grid").focus()
    page.keyboard.press("End")
    expect(row(page, f"group-{(MANY - 1) % 7}/run-{MANY - 1:04d}")).to_be_visible()
    assert page.get_by_role("row").count() < 80
    type_filter(page, "depth=3 loss<0.02")
    expect_paths(page, [f"group-{number % 7}/run-{number:04d}" for number in (3, 8, 13, 18)])


@pytest.mark.parametrize("is_dark", [False, True])
def test_a_phone_shows_it_without_scrolling_sideways(site: Site, open_page: Opened, is_dark: bool) -> None:
    """The table scrolls in itself, a run opens over it; dark and light have grounds of their own."""
    page = open_page(site.url, size=PHONE, is_dark=is_dark)
    row(page, "failed").locator("button").tap()
    expect(page.get_by_label("Run", exact=True)).to_be_visible()
    assert page.evaluate("[document.documentElement.scrollWidth, innerWidth]") == [PHONE[0], PHONE[0]]
    ground = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert ground == ("rgb(14, 17, 22)" if is_dark else "rgb(255, 255, 255)")
