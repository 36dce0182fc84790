"""The calls of the page over a directory: what each answers, with what headers, and what hostile ones get."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
import requests
from viewing import README, SCRIPT, STEPS, Runs, looking, make_runs

from ml_logger.view.local import Site

COLUMNS = ("at", "count", "nan", "above", "below", "min", "max", "mean", "last")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    with make_runs(tmp_path_factory.mktemp("runs")) as made:
        yield made


@pytest.fixture(scope="module")
def site(runs: Runs) -> Iterator[Site]:
    with looking(runs.root) as site:
        yield site


def get(site: Site, call: str, **headers: str) -> requests.Response:
    shown = {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.get(site.url + call, headers=shown, timeout=30)


def asked(site: Site, **body: Any) -> tuple[dict[str, Any], list[dict[str, np.ndarray]]]:
    """Return the head of an answer with curves, and the columns of each series."""
    answer = requests.post(
        site.url + "view/api/curves", data=json.dumps(body), headers={"X-ML-Logger": "1"}, timeout=30
    )
    assert answer.status_code == 200, answer.text
    line, _, rest = answer.content.partition(b"\n")
    assert (len(line) + 1) % 4 == 0
    head = json.loads(line)
    series, offset = [], 0
    for one in head["series"]:
        n = one["buckets"]
        columns = {"index": np.frombuffer(rest, "<i4", n, offset)}
        for place, name in enumerate(COLUMNS):
            columns[name] = np.frombuffer(rest, "<f4", n, offset + 4 * n * (place + 1))
        series.append(columns)
        offset += 4 * n * (len(COLUMNS) + 1)
    assert offset == len(rest)
    return head, series


def test_the_page_and_its_files_are_kept_for_ever_under_their_version(site: Site) -> None:
    """The page names its files with a version; with it they may be kept, without it they are asked for again."""
    page = get(site, "")
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    again = get(site, "", If_None_Match=page.headers["ETag"])
    assert (again.status_code, again.content) == (304, b"")
    assert get(site, "view/static/index.html").headers["Cache-Control"] == "no-cache"
    assert get(site, "view/static/nothing.js").status_code == 404


def test_every_answer_forbids_what_no_page_needs(site: Site) -> None:
    """Strict policy, no sniffing, no referrer: on the page, on data, on errors alike."""
    for call in ("", "view/api/me", "view/api/runs", "view/api/run?run=nothing", "view/static/nothing.js"):
        headers = get(site, call).headers
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "script-src 'self';" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"


def test_runs_are_listed_with_how_they_are(site: Site) -> None:
    """Each run has its state, params and last values."""
    answer = get(site, "view/api/runs").json()
    lines = {line["path"]: line for line in answer["runs"]}
    states = {path: line["state"] for path, line in lines.items()}
    assert states == {
        **{f"sweep/lr={rate}": "finished" for rate in ("0.1", "0.01", "0.001")},
        "failed": "failed",
        "killed": "killed",
        "running": "running",
        "hostile": "finished",
    }
    assert lines["sweep/lr=0.1"]["params"]["model.optim.name"] == "adam"
    assert lines["sweep/lr=0.1"]["last"]["train/loss"] == "NaN"
    assert lines["sweep/lr=0.1"]["step"] == STEPS
    assert answer["is_whole"]


def test_a_run_is_shown_whole(site: Site) -> None:
    """A run has its keys, media by key, histograms and texts."""
    run = get(site, "view/api/run?run=" + quote("sweep/lr=0.1")).json()
    keys = {key["key"]: key for key in run["keys"]}
    assert keys["train/loss"] == {"key": "train/loss", "points": STEPS + 1, "first_step": 0, "last_step": STEPS}
    media = {(one["kind"], one["key"]): one["files"] for one in run["media"]}
    assert {("images", "sample"), ("videos", "rollout"), ("tensors", "layer/w"), ("modules", "net")} <= media.keys()
    assert [file["step"] for file in media["images", "sample"]] == [0, 40, 80, 120, 160]
    assert run["histograms"] == ["grad", "layer/w"]
    assert "sweep/lr=0.1/text.log" in run["texts"]
    assert run["readme"]
    picture = get(site, "view/files/" + quote(media["images", "sample"][0]["path"]))
    assert picture.headers["Content-Type"] == "image/png"
    assert picture.content.startswith(b"\x89PNG")


def test_curves_come_in_buckets_of_one_grid(site: Site) -> None:
    """Where there is room every point is drawn where it is, and NaN is counted."""
    head, (loss, accuracy) = asked(
        site, series=[["sweep/lr=0.1", "train/loss"], ["running", "train/accuracy"]], buckets=800
    )
    assert head["width"] <= 1
    steps = head["origin"] + (loss["index"] + loss["at"]) * head["width"]
    assert steps.tolist() == list(range(STEPS + 1))
    assert loss["count"].sum() == STEPS + 1
    assert loss["nan"].tolist() == [0] * STEPS + [1]
    assert np.isnan(loss["last"][-1])
    assert accuracy["last"][1] == pytest.approx(1 / 51)


def test_texts_are_read_from_where_one_was(site: Site) -> None:
    """The end of a text comes with its place, and from there on nothing comes again."""
    path = quote("sweep/lr=0.1/text.log")
    end = get(site, f"view/api/text?path={path}").json()
    assert "漢字 🚀" in end["text"]
    assert end["end"] == end["size"]
    more = get(site, f"view/api/text?path={path}&offset={end['end']}").json()
    assert (more["text"], more["offset"]) == ("", end["end"])


def test_a_file_of_a_run_is_served_in_a_sandbox(site: Site) -> None:
    """Neither a page nor a picture with scripts can run as the site."""
    for name in ("page.html", "picture.svg", "text.log"):
        answer = get(site, f"view/files/hostile/{name}")
        assert answer.headers["Content-Security-Policy"].startswith("sandbox;")
        assert "allow-scripts" not in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    part = get(site, "view/files/sweep/README.md", Range="bytes=2-10")
    assert (part.status_code, part.text) == (206, README[2:11])


@pytest.mark.parametrize(
    ("call", "status"),
    [
        ("view/api/run", 404),
        ("view/api/run?run=../etc", 400),
        ("view/api/run?run=nothing", 404),
        ("view/api/text", 400),
        ("view/api/text?path=/etc/passwd", 400),
        ("view/api/text?path=running/text.log&offset=-1", 400),
        ("view/api/text?path=running/metrics.jsonl&offset=99999999999999999999", 400),
        ("view/api/list?folder=a/../..", 400),
        ("view/files/..%2f..%2fetc/passwd", 400),
        ("view/files/%2e%2e/%2e%2e/etc/passwd", 400),
        ("view/files/running", 404),
        ("view/files/%ff", 400),
        ("view/files/a%00b", 400),
    ],
)
def test_hostile_calls_get_one_line(site: Site, call: str, status: int) -> None:
    """What leads out, is no path or no number is refused with its reason, and never with a trace."""
    with requests.Session() as session:  # as it is: requests itself would take .. out
        wish = requests.Request("GET", site.url).prepare()
        wish.url = site.url + call
        answer = session.send(wish, timeout=30)
    assert answer.status_code == status
    assert "\n" not in answer.json()["error"]


def test_who_comes_by_a_foreign_name_is_turned_away(site: Site) -> None:
    """A name that somebody else's DNS leads to loopback opens nothing."""
    assert get(site, "view/api/runs", Host="evil.example").status_code == 403
    assert get(site, "view/api/runs", Host="localhost:1234").status_code == 200
    assert get(site, "view/api/runs", Host="[::1]:80").status_code == 200


def test_names_of_a_hostile_run_are_only_text(site: Site) -> None:
    """Scripts in names come through unchanged, as JSON."""
    run = get(site, "view/api/run?run=hostile").json()
    assert SCRIPT in {key["key"] for key in run["keys"]}
    assert run["params"][f"{SCRIPT}.{SCRIPT}"] == SCRIPT


def test_the_page_tells_who_looks(site: Site, runs: Runs) -> None:
    """Without tokens everybody may do everything, without a login."""
    me = get(site, "view/api/me").json()
    assert (me["needs_login"], me["is_receiver"], me["title"]) == (False, False, Path(runs.root).name)
    assert set(me["rights"]) == {"read", "write", "delete"}
