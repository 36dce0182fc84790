"""Heartbeats: what is encoded comes back, no bytes raise anything but `BadBatch`, and the receiver keeps a bounded number."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from serving import Site, exchange, serving

from ml_logger import wire
from ml_logger.errors import BadBatch, BatchTooLarge
from ml_logger.server import heartbeats
from ml_logger.server.auth import Caller
from ml_logger.server.heartbeats import Heartbeats
from ml_logger.server.local_store import LocalStore
from ml_logger.wire import AsideFile, Heartbeat, SpoolBeat

TOKEN = "a-token-for-tests"
EVERYBODYS = Caller("anybody").may_enter

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
counts = st.integers(0, 2**63 - 1)
times = st.floats(0, 1e12)
spools = st.builds(
    SpoolBeat,
    spool=texts,
    source=texts,
    backlog_files=counts,
    backlog_bytes=counts,
    shipped_files=counts,
    shipped_bytes=counts,
    errors=counts,
    aside=counts,
    bytes_per_s=times,
    oldest_unshipped_s=st.none() | times,
    last_ack_at=st.none() | times,
    last_error=st.none() | texts,
    runs_alive=st.lists(texts, max_size=3).map(tuple),
    aside_files=st.lists(st.builds(AsideFile, texts, texts), max_size=3).map(tuple),
)
beats = st.builds(
    Heartbeat,
    source=texts,
    host=texts,
    agent=texts,
    pid=counts,
    started_at=times,
    spools=st.lists(spools, max_size=3).map(tuple),
)


def a_beat(source: str = "me", **changes: object) -> Heartbeat:
    spool = SpoolBeat("/spool", source, 3, 4096, 5, 6, 7, 1, 2.5, 12.0, 1795363200.5, "no route", ("run/a", "run/b"))
    return replace(Heartbeat(source, "gpu-7", "0.1.0", 42, 1795363100.0, (spool,)), **changes)  # type: ignore[arg-type]


def changed(**changes: object) -> bytes:
    record = json.loads(wire.encode_heartbeat(a_beat())) | changes
    return json.dumps({k: v for k, v in record.items() if v is not ...}).encode()


def changed_spool(**changes: object) -> bytes:
    record = json.loads(wire.encode_heartbeat(a_beat()))
    spool = record["spools"][0] | changes
    return json.dumps(record | {"spools": [{k: v for k, v in spool.items() if v is not ...}]}).encode()


# --- the message


@given(beats)
def test_a_heartbeat_comes_back(beat: Heartbeat) -> None:
    """Every field is the same after encoding and decoding."""
    assert wire.decode_heartbeat(wire.encode_heartbeat(beat)) == beat


def test_what_is_too_much_is_cut_and_not_refused() -> None:
    """However many runs and files aside and however long an error an agent has, its heartbeat is one the receiver takes."""
    spool = replace(
        a_beat().spools[0],
        runs_alive=tuple(f"{'r' * 400}{n}" for n in range(5000)),
        last_error="e" * 10_000,
        aside_files=tuple(AsideFile(f"{'p' * 900}{n}", "r" * 900) for n in range(5000)),
        spool="/" + "p" * 5000,
    )
    body = wire.encode_heartbeat(a_beat(spools=(spool,) * 100))
    assert len(body) <= wire.MAX_HEARTBEAT_BYTES
    got = wire.decode_heartbeat(body)
    assert len(got.spools) == wire.MAX_HEARTBEAT_SPOOLS
    one = wire.decode_heartbeat(wire.encode_heartbeat(a_beat(spools=(spool,))))
    assert one.spools[0].runs_alive == spool.runs_alive[:100]
    assert one.spools[0].aside_files == (AsideFile("p" * 500, "r" * 500),) * 20


def test_an_agent_that_only_counts_what_is_aside_is_understood() -> None:
    """Agents from before files were named leave them out."""
    assert wire.decode_heartbeat(changed_spool(aside_files=...)).spools[0].aside_files == ()


def test_damaged_heartbeats_raise_nothing_but_bad_batch() -> None:
    """Cut at every length or with any bit flipped, a heartbeat is read or is `BadBatch`."""
    body = wire.encode_heartbeat(a_beat())
    flips = [body[:i] + bytes([body[i] ^ 1 << bit]) + body[i + 1 :] for i in range(len(body)) for bit in range(8)]
    for damaged in [*(body[:end] for end in range(len(body))), *flips]:
        with suppress(BadBatch):
            wire.encode_agents([(wire.decode_heartbeat(damaged), 1.0)])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["spool", "source", "pid"]), inner),
    max_leaves=8,
)


@given(
    st.binary(max_size=200)
    | st.dictionaries(st.sampled_from(["v", "spools", "pid", "source"]), json_values).map(
        lambda record: json.dumps(json.loads(changed()) | record).encode()
    )
)
@example(b"[" * 60_000)
@example(b'{"v":1,"spools":[' + b"{}," * 10_000 + b"{}]}")
def test_any_bytes_raise_nothing_but_bad_batch(body: bytes) -> None:
    """Random bytes, and JSON of nearly the right shape, raise nothing else."""
    with suppress(BadBatch):
        wire.decode_heartbeat(body)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not JSON"),
        (b"[]", "not a JSON object"),
        (changed(v=2), "heartbeat version 2"),
        (changed(source=...), "source must be a string"),
        (changed(source="x" * 201), "at most 200"),
        (changed(host=7), "host must be a string"),
        (changed(pid=-1), "pid must be an integer"),
        (changed(pid=True), "pid must be an integer"),
        (changed(started_at="now"), "started_at must be a number"),
        (changed(started_at=True), "started_at must be a number"),
        (changed(started_at=-1.0), "started_at must be a number"),
        (changed(started_at=1e300), "started_at must be a number"),
        (changed(started_at=None), "started_at must be a number"),
        (changed(spools={}), "spools must be a list"),
        (changed(spools=[7]), "a spool must be an object"),
        (changed(spools=[{}] * 33), "at most 32"),
        (changed_spool(backlog_bytes=1.5), "backlog_bytes must be an integer"),
        (changed_spool(runs_alive="run"), "runs_alive must be a list of strings"),
        (changed_spool(runs_alive=[1]), "runs_alive must be a list of strings"),
        (changed_spool(last_error=["x"]), "last_error must be a string"),
        (changed_spool(bytes_per_s=...), "bytes_per_s must be a number"),
        (changed_spool(oldest_unshipped_s="old"), "oldest_unshipped_s must be a number"),
    ],
)
def test_a_bad_heartbeat_is_refused_with_the_reason(body: bytes, reason: str) -> None:
    """Each way a heartbeat can break the protocol is named in the refusal."""
    with pytest.raises(BadBatch, match=reason):
        wire.decode_heartbeat(body)


def test_a_heartbeat_over_the_limit_is_too_large() -> None:
    """Past its size it is `BatchTooLarge`, before anything of it is read."""
    with pytest.raises(BatchTooLarge):
        wire.decode_heartbeat(b" " * (wire.MAX_HEARTBEAT_BYTES + 1))


# --- what is kept


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_the_last_heartbeat_of_each_source_is_kept_with_its_age() -> None:
    """A newer one takes the place of the one before; the age is counted by the receiver's own clock."""
    clock = Clock()
    kept = Heartbeats(clock)
    kept.take(wire.encode_heartbeat(a_beat("one", pid=1)))
    kept.take(wire.encode_heartbeat(a_beat("two")))
    clock.now_s += 7
    kept.take(wire.encode_heartbeat(a_beat("one", pid=2, started_at=0.0)))
    clock.now_s += 3
    assert [(beat.source, beat.pid, age_s) for beat, age_s in kept.agents(EVERYBODYS)] == [
        ("one", 2, 3.0),
        ("two", 42, 10.0),
    ]


