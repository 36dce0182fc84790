"""The receiver over real sockets: the calls, the errors, the limits."""

from __future__ import annotations

import hashlib
import logging
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
import requests
from batches import append, commit, content_of, held_of
from serving import Site, exchange, serving

from ml_logger import wire
from ml_logger.errors import StoreError, StoreFull
from ml_logger.server.config import Limits
from ml_logger.server.local_store import LocalStore
from ml_logger.server.store import StoredFile
from ml_logger.version import __version__
from ml_logger.wire import Digest, Held, Manifest, Offset, Outcome, Unreadable

LINES = b"".join(b'{"_step":%d}\n' % n for n in range(100))
TOKEN = "a-token-for-tests"
LIMITS = Limits(
    max_body_bytes=20_000,
    max_expanded_bytes=30_000,
    max_manifest_bytes=10_000,
    max_json_bytes=5_000,
    max_items=20,
    max_paths=20,
    body_timeout_s=1.0,
    max_requests_in_memory=2,
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalStore]:
    store = LocalStore(tmp_path / "data")
    yield store
    store.close()


@pytest.fixture
def site(store: LocalStore) -> Iterator[Site]:
    with serving(store, token=TOKEN, limits=LIMITS) as site:
        yield site


def batch(*parts: tuple[wire.Item, bytes], compress: bool = False) -> bytes:
    manifest = Manifest("source-1", tuple(item for item, _ in parts))
    return wire.encode_batch(manifest, [payload for _, payload in parts], compress=compress)


def send(site: Site, *parts: tuple[wire.Item, bytes], compress: bool = False) -> list[Outcome]:
    headers = {"Content_Encoding": "zstd"} if compress else {}
    answer = site.post("/v1/batch", batch(*parts, compress=compress), **headers)
    assert answer.status_code == 200, answer.text
    return list(wire.decode_answer(answer.content, [item for item, _ in parts]).outcomes)


def require_error(answer: requests.Response, status: int, words: str = "") -> None:
    """Require this status and a JSON body with one line that holds `words`."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json().keys() == {"error"}
    reason = wire.decode_error(answer.content)
    assert words in reason
    assert "\n" not in reason
    assert "Traceback" not in reason


def head(path: str, *lines: str, method: str = "POST") -> bytes:
    shown = [f"{method} {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {TOKEN}", "Connection: close", *lines]
    return "\r\n".join([*shown, "", ""]).encode()


# --- storing


@pytest.mark.parametrize("compress", [True, False])
def test_a_batch_is_stored_and_answered(site: Site, store: LocalStore, compress: bool) -> None:
    """Items arrive, packed or not; the answer names each; the same batch again is `already`."""
    parts = (append("run/m.jsonl", LINES), commit("run/0.png", b"PNG"), append("../out", LINES))
    assert [o.result for o in send(site, *parts, compress=compress)] == ["stored", "stored", "rejected"]
    assert [o.result for o in send(site, *parts, compress=compress)] == ["already", "already", "rejected"]
    assert content_of(store, "run/m.jsonl") == LINES


def test_stat_says_what_is_held(site: Site) -> None:
    """Size and CRC for what is there, null for the rest, hostile paths included."""
    send(site, append("m", LINES))
    paths = ["m", "none", "../m", ".ml-logger"]
    answer = site.post("/v1/stat", wire.encode_stat_request(paths))
    assert wire.decode_stat_answer(answer.content, paths) == [held_of(LINES), None, None, None]


def test_an_empty_batch(site: Site) -> None:
    """No items are answered with no outcomes."""
    assert send(site) == []


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "manifest"),
        (b"\n", "not JSON"),
        (b"[]\n", "not a JSON object"),
        (b'{"v":"2"}\n', "version"),
        (b'{"v":1,"source":"s"}\n', "items"),
        (b'{"v":1,"source":"s","items":[]}\nextra', "promise"),
        (b"[" * 800 + b"\n", "not JSON"),
    ],
)
def test_a_broken_batch(site: Site, body: bytes, words: str) -> None:
    """What can't be read is refused as a whole, with the reason."""
    require_error(site.post("/v1/batch", body), 400, words)
    require_error(site.post("/v1/stat", b'{"paths": 3}'), 400, "paths")


