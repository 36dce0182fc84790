"""DELETE and PUT over real sockets, and by the real curl."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import requests
from batches import append, apply, commit, content_of, held_of, names
from processes import wait_until
from serving import Site, exchange, serving
from test_server_app import head, require_error, send

from ml_logger import wire
from ml_logger.server import managing
from ml_logger.server.auth import Caller, Door, Token, digest_of
from ml_logger.server.config import Limits
from ml_logger.server.local_round import staged_path
from ml_logger.server.local_store import LocalStore
from ml_logger.server.store import PUT_SOURCE, Deleted

TOKEN = "a-token-for-tests"
LINES = b"".join(b'{"_step":%d}\n' % n for n in range(100))
MODEL = bytes(range(251)) * 400
LIMITS = Limits(body_timeout_s=1.0, max_put_bytes=200_000)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of a hundred kilobytes are many pieces."""
    monkeypatch.setattr(managing, "PIECE_BYTES", 10_000)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def store(data_dir: Path) -> Iterator[LocalStore]:
    store = LocalStore(data_dir)
    yield store
    store.close()


@pytest.fixture
def site(store: LocalStore) -> Iterator[Site]:
    with serving(store, token=TOKEN, limits=LIMITS) as site:
        yield site


def put(site: Site, path: str, body: object, **headers: str) -> requests.Response:
    shown = {name.replace("_", "-"): value for name, value in headers.items()}
    return site.session.put(f"{site.url}/v1/files/{path}", data=body, headers=shown, timeout=30)


def delete(site: Site, path: str) -> requests.Response:
    return site.session.delete(f"{site.url}/v1/files/{path}", timeout=30)


def staged(data_dir: Path) -> list[Path]:
    return list((data_dir / ".ml-logger" / "stage").iterdir())


# --- DELETE


def test_delete_a_run(site: Site, store: LocalStore) -> None:
    """It says what went; then the run is 410 for whoever reads, puts or deletes, null in stat, and gone in a batch."""
    send(site, append("run/m", LINES), append("run/n", LINES))
    answer = delete(site, "run")
    assert answer.status_code == 200
    assert {key: answer.json()[key] for key in ("v", "path", "files", "bytes")} == {
        "v": 1,
        "path": "run",
        "files": 2,
        "bytes": 2 * len(LINES),
    }
    for refused in (site.get("/v1/files/run/m"), put(site, "run/m", b"x"), delete(site, "run"), delete(site, "run/m")):
        require_error(refused, 410, "deleted")
    require_error(site.get("/v1/list/run"), 410, "deleted")
    assert site.session.head(site.url + "/v1/files/run/m", timeout=30).status_code == 410
    assert store.stat(["run/m"]) == [None]
    (outcome,) = send(site, append("run/m", LINES))
    assert (outcome.result, outcome.is_gone) == ("rejected", True)


def test_what_is_not_there_to_delete(site: Site) -> None:
    """Nothing held is 404, a refused path 400, the root too."""
    require_error(delete(site, "none"), 404)
    require_error(delete(site, ""), 400)
    require_error(delete(site, "run/%2e%2e/x"), 400)
    require_error(delete(site, ".ml-logger/tombstones"), 400)


def test_delete_wants_its_right_and_place(store: LocalStore) -> None:
    """Without the right, or outside of its prefix, a token deletes nothing, and learns nothing of what is there."""
    apply(store, append("a/run/m", LINES), append("b/run/m", LINES))
    tokens = (
        Token(digest_of("all"), Caller("all", prefix="a")),
        Token(digest_of("writer"), Caller("writer", frozenset({"write", "read"}))),
        Token(digest_of("eraser"), Caller("eraser", frozenset({"delete"}))),
    )
    door = Door(lambda: tokens)
    with serving(store, door, token="writer") as site:
        require_error(delete(site, "a/run"), 403, "no right to delete")
    with serving(store, door, token="eraser") as site:
        require_error(put(site, "a/run/x", b"x"), 403, "no right to write")
    with serving(store, door, token="all") as site:
        texts = {delete(site, path).text for path in ("b/run", "b/none")}
        texts |= {put(site, path, b"x").text for path in ("b/run/m", "b/none")}
        assert len(texts) == 1
        require_error(delete(site, "b/run"), 403, "outside the prefix")
        assert delete(site, "a/run/").status_code == 200
    assert store.stat(["a/run/m", "b/run/m"]) == [None, held_of(LINES)]


