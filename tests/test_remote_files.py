"""A receiver's tree is read as a directory is; whatever else answers is told from it, and holds nobody up."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import orjson
import pytest
from canned import answering, said
from serving import Site, serving

from ml_logger.errors import BadAnswer, MLLoggerError, NotHeld, TryAgain, UsageError
from ml_logger.files import Entry, LocalFiles
from ml_logger.listing import decode_listing, living_runs
from ml_logger.remote import Remote, find_receiver
from ml_logger.remote_files import MOST_BYTES, OPENING_BYTES, RemoteFiles
from ml_logger.retries import Retries
from ml_logger.server.local_store import LocalStore


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tree")
    (root / "run/many").mkdir(parents=True)
    for name, size in {"empty": 0, "small.jsonl": 9, "opening": OPENING_BYTES, "large": 2 * MOST_BYTES + 7}.items():
        (root / "run" / name).write_bytes(os.urandom(size))
    for name in ("100%", "a b#c?d", "é学", "~x", "+"):
        (root / "run" / name).write_text(name)
    for number in range(1001):  # more than a page
        (root / f"run/many/{number:04}").touch()
    return root


@pytest.fixture(scope="module")
def site(tree: Path) -> Iterator[Site]:
    with closing(LocalStore(tree)) as store, serving(store) as site:
        yield site


@pytest.fixture
def far(site: Site) -> Iterator[RemoteFiles]:
    with closing(RemoteFiles(Remote(site.url, keep_alive=True))) as files:
        yield files


def test_folders(far: RemoteFiles, tree: Path) -> None:
    """Every folder has the same entries, in the same order, also one of more than a page."""
    near = LocalFiles(tree)
    assert far.list("run/many") == near.list("run/many")
    assert [e.name for e in far.list("")] == ["run"]
    kinds = [(e.name, e.kind, e.size if e.kind == "file" else 0) for e in far.list("run")]
    assert kinds == [(e.name, e.kind, e.size) for e in near.list("run")]


@pytest.mark.parametrize("name", ["empty", "small.jsonl", "opening", "large", "100%", "a b#c?d", "é学", "~x", "+"])
def test_files(name: str, far: RemoteFiles, tree: Path) -> None:
    """Every piece of every file has the same bytes: at the begin, across the pieces it is fetched in, past the end."""
    near = LocalFiles(tree)
    with closing(near.open(f"run/{name}")) as ours, closing(far.open(f"run/{name}")) as theirs:
        assert theirs.size == ours.size
        assert name == "empty" or abs(theirs.mtime_ns - ours.mtime_ns) < 10**9
        for offset in (0, 3, OPENING_BYTES - 1, OPENING_BYTES, MOST_BYTES, ours.size):
            for length in (0, 1, OPENING_BYTES + 2, MOST_BYTES + 2):
                assert theirs.read(offset, length) == ours.read(offset, length), (offset, length)


@pytest.mark.parametrize("path", ["run/none", "run/many", "none/none", "run/empty/x"])
def test_what_is_not_held(path: str, far: RemoteFiles) -> None:
    """What is no file, or no folder, is not held."""
    with pytest.raises(NotHeld):
        far.open(path)
    if path != "run/many":
        with pytest.raises(NotHeld):
            far.list(path)


def test_a_file_that_is_replaced_while_it_is_read(far: RemoteFiles, tree: Path) -> None:
    """Two versions are never mixed; a stream that grew is read on."""
    for name in ("whole.pt", "stream.jsonl"):
        (tree / "run" / name).write_bytes(b"a" * (2 * OPENING_BYTES))
    with closing(far.open("run/whole.pt")) as whole, closing(far.open("run/stream.jsonl")) as stream:
        (tree / "run/aside").write_bytes(b"b" * (2 * OPENING_BYTES))
        (tree / "run/aside").rename(tree / "run/whole.pt")
        with (tree / "run/stream.jsonl").open("ab") as file:
            file.write(b"more")
        with pytest.raises(NotHeld):
            whole.read(0, 2 * OPENING_BYTES)
        assert stream.read(0, 3 * OPENING_BYTES) == b"a" * (2 * OPENING_BYTES)
    with closing(far.open("run/stream.jsonl")) as stream:
        (tree / "run/stream.jsonl").write_bytes(b"short")
        assert stream.read(OPENING_BYTES, 10) == b""
    version = far.open("run/stream.jsonl").version
    os.utime(tree / "run/stream.jsonl", ns=(1, 1))
    assert far.open("run/stream.jsonl").version != version


def test_connections_are_kept(site: Site, tree: Path) -> None:
    """Many small reads go over one connection; one that the other end has closed costs nothing but another."""
    with counted_connections(site) as (url, count), closing(RemoteFiles(Remote(url, keep_alive=True))) as files:
        for _ in range(10):
            files.open("run/100%").read(0, 9)
            files.list("run")
        assert count() == 1


@contextmanager
def counted_connections(site: Site) -> Iterator[tuple[str, Callable[[], int]]]:
    from relay import Relay

    host, port = site.url.removeprefix("http://").split(":")
    with closing(Relay((host, int(port)))) as relay:
        yield relay.url, lambda: relay.connections


def test_urls(site: Site) -> None:
    """A URL leads to the receiver and what is behind it, however it was copied: encoded, with slashes, of the protocol."""
    for behind in (
        "/run/a%20b%23c",
        "/run/a b%23c/",
        "/v1/files/run/a%20b%23c",
        "/v1/list/run/a%20b%23c",
        "//run//a b%23c#x",
    ):
        remote, path = find_receiver(site.url + behind)
        with closing(remote):
            assert (remote.server, path.strip("/")) == (site.url, "run/a b#c"), behind


# --- what else may answer


def part(content: bytes, span: str, **more: int) -> bytes:
    return said(content, "206 Partial Content", f"Content-Range: {span}", 'ETag: "1"', **more)


PAGE = {"v": 1, "path": "run", "entries": [{"name": "a", "kind": "file", "size": 1, "mtime_ns": 1}], "next_after": "a"}

HOSTILE: dict[str, tuple[bytes, type[MLLoggerError]]] = {
    "html": (said(b"<html>"), BadAnswer),
    "all of it": (said(b"abc"), BadAnswer),
    "another part": (part(b"abc", "bytes 5-7/9"), BadAnswer),
    "more than it says": (part(b"abcd", "bytes 0-2/9"), BadAnswer),
    "more than asked for": (part(b"x" * (OPENING_BYTES + 1), f"bytes 0-{OPENING_BYTES}/99999"), BadAnswer),
    "endless": (said(orjson.dumps(PAGE)), BadAnswer),
    "huge page": (said(b" " * (9 << 20)), BadAnswer),
    "cut": (part(b"abc", "bytes 0-8/9", length=9), TryAgain),
    "nothing": (b"", TryAgain),
    "busy": (said(b'{"error":"busy"}', "503 Service Unavailable"), TryAgain),
    "redirect": (said(b"", "302 Found", "Location: http://127.0.0.1:1/"), UsageError),
    "no right": (said(b'{"error":"no"}', "403 Forbidden"), UsageError),
    "no route": (said(b"<html>", "404 Not Found"), UsageError),
    "gone": (said(b'{"error":"deleted"}', "410 Gone"), NotHeld),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_is_no_receiver(case: str) -> None:
    """Whatever answers in a receiver's place is an error of ours, and never taken for a file or folder."""
    answer, kind = HOSTILE[case]
    with answering(answer) as url, closing(RemoteFiles(Remote(url))) as files:
        with pytest.raises(kind):
            files.list("run") if case in ("endless", "huge page") else files.open("run/x").read(0, 9)
        assert files.is_being_written("run/run.jsonl") is None