def test_content_encodings(site: Site) -> None:
    """zstd that is none or cut is 400; other encodings are 415; nothing is expanded but by our own bounded hand."""
    packed = batch(append("m", LINES), compress=True)
    require_error(site.post("/v1/batch", b"no zstd", Content_Encoding="zstd"), 400, "zstd")
    require_error(site.post("/v1/batch", packed[:-3], Content_Encoding="zstd"), 400, "zstd")
    for encoding in ("gzip", "br", "deflate", "zstd, zstd"):
        require_error(site.post("/v1/batch", packed, Content_Encoding=encoding), 415)


# --- limits


def test_each_size_limit_has_its_error(site: Site) -> None:
    """Past a limit the answer is 413 and names it, so that the sender halves; a good request right after is stored."""
    large = append("large", bytes(25_000))
    many = [append(f"m{n}", b"") for n in range(21)]
    require_error(site.post("/v1/batch", batch(large)), 413, "max_body_bytes: body of")
    require_error(
        site.post("/v1/batch", batch(append("l", bytes(40_000)), compress=True), Content_Encoding="zstd"),
        413,
        "max_expanded_bytes: body expands to more than 30000",
    )
    require_error(site.post("/v1/batch", batch(*many)), 413, "max_items: 21 items")
    require_error(site.post("/v1/batch", batch(append("m" * 11_000, b""))), 413, "max_manifest_bytes: no manifest")
    require_error(site.post("/v1/stat", wire.encode_stat_request(["m"] * 21)), 413, "max_paths: 21 paths")
    long = wire.encode_stat_request(["m" * 500] * 12)
    for path in ("/v1/stat", "/v1/digest", "/v1/lineage"):
        require_error(site.post(path, long), 413, "max_json_bytes: body of more than 5000")
        packed = wire.compress_parts([long])
        require_error(site.post(path, packed, Content_Encoding="zstd"), 413, "max_json_bytes: body expands to more")
    assert [o.result for o in send(site, large, compress=True)] == ["stored"]


def test_a_streamed_body_is_bounded(site: Site) -> None:
    """A body in chunks, without a length, is cut at the limit."""
    answer = site.session.post(site.url + "/v1/batch", data=(bytes(1000) for _ in range(30)), timeout=30)
    require_error(answer, 413, "max_body_bytes: body of more than 20000")


def test_a_body_that_ends_early(site: Site, store: LocalStore, caplog: pytest.LogCaptureFixture) -> None:
    """A body shorter than its length stores nothing, though what came may be a whole batch; it is no defect of ours."""
    body = batch(append("m", LINES))
    answer = exchange(site.connect(), head("/v1/batch", f"Content-Length: {len(body) + 1}") + body, is_cut=True)
    assert b"200 OK" not in answer
    assert store.stat(["m"]) == [None]
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_a_stalled_body_meets_a_deadline(site: Site) -> None:
    """Who promises a body and does not send it is answered with 408 and cut off; others are served meanwhile."""
    with site.connect() as stalled:
        stalled.sendall(head("/v1/batch", "Content-Length: 100") + b"{")
        assert [o.result for o in send(site, append("m", LINES))] == ["stored"]
        answer = stalled.recv(1 << 16)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"body_timeout_s: " in answer


def test_bodies_on_their_way_take_no_slot(site: Site) -> None:
    """Many more stalled clients than slots do not hold up a good one."""
    stalled = [site.connect() for _ in range(20)]
    for connection in stalled:
        connection.sendall(head("/v1/batch", "Content-Length: 100") + b"{")
    assert [o.result for o in send(site, append("m", LINES))] == ["stored"]
    for connection in stalled:
        connection.close()


