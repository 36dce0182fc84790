"""The proxy does to requests what its name for the fault says; checked with a plain HTTP server and `requests`."""

from __future__ import annotations

import http.server
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field

import pytest
import requests
from processes import wait_until
from proxy import (
    HTML,
    Answer,
    CutRequest,
    CutResponse,
    Delay,
    DelayAnswer,
    DoubleAnswer,
    Drip,
    Drop,
    Duplicate,
    Hold,
    HoldAnswer,
    LoseAnswer,
    OldAnswer,
    Pass,
    Proxy,
    Strand,
)
from relay import Relay

OpenProxy = Callable[[tuple[str, int]], Proxy]


@dataclass
class Echo:
    """A server that answers with the body it got, and keeps all bodies."""

    address: tuple[str, int]
    got: list[bytes] = field(default_factory=list)


@pytest.fixture
def echo() -> Iterator[Echo]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            body = self.rfile.read(length)
            if len(body) < length:
                return
            found.got.append(body)
            self.send_response(200)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found = Echo(("127.0.0.1", server.server_address[1]))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield found
        server.shutdown()
        thread.join()


def post(proxy: Proxy, body: bytes) -> requests.Response:
    return requests.post(proxy.url + "/v1/batch", data=body, timeout=10)


def test_passes_requests_on_one_connection(echo: Echo, open_proxy: OpenProxy) -> None:
    """Without a script every request reaches the server and every answer comes back, also of a megabyte."""
    proxy = open_proxy(echo.address)
    big = bytes(range(256)) * 4096
    with requests.Session() as session:
        answers = [session.post(proxy.url + "/v1/batch", data=body, timeout=10).content for body in (b"a", b"", big)]
    assert answers == echo.got == [b"a", b"", big]
    wait_until(lambda: proxy.count(Pass) == 3, what="the note of the last answer, which comes behind it")


@pytest.mark.parametrize("behaviour", [Drop(), Drop(reset=True), CutRequest(20), CutRequest(-1), CutResponse(10)])
def test_cuts_look_like_a_dead_line(echo: Echo, open_proxy: OpenProxy, behaviour: Drop) -> None:
    """A dropped or cut exchange is a connection error to the client; the next request passes."""
    proxy = open_proxy(echo.address)
    proxy.script("/v1/batch", behaviour)
    with pytest.raises(requests.RequestException):
        post(proxy, b"first")
    assert post(proxy, b"second").content == b"second"
    assert proxy.is_done("/v1/batch")


def test_a_lost_answer_reaches_the_server_alone(echo: Echo, open_proxy: OpenProxy) -> None:
    """The server has the whole request, the client sees a connection error."""
    proxy = open_proxy(echo.address)
    proxy.script("/v1/batch", LoseAnswer())
    with pytest.raises(requests.ConnectionError):
        post(proxy, b"body")
    assert echo.got == [b"body"]
    assert proxy.seen[0].status == 200


def test_a_duplicate_reaches_the_server_twice(echo: Echo, open_proxy: OpenProxy) -> None:
    """The server sees the same bytes twice, the client one answer."""
    proxy = open_proxy(echo.address)
    proxy.script("/v1/batch", Duplicate())
    assert post(proxy, b"body").content == b"body"
    assert echo.got == [b"body", b"body"]


def test_answers_by_itself(echo: Echo, open_proxy: OpenProxy) -> None:
    """Its own answers keep the server out of it, and carry status, type and headers."""
    proxy = open_proxy(echo.address)
    proxy.script("/v1/batch", Answer(503, headers=(("Retry-After", "1"),)), HTML)
    busy, page = post(proxy, b"a"), post(proxy, b"b")
    assert (busy.status_code, busy.headers["Retry-After"]) == (503, "1")
    assert (page.status_code, page.headers["Content-Type"]) == (200, "text/html")
    assert echo.got == []


def test_holds_half_a_request_until_released(echo: Echo, open_proxy: OpenProxy) -> None:
    """A held request is in the server's hands only in part until it is released; then it is answered."""
    proxy, hold, answers = open_proxy(echo.address), Hold(-2), []
    proxy.script("/v1/batch", hold)
    sender = threading.Thread(target=lambda: answers.append(post(proxy, b"body").content))
    sender.start()
    assert hold.is_held.wait(10)
    assert echo.got == []
    hold.release.set()
    sender.join(10)
    assert answers == echo.got == [b"body"]


