"""The table of runs in a browser, over runs that the real client made."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import yaml
from browser import Opened
from playwright.sync_api import expect
from runs_table import colour, columns, expect_paths, paths, picked, row, type_filter, wait_for, write_run
from viewing import RATES, SCRIPT, Runs, looking, make_runs

from ml_logger import ML_Logger
from ml_logger.view.local import Site

MANY = 1000
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
        requests.get(f"{served.url}view/api/runs", timeout=60)  # the first look reads all of them
        yield served


def test_each_run_has_a_row_with_its_state_and_last_values(site: Site, open_page: Opened) -> None:
    """States are told by words beside the icons; last values and params are there, special floats as their words."""
    page = open_page(site.url)
    states = {SWEEP[0]: "finished", "failed": "failed", "killed": "killed", "running": "running", "hostile": "finished"}
    for path, state in states.items():
        expect(row(page, path).locator(".state")).to_have_text(state)
    expect(row(page, SWEEP[0])).to_contain_text("NaN")
    expect(page.locator(".count")).to_have_text("7 runs")
    assert page.title() == f"Runs · {page.locator('.place').inner_text()}"


def test_a_name_turns_no_text_round(tmp_path: Path, open_page: Opened) -> None:
    """Characters that turn the writing round are shown as escapes, and what is written from right to left stands by itself."""
    write_run(tmp_path / "safe\u202egpj.exe", 0)
    write_run(tmp_path / "\u05d0\u05d1", 1)
    with looking(tmp_path) as served:
        page = open_page(served.url)
        names = page.locator(".name-text")
        expect(names.filter(has_text="safe").first).to_have_text("safe\\u202egpj.exe")
        assert "\u202e" not in page.locator("body").inner_text()
        assert page.locator("[title*='\u202e'], [aria-label*='\u202e'], [alt*='\u202e']").count() == 0
        for part in names.locator("span").all():
            expect(part).to_have_css("unicode-bidi", "isolate")


def test_a_name_stands_on_one_line(tmp_path: Path, open_page: Opened) -> None:
    """What breaks lines or can't be seen is shown as escapes, of runs as of keys."""
    write_run(tmp_path / "new\nline\tand\x1b", 0)
    with (tmp_path / "new\nline\tand\x1b/metrics.jsonl").open("a") as file:
        file.write('{"_step":8,"a\\u001bb\\nc":1}\n')
    with looking(tmp_path) as served:
        page = open_page(served.url)
        expect(page.locator(".run .name-text")).to_have_text("new\\nline\\tand\\x1b")
        expect(page.get_by_role("columnheader", name="a\\x1bb\\nc")).to_be_visible()
        page.evaluate("location.hash = '#curves'")
        expect(page.locator(".chart h3", has_text="a\\x1bb\\nc")).to_be_visible()
        expect(page.locator(".rail .name-text")).to_have_text("new\\nline\\tand\\x1b")


