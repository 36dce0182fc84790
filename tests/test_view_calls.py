"""The calls of the page over a directory: what each answers, with what headers, and what hostile ones get."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import numpy as np
import pytest
import requests
import yaml
from processes import wait_until
from viewing import RATES, README, SCRIPT, STEPS, Runs, looking, make_runs

from ml_logger import ML_Logger
from ml_logger.files import LocalFiles
from ml_logger.view import array_scan, assets, curves, tensor
from ml_logger.view.index import RunIndex
from ml_logger.view.local import Site
from ml_logger.view.open_runs import OpenRuns
from ml_logger.view.yaml_entries import with_entries

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


def listed(site: Site, since: int | None = None) -> dict[str, Any]:
    """Return the lines of the runs by their paths, of those that changed since a version if one is given."""
    call = "view/api/runs" if since is None else f"view/api/runs?since={since}"
    return {line["path"]: line for line in get(site, call).json()["runs"]}


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
    assert run["histograms"] == ["layer/w", "grad"]
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


def test_a_range_without_points_has_no_buckets(site: Site) -> None:
    """A series that has nothing in the range asked for, or no such key, is no error."""
    wanted = [["sweep/lr=0.1", "train/loss"], ["sweep/lr=0.1", "no such key"], ["no such run", "loss"]]
    head, series = asked(site, series=wanted, **{"from": 10_000, "to": 20_000})
    assert all(one["buckets"] == 0 for one in head["series"])
    assert all(len(columns["index"]) == 0 for columns in series)


def test_texts_are_read_from_where_one_was(site: Site) -> None:
    """The end of a text comes with its place, and from there on nothing comes again."""
    path = quote("sweep/lr=0.1/text.log")
    end = get(site, f"view/api/text?path={path}").json()
    assert "漢字 🚀" in end["text"]
    assert end["end"] == end["size"]
    more = get(site, f"view/api/text?path={path}&offset={end['end']}").json()
    assert (more["text"], more["offset"]) == ("", end["end"])


def test_a_text_that_took_the_place_of_another_is_told_from_it(tmp_path: Path) -> None:
    """Who goes on with a mark hears of other bytes before that place, shorter or longer, and of none where the text grew."""
    log, lines = tmp_path / "app.log", "".join(f"line {number}\n" for number in range(500))
    log.write_text(lines)
    with looking(tmp_path) as site:
        end = get(site, "view/api/text?path=app.log").json()
        call = f"view/api/text?path=app.log&offset={end['end']}&mark={end['mark']}"
        assert not get(site, call).json()["is_other"]
        log.write_text(lines + "more\n")
        more = get(site, call).json()
        assert (more["is_other"], more["text"]) == (False, "more\n")
        assert more["mark"] == get(site, "view/api/text?path=app.log").json()["mark"]
        for other in (lines.replace("line", "LINE") + "more\n", "L" + lines[1:] + "more\n", "short\n", ""):
            log.write_text(other)
            found = get(site, call).json()
            assert (found["is_other"], found["text"]) == (True, "")


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


def test_histograms_come_thinned(site: Site) -> None:
    """Of many the first and the last stay, and how many there are is told."""
    call = "view/api/histograms?run=" + quote("sweep/lr=0.1") + "&key=" + quote("layer/w", safe="")
    found = get(site, call).json()
    assert (found["steps"], found["total"]) == ([0, 40, 80, 120, 160], 5)
    assert [(len(c), len(e)) for c, e in zip(found["counts"], found["edges"], strict=True)] == [(24, 25)] * 5
    assert get(site, call + "&most=2").json()["steps"] == [0, 160]
    assert get(site, call + "&most=0").json()["total"] == 5
    assert get(site, call + "&most=999999").status_code == 400


def test_a_tensor_is_told_without_its_numbers(site: Site, runs: Runs) -> None:
    """Shape, type and statistics; a heat map of two axes, small enough for any size; special floats are words."""
    call = "view/api/tensor?path=" + quote("sweep/lr=0.1/")
    found = get(site, call + quote("tensors/layer%2Fw/0040.npy")).json()
    assert (found["shape"], found["dtype"]) == ([24, 40], "float64")
    assert (found["heat"]["rows"], found["heat"]["columns"]) == (24, 40)
    module = get(site, call + "modules/net/0040.npz&name=w").json()
    assert (module["names"], module["name"], module["shape"]) == (["w", "b"], "w", [3, 4])
    assert get(site, call + "modules/net/0040.npz&name=nothing").status_code == 404
    wide = np.ones((3, 1000))
    wide[0, 0], wide[1, 999] = np.inf, np.nan
    np.save(runs.root / "wide.npy", wide)
    heat = get(site, "view/api/tensor?path=wide.npy").json()
    assert (heat["heat"]["rows"], heat["heat"]["columns"]) == (3, 256)
    assert (heat["heat"]["values"][0][0], heat["heat"]["values"][1][255]) == ("Infinity", "NaN")
    assert heat["stats"] == {"min": 1, "max": 1, "mean": 1, "std": 0, "nan": 1, "inf": 1}


@pytest.mark.parametrize("dtype", ["f8", ">f4", "i1", "?", "g"])
@pytest.mark.parametrize("shape", [(700, 300), (2, 5000), (5000, 2), (4000,), (3, 40, 50), ()])
@pytest.mark.parametrize("order", ["C", "F"])
def test_an_array_is_told_in_pieces_as_it_is_whole(
    monkeypatch: pytest.MonkeyPatch, dtype: str, shape: tuple[int, ...], order: Literal["C", "F"]
) -> None:
    """Statistics and heat map don't depend on where the pieces end, on the type, or on which axis lies first."""
    monkeypatch.setattr(array_scan, "PIECE", 900)
    array = np.asarray((np.random.default_rng(1).normal(size=shape) * 40).astype(dtype), order=order)
    read = io.BytesIO(array.tobytes(order="F" if order == "F" else "C")).read
    found = array_scan.summary_of(read, array.dtype, shape, is_fortran=order == "F")
    floats = array.astype(np.float64)
    facts = [floats.min(), floats.max(), floats.mean(), floats.std()]
    assert np.allclose([found["stats"][name] for name in ("min", "max", "mean", "std")], facts, rtol=1e-9)
    assert (found["heat"] is None) == (len(shape) != 2)
    if found["heat"]:
        rows, columns = (np.arange(cells) * n // cells for n in shape for cells in [min(n, 256)])
        sums = np.add.reduceat(np.add.reduceat(floats, rows), columns, axis=1)
        counts = np.diff(rows, append=shape[0])[:, None] * np.diff(columns, append=shape[1])
        assert np.allclose(found["heat"]["values"], sums / counts)


def test_numbers_near_the_largest_have_a_mean() -> None:
    """No sum on the way passes the largest float."""
    array = np.full(10, 1.5e308)
    stats = array_scan.summary_of(io.BytesIO(array.tobytes()).read, array.dtype, array.shape, is_fortran=False)["stats"]
    assert stats["mean"] == pytest.approx(1.5e308)


@pytest.mark.parametrize("name", ["big.npy", "big.npz"])
def test_a_large_array_takes_little_memory(tmp_path: Path, name: str) -> None:
    """Of 32 million bytes, packed or not, a few MiB are held at a time."""
    with (tmp_path / "big.npy").open("wb") as file:
        header = {"descr": "|i1", "fortran_order": False, "shape": (4000, 8000)}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + 32_000_000)
    with zipfile.ZipFile(tmp_path / "big.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.write(tmp_path / "big.npy", "a.npy")
    tracemalloc.start()
    found = json.loads(tensor.tensor(LocalFiles(tmp_path), name, None).body)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found["stats"]["max"] == 0
    assert peak < 16 << 20


def test_what_is_no_plain_array_is_refused(site: Site, runs: Runs) -> None:
    """Pickled objects are never loaded, and other bytes are no array."""
    np.save(runs.root / "pickled.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (runs.root / "cut.npz").write_bytes(b"PK\x03\x04 no archive")
    np.save(runs.root / "cut.npy", np.arange(1000))
    os.truncate(runs.root / "cut.npy", 4000)
    with zipfile.ZipFile(runs.root / "bomb.npz", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.npy", bytes(1000))
    for path in ("pickled.npy", "cut.npz", "cut.npy", "bomb.npz", "running/metrics.jsonl"):
        assert get(site, f"view/api/tensor?path={path}").status_code == 400


def test_a_readme_is_markdown_and_nothing_else(site: Site) -> None:
    """Tables are drawn, HTML is shown as text, and no link runs a script."""
    html = get(site, "view/api/readme?folder=sweep").json()["html"]
    assert "<table>" in html
    assert "&lt;script&gt;" in html
    assert "<script" not in html
    hostile = get(site, "view/api/readme?folder=hostile").json()["html"]
    assert "<img" not in hostile
    assert 'href="javascript' not in hostile
    assert get(site, "view/api/readme?folder=running").status_code == 404


def test_links_of_a_readme_lead_to_the_files_beside_it(site: Site, runs: Runs) -> None:
    """Relative links and pictures are those of the folder; what leads out of everything stays as it is."""
    text = "![a](images/x.png) [b](../c.txt) [d](https://e.org) [f](../../../etc/passwd)"
    folder = runs.root / "linked" / "deep"
    folder.mkdir(parents=True)
    (folder / "README.md").write_text(text)
    html = get(site, "view/api/readme?folder=linked/deep").json()["html"]
    assert 'src="view/files/linked/deep/images/x.png"' in html
    assert 'href="view/files/linked/c.txt"' in html
    assert 'href="https://e.org" rel="noopener noreferrer" target="_blank"' in html
    assert 'href="../../../etc/passwd"' in html


def test_pictures_from_outside_are_links(site: Site, runs: Runs) -> None:
    """What the page's policy lets nobody load is a link to it, or just its name within a link or where it leads nowhere."""
    text = "![a <b>](https://e.org/x.png) [![badge](https://e.org/y.svg)](https://e.org) ![up](../../../x.png) ![in](x.png)"
    (runs.root / "pictures").mkdir()
    (runs.root / "pictures" / "README.md").write_text(text)
    html = get(site, "view/api/readme?folder=pictures").json()["html"]
    assert re.findall("<img[^>]*>", html) == ['<img src="view/files/pictures/x.png" alt="in" />']
    tab = 'rel="noopener noreferrer" target="_blank"'
    assert f'<a href="https://e.org/x.png" {tab}>a &lt;b&gt;</a>' in html
    assert f'<a href="https://e.org" {tab}>badge</a> up ' in html


def test_raw_data_comes_as_csv(site: Site) -> None:
    """A row for each record with any of the keys; what it lacks is empty, a NaN that was logged is written."""
    call = "view/api/csv?run=" + quote("sweep/lr=0.1") + "&key=train/loss&key=val/loss"
    answer = get(site, call)
    lines = answer.text.splitlines()
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert lines[0] == "step,timestamp,train/loss,val/loss"
    assert len(lines) == 1 + STEPS + STEPS // 10 + 1
    assert lines[-1].split(",")[2:] == ["NaN", "Infinity"]
    assert lines[1].endswith(",")
    head = get(site, "view/api/csv?run=" + quote("sweep/lr=0.1")).text.splitlines()[0].split(",")
    assert head[:2] == ["step", "timestamp"]
    assert set(head[2:]) == {"train/loss", "train/accuracy", "val/loss", "lr"}
    assert get(site, "view/api/csv?run=nothing&key=a").status_code == 404


def put(site: Site, call: str, body: Any, **headers: str) -> requests.Response:
    shown = {"X-ML-Logger": "1"} | {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.put(site.url + call, data=json.dumps(body), headers=shown, timeout=30)


def test_notes_are_kept_in_the_run_and_nobody_overwrites_anothers(site: Site, runs: Runs) -> None:
    """Notes come back as they were put, with a version; in place of another version they are refused."""
    call = "view/api/notes?run=failed"
    empty = get(site, call).json()
    assert empty == {"pinned": False, "tags": [], "note": "", "version": ""}
    mine = {"pinned": True, "tags": ["good", "<b>"], "note": "Größe 漢字\nsecond line", "version": ""}
    kept = put(site, call, mine).json()
    assert {**kept, "version": ""} == mine
    assert put(site, call, {**mine, "note": "late"}).status_code == 409
    assert put(site, call, {**kept, "note": "next"}).status_code == 200
    now = get(site, call).json()
    wait_until(lambda: listed(site)["failed"]["notes"] == now)
    assert (runs.root / "failed" / ".notes.yml").read_text().startswith("pinned: true\n")
    assert put(site, "view/api/notes?run=sweep", mine).status_code == 404  # no run


def test_saved_views_are_kept_beside_the_data(site: Site, runs: Runs) -> None:
    """Views and charts come back; a hand-written file counts as far as it fits, and references in it are not read."""
    body = {"views": [{"name": "all", "hash": "#runs&q=x"}], "charts": ["loss", {"y": "accuracy"}], "version": ""}
    kept = put(site, "view/api/charts?folder=sweep", body).json()
    assert {**kept, "version": ""} == body
    file = runs.root / ".charts.yml"
    file.write_text("charts:\n- loss\n- {yKey: acc, xKey: step}\n- 7\nviews: none\n")
    found = get(site, "view/api/charts").json()
    assert (found["charts"], found["views"]) == (["loss", {"yKey": "acc", "xKey": "step"}], [])
    file.write_text("a: &a [x, x]\nb: &b [*a, *a]\ncharts: [{k: *b}]\n")
    assert get(site, "view/api/charts").json()["charts"] == []
    file.unlink()


HAND_WRITTEN = """# Ours, by hand
keys: [seed, lr]   # what to group by
views:
- name: old   # the first
  hash: '#runs'
  by: ann
- {what: else}
# about the charts
charts:
- loss  # the one
- 7
- {type: file, glob: '*.txt'}
layout: {columns: 3}
# the end
"""


def test_saving_a_view_leaves_all_else_of_the_file(site: Site, runs: Runs) -> None:
    """Other entries, entries of lists that fit nothing here, and comments stay; so does what somebody refers to."""
    file, call = runs.root / "sweep" / ".charts.yml", "view/api/charts?folder=sweep"
    file.write_text(HAND_WRITTEN)
    found = get(site, call).json()
    view = {"name": "new", "hash": "#curves"}
    assert put(site, call, {**found, "views": [*found["views"], view]}).json()["views"] == [*found["views"], view]
    text = file.read_text()
    before = yaml.safe_load(HAND_WRITTEN)
    old, other = before["views"]
    assert yaml.safe_load(text) == {**before, "views": [old, view, other]}
    for comment in ("# Ours, by hand", "# what to group by", "# about the charts", "# the one", "# the end"):
        assert comment in text
    assert put(site, call, {"views": [], "charts": []}).status_code == 200
    assert yaml.safe_load(file.read_text()) == {
        "keys": ["seed", "lr"],
        "views": [{"what": "else"}],
        "charts": [7],
        "layout": {"columns": 3},
    }
    for unreadable in ("- a list", "a: [", "a: &a [1]\nb: *a\n", "x" * (300 << 10)):
        file.write_text(unreadable)
        assert put(site, call, {"views": [view]}).status_code in (409, 413)
        assert file.read_text() == unreadable
    file.unlink()


@pytest.mark.parametrize(
    "text", ["", "# only words", "a: 1", "a: 1\n---\n", "{a: 1, note: old}", "note: |\n  x\n\n# c\na: 1\n"]
)
def test_an_entry_is_changed_in_any_form_of_a_mapping(text: str) -> None:
    """In whatever form a file is, the entry has its new value and the others have theirs; a file of two documents is none."""
    if "---" in text:
        with pytest.raises(ValueError, match="document"):
            with_entries(text, {"note": "new"})
        return
    before = yaml.safe_load(text) or {}
    assert yaml.safe_load(with_entries(text, {"note": "new"})) == {**before, "note": "new"}
    assert with_entries(with_entries(text, {"note": "new"}), {"note": "new"}) == with_entries(text, {"note": "new"})


def test_charts_are_those_of_the_nearest_file_above(site: Site, runs: Runs) -> None:
    """For each folder the nearest file with charts counts, each once; one with saved views alone is passed over."""
    for folder, text in (("", "charts: [top]"), ("sweep", "charts: [near]"), ("sweep/lr=0.1", "views: []")):
        (runs.root / folder / ".charts.yml").write_text(text)
    above = [
        get(site, "view/api/charts?above=" + "&above=".join(map(quote, folders))).json()["charts"]
        for folders in (["sweep/lr=0.1"], ["sweep", "sweep/lr=0.01"], ["running"], ["", "sweep"], ["nothing/there"])
    ]
    assert above == [["near"], ["near"], ["top"], ["top", "near"], ["top"]]
    assert get(site, "view/api/charts?above=../x").status_code == 400
    for folder in ("", "sweep", "sweep/lr=0.1"):
        (runs.root / folder / ".charts.yml").unlink()


def test_what_changes_something_wants_a_header_that_no_form_can_send(site: Site) -> None:
    """Without it a PUT or POST is refused, and so is a body that is no object."""
    bare = requests.put(site.url + "view/api/notes?run=failed", data="{}", timeout=30)
    assert bare.status_code == 403
    assert requests.post(site.url + "view/api/curves", data="{}", timeout=30).status_code == 403
    assert put(site, "view/api/notes?run=failed", [1]).status_code == 400
    assert put(site, "view/api/notes?run=../failed", {}).status_code == 400
    assert put(site, "view/api/notes?run=failed", {"note": "x" * 2_000_000}).status_code == 413


def test_a_poll_tells_what_is_new_and_nothing_else(site: Site, runs: Runs) -> None:
    """What a run logs shows in the list of what changed since the last version, with a higher one of its own."""
    before = get(site, "view/api/runs").json()
    last = runs.log_more()

    def is_seen() -> bool:
        return listed(site, before["version"]).get("running", {}).get("step") == last

    wait_until(is_seen)
    after = get(site, f"view/api/runs?since={before['version']}").json()
    assert [line["path"] for line in after["runs"]] == ["running"]
    assert not after["is_whole"]
    assert before["version"] < after["runs"][0]["version"] <= after["version"]
    assert get(site, f"view/api/runs?since={after['version']}").json()["runs"] == []


@pytest.mark.parametrize("since", [0, 1, 2**53])
def test_a_version_of_something_else_is_answered_with_everything(site: Site, since: int) -> None:
    """Who comes from another server, or from before its start, gets the whole list."""
    answer = get(site, f"view/api/runs?since={since}").json()
    assert answer["is_whole"]
    assert len(answer["runs"]) == 7


def test_a_run_that_is_deleted_is_gone(site: Site, runs: Runs) -> None:
    """A poll names it, and calls about it say that it is not there; one that comes is listed."""
    shutil.copytree(runs.root / "failed", runs.root / "passing")
    wait_until(lambda: "passing" in listed(site))
    version = get(site, "view/api/runs").json()["version"]
    assert get(site, "view/api/run?run=passing").status_code == 200
    shutil.rmtree(runs.root / "passing")
    assert get(site, "view/api/run?run=passing").status_code == 404
    wait_until(lambda: get(site, f"view/api/runs?since={version}").json()["gone"] == ["passing"])
    assert asked(site, series=[["passing", "train/loss"]])[1] == []


def test_curves_bring_only_what_is_new(site: Site, runs: Runs) -> None:
    """With a grid and cursors a series without news is left out, and one with news begins at the first changed bucket."""
    series = [["sweep/lr=0.1", "train/loss"], ["running", "train/loss"]]
    runs.log_more(1 + runs.next_step % 2)  # so that the next point falls into a bucket that has one
    head, (_, before) = asked(site, series=series, buckets=100)
    known = {"buckets": 100, "origin": head["origin"], "width": head["width"], "seen": head["cursors"]}
    assert asked(site, series=series, **known)[1] == []
    last = runs.log_more(3)
    again, (tail,) = asked(site, series=series, **known)
    assert (head["width"], tail["count"][0]) == (2, 2)
    assert again["series"][0] | {"buckets": 0, "points": 0} == {
        "run": 1,
        "key": 0,
        "buckets": 0,
        "points": 0,
        "is_tail": True,
    }
    _, (whole,) = asked(site, series=series[1:], **(known | {"seen": {}}))
    kept = before["index"] < tail["index"][0]
    for name in ("index", *COLUMNS):
        joined = np.concatenate([before[name][kept], tail[name]])
        assert np.array_equal(joined, whole[name], equal_nan=True), name
    assert again["origin"] + (tail["index"][-1] + tail["at"][-1]) * again["width"] == last


@pytest.mark.parametrize("x", ["time", "relative"])
def test_curves_over_time(site: Site, x: str) -> None:
    """Points lie at their times, since the epoch or since the first of the run."""
    head, (loss,) = asked(site, series=[["sweep/lr=0.1", "train/loss"]], x=x, buckets=50)
    assert loss["count"].sum() == STEPS + 1
    assert len(loss["index"]) <= 51
    assert (head["from"] == 0) == (x == "relative")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"series": "x"},
        {"series": [["running"]]},
        {"series": [["running", 1]]},
        {"series": [["../x", "loss"]]},
        {"series": [["running", "train/loss"]], "x": "y"},
        {"series": [["running", "train/loss"]], "buckets": 0},
        {"series": [["running", "train/loss"]], "buckets": 1e9},
        {"series": [["running", "train/loss"]], "buckets": True},
        {"series": [["running", "train/loss"]], "from": "a"},
        {"series": [["running", "train/loss"]], "from": [1e300]},
        {"series": [["running", "train/loss"]], "origin": 0, "width": 3},
        {"series": [["running", "train/loss"]], "origin": 0, "width": -1},
        {"series": [["running", "train/loss"]], "seen": {"running": 1}},
        {"series": [["running", "a"]] * 3000},
    ],
)
def test_requests_for_curves_that_make_no_sense_are_refused(site: Site, body: dict[str, Any]) -> None:
    """Every field may be anything: what is none gets 400 and one line."""
    answer = requests.post(
        site.url + "view/api/curves", data=json.dumps(body), headers={"X-ML-Logger": "1"}, timeout=30
    )
    assert answer.status_code == 400, answer.text
    assert "\n" not in answer.json()["error"]


def test_what_is_asked_for_twice_comes_once(site: Site) -> None:
    """A pair of run and key that is named again and again is one series."""
    head, _ = asked(site, series=[["running", "train/loss"]] * 2000, buckets=10_000)
    assert [one["run"] for one in head["series"]] == [0]


def test_all_series_together_are_cut_into_a_bounded_number_of_buckets(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there are many each has fewer; a grid of the client's that is too fine is refused with 413 and the bound."""
    monkeypatch.setattr(curves, "MOST_IN_ALL", 40)
    series = [[f"sweep/lr={rate}", key] for rate in RATES[:2] for key in ("train/loss", "train/accuracy")]
    head, found = asked(site, series=series, buckets=800)
    assert len(found) == 4
    assert all(2 < len(one["index"]) <= 11 for one in found)
    assert all(one["points"] >= STEPS for one in head["series"])
    body = {"series": series, "origin": 0, "width": 1}
    answer = requests.post(
        site.url + "view/api/curves", data=json.dumps(body), headers={"X-ML-Logger": "1"}, timeout=30
    )
    assert answer.status_code == 413
    assert "more than 80 buckets" in answer.json()["error"]


def test_steps_of_any_size_are_drawn(site: Site, runs: Runs) -> None:
    """Steps at both ends of what a float holds lie in buckets, and the answer's ends and grid may be sent back."""
    far = [-1.5e308, 0.0, 1.5e308]
    (runs.root / "far").mkdir()
    lines = [json.dumps({"_step": step, "_timestamp": 1.0, "loss": 2.0}) + "\n" for step in far]
    (runs.root / "far" / "metrics.jsonl").write_text("".join(lines))
    head, (loss,) = asked(site, series=[["far", "loss"]], buckets=100)
    halves = head["origin"] / 2 + (loss["index"] + loss["at"].astype(float)) * (head["width"] / 2)
    assert np.allclose(halves, np.array(far) / 2, atol=head["width"] / 1e6)
    again = {name: head[name] for name in ("from", "to", "origin", "width")}
    assert asked(site, series=[["far", "loss"]], **again)[1][0]["index"].tolist() == loss["index"].tolist()
    shutil.rmtree(runs.root / "far")


def test_steps_that_are_one_float_are_drawn(site: Site, runs: Runs) -> None:
    """Ten steps past what a float tells apart are ten points of one bucket, whatever the values are."""
    (runs.root / "one-float").mkdir()
    lines = [f'{{"_step":{2**60 + n},"_timestamp":1.0,"loss":{n},"giant":1e400}}\n' for n in range(10)]
    (runs.root / "one-float" / "metrics.jsonl").write_text("".join(lines))
    head, (loss, giant) = asked(site, series=[["one-float", "loss"], ["one-float", "giant"]], buckets=100)
    assert [one["points"] for one in head["series"]] == [10, 10]
    assert (loss["count"].tolist(), loss["max"].tolist(), giant["above"].tolist()) == ([10], [9], [10])
    shutil.rmtree(runs.root / "one-float")


def test_no_agent_is_heard_without_a_receiver(site: Site) -> None:
    """A directory of this machine has no agents to tell of."""
    assert get(site, "view/api/agents").json() == {"agents": []}


@pytest.mark.parametrize(
    ("accepted", "encoding"), [("gzip, zstd", "zstd"), ("gzip;q=0.5", "gzip"), ("zstd;q=0, br", None)]
)
def test_answers_come_as_small_as_the_browser_takes_them(site: Site, accepted: str, encoding: str | None) -> None:
    """zstd, else gzip, else as it is; each has a tag of its own, and is not sent again to who has it."""
    call = "view/api/run?run=" + quote("sweep/lr=0.1")
    answer = requests.get(site.url + call, headers={"Accept-Encoding": accepted}, timeout=30, stream=True)
    assert answer.headers.get("Content-Encoding") == encoding
    assert "Accept-Encoding" in answer.headers["Vary"]
    shown = {"Accept-Encoding": accepted, "If-None-Match": f'"x", {answer.headers["ETag"]}'}
    answer.close()
    assert requests.get(site.url + call, headers=shown, timeout=30).status_code == 304
    plain = requests.get(
        site.url + call, headers={"If-None-Match": answer.headers["ETag"], "Accept-Encoding": ""}, timeout=30
    )
    assert plain.status_code == (304 if encoding is None else 200)


def test_a_head_is_the_head_alone(site: Site) -> None:
    """HEAD of the page, of data and of a file has the headers of the answer and no body."""
    for call in ("", "view/api/me", "view/files/sweep/README.md", "view/static/app.js"):
        whole = requests.get(site.url + call, headers={"Accept-Encoding": ""}, timeout=30)
        head = requests.head(site.url + call, headers={"Accept-Encoding": ""}, timeout=30)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["ETag"] == whole.headers["ETag"]
        assert head.headers["Content-Length"] == whole.headers["Content-Length"]


def test_modules_name_each_other_with_the_version_of_all(site: Site) -> None:
    """The page and its modules ask for files that may be kept for ever; another version is not kept."""
    page = get(site, "").text
    match = re.search(r'view/static/app\.js\?v=([0-9a-f]{16})"', page)
    assert match is not None
    module = get(site, f"view/static/app.js?v={match[1]}")
    assert "immutable" in module.headers["Cache-Control"]
    assert module.headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert f'"./api.js?v={match[1]}"' in module.text
    assert get(site, "view/static/app.js?v=0").headers["Cache-Control"] == "no-cache"
    for name in ("../page.py", "%2e%2e%2fpage.py", "jsconfig.json", "."):
        assert requests.get(f"{site.url}view/static/{name}", timeout=30).status_code in (403, 404)


def test_all_modules_of_the_page_are_asked_for_at_once(site: Site) -> None:
    """Links to each that its scripts import; to those of curves others, which are followed where the URL leads there."""
    page = get(site, "").text
    at_once = set(re.findall(r'<link rel="modulepreload" href="view/static/([\w.]+)\?v=', page))
    for_curves = set(re.findall(r'<link data-for="curves" href="view/static/([\w.]+)\?v=', page))
    assert at_once == _imported_by(site, "app.js", "early.js")
    assert for_curves == _imported_by(site, "curves_view.js") - at_once
    assert {"app.js", "runs_view.js", "dom.js"} <= at_once
    assert {"curves_view.js", "chart.js"} <= for_curves
    assert "<!--" not in page


def _imported_by(site: Site, *names: str) -> set[str]:
    """Return `names` and the modules that the statements at the begin of each import."""
    found, left = set(names), list(names)
    while left:
        text = get(site, f"view/static/{left.pop()}").text
        new = set(re.findall(r'^import (?:[^"]* from )?"\./([\w.]+)\?v=', text, re.MULTILINE)) - found
        found |= new
        left += new
    return found


def test_plotly_is_served_as_it_is_installed(site: Site) -> None:
    """plotly.js comes compressed and may be kept; it is not sent again."""
    pytest.importorskip("plotly")
    answer = get(site, "view/plotly.js", Accept_Encoding="gzip")
    assert answer.headers["Content-Encoding"] == "gzip"
    assert answer.text.startswith("/**\n* plotly.js v")
    again = get(site, "view/plotly.js", Accept_Encoding="gzip", If_None_Match=answer.headers["ETag"])
    assert again.status_code == 304


def test_without_plotly_the_page_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """404 with the command that installs it, and `me` knows."""
    monkeypatch.setattr(assets, "find_spec", lambda _name: None)
    with looking(tmp_path) as site:
        assert not get(site, "view/api/me").json()["has_plotly"]
        answer = get(site, "view/plotly.js")
    assert answer.status_code == 404
    assert "pip install 'ml-logger[view]'" in answer.json()["error"]


def test_files_that_lead_out_are_not_there(site: Site, runs: Runs) -> None:
    """A link to a file, a folder or a loop outside of what is looked at is no file of it."""
    (runs.root / "link").symlink_to("/etc/passwd")
    (runs.root / "folder").symlink_to("/etc")
    for call in (
        "view/files/link",
        "view/files/folder/passwd",
        "view/api/text?path=link",
        "view/api/list?folder=folder",
    ):
        assert get(site, call).status_code == 404, call
    assert {"link", "folder"} & {one["name"] for one in get(site, "view/api/list").json()["entries"]} == set()
    (runs.root / "link").unlink()
    (runs.root / "folder").unlink()


def test_bytes_come_in_ranges(site: Site, runs: Runs) -> None:
    """A part, its end, a part past the end; a file that is not shown is downloaded under its name."""
    (runs.root / "weights.pt").write_bytes(bytes(range(256)) * 4096)
    call = "view/files/weights.pt"
    whole = get(site, call)
    assert (whole.headers["Content-Type"], len(whole.content)) == ("application/octet-stream", 1 << 20)
    assert get(site, call, Range="bytes=-3").content == bytes((253, 254, 255))
    assert get(site, call, Range="bytes=2000000-").status_code == 416
    assert get(site, call, Range="bytes=0-1", If_Range='"other"').status_code == 200
    assert get(site, call, If_None_Match=whole.headers["ETag"]).status_code == 304
    download = get(site, f"view/files/{quote('sweep/lr=0.1')}/README.md?download=1")
    assert download.headers["Content-Disposition"] == "attachment; filename*=UTF-8''README.md"


def test_a_text_is_cut_at_whole_characters(site: Site, runs: Runs) -> None:
    """A long one from its end on, at the begin of a line; one that ends within a character without that."""
    (runs.root / "long.log").write_bytes("ü漢🚀\n".encode() * 150_000 + "🚀".encode()[:3])
    tail = get(site, "view/api/text?path=long.log").json()
    assert tail["is_cut"]
    assert "\ufffd" not in tail["text"]
    assert tail["text"].startswith("ü漢🚀\n")
    assert tail["end"] == tail["size"] - 3
    with (runs.root / "long.log").open("ab") as file:
        file.write("🚀".encode()[3:])
    more = get(site, f"view/api/text?path=long.log&offset={tail['end']}").json()
    assert more["text"] == "🚀"
    begin = get(site, "view/api/text?path=long.log&offset=0").json()
    assert begin["end"] <= 1 << 20
    assert "\ufffd" not in begin["text"]


def test_whoever_goes_in_the_middle_of_a_file_is_not_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A browser that scrolls on lets go of pictures: that is no error, and leaves no traceback on anybody's terminal."""
    (tmp_path / "large.bin").write_bytes(bytes(32 << 20))
    with looking(tmp_path) as own:
        answer = requests.get(f"{own.url}view/files/large.bin", stream=True, timeout=30)
        assert len(answer.raw.read(1000)) == 1000
        answer.raw.close()
        answer.close()
        assert get(own, "view/api/list?folder=").status_code == 200
    assert [record.getMessage() for record in caplog.records if record.name.startswith("aiohttp")] == []


def test_a_file_that_becomes_shorter_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its length is promised by then: the connection ends before it, so that nobody takes the rest for the file."""
    (tmp_path / "log.bin").write_bytes(bytes(1 << 20))

    def truncate_first(self: LocalFiles, path: str, whole: Any = LocalFiles.open) -> Any:
        opened = whole(self, path)
        (tmp_path / "log.bin").write_bytes(b"short")
        return opened

    monkeypatch.setattr(LocalFiles, "open", truncate_first)
    with looking(tmp_path) as own, pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        get(own, "view/files/log.bin")


def test_numbers_of_any_size_are_shown_as_they_were_logged(tmp_path: Path) -> None:
    """Whole numbers that neither JSON's writers nor a browser can hold come as their digits, in the list and in the run."""
    with ML_Logger(tmp_path / "one") as logger:
        logger.log_params(seed=2**70)
        logger.log(4, big=2**70, exact=2**53 + 1, small=7, silent=True)
    with looking(tmp_path) as site:
        wait_until(lambda: "one" in listed(site), what="the run to be listed")
        for run in (listed(site)["one"], get(site, "view/api/run?run=one").json()):
            assert run["params"]["seed"] == str(2**70)
            assert run["last"] == {"big": str(2**70), "exact": str(2**53 + 1), "small": 7}
        assert get(site, "view/api/run?run=one").json()["sections"]["seed"] == str(2**70)


def test_what_people_keep_may_hold_anything(tmp_path: Path) -> None:
    """Charts and notes with numbers and texts that JSON can't hold are answered."""
    make = {"metrics.jsonl": '{"_step":1,"loss":1}\n', ".notes.yml": 'note: "\\uD83D\\uDE00"', ".charts.yml": CHARTS}
    for name, text in make.items():
        (tmp_path / name).write_text(text)
    with looking(tmp_path) as site:
        assert get(site, "view/api/notes?run=").json()["note"] == "\N{GRINNING FACE}"
        assert get(site, "view/api/charts?folder=").json()["charts"] == [
            {"most": str(2**70), "name": "\\ud83d", "b'hi'": 1, str(2**70): 2}
        ]


CHARTS = f"""charts:
- most: {2**70}
  name: "\\uD83D"
  ? !!binary aGk=
  : 1
  ? {2**70}
  : 2
"""


def test_curves_of_the_others_come_where_one_run_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one is left out; asked for alone it is an error of one line."""
    for name in ("bad", "good"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.jsonl").write_text('{"_step":1,"loss":1}\n')
    columns = OpenRuns.columns

    def failing(self: OpenRuns, path: str) -> Any:
        if path == "bad":
            raise ZeroDivisionError("of all things")
        return columns(self, path)

    monkeypatch.setattr(OpenRuns, "columns", failing)
    with looking(tmp_path) as site:
        head, series = asked(site, series=[["bad", "loss"], ["good", "loss"]])
        assert [head["runs"][one["run"]] for one in head["series"]] == ["good"]
        assert len(series) == 1
        body, headers = {"series": [["bad", "loss"]]}, {"X-ML-Logger": "1"}
        answer = requests.post(site.url + "view/api/curves", json=body, headers=headers, timeout=30)
        assert (answer.status_code, answer.json()) == (500, {"error": "ZeroDivisionError: of all things"})


def test_the_runs_that_calls_name_are_those_that_pages_show(
    runs: Runs, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run whose curves or whole are asked for is looked at each second from then on; one that is not there is not."""
    shown: list[str] = []
    monkeypatch.setattr(RunIndex, "show", lambda _index, path: shown.append(path))
    asked(site, series=[["failed", "train/loss"], ["nothing", "train/loss"]])
    assert shown == ["failed"]
    assert get(site, "view/api/run?run=killed").status_code == 200
    assert shown == ["failed", "killed"]


@pytest.mark.parametrize("name", ["back\\slash", "tab\there", "new\nline", "caf\udce9", "\\udc41", "50%2f"])
def test_a_run_may_have_any_name_that_a_folder_may(tmp_path: Path, name: str) -> None:
    """Its line, numbers, files and notes are there under the path in its line; a name that is none costs no other its curve."""
    with ML_Logger(tmp_path / name) as logger:
        logger.log(0, loss=1.0, silent=True)
        logger.log_image(0, sample=np.eye(4))
    with looking(tmp_path) as site:
        ((path, line),) = listed(site).items()
        run = get(site, "view/api/run?run=" + quote(path)).json()
        series = [[path, "loss"], ["a/../b", "loss"], ["x" * 3000, "loss"]]
        head, (loss,) = asked(site, series=series)
        assert (line["last"], run["path"], loss["last"].tolist()) == ({"loss": 1.0}, path, [1.0])
        _, again = asked(site, series=series, seen=head["cursors"], origin=head["origin"], width=head["width"])
        assert not again
        picture = run["media"][0]["files"][0]["path"]
        assert get(site, "view/files/" + quote(picture)).content.startswith(b"\x89PNG")
        assert get(site, "view/api/csv?run=" + quote(path)).text.startswith("step,timestamp,loss\n")
        assert put(site, "view/api/notes?run=" + quote(path), {"note": "odd"}).json()["note"] == "odd"
    assert (tmp_path / name / ".notes.yml").exists()