def test_holds_an_answer_until_released(echo: Echo, open_proxy: OpenProxy) -> None:
    """The server has the whole request while its answer is held."""
    proxy, hold, answers = open_proxy(echo.address), HoldAnswer(), []
    proxy.script("/v1/batch", hold)
    sender = threading.Thread(target=lambda: answers.append(post(proxy, b"body").content))
    sender.start()
    assert hold.is_held.wait(10)
    assert (echo.got, answers) == ([b"body"], [])
    hold.release.set()
    sender.join(10)
    assert answers == [b"body"]


def test_a_dead_target_closes_the_client_and_a_new_one_serves(echo: Echo, open_proxy: OpenProxy) -> None:
    """While nothing listens at the target the client sees a closed connection; `target` can be moved."""
    proxy = open_proxy(("127.0.0.1", 1))
    with pytest.raises(requests.ConnectionError):
        post(proxy, b"lost")
    proxy.target = echo.address
    proxy.script("/v1/batch", Delay(0.01))
    assert post(proxy, b"body").content == b"body"


@pytest.mark.parametrize("behaviour", [DelayAnswer(1.0), Drip(0.05), Delay(1.0)])
def test_what_is_late_comes_whole(echo: Echo, open_proxy: OpenProxy, behaviour: Delay) -> None:
    """However late an answer is, it is the right one, and the server has the request once."""
    proxy = open_proxy(echo.address)
    proxy.script("/v1/batch", behaviour)
    began_s = time.monotonic()
    assert post(proxy, b"body").content == b"body"
    assert time.monotonic() - began_s >= 1.0
    assert echo.got == [b"body"]


def test_a_doubled_answer_is_the_answer_to_the_next_request(echo: Echo, open_proxy: OpenProxy) -> None:
    """A client that goes on over the same connection reads the second copy as the answer to what it asks next."""
    proxy = open_proxy(echo.address)
    proxy.script("/v1/batch", DoubleAnswer())
    request = b"POST /v1/batch HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n"
    with socket.create_connection(("127.0.0.1", int(proxy.url.rpartition(":")[2])), timeout=10) as connection:
        connection.sendall(request + b"1")
        connection.sendall(request + b"2")
        said = b""
        while said.count(b"200 OK") < 3 or not said.endswith(b"2"):
            said += connection.recv(1 << 16)
    assert [answer[-1:] for answer in said.split(b"HTTP/1.1 200 OK")[1:]] == [b"1", b"1", b"2"]


def test_an_old_answer_comes_out_of_the_proxys_memory(echo: Echo, open_proxy: OpenProxy) -> None:
    """The server sees nothing of the request, and the client gets what was said to another one."""
    proxy = open_proxy(echo.address)
    proxy.script("/v1/batch", Pass(), OldAnswer())
    assert [post(proxy, body).content for body in (b"first", b"second")] == [b"first", b"first"]
    assert echo.got == [b"first"]


def test_a_stranded_request_reaches_the_server_when_released(echo: Echo, open_proxy: OpenProxy) -> None:
    """Its client is cut off at once, and later requests are there before it."""
    proxy, strand = open_proxy(echo.address), Strand()
    proxy.script("/v1/batch", strand)
    with pytest.raises(requests.ConnectionError):
        post(proxy, b"first")
    assert post(proxy, b"second").content == b"second"
    strand.release.set()
    assert strand.is_delivered.wait(10)
    assert echo.got == [b"second", b"first"]


def test_a_relay_is_as_slow_as_it_is_told(echo: Echo) -> None:
    """Two requests share the line, all their bytes are counted, and with the bound lifted they take no time."""
    body = b"x" * 200_000
    with closing(Relay(echo.address, bytes_per_s=400_000)) as relay:
        began_s = time.monotonic()
        senders = [threading.Thread(target=requests.post, args=(relay.url, body), kwargs={"timeout": 30}) for _ in "12"]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join(30)
        took_s = time.monotonic() - began_s
        assert took_s > 0.9
        assert relay.up_bytes > 400_000
        assert 100_000 < relay.busiest_second_bytes() < 450_000
        relay.bytes_per_s = None
        assert requests.post(relay.url, body, timeout=30).content == body
    assert echo.got == [body] * 3


def test_a_relay_without_a_target_closes_the_client(echo: Echo) -> None:
    """While nothing listens at the target, connections end; `target` can be moved."""
    with closing(Relay(("127.0.0.1", 1))) as relay:
        with pytest.raises(requests.ConnectionError):
            requests.post(relay.url, b"lost", timeout=10)
        relay.target = echo.address
        assert requests.post(relay.url, b"body", timeout=10).content == b"body"
