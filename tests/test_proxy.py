"""The proxy does to requests what its name for the fault says; checked with a plain HTTP server and `requests`."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
import requests
from proxy import (
    HTML,
    Answer,
    CutRequest,
    CutResponse,
    Delay,
    Drop,
    Duplicate,
    Hold,
    HoldAnswer,
    LoseAnswer,
    Pass,
    Proxy,
)

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
    assert proxy.count(Pass) == 3


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
