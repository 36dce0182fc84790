"""Connections to the receiver: each bound has its named answer, and whoever behaves does not notice."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from batches import append, content_of, results
from processes import wait_until
from serving import Site, exchange, serving
from tls import make_certificate

from ml_logger import wire
from ml_logger.server import accepting
from ml_logger.server.certificate import Certificate
from ml_logger.server.config import Limits
from ml_logger.server.connections import Connections
from ml_logger.server.local_store import LocalStore
from ml_logger.wire import Manifest

ASK = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
SHORT = Limits(header_timeout_s=0.3, idle_timeout_s=0.3, stall_timeout_s=0.3)
STEPS = 40
SLOW = 50


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalStore]:
    store = LocalStore(tmp_path / "data")
    yield store
    store.close()


class GoodClient:
    """Appends a line at a time over one connection, as long as it is let."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.content = b""

    def step(self) -> None:
        before, self.content = self.content, self.content + b'{"_step":%d}\n' % len(self.content)
        item, payload = append("good/m.jsonl", self.content, len(before))
        answer = self._site.post(
            "/v1/batch",
            wire.encode_batch(Manifest("good", (item,)), [payload], compress=False),
            Connection="keep-alive",
        )
        assert answer.status_code == 200, answer.text
        assert wire.decode_answer(answer.content, [item]).outcomes[0].result == "stored"


def rest_of(connection: socket.socket) -> bytes:
    """Return what still comes until the other side closes, which a cut shows as nothing."""
    answer = b""
    try:
        while chunk := connection.recv(1 << 16):
            answer += chunk
    except ConnectionResetError:
        pass
    return answer


def require_error(answer: bytes, status: int, words: str) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), answer
    assert words in wire.decode_error(body)


# --- time


def test_a_head_that_does_not_end_meets_a_deadline(store: LocalStore) -> None:
    """Half a head is answered with 408, silence is closed without a word; a client that sends requests goes on."""
    with serving(store, limits=replace(SHORT, idle_timeout_s=60)) as site:
        good = GoodClient(site)
        with site.connect() as half, site.connect() as silent:
            half.sendall(ASK[:-2])
            good.step()
            require_error(rest_of(half), 408, "header_timeout_s")
            assert rest_of(silent) == b""
        good.step()
        assert content_of(store, "good/m.jsonl") == good.content


def test_a_later_head_meets_the_same_deadline(store: LocalStore) -> None:
    """The time for the head runs again from its first byte, and not while nothing is asked."""
    with serving(store, limits=replace(SHORT, idle_timeout_s=60)) as site, site.connect() as client:
        for _ in range(2):
            client.sendall(ASK)
            assert client.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
            client.settimeout(0.6)
            with pytest.raises(TimeoutError):
                client.recv(1)
            client.settimeout(30)
        client.sendall(ASK[:20])
        require_error(rest_of(client), 408, "header_timeout_s")


def test_an_idle_connection_is_closed(store: LocalStore) -> None:
    """Between two requests a connection may rest for so long and no longer; who asks meanwhile stays."""
    with serving(store, limits=replace(SHORT, header_timeout_s=60)) as site:
        good = GoodClient(site)
        with site.connect() as idle:
            idle.sendall(ASK)
            assert idle.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
            good.step()
            assert rest_of(idle) == b""
        good.step()