def test_a_bad_heartbeat_changes_nothing() -> None:
    """What was known of a source stays when its next message is none."""
    kept = Heartbeats(Clock())
    kept.take(wire.encode_heartbeat(a_beat()))
    with pytest.raises(BadBatch):
        kept.take(changed(pid="x"))
    assert [beat for beat, _ in kept.agents(EVERYBODYS)] == [a_beat()]


def test_the_number_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the bound, in number or in bytes, the source that was silent for the longest is forgotten."""
    monkeypatch.setattr(heartbeats, "MAX_AGENTS", 3)
    kept = Heartbeats(Clock())
    for name in "abcad":
        kept.take(wire.encode_heartbeat(a_beat(name)))
    assert [beat.source for beat, _ in kept.agents(EVERYBODYS)] == ["d", "a", "c"]
    monkeypatch.setattr(heartbeats, "MAX_BYTES", 2 * len(wire.encode_heartbeat(a_beat("a"))))
    kept.take(wire.encode_heartbeat(a_beat("e")))
    assert [beat.source for beat, _ in kept.agents(EVERYBODYS)] == ["e", "d"]


def test_no_prefix_pushes_out_the_agents_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the bound, in number or in bytes, the prefix that has the most loses one: its own longest silent."""
    monkeypatch.setattr(heartbeats, "MAX_AGENTS", 4)
    kept = Heartbeats(Clock())
    for name in ("a1", "a2"):
        kept.take(wire.encode_heartbeat(a_beat(name)), "a")
    for number in range(9):
        kept.take(wire.encode_heartbeat(a_beat(f"b{number}")), "b")
    assert [beat.source for beat, _ in kept.agents(EVERYBODYS)] == ["b8", "b7", "a2", "a1"]
    large = wire.encode_heartbeat(a_beat("b9", host="h" * 300))
    monkeypatch.setattr(heartbeats, "MAX_BYTES", len(large) + 2 * len(wire.encode_heartbeat(a_beat("a1"))))
    kept.take(large, "b")
    assert [beat.source for beat, _ in kept.agents(EVERYBODYS)] == ["b9", "a2", "a1"]