# --- PUT


@pytest.mark.parametrize("size", [0, 1, 9_999, 10_000, 10_001, 100_400])
def test_put_a_file(site: Site, store: LocalStore, data_dir: Path, size: int) -> None:
    """A file of any size is stored whole, with its tag; another one in its place is 200, and so is the same once more."""
    answer = put(site, "run/model.pt", MODEL[:size])
    assert answer.status_code == 201, answer.text
    assert answer.json() == {"v": 1, "path": "run/model.pt", "size": size, "crc": wire.crc32(MODEL[:size])}
    assert content_of(store, "run/model.pt") == MODEL[:size]
    assert site.get("/v1/files/run/model.pt").headers["ETag"] == answer.headers["ETag"]
    assert put(site, "run/model.pt", MODEL[:size]).status_code == 200
    newer = put(site, "run/model.pt", MODEL[::-1])
    assert newer.status_code == 200
    assert newer.headers["ETag"] != answer.headers["ETag"]
    assert content_of(store, "run/model.pt") == MODEL[::-1]
    assert staged(data_dir) == []


def test_put_in_chunks(site: Site, store: LocalStore) -> None:
    """A body whose length nobody knows before its end is taken too."""
    parts = (MODEL[start : start + 777] for start in range(0, len(MODEL), 777))
    assert put(site, "model.pt", parts).status_code == 201
    assert content_of(store, "model.pt") == MODEL


def test_conditions(site: Site, store: LocalStore) -> None:
    """If-Match and If-None-Match decide by what is held; what they forbid changes nothing."""
    require_error(put(site, "w", b"1", If_Match="*"), 412, "If-Match")
    tag = put(site, "w", b"1", If_None_Match="*").headers["ETag"]
    require_error(put(site, "w", b"2", If_None_Match="*"), 412, "If-None-Match")
    require_error(put(site, "w", b"2", If_None_Match=f'"other", {tag}'), 412)
    require_error(put(site, "w", b"2", If_Match='"other"'), 412)
    require_error(put(site, "w", b"2", If_Match=f"W/{tag}"), 412)
    assert content_of(store, "w") == b"1"
    assert put(site, "w", b"2", If_Match=f'"other", {tag}').status_code == 200
    require_error(put(site, "w", b"3", If_Match=tag), 412)
    assert put(site, "w", b"3", If_Match="*").status_code == 200


def forged(content: bytes) -> bytes:
    """Return other bytes of the same size and CRC-32: its polynomial laid over them changes nothing."""
    bits = f"{0x104C11DB7:b}".ljust(40, "0")
    over = bytes(int(bits[at : at + 8][::-1], 2) for at in range(0, 40, 8))
    return bytes(a ^ b for a, b in zip(content, over.ljust(len(content), b"\0"), strict=True))


def test_a_forged_crc(site: Site, store: LocalStore, data_dir: Path) -> None:
    """Other bytes with the size and CRC-32 of what is held are refused, not said to be stored; nothing of them stays."""
    other = forged(MODEL)
    assert (other != MODEL, wire.crc32(other)) == (True, wire.crc32(MODEL))
    assert put(site, "w", MODEL).status_code == 201
    require_error(put(site, "w", other), 409, "CRC-32")
    assert content_of(store, "w") == MODEL
    assert staged(data_dir) == []
    assert put(site, "w", MODEL).status_code == 200


