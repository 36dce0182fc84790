"""A disk that stands still for whoever reads below one folder costs the others nothing, readers and writers."""

from __future__ import annotations

import select
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from batches import append, apply
from serving import Site, serving
from test_server_app import batch, head

from ml_logger.server.disk import Disk
from ml_logger.server.local_store import LocalStore

MOST_READS = 4
READERS = 40
"""More than there are threads, whatever they are for."""


class FrozenDisk(Disk):
    """A disk that opens no file named `frozen` until `thaw`."""

    def __init__(self) -> None:
        super().__init__()
        self.thaw = threading.Event()
        self.entered = threading.Semaphore(0)

    def open_file(self, name: str, flags: int, folder_fd: int) -> int:
        if name == "frozen":
            self.entered.release()
            self.thaw.wait(60)
        return super().open_file(name, flags, folder_fd)


@pytest.fixture
def disk() -> FrozenDisk:
    return FrozenDisk()


@pytest.fixture
def site(tmp_path: Path, disk: FrozenDisk) -> Iterator[Site]:
    (tmp_path / "data/cold").mkdir(parents=True)
    (tmp_path / "data/cold/frozen").write_bytes(b"1\n")
    store = LocalStore(tmp_path / "data", most_reads_a_run=MOST_READS, patience_s=0.3, disk=disk)
    apply(store, append("warm/a", b"1\n"))
    with serving(store) as site:
        yield site
        disk.thaw.set()
    store.close()


@pytest.mark.parametrize(("method", "lines"), [("GET", ()), ("PUT", ("Content-Length: 1",))])
def test_reads_that_hang_hold_up_nobody_else(site: Site, disk: FrozenDisk, method: str, lines: tuple[str, ...]) -> None:
    """What is stored and read elsewhere goes on; below that folder half of the readers hang, and the others get 503."""
    with ExitStack() as stack:
        stack.callback(disk.thaw.set)
        readers = [stack.enter_context(site.connect()) for _ in range(READERS)]
        for reader in readers:
            reader.sendall(head("/v1/files/cold/frozen", *lines, method=method))
        assert all(disk.entered.acquire(timeout=30) for _ in range(MOST_READS))
        assert site.post("/v1/batch", batch(append("warm/b", b"2\n"))).status_code == 200
        assert site.get("/v1/files/warm/a").content == b"1\n"
        while len(readers) > MOST_READS:
            answered, _, _ = select.select(readers, [], [], 30)
            assert answered, "whoever finds no room below that folder is told so"
            for reader in answered:
                assert reader.recv(1 << 16).startswith(b"HTTP/1.1 503 ")
                readers.remove(reader)
        assert not disk.entered.acquire(blocking=False)
