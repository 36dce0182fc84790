"""What stands around the page's views, in a browser: the URL, saved views, who looks, and a server that comes and goes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from browser import PHONE, Opened
from playwright.sync_api import expect
from processes import TOKEN, Commands
from runs_table import GONE, colour, expect_paths, paths, picked, row, type_filter, wait_for, write_run
from viewing import RATES, Runs, looking, make_runs

from ml_logger.view.local import Site

SWEEP = [f"sweep/lr={rate}" for rate in RATES]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    with make_runs(tmp_path_factory.mktemp("runs")) as made:
        yield made


@pytest.fixture(scope="module")
def site(runs: Runs) -> Iterator[Site]:
    with looking(runs.root) as served:
        yield served


def test_a_server_that_is_back_is_soon_seen(site: Site, open_page: Opened) -> None:
    """However long it was away, it is asked again within some seconds."""
    page = open_page(site.url)
    script = """async () => {
      const { poll } = await import("./view/static/api.js");
      const waits = [], after = window.setTimeout;
      const end = new AbortController();
      await new Promise((done) => {
        window.setTimeout = (act, ms) => (waits.push(ms), after(act, 0));
        let calls = 0;
        poll(async () => (++calls === 20 && (end.abort(), done()), false), 1000, end.signal);
      });
      window.setTimeout = after;
      return Math.max(...waits);
    }"""
    assert page.evaluate(script) <= 5000


def test_a_link_shows_a_colleague_the_same(site: Site, open_page: Opened) -> None:
    """Filter, order, groups, picks and their colours; what is copied names the picks even if nobody chose them."""
    page = open_page(f"{site.url}#runs?q=lr&s=-p:seed&g=state")
    row(page, SWEEP[0]).wait_for()
    colours = {path: colour(page, path) for path in SWEEP}
    page.evaluate("navigator.clipboard.writeText = async (text) => { window.copied = text }")
    page.get_by_role("button", name="Copy link").click()
    wait_for(lambda: page.evaluate("Boolean(window.copied)"), True)
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


def test_views_are_saved_by_name_beside_the_data(site: Site, runs: Runs, open_page: Opened) -> None:
    """A saved view is there for everybody, opens as it was, and can be deleted."""
    page = open_page(f"{site.url}#runs?q=sweep&s=p:seed")
    row(page, SWEEP[0]).wait_for()
    page.get_by_role("button", name="Views").click()
    page.get_by_label("Name of the view").fill("by seed")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(".saved-open")).to_have_text(["by seed"])
    assert yaml.safe_load((runs.root / ".charts.yml").read_text(encoding="utf-8"))["views"][0]["name"] == "by seed"
    other = open_page(site.url)
    other.get_by_role("button", name="Views").click()
    other.get_by_role("button", name="by seed", exact=True).click()
    expect_paths(other, SWEEP)
    other.get_by_role("button", name="Views").click()
    other.get_by_role("button", name="Delete the view by seed").click()
    expect(other.locator(".saved-open")).to_have_count(0)


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
        page.get_by_role("tab", name="Params").click()
        expect(page.locator(".rail-run.gone")).to_contain_text("run-1")
        page.locator(".rail-run.gone").hover()
        page.get_by_role("button", name="Let go of run-1").click()
        expect(page.locator(".rail-run")).to_have_count(2)


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


@pytest.mark.parametrize("is_dark", [False, True])
def test_a_phone_shows_it_without_scrolling_sideways(site: Site, open_page: Opened, is_dark: bool) -> None:
    """The table scrolls in itself, a run opens over it; dark and light have grounds of their own."""
    page = open_page(site.url, size=PHONE, is_dark=is_dark)
    row(page, "failed").locator("button").tap()
    expect(page.get_by_label("Run", exact=True)).to_be_visible()
    assert page.evaluate("[document.documentElement.scrollWidth, innerWidth]") == [PHONE[0], PHONE[0]]
    ground = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert ground == ("rgb(14, 17, 22)" if is_dark else "rgb(255, 255, 255)")


def test_a_receiver_asks_for_a_token(commands: Commands, tmp_path: Path, open_page: Opened) -> None:
    """A wrong token is told of, a right one lets in and stays, until one logs out or it is not good any more."""
    open_page.tolerate("status of 401")
    write_run(tmp_path / "data" / "first", 1)
    page = open_page(commands.start_receiver(tmp_path / "data").url)
    page.get_by_label("Token").fill("wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_have_text("This token is not known here.")
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Log in").click()
    expect(row(page, "first")).to_be_visible()
    page.reload()
    expect(row(page, "first")).to_be_visible()
    assert page.evaluate("document.cookie") == ""
    page.context.clear_cookies()
    expect(page.get_by_role("alert")).to_contain_text("no longer valid")
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Log in").click()
    expect(row(page, "first")).to_be_visible()
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("Token")).to_be_visible()