def test_a_body_that_stops_coming_is_given_up(store: LocalStore) -> None:
    """Not a byte for too long is 408, long before the bound for the whole body; one that comes in drops is taken."""
    pause = threading.Event()
    with serving(store, limits=SHORT) as site:
        with site.connect() as stalled:
            stalled.sendall(b"POST /v1/stat HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
            require_error(stalled.recv(1 << 16), 408, "stall_timeout_s")
        body = wire.encode_stat_request(["m"])
        with site.connect() as drops:
            drops.sendall(b"POST /v1/stat HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body))
            for byte in body:
                drops.sendall(bytes([byte]))
                pause.wait(0.02)  # together longer than the bound
            assert drops.recv(1 << 16).startswith(b"HTTP/1.1 200 ")


def test_who_does_not_read_is_cut_off(store: LocalStore, tmp_path: Path) -> None:
    """An answer that nobody takes does not hold its file open for ever."""
    (tmp_path / "data/large").write_bytes(bytes(64 << 20))
    with serving(store, limits=SHORT) as site, site.connect() as deaf:
        deaf.sendall(b"GET /v1/files/large HTTP/1.1\r\nHost: x\r\n\r\n")
        assert deaf.recv(100).startswith(b"HTTP/1.1 200 ")
        wait_until(lambda: not open_by_us(tmp_path / "data/large"), 30, "the file is closed")
        assert len(rest_of(deaf)) < 64 << 20
        GoodClient(site).step()


def open_by_us(path: Path) -> bool:
    """Whether this process, which serves, has the file open."""
    return any(link.resolve() == path for link in Path("/proc/self/fd").iterdir())


def test_slow_clients_do_not_hold_up_a_good_one(store: LocalStore) -> None:
    """While fifty send a head and fifty a body, a byte now and then, every batch of a good one is stored."""
    limits = Limits(max_requests_in_memory=2)
    body = b"POST /v1/batch HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"
    with serving(store, limits=limits) as site, ExitStack() as stack:
        heads = [stack.enter_context(site.connect()) for _ in range(SLOW)]
        bodies = [stack.enter_context(site.connect()) for _ in range(SLOW)]
        for client in bodies:
            client.sendall(body)
        good = GoodClient(site)
        for step in range(STEPS):
            for client in heads:
                client.sendall(ASK[step % len(ASK) : step % len(ASK) + 1] or b"x")
            for client in bodies:
                client.sendall(b"x")
            good.step()
        assert content_of(store, "good/m.jsonl") == good.content


# --- number


@contextmanager
def crowd(site: Site, number: int, source: str = "127.0.0.1") -> Iterator[list[socket.socket]]:
    """Hold so many connections from one address, each known to the receiver."""
    with ExitStack() as stack:
        held = [stack.enter_context(connect_from(site, source)) for _ in range(number)]
        for connection in held:
            connection.sendall(ASK)
            assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
        yield held


def connect_from(site: Site, source: str) -> socket.socket:
    host, port = site.url.rpartition("/")[2].split(":")
    return socket.create_connection((host, int(port)), timeout=30, source_address=(source, 0))


def test_connections_of_one_client_are_bounded(store: LocalStore) -> None:
    """One too many is told so with 429; another address is served, and so is this one when it has closed some."""
    with serving(store, limits=Limits(max_connections_a_client=3)) as site:
        with crowd(site, 3, "127.0.0.2"):
            refused = exchange(connect_from(site, "127.0.0.2"), ASK)
            require_error(refused, 429, "max_connections_a_client: 3 ")
            assert b"Retry-After: " in refused
            GoodClient(site).step()
        wait_until(lambda: is_served(connect_from(site, "127.0.0.2")), 30, "room again")


def test_connections_in_all_are_bounded(store: LocalStore) -> None:
    """One too many is told so with 503, whoever it is; those who are connected go on."""
    with serving(store, limits=Limits(max_connections=4)) as site:
        good = GoodClient(site)
        good.step()
        with crowd(site, 3, "127.0.0.2"):
            require_error(exchange(connect_from(site, "127.0.0.3"), ASK), 503, "max_connections: 4 ")
            good.step()
        wait_until(lambda: is_served(connect_from(site, "127.0.0.3")), 30, "room again")


def is_served(connection: socket.socket) -> bool:
    return exchange(connection, ASK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")).startswith(b"HTTP/1.1 200 ")


def test_a_refused_request_is_no_idle_one(store: LocalStore) -> None:
    """What still comes of a body that was refused is not taken for the next head."""
    limits = Limits(max_body_bytes=1000, header_timeout_s=0.2)
    with serving(store, limits=limits) as site, site.connect() as client:
        client.sendall(b"POST /v1/stat HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n" + bytes(2000))
        assert client.recv(1 << 16).startswith(b"HTTP/1.1 413 ")
        client.sendall(bytes(1000))
        client.settimeout(0.6)
        with pytest.raises(TimeoutError):
            client.recv(1)
    assert results(store, append("m", b"x\n")) == ["stored"]


# --- before a connection is one


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    folder = tmp_path_factory.mktemp("tls")
    make_certificate(folder)
    return Certificate(folder / "cert.pem", folder / "key.pem").context


def is_served_over_tls(site: Site, source: str) -> bool:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with context.wrap_socket(connect_from(site, source)) as client:
            client.sendall(ASK)
            return client.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
    except OSError:  # it was closed instead
        return False


def test_who_does_not_shake_hands_is_counted(store: LocalStore, tls: ssl.SSLContext) -> None:
    """A connection is one before TLS stands: past the bound of an address it gets no further ones, others do."""
    with serving(store, limits=Limits(max_connections_a_client=3), tls=tls) as site:
        with ExitStack() as stack:
            for _ in range(3):
                stack.enter_context(connect_from(site, "127.0.0.2"))
            assert not is_served_over_tls(site, "127.0.0.2")
            assert is_served_over_tls(site, "127.0.0.3")
        wait_until(lambda: is_served_over_tls(site, "127.0.0.2"), 30, "room again")


def test_a_handshake_that_does_not_end_meets_a_deadline(store: LocalStore, tls: ssl.SSLContext) -> None:
    """Silence and half a hello are closed after the time that a head has, and whoever shakes hands is served."""
    with serving(store, limits=SHORT, tls=tls) as site:
        with connect_from(site, "127.0.0.1") as silent, connect_from(site, "127.0.0.1") as half:
            half.sendall(bytes.fromhex("160301020001000001fc0303"))
            assert rest_of(silent) == rest_of(half) == b""
        assert is_served_over_tls(site, "127.0.0.1")


def test_refused_connections_are_bounded_too(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only so many are told why they are refused; the next ones are closed without a word, and hold nothing open."""
    monkeypatch.setattr(accepting, "MOST_REFUSED", 2)
    with serving(store, limits=Limits(max_connections_a_client=1)) as site, crowd(site, 1, "127.0.0.2"):
        with ExitStack() as stack:
            clients = [stack.enter_context(connect_from(site, "127.0.0.2")) for _ in range(5)]
            told = [rest_of(client).startswith(b"HTTP/1.1 429 ") for client in clients]
        assert told == [True, True, False, False, False]


class Exhausted(socket.socket):
    """A listening socket in a process that can open nothing for the first three times."""

    failures = 0

    def accept(self) -> tuple[socket.socket, object]:
        if self.failures < 3:
            self.failures += 1
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return super().accept()


def test_out_of_descriptors_it_pauses_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Who waits is accepted when it goes again, after so many pauses as there were failures, and one line in the log."""
    monkeypatch.setattr(accepting, "_PAUSE_S", 0.05)
    with Exhausted() as listening:
        listening.setblocking(False)
        listening.bind(("127.0.0.1", 0))

        async def accept_one() -> int:
            connections = Connections(Limits())
            listener = accepting.Listener([listening], connections, asyncio.Protocol, None)
            listener.start()
            _, writer = await asyncio.open_connection(*listening.getsockname())
            assert connections.count == 0
            while connections.count == 0:
                await asyncio.sleep(0.01)
            writer.close()
            await listener.stop()
            return listening.failures

        assert asyncio.run(asyncio.wait_for(accept_one(), 30)) == 3
    assert [(record.levelname, record.exc_info) for record in caplog.records] == [("ERROR", None)]