def test_the_table_is_filtered_while_one_types(site: Site, open_page: Opened) -> None:
    """Words, comparisons and regular expressions; one that can't be read is told of and hides nothing."""
    page = open_page(site.url)
    for text, wanted in (
        ("SWEEP lr=0.01", {SWEEP[1]}),
        ("state=failed", {"failed"}),
        ("lr>=0.05 -failed", {SWEEP[0], "running", "killed"}),
        ("model.layers=2", {"killed"}),
        ("constructor=2", {"hostile"}),
        ("__proto__=1", {"hostile"}),
        ("valueOf>0", set()),
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
    for direction in ("ascending", "descending"):
        page.locator('[data-column="m:train/accuracy"]').click()
        expect(page.locator('[data-column="m:train/accuracy"]')).to_have_attribute("aria-sort", direction)
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


def test_what_tells_groups_apart_is_seen_whole(tmp_path: Path, open_page: Opened) -> None:
    """Of the head of a group its param's name gives way first; what is said over the columns stays on its line."""
    for number, rate in enumerate((0.0001, 0.001)):
        write_run(tmp_path / f"run{number}", number)
        with (tmp_path / f"run{number}/parameters.jsonl").open("a") as file:
            file.write(f'{{"optimizer":{{"learning_rate_of_all_layers":{rate}}}}}\n')
    with looking(tmp_path) as served:
        page = open_page(f"{served.url}#runs?g=p:optimizer.learning_rate_of_all_layers")
        expect(page.locator(".group .leaf")).to_have_text(["0.0001", "0.001"])
        widths = "leaves => leaves.map(leaf => leaf.scrollWidth <= leaf.clientWidth)"
        assert page.locator(".group .leaf").evaluate_all(widths) == [True, True]
        heights = "bands => bands.map(band => band.offsetHeight <= 20)"
        assert all(page.locator(".band span").evaluate_all(heights))


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


def test_a_few_runs_are_picked_at_first_and_new_ones_join(crowd: Site, open_page: Opened) -> None:
    """The ten newest of a thousand, each in a colour of its own."""
    page = open_page(crowd.url)
    newest = [f"group-{number % 7}/run-{number:04d}" for number in range(MANY - 10, MANY)]
    wait_for(lambda: picked(page), set(newest))
    expect(page.locator(".picks")).to_contain_text("10 picked")
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


def test_a_run_is_pinned_tagged_and_noted(site: Site, runs: Runs, open_page: Opened) -> None:
    """Kept in the run's folder, seen by another who looks, on top of the table, and found by the filter."""
    page = open_page(f"{site.url}#runs?s=name")
    row(page, "killed").locator("button").click()
    page.get_by_label("Tags").fill("best, try again")
    page.get_by_label("Note").fill("the node died")
    page.get_by_role("button", name="Pin").click()
    expect(row(page, "killed")).to_contain_text("the node died")
    wait_for(lambda: paths(page)[0], "killed")
    held = yaml.safe_load((runs.root / "killed" / ".notes.yml").read_text(encoding="utf-8"))
    assert held == {"pinned": True, "tags": ["best", "try again"], "note": "the node died"}
    other = open_page(f"{site.url}#runs?q=tag=best")
    expect_paths(other, ["killed"])
    page.get_by_role("button", name="Pin").click()
    wait_for(lambda: paths(page)[0], "failed")


def test_who_saves_a_note_second_is_told_and_sees_both(tmp_path: Path, open_page: Opened) -> None:
    """Nothing is overwritten until whoever came second says so; tags of both are kept."""
    write_run(tmp_path / "run", 0)

    def held() -> dict[str, object]:
        file = tmp_path / "run/.notes.yml"
        return dict(yaml.safe_load(file.read_text(encoding="utf-8"))) if file.exists() else {}

    with looking(tmp_path) as served:
        mine, theirs = open_page(f"{served.url}#runs"), open_page(f"{served.url}#runs")
        for page in (mine, theirs):
            row(page, "run").locator("button").click()
        for field, text in (("Tags", "theirs"), ("Note", "their note")):
            mine.get_by_label(field).fill(text.replace("their", "my"))
            theirs.get_by_label(field).fill(text)
            theirs.get_by_label(field).blur()
            wait_for(lambda name=field, text=text: text in str(held().get("tags" if name == "Tags" else "note")), True)
            mine.get_by_label(field).blur()
        conflict = mine.locator(".detail-conflict")
        expect(conflict.locator("pre")).to_have_text(["their note", "my note"])
        assert (held()["tags"], held()["note"]) == (["theirs", "mys"], "their note")
        conflict.get_by_role("button", name="Save mine instead").click()
        wait_for(lambda: held()["note"], "my note")
        expect(conflict).to_be_hidden()


def test_scripts_in_names_and_values_are_shown_as_text(site: Site, runs: Runs, open_page: Opened) -> None:
    """In the table, the run's details, the differences, groups, columns, tags, notes and saved views."""
    page = open_page(f"{site.url}#runs?s=name")
    row(page, "hostile").locator("button").click()
    title = page.title()
    page.get_by_label("Tags").fill(SCRIPT)
    page.get_by_label("Note").fill(SCRIPT)
    page.keyboard.press("Escape")
    expect(row(page, "hostile")).to_contain_text(SCRIPT)
    page.get_by_role("button", name="Differences").click()
    expect(page.locator(".compare-table")).to_contain_text(SCRIPT)
    page.get_by_label("Group by").select_option(f"p:{SCRIPT}.{SCRIPT}")
    expect(page.locator(".group").first).to_contain_text(SCRIPT)
    page.get_by_role("button", name="Views").click()
    page.get_by_label("Name of the view").fill(SCRIPT)
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(".saved-open")).to_have_text([SCRIPT])
    page.get_by_role("button", name=f"Delete the view {SCRIPT}").click()
    expect(page.locator(".saved-open")).to_have_count(0)
    assert page.title() == title
    assert page.locator("img:not(.mark), body script").count() == 0


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
