"""The room for bodies on their way in: who fills it and stops keeps nobody else out."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from batches import append
from processes import wait_until
from serving import Site, exchange, serving
from test_server_app import batch, head

from ml_logger.server.answers import Refused
from ml_logger.server.config import Limits
from ml_logger.server.local_store import LocalStore
from ml_logger.server.room import Holder, Room

LINES = b"".join(b'{"_step":%d}\n' % n for n in range(100))
BATCH = batch(append("m", LINES))
BODY_BYTES = 20_000
LEFT_BYTES = 500
CALLS = [("POST", "/v1/batch"), ("PUT", "/v1/files/w")]


def limits(stall_timeout_s: float) -> Limits:
    return Limits(max_body_bytes=BODY_BYTES, max_requests_in_memory=4, stall_timeout_s=stall_timeout_s)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalStore]:
    store = LocalStore(tmp_path / "data")
    yield store
    store.close()


def hold(site: Site, method: str, path: str) -> socket.socket:
    """Return a connection that has sent nearly all of a body."""
    connection = site.connect()
    sent = head(path, f"Content-Length: {BODY_BYTES}", method=method) + bytes(BODY_BYTES - LEFT_BYTES)
    connection.sendall(sent)
    return connection


def send_from(address: str, site: Site) -> bytes:
    """Return the answer to a good batch that comes from this address."""
    parts = urlsplit(site.url)
    connection = socket.create_connection((parts.hostname, parts.port), timeout=30, source_address=(address, 0))
    return exchange(connection, head("/v1/batch", f"Content-Length: {len(BATCH)}") + BATCH)


def fill(stack: ExitStack, site: Site, method: str, path: str) -> list[socket.socket]:
    """Return the connections that have all of their address's room, once one too many was refused."""
    holding = [stack.enter_context(hold(site, method, path)) for _ in range(3)]
    (refused,), _, _ = select.select(holding, [], [], 30)
    assert refused.recv(1 << 16).startswith(b"HTTP/1.1 503 ")
    holding.remove(refused)
    return holding


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_one_address_has_half_of_the_room(store: LocalStore, method: str, path: str) -> None:
    """Clients of one address that hold all they can are refused past that; one of another address is served at once."""
    with serving(store, limits=limits(30.0)) as site, ExitStack() as stack:
        holding = fill(stack, site, method, path)
        assert send_from("127.0.0.1", site).startswith(b"HTTP/1.1 503 ")
        assert send_from("127.0.0.2", site).startswith(b"HTTP/1.1 200 ")
        assert select.select(holding, [], [], 0)[0] == []  # neither was cut for that


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_who_holds_room_for_long_makes_way(store: LocalStore, method: str, path: str) -> None:
    """However regularly it sends a byte: it is answered with 408, and another of its address is served."""
    with serving(store, limits=limits(1.5)) as site, ExitStack() as stack:
        holding = fill(stack, site, method, path)

        def is_served() -> bool:
            for connection in holding:
                connection.sendall(b"0")
            return send_from("127.0.0.1", site).startswith(b"HTTP/1.1 200 ")

        wait_until(is_served, poll_s=0.03)
        (cut,), _, _ = select.select(holding, [], [], 30)
        answer = cut.recv(1 << 16)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"others wait" in answer


# --- by a clock of its own


class Scene:
    """A room of 100 bytes, 50 of them for one address, and who was cut."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.cut: list[str] = []
        self.room = Room(100, 50, 10.0, steady_s=lambda: self.now_s)

    def holder(self, address: str, size_bytes: int, *, may_be_cut: bool = True) -> Holder:
        holder = Holder(address, lambda: self.cut.append(address), may_be_cut)
        self.room.take(holder, size_bytes)
        return holder


def require_refusal(scene: Scene, address: str, size_bytes: int) -> None:
    holder = Holder(address, lambda: None)
    with pytest.raises(Refused) as caught:
        scene.room.take(holder, size_bytes)
    assert caught.value.status == 503
    scene.room.give(holder, size_bytes)


def test_room_is_given_back() -> None:
    """All that was held is free again, whatever was refused or cut in between."""
    scene = Scene()
    for _ in range(3):
        one, other = scene.holder("a", 50), scene.holder("b", 50)
        require_refusal(scene, "a", 1)
        require_refusal(scene, "c", 1)
        scene.now_s += 11
        third = scene.holder("c", 50)
        for holder in (one, other, third):
            scene.room.give(holder, 50)
    assert scene.cut == ["a"] * 3
    scene.holder("a", 50)
    scene.holder("b", 50)


def test_the_share_of_an_address_is_its_own_affair() -> None:
    """Past its share one of the same address makes way, though one of another has held longer."""
    scene = Scene()
    scene.holder("b", 10)
    scene.now_s = 1.0
    scene.holder("a", 50)
    scene.now_s = 12.0
    scene.holder("a", 10)
    assert scene.cut == ["a"]


def test_only_the_surplus_is_refused() -> None:
    """What the refused one held is there at once for the others of its address, whose bodies go on coming in."""
    scene = Scene()
    others = [scene.holder("a", 16), scene.holder("a", 16)]
    refused = scene.holder("a", 16)
    with pytest.raises(Refused):
        scene.room.take(refused, 4)
    for holder in others:
        scene.room.take(holder, 9)
    scene.room.give(refused, 20)
    require_refusal(scene, "a", 1)
    assert scene.cut == []


def test_whose_body_is_being_stored_is_not_cut() -> None:
    """The next one makes way in its stead; one that was cut takes nothing more."""
    scene = Scene()
    scene.holder("a", 30, may_be_cut=False)
    cut = scene.holder("a", 20)
    scene.now_s = 11.0
    scene.holder("a", 20)
    assert (cut.is_cut, scene.cut) == (True, ["a"])
    require_refusal(scene, "a", 1)
    with pytest.raises(Refused) as caught:
        scene.room.take(cut, 1)
    assert caught.value.status == 408