def test_conditions_of_other_calls(site: Site, store: LocalStore) -> None:
    """DELETE looks at If-Match, GET knows If-None-Match: *, and a time that can't be kept to is refused, not passed over."""
    tag = put(site, "w", b"1").headers["ETag"]
    old = "Mon, 01 Jan 2001 00:00:00 GMT"
    url = f"{site.url}/v1/files/w"
    assert site.get("/v1/files/w", If_None_Match="*").status_code == 304
    require_error(put(site, "w", b"2", If_Unmodified_Since=old), 400, "If-Unmodified-Since")
    require_error(
        site.session.delete(url, headers={"If-Unmodified-Since": old}, timeout=30), 400, "If-Unmodified-Since"
    )
    require_error(site.session.delete(url, headers={"If-Match": '"other"'}, timeout=30), 412, "If-Match")
    assert content_of(store, "w") == b"1"
    assert put(site, "w", b"2", If_Match=tag, If_Unmodified_Since=old).status_code == 200
    assert site.session.delete(url, headers={"If-Match": "*"}, timeout=30).status_code == 200


def test_the_call_in_another_spelling(site: Site, store: LocalStore) -> None:
    """A call whose own name is escaped in part is the same call, for the same path."""
    for path in ("/v1/%66iles/run/z", "/%761/files/run/z"):
        connection = site.connect()
        answer = exchange(connection, head(path, "Content-Length: 1", "Connection: close", method="PUT") + b"1")
        assert answer.split(b" ")[1] in (b"201", b"200")
    assert store.stat(["run/z"]) == [held_of(b"1")]
    assert names(store.list("").entries) == ["run"]


def test_one_of_many_creates(site: Site) -> None:
    """Of requests with If-None-Match: * that bring the same bytes at once one is 201, the others are 412."""
    statuses: list[int] = []

    def create() -> None:
        with requests.Session() as session:
            session.headers.update({"Authorization": f"Bearer {TOKEN}", "If-None-Match": "*"})
            statuses.append(session.put(f"{site.url}/v1/files/lock", data=slowly(), timeout=30).status_code)

    together = threading.Barrier(8)

    def slowly() -> Iterator[bytes]:
        yield b"sa"
        together.wait(30)  # all have been looked at, and found nothing
        yield b"me"

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(statuses) == [201] + [412] * 7


def test_what_can_not_be_put(site: Site, store: LocalStore, data_dir: Path) -> None:
    """A refused path, a folder in the way, a part, packed bytes and too many of them each have their error."""
    send(site, append("run/m", LINES))
    require_error(put(site, "%2e%2e/w", b"x"), 400)
    require_error(put(site, ".ml-logger/w", b"x"), 400)
    require_error(put(site, "run", b"x"), 400, "folder")
    require_error(put(site, "run/m/w", b"x"), 400)
    require_error(put(site, "w", b"x", Content_Range="bytes 0-0/2"), 400, "part")
    require_error(put(site, "w", b"x", Content_Encoding="gzip"), 415)
    require_error(put(site, "w", bytes(200_001)), 413, "200000")
    require_error(put(site, "w", iter([bytes(150_000), bytes(150_000)])), 413, "200000")
    wait_until(lambda: staged(data_dir) == [], what="the staged copy is let go")
    assert store.stat(["w", "run/m"]) == [None, held_of(LINES)]


def test_a_body_that_stalls_or_is_cut(site: Site, store: LocalStore, data_dir: Path) -> None:
    """It is answered, where anybody listens, shows nothing, and leaves no copy aside; the file there stays."""
    send(site, append("w", LINES))
    stalled = exchange(site.connect(), head("/v1/files/w", "Content-Length: 90000", method="PUT") + MODEL[:50_000])
    assert b" 408 " in stalled.split(b"\r\n")[0]
    cut = head("/v1/files/w", "Content-Length: 90000", method="PUT") + MODEL[:50_000]
    exchange(site.connect(), cut, is_cut=True)
    chunked = head("/v1/files/w", "Transfer-Encoding: chunked", method="PUT") + b"c350\r\n" + MODEL[:50_000]
    exchange(site.connect(), chunked, is_cut=True)
    wait_until(lambda: staged(data_dir) == [], what="the staged copies are let go")
    assert content_of(store, "w") == LINES
    assert put(site, "w", MODEL).status_code == 200