def test_names_that_lead_elsewhere_are_passed_over() -> None:
    """A receiver can't name what lies outside of a folder, or what no path can say."""
    names = ["..", ".", "", "a\nb", "a\\b", "ok", "x" * 300]
    entries = [{"name": name, "kind": "file", "size": 1, "mtime_ns": -1} for name in names]
    body = orjson.dumps({"v": 1, "path": "run", "entries": entries, "next_after": None})
    assert decode_listing(body, "run") == ([Entry("ok", "file", 1, -1)], None)


@pytest.mark.parametrize(
    "change",
    [
        {"path": "other"},
        {"entries": None},
        {"entries": [1]},
        {"entries": [{"name": "a/b", "kind": "file", "size": 1, "mtime_ns": 1}]},
        {"entries": [{"name": "a", "kind": "link", "size": 1, "mtime_ns": 1}]},
        {"entries": [{"name": "a", "kind": "file", "size": "1", "mtime_ns": 1}]},
        {"next_after": 7},
    ],
)
def test_lists_that_are_none(change: dict[str, object]) -> None:
    """A list of another shape is no answer of this protocol."""
    with pytest.raises(BadAnswer):
        decode_listing(orjson.dumps({**PAGE, **change}), "run")


def test_which_runs_are_alive() -> None:
    """What an agent says counts for as long as it was heard of just now."""
    agents = [{"age_s": age_s, "spools": [{"runs_alive": [run]}]} for age_s, run in ((1.0, "a"), (3600.0, "b"))]
    assert living_runs(orjson.dumps({"v": 1, "agents": agents})) == {"a"}
    for body in (b"{}", b"[]", b"x", orjson.dumps({"agents": [{"age_s": "x", "spools": []}]})):
        with pytest.raises(BadAnswer):
            living_runs(body)


# --- trying again


def test_retries_end_where_patience_does() -> None:
    """A call that fails is made again until it works, or until nothing came for so long; each pause is told."""
    told: list[object] = []
    left = [TryAgain("one"), TryAgain("two")]

    def call() -> str:
        if left:
            raise left.pop(0)
        return "done"

    assert Retries(30.0, told.append).insist(call) == "done"
    assert [str(error) for error in told] == ["one", "two", "None"]
    with pytest.raises(TryAgain):
        Retries(0.0, told.append).insist(lambda: (_ for _ in ()).throw(TryAgain("three")))


def test_a_stop_ends_a_pause() -> None:
    """Who is told to stop does not wait for the next try."""
    stop, calls = threading.Event(), []

    def call() -> None:
        calls.append(time.monotonic())
        raise TryAgain("away", retry_after_s=3600.0)

    with pytest.raises(TryAgain):
        Retries(60.0, lambda _: stop.set(), stop).insist(call)
    assert len(calls) == 2
