"""The page of a receiver: tokens by a cookie, prefixes, agents, notes through the store, and nothing of it for the protocol."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from processes import wait_until
from serving import Site, serving
from viewing import log_failed_run, log_whole_run

from ml_logger.server import admission
from ml_logger.server.auth import Caller, Door, Token, digest_of
from ml_logger.server.local_store import LocalStore
from ml_logger.wire import Heartbeat, SpoolBeat, encode_heartbeat

OWN = {"X-ML-Logger": "1"}
TOKENS = (
    Token(digest_of("all-of-it"), Caller("boss")),
    Token(digest_of("ann's only ü;"), Caller("ann", frozenset({"read", "write"}), "ann")),
    Token(digest_of("looks"), Caller("looker", frozenset({"read"}))),
    Token(digest_of("ships"), Caller("shipper", frozenset({"write"}))),
)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("viewing") / "data"
    log_failed_run(folder / "ann" / "one")
    log_whole_run(folder / "bob" / "two", 0.1, 0, steps=5)
    return folder


@pytest.fixture(scope="module")
def site(data_dir: Path) -> Iterator[Site]:
    store = LocalStore(data_dir)
    with serving(store, Door(lambda: TOKENS)) as site:
        yield site
    store.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let wrong tokens be answered at once, and return how often each was counted."""
    counts: list[int] = []
    monkeypatch.setattr(admission, "wait_s", lambda count: counts.append(count) or 0.0)
    return counts


def logged_in(site: Site, token: str) -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    answer = session.post(f"{site.url}/view/login", json={"token": token}, headers=OWN, timeout=30)
    assert answer.status_code == 204, answer.text
    return session


def get(site: Site, session: requests.Session, call: str) -> requests.Response:
    return session.get(f"{site.url}/{call}", timeout=30)


def paths(site: Site, session: requests.Session) -> set[str]:
    return {line["path"] for line in get(site, session, "view/api/runs").json()["runs"]}


def test_the_page_is_open_and_what_it_shows_is_not(site: Site) -> None:
    """Without a token there are the page and who is asked to log in, nothing else; that is no failed try."""
    with requests.Session() as nobody:
        assert get(site, nobody, "").status_code == 200
        assert get(site, nobody, "view/static/app.js").status_code == 200
        me = get(site, nobody, "view/api/me").json()
        assert (me["needs_login"], me["name"], me["is_receiver"], me["rights"]) == (True, None, True, [])
        for call in (
            "runs",
            "run?run=bob/two",
            "list",
            "agents",
            "text?path=bob/two/text.log",
            "readme",
            "notes?run=bob/two",
        ):
            assert get(site, nobody, f"view/api/{call}").status_code == 401
        assert get(site, nobody, "view/files/bob/two/metrics.jsonl").status_code == 401


def test_a_login_sets_a_cookie_for_the_page_alone(site: Site) -> None:
    """The cookie is no script's, no other site's and no protocol's; logging out takes it away."""
    with logged_in(site, "all-of-it") as session:
        (cookie,) = session.cookies
        assert cookie.path == "/view"
        told = session.post(f"{site.url}/view/login", json={"token": "all-of-it"}, headers=OWN, timeout=30).headers
        assert {"HttpOnly", "SameSite=Strict"} <= {part.strip() for part in told["Set-Cookie"].split(";")}
        assert "Secure" not in told["Set-Cookie"]
        assert get(site, session, "view/api/me").json()["name"] == "boss"
        shown = {"Cookie": f"{cookie.name}={cookie.value}"}
        assert requests.get(f"{site.url}/v1/list", headers=shown, timeout=30).status_code == 401
        assert session.post(f"{site.url}/view/logout", headers=OWN, timeout=30).status_code == 204
        assert get(site, session, "view/api/runs").status_code == 401


def test_behind_a_proxy_that_speaks_https_the_cookie_is_secure(site: Site) -> None:
    """What the proxy says of the browser's connection counts."""
    headers = {**OWN, "X-Forwarded-Proto": "https"}
    answer = requests.post(f"{site.url}/view/login", json={"token": "looks"}, headers=headers, timeout=30)
    assert "Secure" in answer.headers["Set-Cookie"]