def test_bodies_in_memory_are_bounded(site: Site) -> None:
    """Past the room for bodies the answer is 503 and when to come again; the room comes back."""
    holding = [site.connect() for _ in range(2)]
    for connection in holding:
        connection.sendall(head("/v1/batch", "Content-Length: 20000") + bytes(19_990))
    end = threading.Event()
    refused = None
    for _ in range(200):  # until the receiver has read what was sent
        answer = site.post("/v1/batch", batch(append("m", LINES)))
        if answer.status_code == 503:
            refused = answer
            break
        end.wait(0.01)
    assert refused is not None
    require_error(refused, 503, "max_requests_in_memory: ")
    assert int(refused.headers["Retry-After"]) > 0
    for connection in holding:
        connection.close()
    for _ in range(200):
        if site.post("/v1/batch", batch(append("m", LINES))).status_code == 200:
            return
        end.wait(0.01)
    raise AssertionError("the room did not come back")


class Failing(LocalStore):
    """A store that raises `error`."""

    error: Exception = StoreFull("the disk is full")

    def apply(self, manifest: Manifest, payloads: object) -> list[Outcome]:
        raise self.error

    def stat(self, paths: object) -> list[Held | None]:
        raise self.error


def test_errors_of_the_store(tmp_path: Path) -> None:
    """A full disk is 507 with Retry-After, a failing one 500; both are JSON."""
    store = Failing(tmp_path / "data")
    with serving(store) as site:
        full = site.post("/v1/batch", batch(append("m", LINES)))
        require_error(full, 507, "full")
        assert int(full.headers["Retry-After"]) > 0
        store.error = StoreError("the disk failed: Input/output error")
        require_error(site.post("/v1/batch", batch(append("m", LINES))), 500, "Input/output error")
        require_error(site.post("/v1/stat", wire.encode_stat_request(["m"])), 500)
    store.close()


