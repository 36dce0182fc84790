"""Upgrades: senders of an older and of a newer release, as fixed bytes, and those of another protocol."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from batches import content_of
from processes import TOKEN, Commands
from serving import Site, serving

from ml_logger.server.local_store import LocalStore
from ml_logger.server.store import Store

LINE = b'{"_step":0}\n'

OLDER_BATCH = (
    b'{"v":1,"source":"s","items":[{"path":"run/m.jsonl","op":"append","offset":0,"length":12,"crc_before":0,'
    b'"crc":4056049963}]}\n' + LINE
)
"""Of a sender that knew no `host`, `agent` or `mtime_ns`."""

NEWER_BATCH = (
    b'{"v":1,"source":"s","host":"h","agent":"9.0","priority":7,"features":["a",{"b":null}],"items":[{"path":"run/m.jsonl",'
    b'"op":"append","offset":0,"length":12,"crc_before":0,"crc":4056049963,"mtime_ns":1795363200000000000,'
    b'"sha256":"ab","upload":null,"codec":{"name":"x"}}]}\n' + LINE
)
"""Of a sender that says more than is understood here."""

NEWER_HEARTBEAT = (
    b'{"v":1,"source":"s","host":"h","agent":"9.0","pid":1,"started_at":1.5,"gpus":8,"spools":[{"spool":"/s","source":"s",'
    b'"backlog_files":0,"backlog_bytes":0,"shipped_files":0,"shipped_bytes":0,"errors":0,"aside":0,"bytes_per_s":0,'
    b'"oldest_unshipped_s":null,"last_ack_at":null,"last_error":null,"runs_alive":[],"lanes":{"live":1}}]}'
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = LocalStore(tmp_path / "data")
    yield store
    store.close()


@pytest.fixture
def site(store: Store) -> Iterator[Site]:
    with serving(store, token=TOKEN) as site:
        yield site


@pytest.mark.parametrize("body", [OLDER_BATCH, NEWER_BATCH], ids=["older", "newer"])
def test_batches_of_other_releases_are_stored(store: Store, site: Site, body: bytes) -> None:
    """What an older sender leaves out is not missed, what a newer one adds is passed over."""
    answer = site.post("/v1/batch", body)
    assert (answer.status_code, [o["result"] for o in answer.json()["outcomes"]]) == (200, ["stored"])
    assert content_of(store, "run/m.jsonl") == LINE


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/stat", b'{"v":1,"paths":["run/none"],"deep":true}'),
        ("/v1/stat", b'{"paths":["run/none"]}'),
        ("/v1/lineage", b'{"v":1,"mark":null,"asks":["more"]}'),
        ("/v1/lineage", b"{}"),
        ("/v1/heartbeat", NEWER_HEARTBEAT),
    ],
)
def test_other_calls_of_other_releases_are_answered(site: Site, path: str, body: bytes) -> None:
    """The same goes for every other body."""
    assert site.post(path, body).status_code == 200


@pytest.mark.parametrize("path", ["/v2/batch", "/v2/stat", "/v0/batch", "/v17", "/v2/a/call/of/tomorrow"])
def test_a_url_of_another_protocol_is_426(site: Site, path: str) -> None:
    """The line names the version that is spoken, so that a person knows which side to upgrade."""
    answer = site.post(path, NEWER_BATCH)
    assert (answer.status_code, "speaks 1" in answer.json()["error"]) == (426, True)
    assert site.get(path).status_code == 426


@pytest.mark.parametrize("path", ["/v1/none", "/v", "/version", "/v2x/batch", "/v02/batch"])
def test_other_urls_are_not_there(site: Site, path: str) -> None:
    """What is of no version of the protocol is 404."""
    assert site.get(path).status_code == 404


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/batch", OLDER_BATCH.replace(b'"v":1', b'"v":2')),
        ("/v1/batch", b'{"v":3,"things":[]}\n'),
        ("/v1/stat", b'{"v":2,"paths":[]}'),
        ("/v1/lineage", b'{"v":0,"mark":null}'),
        ("/v1/heartbeat", NEWER_HEARTBEAT.replace(b'"v":1', b'"v":2')),
    ],
)
def test_a_body_of_another_protocol_is_426(store: Store, site: Site, path: str, body: bytes) -> None:
    """Nothing of it is stored, whatever else it holds."""
    answer = site.post(path, body)
    assert (answer.status_code, "speaks 1" in answer.json()["error"]) == (426, True)
    assert store.list("").entries == ()


@pytest.mark.parametrize("version", [b'"1"', b"null", b"1.0", b"true", b"[1]"])
def test_what_is_no_version_is_400(site: Site, version: bytes) -> None:
    """A broken number is no other protocol."""
    assert site.post("/v1/batch", OLDER_BATCH.replace(b'"v":1', b'"v":' + version)).status_code == 400


def test_nobody_learns_the_version_without_a_token(site: Site) -> None:
    """Who is not known is turned away first."""
    site.session.headers.pop("Authorization")
    assert site.post("/v2/batch", b"").status_code == 401


def test_an_agent_of_another_protocol_stops_and_says_so(commands: Commands, tmp_path: Path) -> None:
    """The agent's one line names the receiver's version and the mend; it keeps what it has."""
    receiver = commands.start_receiver(tmp_path / "data")
    spool = tmp_path / "spool"
    (spool / "run").mkdir(parents=True)
    (spool / "run/m.jsonl").write_bytes(LINE)
    code = (
        "import sys\nfrom ml_logger import wire\nwire.VERSION = 2\n"
        "from ml_logger.agent.cli import main\nsys.exit(main(sys.argv[1:]))"
    )
    config = commands.write_agent_config(spool, receiver.url)
    agent = commands.run("python", "-c", code, "--config", config, "--once")
    assert agent.process.returncode == 2, agent.tail()
    assert "this receiver speaks 1" in agent.stderr
    assert "upgrade the older one" in agent.stderr
    assert (spool / "run/m.jsonl").read_bytes() == LINE