# --- the calls


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    store = LocalStore(tmp_path / "data")
    with serving(store, token=TOKEN) as site:
        yield site
    store.close()


def test_the_receiver_lists_the_agents_it_heard_of(site: Site) -> None:
    """What an agent posts is listed with its age; nothing of it reaches the mirror."""
    assert site.get("/v1/agents").json() == {"v": 1, "agents": []}
    assert site.post("/v1/heartbeat", wire.encode_heartbeat(a_beat())).status_code == 200
    (agent,) = site.get("/v1/agents").json()["agents"]
    assert 0 <= agent.pop("age_s") < 60
    assert agent == {k: v for k, v in json.loads(wire.encode_heartbeat(a_beat())).items() if k != "v"}
    assert site.get("/v1/list").json()["entries"] == []


@pytest.mark.parametrize(("body", "status"), [(b"", 400), (b"{}", 400), (changed(pid=-1), 400), (b" " * 70_000, 413)])
def test_the_receiver_refuses_what_is_no_heartbeat(site: Site, body: bytes, status: int) -> None:
    """A broken one is 400, a large one 413, with a reason of one line."""
    answer = site.post("/v1/heartbeat", body)
    assert answer.status_code == status
    assert "\n" not in answer.json()["error"]


def test_agents_are_shown_to_those_with_the_token_alone(site: Site) -> None:
    """Neither call answers without the token, and no token is in what they say."""
    site.post("/v1/heartbeat", wire.encode_heartbeat(a_beat()))
    assert TOKEN not in site.get("/v1/agents").text
    for request in (b"GET /v1/agents", b"POST /v1/heartbeat"):
        raw = request + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        assert exchange(site.connect(), raw).startswith(b"HTTP/1.1 401 ")


# --- runs whose writer went


def a_spool_beat(*runs: str, backlog_files: int = 0) -> bytes:
    """Return the heartbeat of an agent that sees a writer of each of `runs`."""
    return wire.encode_heartbeat(a_beat(spools=(SpoolBeat("/s", "one", backlog_files, runs_alive=runs),)))


def test_a_run_is_left_once_its_agent_sees_no_writer_and_has_shipped_all() -> None:
    """It is not while anything is on its way, which may be its end, nor once a writer is seen again."""
    kept = Heartbeats(Clock())
    kept.take(a_spool_beat("a", "b"))
    assert kept.left_runs() == frozenset()
    kept.take(a_spool_beat("b", "c", backlog_files=1))
    assert kept.left_runs() == frozenset()
    kept.take(a_spool_beat("b", "c"))
    assert kept.left_runs() == {"a"}
    kept.take(a_spool_beat("a", "b", "c"))
    assert kept.left_runs() == frozenset()


def test_no_run_is_left_by_a_list_that_may_be_cut() -> None:
    """An agent names a bounded number of runs: one that is not among so many may be alive."""
    runs = [f"run{number:03d}" for number in range(wire.MAX_RUNS_ALIVE + 1)]
    kept = Heartbeats(Clock())
    kept.take(a_spool_beat(*runs[:-1]))
    kept.take(a_spool_beat(*runs[1:]))
    assert kept.left_runs() == frozenset()
    kept.take(a_spool_beat(*runs[2:]))
    assert kept.left_runs() == {"run001"}


def test_an_agent_speaks_of_its_own_prefix_alone_and_the_number_of_left_runs_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Others' runs are not left by what it says; past the bound the run that went first is forgotten."""
    monkeypatch.setattr(heartbeats, "MAX_LEFT_RUNS", 2)
    kept = Heartbeats(Clock())
    kept.take(a_spool_beat("t/a", "t/b", "t/c", "u/x"), "t")
    for runs in (("t/b", "t/c"), ("t/c",), ()):
        kept.take(a_spool_beat(*runs), "t")
    assert kept.left_runs() == {"t/b", "t/c"}