def test_a_token_sees_its_own_folder_only(site: Site) -> None:
    """Runs, curves, files, folders, notes: of what is another's there is no sign, not even that it is there."""
    with logged_in(site, "ann's only ü;") as ann, logged_in(site, "all-of-it") as boss:
        assert paths(site, boss) == {"ann/one", "bob/two"}
        assert paths(site, ann) == {"ann/one"}
        assert get(site, ann, "view/api/me").json()["prefix"] == "ann"
        assert [one["name"] for one in get(site, ann, "view/api/list").json()["entries"]] == ["ann"]
        for call in (
            "api/run?run=bob/two",
            "api/list?folder=bob",
            "api/text?path=bob/two/text.log",
            "api/tensor?path=bob/two/tensors/bias/0000.npy",
            "api/histograms?run=bob/two&key=grad",
            "api/csv?run=bob/two&key=lr",
            "api/readme?folder=bob/two",
            "files/bob/two/metrics.jsonl",
        ):
            assert get(site, ann, f"view/{call}").status_code == 404, call
            assert get(site, boss, f"view/{call}").status_code == 200, call
        asked = {"series": [["bob/two", "train/loss"], ["ann/one", "train/loss"]]}
        curves = ann.post(f"{site.url}/view/api/curves", json=asked, headers=OWN, timeout=30)
        assert [one["run"] for one in json.loads(curves.content.partition(b"\n")[0])["series"]] == [1]
        for call in ("notes?run=bob/two", "charts?folder=bob", "charts"):
            put = ann.put(f"{site.url}/view/api/{call}", json={"note": "x"}, headers=OWN, timeout=30)
            assert put.status_code == 404, call
        assert get(site, ann, "view/api/notes?run=bob/two").json()["version"] == ""


def test_rights_are_those_of_the_token(site: Site) -> None:
    """Who may only read changes nothing, who may only write sees nothing."""
    with logged_in(site, "looks") as looker, logged_in(site, "ships") as shipper:
        assert paths(site, looker) == {"ann/one", "bob/two"}
        put = looker.put(f"{site.url}/view/api/notes?run=ann/one", json={}, headers=OWN, timeout=30)
        assert put.status_code == 403
        assert get(site, shipper, "view/api/runs").status_code == 403


def test_no_other_site_can_change_anything(site: Site) -> None:
    """Without the page's own header nothing is changed, logged in or out, cookie or not."""
    with logged_in(site, "all-of-it") as session:
        for method, call in (
            ("PUT", "api/notes?run=ann/one"),
            ("PUT", "api/charts"),
            ("POST", "logout"),
            ("POST", "login"),
        ):
            answer = session.request(method, f"{site.url}/view/{call}", json={"token": "looks"}, timeout=30)
            assert answer.status_code == 403, call


def test_wrong_tokens_are_counted_and_slowed(site: Site, impatient: list[int], capsys: Any) -> None:
    """A guess by login, by cookie or by header is counted as elsewhere, and no token gets into a log."""
    with requests.Session() as guesser:
        for _ in range(2):
            answer = guesser.post(f"{site.url}/view/login", json={"token": "s3cr3t-guess"}, headers=OWN, timeout=30)
            assert answer.status_code == 401
        port = site.url.rpartition(":")[2]
        cookie = {"Cookie": f"ml-logger-{port}=Z3Vlc3M="}
        assert requests.get(f"{site.url}/view/api/runs", headers=cookie, timeout=30).status_code == 401
        bearer = {"Authorization": "Bearer guess"}
        assert requests.get(f"{site.url}/view/api/runs", headers=bearer, timeout=30).status_code == 401
        assert requests.get(f"{site.url}/v1/list", headers=bearer, timeout=30).status_code == 401
    assert len(impatient) == 5
    assert impatient == list(range(impatient[0], impatient[0] + 5))
    assert "s3cr3t" not in "".join(capsys.readouterr())


@pytest.mark.parametrize("value", ["!!", "", "AAAA", "=" * 20, "é"])
def test_a_cookie_that_is_none_opens_nothing(site: Site, impatient: list[int], value: str) -> None:
    """Whatever a cookie holds, the answer is one line."""
    cookie = {"Cookie": f"ml-logger-{site.url.rpartition(':')[2]}={value}".encode()}
    assert requests.get(f"{site.url}/view/api/runs", headers=cookie, timeout=30).status_code == 401


def test_a_program_shows_its_token_as_elsewhere(site: Site) -> None:
    """``Authorization: Bearer`` counts for the page's calls too."""
    answer = requests.get(f"{site.url}/view/api/runs", headers={"Authorization": "Bearer looks"}, timeout=30)
    assert answer.status_code == 200


