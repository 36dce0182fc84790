"""Readiness and metrics: what an orchestrator and Prometheus see of a receiver."""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from batches import append
from processes import TOKEN, wait_until
from prometheus_client.parser import text_string_to_metric_families
from serving import Site, serving

from ml_logger import wire
from ml_logger.server import health
from ml_logger.server.app import make_app
from ml_logger.server.auth import Caller, Door, Token, digest_of
from ml_logger.server.config import Limits
from ml_logger.server.disk import Disk
from ml_logger.server.figures import CALLS, Figures
from ml_logger.server.lineage import Marks
from ml_logger.server.local_store import LocalStore
from ml_logger.wire import Manifest

LINE = b'{"_step":0}\n'


class MoodyDisk(Disk):
    """A disk with `free` bytes that fails to write with `error`, or not at all until `thaw`."""

    def __init__(self) -> None:
        super().__init__()
        self.free, self.error = 10_000, 0
        self.thaw = threading.Event()
        self.thaw.set()
        self.looks = 0

    def free_bytes(self, fd: int) -> int:
        self.looks += 1
        return self.free

    def write(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        self.thaw.wait(30)
        if self.error:
            raise OSError(self.error, os.strerror(self.error))
        return super().write(fd, data, offset)


@pytest.fixture
def disk() -> MoodyDisk:
    return MoodyDisk()


@pytest.fixture
def site(tmp_path: Path, disk: MoodyDisk) -> Iterator[Site]:
    store = LocalStore(tmp_path / "data", min_free_bytes=9_000, disk=disk)
    with serving(store, token=TOKEN) as site:
        yield site
    store.close()


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no look count for the next question, but where a test says so."""
    monkeypatch.setattr(health, "KEEP_S", 0.0)


# --- readiness


def test_ready_while_data_can_be_taken(site: Site, disk: MoodyDisk) -> None:
    """Below the floor, or where writing fails, it is 503 with the reason; it comes back by itself, and is up all the time."""
    site.session.headers.pop("Authorization")
    assert site.get("/readyz").status_code == 200
    disk.free = 8_000
    answer = site.get("/readyz")
    assert (answer.status_code, "8000 bytes free, the floor is 9000" in answer.json()["error"]) == (503, True)
    disk.free, disk.error = 10_000, errno.EROFS
    answer = site.get("/readyz")
    assert (answer.status_code, "Read-only file system" in answer.json()["error"]) == (503, True)
    assert site.get("/healthz").status_code == 200
    disk.error = 0
    assert site.get("/readyz").status_code == 200


def test_a_disk_that_stands_still_is_not_ready(site: Site, disk: MoodyDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer comes in time, and however many ask, one thread waits for the disk."""
    monkeypatch.setattr(health, "PROBE_TIMEOUT_S", 0.05)
    disk.thaw.clear()
    looks = disk.looks
    assert {site.get("/readyz").json()["error"] for _ in range(30)} == {"the disk does not answer"}
    assert disk.looks <= looks + 2
    disk.thaw.set()
    wait_until(lambda: site.get("/readyz").status_code == 200)


def test_many_questions_are_one_look(site: Site, disk: MoodyDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look counts for a while."""
    monkeypatch.setattr(health, "KEEP_S", 1000.0)
    site.get("/readyz")
    looks = disk.looks
    for _ in range(10):
        assert site.get("/readyz").status_code == 200
    assert disk.looks == looks


# --- metrics


def samples(text: str) -> dict[tuple[str, ...], float]:
    """Return all samples by their name and labels, as Prometheus reads them."""
    families = text_string_to_metric_families(text)
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


def test_the_metrics_say_what_was_done(site: Site) -> None:
    """Requests by call and status, bytes, items by outcome, batches, failures to log in, the disk."""
    item, payload = append("run/m.jsonl", LINE)
    body = wire.encode_batch(Manifest("s", (item,)), [payload], compress=False)
    for _ in range(2):
        site.post("/v1/batch", body)
    site.post("/v1/batch", b"broken")
    site.get("/v1/files/run/m.jsonl")
    site.get("/v1/list/none")
    site.get("/nowhere/at/all")
    site.session.get(site.url + "/v1/list", headers={"Authorization": "Bearer wrong"}, timeout=30)
    answer = site.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    found = samples(answer.text)
    name = "ml_logger_receiver_"
    requests = {key[1:]: value for key, value in found.items() if key[0] == name + "requests_total"}
    assert requests == {
        ("batch", "200"): 2,
        ("batch", "400"): 1,
        ("files", "200"): 1,
        ("list", "404"): 1,
        ("list", "401"): 1,
        ("other", "404"): 1,
    }
    assert found[name + "received_bytes_total",] == 2 * len(body) + len(b"broken")
    assert found[name + "items_total", "stored"] == found[name + "items_total", "already"] == 1
    assert found[name + "items_total", "rejected"] == 0
    assert found[name + "batch_seconds_count",] == found[name + "batch_seconds_bucket", "+Inf"] == 2
    assert found[name + "batch_seconds_sum",] > 0
    assert found[name + "failed_logins_total",] == 1
    assert found[name + "disk_free_bytes",] == 10_000


def test_metrics_are_for_whom_may_read_everything(tmp_path: Path) -> None:
    """Not for a token without the right, nor for one with a prefix, nor without any."""
    tokens = tuple(
        Token(digest_of(caller.name), caller)
        for caller in (
            Caller("reader", frozenset({"read"})),
            Caller("writer", frozenset({"write"})),
            Caller("narrow", frozenset({"read"}), "mine"),
        )
    )
    store = LocalStore(tmp_path / "data")
    with serving(store, Door(lambda: tokens)) as site:
        for name, status in (("reader", 200), ("writer", 403), ("narrow", 403), ("nobody", 401)):
            assert site.get("/metrics", Authorization=f"Bearer {name}").status_code == status, name
    with serving(store, Door(lambda: tokens), metrics_open=True) as site:
        assert site.get("/metrics").status_code == 200
        assert site.get("/v1/list").status_code == 401
    store.close()


def test_without_the_extra_the_mend_is_said(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where prometheus-client is not installed the answer is 501 and one line."""
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    answer = site.get("/metrics")
    assert (answer.status_code, "ml-logger[prometheus]" in answer.json()["error"]) == (501, True)


def test_every_call_is_counted_by_its_name(tmp_path: Path) -> None:
    """No route of the receiver is among the others, but for the page itself."""
    store = LocalStore(tmp_path / "data")
    app = make_app(store, Door(None), Limits(), Marks(tmp_path))
    paths = {resource.canonical for resource in app.router.resources()}
    store.close()
    assert {path.removeprefix("/v1").split("/")[1] for path in paths} == {*CALLS, ""}


def test_rows_add_up_and_outlive_their_worker() -> None:
    """A worker that is started again goes on with the counts of the dead one; its states begin anew. Any path is counted."""
    figures = Figures(3)
    for path in ("", "host:80", "/", "//", "/v1", "/v1/", "/v1stat", "/nowhere"):
        figures.count_request(path, 404)
    assert figures.requests() == [("other", "404", 8.0)]
    figures = Figures(3)
    for number in (0, 2, 2):
        figures.take_row(number)
        figures.count_batch(["stored", "already"], 0.2)
        figures.count_request("/v1/batch", 200)
        figures.count_request("/v1/batch", 299)
        figures.set_state("connections", 5)
    assert figures.total("item", "stored") == 3
    assert figures.total("connections") == 10
    assert figures.requests() == [("batch", "200", 3.0), ("batch", "0", 3.0)]
    assert [number for bound, number in figures.batches() if bound in ("0.1", "0.25", "inf")] == [0, 3, 3]