def test_a_defect_shows_no_traceback(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Even an error nobody thought of answers 500 without a word of the inside; the log has it."""
    store = Failing(tmp_path / "data")
    store.error = RuntimeError("secret inside")
    with serving(store) as site:
        answer = site.post("/v1/batch", batch(append("m", LINES)))
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    assert "secret inside" in caplog.text
    store.close()


# --- who may


@pytest.mark.parametrize("shown", [None, "Bearer wrong", "Bearer", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer \xff"])
def test_a_wrong_token_does_nothing(
    site: Site, store: LocalStore, caplog: pytest.LogCaptureFixture, shown: str | None
) -> None:
    """Without the token every call but /healthz is 401, nothing is stored, and no log line has a token."""
    caplog.set_level(logging.DEBUG)
    site.session.headers["Authorization"] = shown  # type: ignore[assignment]  # None sends no header
    for answer in (
        site.post("/v1/batch", batch(append("m", LINES))),
        site.post("/v1/stat", wire.encode_stat_request(["m"])),
        site.get("/v1/files/m"),
        site.get("/v1/list/"),
        site.get("/nothing"),
    ):
        require_error(answer, 401, "token")
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert store.stat(["m"]) == [None]
    assert site.get("/healthz").json() == {"ok": True, "version": __version__}
    assert "wrong" not in caplog.text
    assert TOKEN not in caplog.text


def test_the_scheme_is_read_as_the_standard_says(site: Site) -> None:
    """``bearer`` in any case is the same scheme."""
    site.session.headers["Authorization"] = f"bearer  {TOKEN}"
    assert send(site) == []


# --- reading back


def test_a_file_is_read_back(site: Site) -> None:
    """All bytes, their length and time, and a tag that answers 304 while nothing changes."""
    send(site, commit("run/0.png", LINES, mtime_ns=10**18))
    answer = site.get("/v1/files/run/0.png")
    assert (answer.status_code, answer.content) == (200, LINES)
    assert answer.headers["Last-Modified"] == "Sun, 09 Sep 2001 01:46:40 GMT"
    tag = answer.headers["ETag"]
    assert site.get("/v1/files/run/0.png", If_None_Match=f'"x", {tag}').status_code == 304
    found = site.session.head(site.url + "/v1/files/run/0.png", timeout=30)
    assert (found.headers["Content-Length"], found.content) == (str(len(LINES)), b"")


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=5-", 5, None),
        ("bytes=-7", -7, None),
        ("bytes=10-99999", 10, None),
        ("bytes=3-9", 3, 10),
    ],
)
def test_a_range_is_read_back(site: Site, asked: str, start: int, end: int | None) -> None:
    """One range is 206 with just those bytes."""
    send(site, append("m", LINES))
    answer = site.get("/v1/files/m", Range=asked)
    assert (answer.status_code, answer.content) == (206, LINES[start:end])
    first = LINES.index(answer.content) if len(answer.content) > 10 else start % len(LINES)
    assert answer.headers["Content-Range"] == f"bytes {first}-{first + len(answer.content) - 1}/{len(LINES)}"


def test_ranges_that_do_not_fit(site: Site) -> None:
    """Past the end is 416 with the size; what is not understood, or of an older version, is the whole file."""
    send(site, append("m", LINES))
    past = site.get("/v1/files/m", Range=f"bytes={len(LINES)}-")
    require_error(past, 416)
    assert past.headers["Content-Range"] == f"bytes */{len(LINES)}"
    for asked in ("bytes=1-2,4-5", "lines=1-2", "bytes=5-3", "bytes=-", "nonsense"):
        assert site.get("/v1/files/m", Range=asked).content == LINES
    assert site.get("/v1/files/m", Range="bytes=0-0", If_Range='"old"').content == LINES


def test_a_large_file_is_streamed(site: Site, store: LocalStore, tmp_path: Path) -> None:
    """A file of many chunks comes whole."""
    content = bytes(range(256)) * 8000
    (tmp_path / "data" / "large").write_bytes(content)
    assert site.get("/v1/files/large").content == content


def test_a_reader_that_goes_away_is_no_defect(site: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever is killed while a large file is sent leaves no trouble in the log, and the next one has all of it."""
    content = bytes(32 << 20)
    (tmp_path / "data" / "large").write_bytes(content)
    for _ in range(5):
        with site.connect() as reader:
            reader.sendall(f"GET /v1/files/large HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())
            assert reader.recv(1000)
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, as of a kill
    assert site.get("/v1/files/large").content == content
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


def digests(site: Site, *paths: str) -> dict[str, Digest | Unreadable | None]:
    answer = site.post("/v1/digest", wire.encode_stat_request(paths))
    assert answer.status_code == 200, answer.text
    lines = [line for line in answer.content.split(b"\n") if line]
    return {path: wire.decode_digest(line, path) for path, line in zip(paths, lines, strict=True)}


def digest_of(content: bytes) -> Digest:
    return Digest(Offset(len(content)), hashlib.sha256(content).hexdigest())


def test_digests_are_of_what_is_held(site: Site, tmp_path: Path) -> None:
    """Size and SHA-256 for what is there, null for the rest, hostile paths included, in the order of the question."""
    send(site, append("a/m", LINES), commit("w", b""))
    (tmp_path / "data/large").write_bytes(large := bytes(range(256)) * 8001)
    found = digests(site, "large", "none", "a/m", "../a/m", "a", ".ml-logger/locks", "w")
    assert list(found.values()) == [digest_of(large), None, digest_of(LINES), None, None, None, digest_of(b"")]
    require_error(site.post("/v1/digest", b'{"paths": 3}'), 400, "paths")
    require_error(site.post("/v1/digest", wire.encode_stat_request(["x"] * 21)), 413, "max_paths: 21 paths")


def test_a_long_digest_gives_signs_of_life(site: Site, tmp_path: Path) -> None:
    """While a large file is read empty lines come, so that nobody takes the receiver for dead."""
    with (tmp_path / "data/large").open("wb") as file:
        file.truncate(64 << 20)
    answer = site.post("/v1/digest", wire.encode_stat_request(["large"])).content
    assert answer.startswith(b"\n\n\n{")


class Unruly(LocalStore):
    """A store of files that grow or shrink once they are open, or can't be opened."""

    def open(self, path: str) -> StoredFile:
        if path == "bad":
            raise StoreError("the disk failed: Input/output error")
        file = super().open(path)
        with (self._tree.root / path).open("r+b") as other:
            other.truncate(2 if path == "shrinks" else 1000)
        return file


def test_files_that_change_or_fail_while_they_are_digested(tmp_path: Path) -> None:
    """A file is digested up to its size when it was opened; one without a digest says why, and costs no other its own."""
    store = Unruly(tmp_path / "data")
    with serving(store) as site:
        send(site, *(append(path, LINES[:20]) for path in ("bad", "shrinks", "grows")))
        assert digests(site, "bad", "shrinks", "grows") == {
            "bad": Unreadable("the disk failed: Input/output error"),
            "shrinks": Unreadable("the file became shorter while it was read"),
            "grows": digest_of(LINES[:20]),
        }
    store.close()


def test_what_is_not_there_or_not_allowed(site: Site) -> None:
    """Missing is 404, hostile is 400, also where the URL hides it; folders are no files."""
    send(site, append("run/m", LINES))
    for path in ("none", "run", "run/m/x", ""):
        answer = site.get(f"/v1/files/{path}")
        require_error(answer, 404 if path else 400)
    for path in ("%2e%2e/x", "a/%2e%2e/%2e%2e/x", "%2Fetc/passwd", "a%00b", ".ml-logger/stage", "a%5Cb", "%ff"):
        raw = exchange(site.connect(), head(f"/v1/files/{path}", method="GET"))
        assert raw.startswith(b"HTTP/1.1 400 "), (path, raw)
    require_error(site.get("/v1/files/run%2Fm/"), 400)
    assert site.get("/v1/files/run%2Fm").content == LINES


def test_odd_names_are_read_back(site: Site) -> None:
    """Percent signs, spaces, question marks and any script come back under their own name."""
    paths = ["100%", "%41", "a b", "a?b#c", "caf\u00e9/\U0001f600", "%2F"]
    send(site, *(append(path, path.encode()) for path in paths))
    for path in paths:
        assert site.get("/v1/files/" + requests.utils.quote(path)).content == path.encode()  # type: ignore[attr-defined]


def test_folders_are_listed(site: Site) -> None:
    """Sorted entries with kind, size and time, in pages."""
    send(site, *(append(f"run/{n}", LINES[:n]) for n in range(5)))
    top = site.get("/v1/list").json()
    assert [(e["name"], e["kind"]) for e in top["entries"]] == [("run", "dir")]
    assert (top["path"], top["next_after"]) == ("", None)
    page = site.get("/v1/list/run?limit=2&after=1").json()
    assert [(e["name"], e["kind"], e["size"]) for e in page["entries"]] == [("2", "file", 2), ("3", "file", 3)]
    assert page["next_after"] == "3"
    assert page["entries"][0]["mtime_ns"] > 0
    assert site.get("/v1/list/run/").json() == site.get("/v1/list/run").json()
    for limit in ("0", "1001", "x", "-1", ""):
        require_error(site.get(f"/v1/list/run?limit={limit}"), 400, "limit")
    require_error(site.get("/v1/list/none"), 404)
    require_error(site.get("/v1/list/.ml-logger"), 400)


def test_every_error_is_json(site: Site) -> None:
    """Unknown places and wrong methods too."""
    require_error(site.get("/v1/none"), 404)
    wrong = site.get("/v1/batch")
    require_error(wrong, 405)
    assert wrong.headers["Allow"] == "POST"
    assert orjson.loads(wrong.content)["error"] == "method not allowed"