def test_what_a_dead_receiver_left_of_a_put(data_dir: Path) -> None:
    """The staged copy of a PUT goes at the next start once it is an hour old, for nobody resumes it; an agent's stays."""
    LocalStore(data_dir).close()
    for source in (f"{PUT_SOURCE}1", "agent"):
        for age_s in (1800, 7200):
            path = data_dir / staged_path("w", source, str(age_s))
            path.write_bytes(MODEL)
            os.utime(path, (time.time() - age_s, time.time() - age_s))
    left = [(f"{PUT_SOURCE}1", "1800"), ("agent", "1800"), ("agent", "7200")]
    LocalStore(data_dir).close()
    assert set(staged(data_dir)) == {data_dir / staged_path("w", *names) for names in left}


def test_a_file_that_changes_meanwhile(site: Site, store: LocalStore) -> None:
    """Who is overtaken is told, and does not undo what came in between."""

    def body() -> Iterator[bytes]:
        yield MODEL[:50_000]
        assert put(site, "w", LINES).status_code == 201
        yield MODEL[50_000:]

    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {TOKEN}"
        answer = session.put(f"{site.url}/v1/files/w", data=body(), timeout=30)
    require_error(answer, 409, "meanwhile")
    assert content_of(store, "w") == LINES


def test_a_file_that_is_removed_meanwhile(
    site: Site, store: LocalStore, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was to be replaced, and has gone, is not brought back as another file; nothing is left aside either."""
    tag = put(site, "w", LINES).headers["ETag"]
    apply_now = store.apply

    def apply_later(manifest: wire.Manifest, payloads: Sequence[bytes | memoryview]) -> list[wire.Outcome]:
        (data_dir / "w").unlink(missing_ok=True)
        return apply_now(manifest, payloads)

    monkeypatch.setattr(store, "apply", apply_later)
    url = f"{site.url}/v1/files/w"
    require_error(site.session.put(url, data=MODEL, headers={"If-Match": tag}, timeout=30), 409, "meanwhile")
    assert not (data_dir / "w").exists()
    assert staged(data_dir) == []


def test_a_newer_version_is_not_deleted(site: Site, store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """With If-Match the version that was meant is deleted or none, whatever comes between the look and the deletion."""
    tag = put(site, "w", LINES).headers["ETag"]
    delete_now = store.delete

    def delete_later(path: str, by: str, *, version: str | None) -> Deleted:
        apply(store, commit("w", MODEL, replaces=held_of(LINES)))
        return delete_now(path, by, version=version)

    monkeypatch.setattr(store, "delete", delete_later)
    url = f"{site.url}/v1/files/w"
    require_error(site.session.delete(url, headers={"If-Match": tag}, timeout=30), 412, "another version")
    assert content_of(store, "w") == MODEL


def test_a_body_that_stands_still(store: LocalStore) -> None:
    """Without a byte for `stall_timeout_s` it is 408, however long a piece may take; what came of it is counted."""
    limits = Limits(body_timeout_s=600.0, stall_timeout_s=0.5)
    with serving(store, token=TOKEN, limits=limits, metrics_open=True) as site:
        stalled = exchange(site.connect(), head("/v1/files/w", "Content-Length: 90000", method="PUT") + MODEL[:50_000])
        assert b" 408 " in stalled.split(b"\r\n")[0]
        assert b"stall_timeout_s" in stalled
        assert put(site, "w", MODEL[:9_000]).status_code == 201
        received = "ml_logger_receiver_received_bytes_total 59000.0"
        wait_until(lambda: received in site.get("/metrics").text, what="the bytes that came in")


def test_a_run_that_is_deleted_meanwhile(site: Site, store: LocalStore) -> None:
    """Who puts into it is told that it is gone, in the middle of the body too."""
    send(site, append("run/m", LINES))

    def body() -> Iterator[bytes]:
        yield MODEL[:50_000]
        store.delete("run", "alice")
        yield MODEL[50_000:]

    require_error(put(site, "run/w", body()), 410, "deleted")


def test_expect_100_continue(site: Site, store: LocalStore) -> None:
    """The body is asked for only where it is wanted; another expectation is refused."""
    expecting = ("Expect: 100-continue", "Content-Length: 1000")
    for path, status, lines in (
        ("/v1/files/%2e%2e/w", b" 400 ", expecting),
        ("/v1/files/w", b" 412 ", (*expecting, "If-Match: *")),
        ("/v1/files/w", b" 413 ", ("Expect: 100-continue", "Content-Length: 200001")),
        ("/v1/files/w", b" 417 ", ("Expect: a miracle", "Content-Length: 1000")),
    ):
        with site.connect() as connection:
            connection.sendall(head(path, *lines, method="PUT"))
            assert status in connection.recv(1000).split(b"\r\n")[0]
    with site.connect() as connection:
        connection.sendall(head("/v1/files/w", *expecting, method="PUT"))
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(MODEL[:1000])
        assert b" 201 " in connection.recv(1000).split(b"\r\n")[0]
    assert content_of(store, "w") == MODEL[:1000]


def test_memory_for_bodies_is_given_back(store: LocalStore) -> None:
    """A file many times as large as the memory for bodies passes through it, whatever was refused before."""
    limits = Limits(max_body_bytes=300_000, max_requests_in_memory=2, max_put_bytes=2_000_000, body_timeout_s=5.0)
    with serving(store, token=TOKEN, limits=limits) as site:
        for _ in range(5):
            require_error(put(site, "w", iter([MODEL, bytes(2_000_000)])), 413)
        assert put(site, "w", bytes(1_900_000)).status_code == 201


def test_over_a_stream_that_an_agent_ships(site: Site, store: LocalStore) -> None:
    """The file that is put takes its place; the sender of the stream is told that it diverged, so both are kept."""
    send(site, append("m.jsonl", LINES[:22]))
    assert put(site, "m.jsonl", MODEL).status_code == 200
    (outcome,) = send(site, append("m.jsonl", LINES, 22))
    assert outcome.result == "diverged"
    assert content_of(store, "m.jsonl") == MODEL


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here")
def test_curl(site: Site, store: LocalStore, tmp_path: Path) -> None:
    """`curl -T` stores a file, from a pipe too, and `curl -X DELETE` deletes it."""
    (tmp_path / "model.pt").write_bytes(MODEL)
    url = f"{site.url}/v1/files/run/"

    def curl(*words: str) -> str:
        shown = ["curl", "-sS", "-w", " %{http_code}", "-H", f"Authorization: Bearer {TOKEN}", *words]
        with (tmp_path / "model.pt").open("rb") as file:
            return subprocess.run(shown, stdin=file, capture_output=True, text=True, check=True, timeout=60).stdout[-3:]

    assert curl("-T", str(tmp_path / "model.pt"), url) == "201"
    assert curl("-T", "-", url + "piped.pt") == "201"
    assert curl("-T", str(tmp_path / "model.pt"), "-H", "Expect: 100-continue", url) == "200"
    assert [content_of(store, f"run/{name}.pt") for name in ("model", "piped")] == [MODEL, MODEL]
    assert curl("-X", "DELETE", url) == "200"
    assert curl("-T", str(tmp_path / "model.pt"), url) == "410"


def test_errors_are_not_logged_as_failures(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """What a client did wrong leaves no traceback and no error in the log."""
    with caplog.at_level(logging.INFO):
        put(site, "%2e%2e/w", b"x")
        delete(site, "none")
        exchange(
            site.connect(), head("/v1/files/w", "Content-Length: 90000", method="PUT") + MODEL[:50_000], is_cut=True
        )
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