def test_notes_go_through_the_store(site: Site, data_dir: Path) -> None:
    """They are durable in the run, and of two who change them at once one is told."""
    call = f"{site.url}/view/api/notes?run=ann/one"
    with logged_in(site, "ann's only ü;") as ann, logged_in(site, "all-of-it") as boss:
        mine = ann.put(call, json={"note": "mine", "version": ""}, headers=OWN, timeout=30)
        assert mine.status_code == 200
        assert (data_dir / "ann" / "one" / ".notes.yml").read_text() == "note: mine\n"
        assert boss.put(call, json={"note": "boss", "version": ""}, headers=OWN, timeout=30).status_code == 409
        seen = boss.get(call, timeout=30).json()
        assert boss.put(call, json={**seen, "note": "boss"}, headers=OWN, timeout=30).status_code == 200
        assert boss.get(call, timeout=30).json()["note"] == "boss"
        charts = f"{site.url}/view/api/charts?folder=ann"
        assert (
            ann.put(charts, json={"views": [{"name": "a", "hash": "#b"}]}, headers=OWN, timeout=30).status_code == 200
        )
        assert boss.get(charts, timeout=30).json()["views"] == [{"name": "a", "hash": "#b"}]


def beat(*runs: str) -> bytes:
    """Return the heartbeat of an agent that sees a writer of each of `runs`."""
    return encode_heartbeat(
        Heartbeat("source", "gpu1", "0", 1, time.time(), (SpoolBeat("/spool", "source", runs_alive=runs),))
    )


def test_a_run_lives_as_long_as_its_agent_says_so(site: Site, data_dir: Path) -> None:
    """A run without an end runs while an agent of its folder sees its writer, was killed once that is gone, else is silent."""
    unended = ("ann/alive", "bob/alive")
    start = (data_dir / "ann" / "one" / "run.jsonl").read_text().splitlines()[0]
    for run in unended:
        (data_dir / run).mkdir()
        (data_dir / run / "run.jsonl").write_text(start + "\n")
    with logged_in(site, "all-of-it") as boss:

        def states() -> tuple[str | None, ...]:
            lines = {line["path"]: line["state"] for line in get(site, boss, "view/api/runs").json()["runs"]}
            return tuple(lines.get(run) for run in unended)

        wait_until(lambda: states() == ("silent", "silent"))
        shown = {"Authorization": "Bearer ann's only ü;".encode()}
        for runs, told in ((unended, ("running", "silent")), ((), ("killed", "silent"))):
            sent = requests.post(f"{site.url}/v1/heartbeat", data=beat(*runs), headers=shown, timeout=30)
            assert sent.status_code == 200, sent.text
            wait_until(lambda told=told: states() == told)
        agents = get(site, boss, "view/api/agents").json()["agents"]
        assert [agent["host"] for agent in agents] == ["gpu1"]
    for run in unended:
        shutil.rmtree(data_dir / run)


def test_what_was_deleted_is_gone(site: Site, data_dir: Path) -> None:
    """A run that is deleted through the receiver leaves the list, and calls about it are answered with 410."""
    shutil.copytree(data_dir / "ann" / "one", data_dir / "ann" / "passing")
    with logged_in(site, "all-of-it") as boss:
        wait_until(lambda: "ann/passing" in paths(site, boss))
        shown = {"Authorization": "Bearer all-of-it"}
        assert requests.delete(f"{site.url}/v1/files/ann/passing", headers=shown, timeout=30).status_code == 200
        wait_until(lambda: "ann/passing" not in paths(site, boss))
        assert get(site, boss, "view/api/run?run=ann/passing").status_code == 410


def test_the_page_can_be_switched_off(tmp_path: Path) -> None:
    """A receiver without it knows none of its calls."""
    store = LocalStore(tmp_path / "data")
    with serving(store, token="t", view=False) as site:
        assert site.get("/").status_code == 404
        assert site.get("/view/api/runs").status_code == 404
        assert requests.get(f"{site.url}/", timeout=30).status_code == 401
    store.close()


def test_without_tokens_nobody_logs_in(tmp_path: Path) -> None:
    """On loopback without a token everybody sees everything, but not by a name that leads there from elsewhere."""
    log_failed_run(tmp_path / "data" / "one")
    store = LocalStore(tmp_path / "data")
    with serving(store) as site:
        assert not site.get("/view/api/me").json()["needs_login"]
        wait_until(lambda: site.get("/view/api/runs").json()["runs"])
        assert site.get("/view/api/runs", Host="rebound.example").status_code == 403
    store.close()
